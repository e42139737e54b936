"""Measure how many planted copies the audit finds, by how the copy was made.

python benchmarks/twin_recall.py FOLDER_OF_IMAGES [--images 200] [--seed 0]
python benchmarks/twin_recall.py --speed 100000

Each image is copied in one way at a time; originals and copies are audited together,
so that a pair of different images that is reported shows as a false alarm.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.audit.hashing import near_pairs
from vlp_zoo.data.audit.prints import Prints, look
from vlp_zoo.data.audit.twins import Twin, find_twins
from vlp_zoo.pixels import read_grey

Pixels = npt.NDArray[np.uint8]
Change = Callable[[Pixels, np.random.Generator], Pixels]
SUFFIXES = (".jpg", ".jpeg", ".png")


def jpeg(quality: int) -> Change:
    """Compressed."""

    def change(pixels: Pixels, _: np.random.Generator) -> Pixels:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        coded = cv2.imencode(".jpg", pixels, options)[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)

    return change


def resized(pixels: Pixels, _: np.random.Generator) -> Pixels:
    """To half of each side, but not below 64 pixels."""
    height, width = (max(64, side // 2) for side in pixels.shape)
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8)


def pale(pixels: Pixels, _: np.random.Generator) -> Pixels:
    """Less contrast."""
    return np.asarray(pixels * 0.6 + 40, np.uint8)


def padded(pixels: Pixels, _: np.random.Generator) -> Pixels:
    """To a square with black and 20 pixels more."""
    height, width = pixels.shape
    down, across = max(0, width - height) + 20, max(0, height - width)
    return np.pad(pixels, ((0, down), (0, across)))


def mirrored(pixels: Pixels, _: np.random.Generator) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(pixels[:, ::-1])


def cropped(low: float, high: float, off: float = 0.0) -> Change:
    """Shares of the sides; off the centre by a share of the side."""

    def change(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        share = rng.uniform(low, high)
        sides = []
        for side in pixels.shape:
            room = (1 - share) / 2
            first = room + np.clip(rng.choice([-off, off]), -room, room)
            sides.append(slice(round(first * side), round((first + share) * side)))
        return np.ascontiguousarray(pixels[sides[0], sides[1]])

    return change


CHANGES: dict[str, Change] = {
    "jpeg, quality 50": jpeg(50),
    "jpeg, quality 20": jpeg(20),
    "half the size": resized,
    "less contrast": pale,
    "padded": padded,
    "mirrored": mirrored,
    "crop, 90 to 98 %": cropped(0.9, 0.98),
    "crop, 80 to 90 %": cropped(0.8, 0.9),
    "crop, 70 to 80 %": cropped(0.7, 0.8),
    "crop, 80 to 90 %, 1 % off": cropped(0.8, 0.9, 0.01),
    "crop, 80 to 90 %, 3 % off": cropped(0.8, 0.9, 0.03),
}


def recall(files: Sequence[Path], seed: int) -> None:
    """Print a row per way of copying."""
    originals = [read_grey(file) for file in files]
    own = {(t.first, t.second) for t in _twins(originals)}
    print(f"{len(files)} images; pairs among the originals themselves: {len(own)}")
    print("| copy | found | other pairs |\n|---|---|---|")
    for name, change in CHANGES.items():
        rng = np.random.default_rng(seed)
        copies = [change(pixels, rng) for pixels in originals]
        found = {(t.first, t.second) for t in _twins([*originals, *copies])}
        pairs = {(min(pair), max(pair)) for pair in found}
        right = sum((i, i + len(files)) in pairs for i in range(len(files)))
        n = len(files)
        others = {(a % n, b % n) for a, b in pairs if a % n != b % n}
        wrong = {(min(p), max(p)) for p in others} - own
        print(f"| {name} | {right / n:.3f} | {len(wrong)} |")


def _twins(images: Sequence[Pixels]) -> list[Twin]:
    return find_twins(Prints([look(pixels) for pixels in images]), lambda i: images[i])


def speed(n: int, seed: int) -> None:
    """Print how long the search takes among hashes that were drawn."""
    hashes = np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)
    start = time.perf_counter()
    found = sum(len(left) for left, _ in near_pairs(hashes, hashes))
    seconds = time.perf_counter() - start
    print(f"{n} hashes against each other: {found} pairs in {seconds:.2f} s")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", type=int, metavar="N")
    options = parser.parse_args()
    if options.speed:
        speed(options.speed, options.seed)
    if options.folder:
        files = sorted(
            f for f in options.folder.rglob("*") if f.suffix.lower() in SUFFIXES
        )
        rng = np.random.default_rng(options.seed)
        count = min(options.images, len(files))
        chosen = sorted(rng.choice(len(files), count, replace=False))
        recall([files[i] for i in chosen], options.seed)


if __name__ == "__main__":
    main()
