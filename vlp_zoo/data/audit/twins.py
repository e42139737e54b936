"""Images that are copies of each other, and how sure that is.

What is claimed, by kind; ``python benchmarks/twin_recall.py FOLDER`` measures all of it
on any folder of images:

* ``exact``: the decoded grey levels are the same, whatever the file.
* ``near``: the same frame after JPEG compression (quality 50 or more), resizing (to 64
  pixels or more on each side), a linear change of brightness and contrast, or after
  flat padding was put on or taken off.
* ``mirrored``: a near copy with left and right exchanged.
* ``cropped``: one shows the centre of the other, 70 % or more of both sides by the same
  share. A crop that is off the centre by 1 % of the sides is often missed, by 3 %
  nearly always.

Not claimed: other crops, rotations, inverted grey levels, equalised histograms, copies
smaller than 64 pixels, and other images of the same patient.

A candidate has few differing hash bits; it becomes a twin only if the small
pictures also correlate after both are levelled locally, because radiographs of
different people agree in everything that is coarse. For a crop both images are read
again and laid over each other, as any two frames agree somewhat when they may be moved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.audit.hashing import (
    SIDE,
    Words,
    fine_distance,
    hash_words,
    near_pairs,
)
from vlp_zoo.data.audit.prints import Prints, without_borders

__all__ = ["KINDS", "Twin", "correlation", "find_twins", "laid_over", "located"]

Kind = Literal["exact", "near", "mirrored", "cropped"]
KINDS: tuple[Kind, ...] = ("exact", "near", "mirrored", "cropped")

RADIUS = 4
FINE_NEAR, FINE_CROPPED = 40, 52
"""Most differing bits of 192 finer ones; chance would differ in half of them."""

CORRELATION_NEAR = 0.88
CORRELATION_PLACED, CORRELATION_CROPPED = 0.88, 0.96
"""A crop has to pass on the small pictures, then on larger ones."""

CONFIRM_SIDE = 192
RIM, FLAT_RIM = 8, 4
"""Pixels left out at each edge, and beside a flat surround: the rim of a fundus
photograph is the same in all, and so is the edge of equal padding."""

LEAST_INSIDE = 0.1

SCALES = tuple(0.975**step for step in range(1, 15))
"""Shares of a side that centred crops are tried at: 0.975 down to 0.70."""

_SMOOTH, _FLOOR = 3.0, 4.0

Float = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Twin:
    """Two images that are copies.

    Attributes:
        first: Index; for ``"cropped"`` the image that shows more.
        second: Index.
        kind: How alike they are: ``"exact"``, ``"near"``, ``"mirrored"`` or
            ``"cropped"``.
        distance: Differing bits of the 64-bit hashes.
        correlation: Correlation of the levelled pictures, 1 for exact copies.
        scale: Share of the first image's sides that the second shows.
    """

    first: int
    second: int
    kind: Kind
    distance: int = 0
    correlation: float = 1.0
    scale: float = 1.0


def find_twins(
    prints: Prints,
    read: Callable[[int], Picture] | None = None,
    *,
    workers: int | None = None,
) -> list[Twin]:
    """All twins among the images that can be read.

    Of exact copies the first stands for all: each of the others is reported with it,
    and only it is compared further.

    Args:
        prints: One print per image of all data sets.
        read: Grey levels of an image by its index, uint8 (H, W); without it, cropped
            copies (the slowest part) are not looked for.
        workers: Threads; None = one per core.

    Returns:
        Twins by kind, each pair of images once, under the first kind that fits.
    """
    first: dict[bytes, int] = {}
    twins: list[Twin] = []
    for i, digest in enumerate(prints.sha256):
        if digest and first.setdefault(digest, i) != i:
            twins.append(Twin(first[digest], i, "exact"))
    chosen = np.array([i for i in first.values() if not prints.reasons[i]], np.int64)
    if len(chosen) < 2:
        return twins
    search = _Search(prints.full[chosen], prints.inner[chosen], chosen, read)
    known: set[tuple[int, int]] = set()
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:

        def keep(kind: Kind, candidates: Iterator[_Candidate]) -> None:
            judge: Callable[[_Candidate], Twin | None] = search.judge(kind)
            found = [t for t in pool.map(judge, candidates, chunksize=256) if t]
            found.sort(key=lambda t: (t.first, t.second, -t.correlation))
            for twin in found:
                pair = (min(twin.first, twin.second), max(twin.first, twin.second))
                if pair not in known:
                    known.add(pair)
                    twins.append(
                        replace(
                            twin,
                            first=int(chosen[twin.first]),
                            second=int(chosen[twin.second]),
                            correlation=round(twin.correlation, 4),
                            scale=round(twin.scale, 3),
                        )
                    )

        keep("near", search.candidates(mirror=False))
        keep("mirrored", search.candidates(mirror=True))
        for scale in SCALES if read is not None else ():
            keep("cropped", search.candidates(scale=scale))
    return twins


_Candidate = tuple[int, int, int, float]
"""Entry, entry, differing bits, scale."""


class _Search:
    """Pictures with and without flat borders, as entries that are compared."""

    def __init__(
        self,
        full: Picture,
        inner: Picture,
        number: npt.NDArray[np.int64],
        read: Callable[[int], Picture] | None,
    ) -> None:
        self.number, self.read = number, read
        self.whole = len(full)
        bordered = np.nonzero((full != inner).any(axis=(1, 2)))[0]
        self.pictures = np.concatenate([full, inner[bordered]])
        self.image = np.concatenate([np.arange(len(full)), bordered])
        self.words: Words = hash_words(self.pictures)

    def candidates(
        self, *, mirror: bool = False, scale: float = 1.0
    ) -> Iterator[_Candidate]:
        cropped = scale < 1
        asked = self.words
        if mirror or cropped:
            asked = hash_words(self.pictures, mirror=mirror, scale=scale)
        limit = FINE_CROPPED if cropped else FINE_NEAR
        for left, right in near_pairs(asked, self.words, radius=RADIUS):
            one, other = self.image[left], self.image[right]
            # Only a crop tells which image is the larger one.
            wanted = one != other if cropped else one < other
            wanted &= fine_distance(asked[left], self.words[right]) <= limit
            left, right = left[wanted], right[wanted]
            bits = np.bitwise_count(asked[left, 0] ^ self.words[right, 0])
            for a, b, n in zip(left, right, bits, strict=True):
                yield int(a), int(b), int(n), scale

    def judge(self, kind: Kind) -> Callable[[_Candidate], Twin | None]:
        def judged(candidate: _Candidate) -> Twin | None:
            a, b, bits, scale = candidate
            one, other = self.pictures[a], self.pictures[b]
            if kind == "cropped":
                value, scale = located(one, other, scale)
                if value >= CORRELATION_PLACED:
                    value = laid_over(self._pixels(a), self._pixels(b), scale)
                enough = CORRELATION_CROPPED
            else:
                one = np.ascontiguousarray(one[:, ::-1]) if kind == "mirrored" else one
                value, enough = correlation(one, other), CORRELATION_NEAR
            if value < enough:
                return None
            pair = int(self.image[a]), int(self.image[b])
            return Twin(*pair, kind, bits, value, scale)

        return judged

    def _pixels(self, entry: int) -> Picture:
        assert self.read is not None
        pixels = self.read(int(self.number[self.image[entry]]))
        return pixels if entry < self.whole else without_borders(pixels)


def correlation(one: Picture, other: Picture) -> float:
    """Normalised correlation of two (64, 64) pictures after local levelling."""
    inside = _inside(one) & _inside(other)
    if inside.mean() < LEAST_INSIDE:
        return 0.0
    a, b = (_levelled(picture)[inside] for picture in (one, other))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0


def _inside(picture: Picture) -> npt.NDArray[np.bool_]:
    """Where a picture shows something of its own: (64, 64)."""
    three = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(picture, three) - cv2.erode(picture, three)
    _, parts = cv2.connectedComponents((spread <= 3).astype(np.uint8), connectivity=4)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    surround = np.isin(parts, edge[edge > 0]).astype(np.uint8)
    wide = 2 * FLAT_RIM + 1
    inside = cv2.dilate(surround, np.ones((wide, wide), np.uint8)) == 0
    inside[:RIM] = inside[-RIM:] = False
    inside[:, :RIM] = inside[:, -RIM:] = False
    return np.asarray(inside)


def located(whole: Picture, part: Picture, scale: float) -> tuple[float, float]:
    """How well one picture fits into another near a scale, wherever it fits best.

    Args:
        whole: (64, 64).
        part: (64, 64), resized from what may be a piece of it.
        scale: Share of the sides to try; two pixels more and less are tried too.

    Returns:
        Best normalised correlation and the share of the sides it is found at.
    """
    canvas = _levelled(whole)
    middle = round(SIDE * scale)
    best, found = -1.0, scale
    for side in range(middle - 2, min(SIDE, middle + 2) + 1):
        # Two pixels less on each side: levelling at an edge sees only half a patch.
        piece = _levelled(_square(part, side))[2:-2, 2:-2]
        fit = float(cv2.matchTemplate(canvas, piece, cv2.TM_CCOEFF_NORMED).max())
        if fit > best:
            best, found = fit, side / SIDE
    return best, found


def laid_over(whole: Picture, part: Picture, scale: float) -> float:
    """Correlation of a piece with the place it comes from, fitted to less than a pixel.

    Args:
        whole: uint8 (H, W).
        part: uint8, what may be a piece of it.
        scale: Share of the sides of ``whole`` that ``part`` shows.

    Returns:
        Normalised correlation at the best affine placing (enhanced correlation
        coefficient, Evangelidis and Psarakis 2008); 0 where none is found.
    """
    # No finer than the coarser of the two: nothing can agree there.
    side = min(CONFIRM_SIDE, *whole.shape, round(min(part.shape) / scale))
    side = max(side, SIDE)
    canvas = _levelled(_square(whole, side))
    piece = _levelled(_square(part, round(side * scale)))
    margin = max(3, len(piece) // 20)
    piece = np.ascontiguousarray(piece[margin:-margin, margin:-margin])
    fits = cv2.matchTemplate(canvas, piece, cv2.TM_CCOEFF_NORMED)
    x, y = cv2.minMaxLoc(fits)[3]
    start = np.array([[1, 0, x], [0, 1, y]], np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    everywhere = np.ones(canvas.shape, np.uint8)
    try:
        value, _ = cv2.findTransformECC(
            piece, canvas, start, cv2.MOTION_AFFINE, criteria, everywhere, 3
        )
    except cv2.error:
        # It did not converge, which copies do.
        return 0.0
    return float(value)


def _square(pixels: Picture, side: int) -> Picture:
    scaled = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(scaled, np.uint8)


def _levelled(picture: Picture) -> Float:
    """Without what is coarse, and with the same contrast everywhere."""
    pixels = picture.astype(np.float32)
    detail = pixels - cv2.GaussianBlur(pixels, (0, 0), _SMOOTH)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2 * _SMOOTH))
    return np.asarray(detail / (spread + _FLOOR), np.float32)
