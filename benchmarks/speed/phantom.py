"""How fast a phantom world draws: images per second on one core.

Run from the top of the checkout::

    OMP_NUM_THREADS=1 python benchmarks/speed/phantom.py --image-size 224
    OMP_NUM_THREADS=1 python benchmarks/speed/phantom.py --world fundus
"""

from __future__ import annotations

import argparse
import time

import cv2

from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource
from vlp_zoo.types import StudySource

__all__ = ["main"]


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", choices=("chest", "fundus"), default="chest")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--views", choices=("frontal", "all"), default="frontal")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    size = options.image_size
    source: StudySource = (
        PhantomChestSource("train", options.images, 0, size, options.views)
        if options.world == "chest"
        else PhantomFundusSource("train", options.images, 0, size)
    )
    # The first images fill the noise tiles and the bank of vessel trees.
    for index in range(min(40, len(source))):
        source[index]
    wall, cpu = time.perf_counter(), time.process_time()
    for index in range(len(source)):
        source[index]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"{len(source)} images of {options.image_size} px: "
        f"{len(source) / cpu:.0f} images/s of processor time, "
        f"{len(source) / wall:.0f} images/s of wall time"
    )


if __name__ == "__main__":
    main()
