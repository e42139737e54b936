"""How hard the phantom fundus world is: a pixel baseline and a supervised network.

The twin of `phantom_difficulty.py`, from which readers and table come. The floor is
logistic regression on 50 principal components of 32-pixel thumbnails in colour: what
colour and place alone give away. The network is a narrow residual one trained with
every label: what there is to see. The column on mean and spread of each colour, noise,
size of the field, make of camera and eye must be at chance.

Run from the top of the checkout::

    python benchmarks/phantom_fundus_difficulty.py --train 2000 --test 1000 --epochs 8
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from phantom_difficulty import measure

from vlp_zoo.data.phantom.fundus.camera import CAMERAS, measured_camera
from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource

__all__ = ["main"]

Array = npt.NDArray[np.float32]


def _draw(
    bounds: tuple[int, int], split: str, studies: int, seed: int, size: int
) -> tuple[npt.NDArray[np.uint8], Array]:
    cv2.setNumThreads(1)
    source = PhantomFundusSource(split, studies, seed, size)
    pictures, known = [], []
    for index in range(*bounds):
        picture = source[index].image
        make = source.camera(index).model
        known.append(
            [
                *measured_camera(picture),
                *(make == name for name in CAMERAS),
                source.eyes[index] == "right",
            ]
        )
        pictures.append(picture)
    return np.stack(pictures), np.array(known, np.float32)


def main() -> None:
    """Measure and print a Markdown table."""
    measure(_draw, PhantomFundusSource, __doc__, train=2000, test=1000, epochs=8)


if __name__ == "__main__":
    main()
