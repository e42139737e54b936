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

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from phantom_difficulty import (
    areas,
    linear_scores,
    network_scores,
    print_table,
    thumbnails,
    train_network,
)
from sklearn.decomposition import PCA

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


def _render(
    split: str, studies: int, seed: int, size: int, workers: int
) -> tuple[npt.NDArray[np.uint8], Array, Array]:
    bounds = [(low, min(low + 250, studies)) for low in range(0, studies, 250)]
    draw = partial(_draw, split=split, studies=studies, seed=seed, size=size)
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(draw, bounds))
    labels = PhantomFundusSource(split, studies, seed, size).labels
    pictures = np.concatenate([part for part, _ in parts])
    return pictures, labels, np.concatenate([known for _, known in parts])


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--floor-only", action="store_true", help="skip the network")
    options = parser.parse_args()
    draw = partial(
        _render, seed=options.seed, size=options.image_size, workers=options.workers
    )
    pictures, labels, known = draw("train", options.train)
    unseen, truth, unseen_known = draw("test", options.test)

    pca = PCA(50, random_state=0).fit(thumbnails(pictures))
    train_parts, test_parts = (
        pca.transform(thumbnails(images)) for images in (pictures, unseen)
    )
    columns: dict[str, npt.NDArray[np.floating[Any]]] = {
        "acquisition": linear_scores(known, labels, unseen_known, 1.0),
        "pixel baseline": linear_scores(train_parts, labels, test_parts, 0.1),
    }
    if not options.floor_only:
        net = train_network(pictures, labels, options.epochs, options.seed)
        columns["network"] = network_scores(net, unseen)
    scores = {name: areas(truth, score) for name, score in columns.items()}
    print_table(PhantomFundusSource.label_names, truth, scores)


if __name__ == "__main__":
    main()
