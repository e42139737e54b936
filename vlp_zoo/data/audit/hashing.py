"""Perceptual hashes of small pictures, and which of many are near each other.

A picture of 64 x 64 pixels becomes the signs of its 256 lowest cosine frequencies, the
mean left out. The first 64, cut at their median, are the perceptual hash; the other 192
tell apart what the first cannot (chest radiographs agree in their lowest frequencies).
The hash of a mirrored picture or of its central part comes from the same pixels by
another set of cosines, so nothing is decoded twice.

The cosines are whole numbers, small enough that every sum of products is a whole number
below 2**53, which float64 holds exactly. So a hash does not hang on the order in which a
processor's matrix product adds up.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["SIDE", "fine_distance", "hash_words", "near_pairs"]

SIDE = 64
"""Pixels on each side of the pictures that are hashed."""

FREQUENCIES = 24
ONE = 1 << 12
"""What a cosine of 1 is as a whole number: sums of 64 x 64 pixels stay below 2**53."""
BITS = 64
WORDS = 4
BANDS = 4
"""Two hashes that differ in at most 4 of 64 bits differ in at most 1 bit of one of four
bands: the other three cannot hold the rest (pigeonhole)."""

Words = npt.NDArray[np.uint64]

_ORDER = sorted(
    ((u, v) for u in range(FREQUENCIES) for v in range(FREQUENCIES) if u + v),
    key=lambda pair: (sum(pair), pair),
)[: BITS * WORDS]
_DOWN = np.array([u for u, _ in _ORDER])
_ACROSS = np.array([v for _, v in _ORDER])
# Neighbouring frequencies agree between pictures; dealt out in turn, each band gets
# some of the low ones, and its buckets stay small.
_BAND_BITS = np.arange(BITS).reshape(-1, BANDS).T


def hash_words(
    pictures: npt.NDArray[np.uint8], *, scale: float = 1.0, mirror: bool = False
) -> Words:
    """Hashes of pictures, or of what they would be mirrored or cropped.

    Args:
        pictures: (N, 64, 64).
        scale: Share of each side that a centred crop keeps; 1 is the whole picture.
        mirror: Left and right exchanged.

    Returns:
        (N, 4) uint64: the perceptual hash, then the finer bits.

    Example:
        >>> square = np.zeros((1, 64, 64), np.uint8)
        >>> square[0, 10:30, 5:40] = 200
        >>> straight = hash_words(square[:, :, ::-1])
        >>> bool((straight[:, 0] == hash_words(square, mirror=True)[:, 0]).all())
        True
    """
    words = np.empty((len(pictures), WORDS), np.uint64)
    cosines = _cosines(scale)
    # Pixels that a crop cuts in two leave a trace of the mean in each frequency.
    weight = cosines[0]
    flat = np.outer(cosines.sum(1), cosines.sum(1))[_DOWN, _ACROSS] / weight.sum() ** 2
    for start in range(0, len(pictures), 4096):
        chunk = pictures[start : start + 4096].astype(np.float64)
        found = (cosines @ chunk @ cosines.T)[:, _DOWN, _ACROSS]
        found -= (chunk @ weight @ weight)[:, None] * flat
        if mirror:
            found *= (-1.0) ** _ACROSS
        bits = found > 0
        bits[:, :BITS] = found[:, :BITS] > np.median(
            found[:, :BITS], axis=1, keepdims=True
        )
        packed = np.packbits(np.ascontiguousarray(bits), axis=1, bitorder="little")
        words[start : start + 4096] = packed.view("<u8")
    return words


def _cosines(scale: float) -> npt.NDArray[np.float64]:
    """Whole numbers (frequencies, 64) on the central part of the side, 0 outside of it.

    Odd frequencies are exactly antisymmetric and even ones symmetric, so that a mirrored
    picture has exactly the same numbers but for the sign of the odd ones.
    """
    first = (1 - scale) / 2 * SIDE
    left = np.arange(SIDE // 2)
    inside = np.clip(left + 1 - first, 0, 1)
    place = np.clip((left + 0.5 - first) / (scale * SIDE), 0, 1)
    frequency = np.arange(FREQUENCIES)[:, None]
    half = np.rint(np.cos(np.pi * frequency * place) * inside * ONE)
    return np.concatenate([half, (-1.0) ** frequency * half[:, ::-1]], axis=1)


def fine_distance(one: Words, other: Words) -> npt.NDArray[np.int64]:
    """Differing bits among the 192 finer ones of (N, 4) words."""
    counts: npt.NDArray[np.int64] = np.bitwise_count(one[:, 1:] ^ other[:, 1:]).sum(
        axis=1, dtype=np.int64
    )
    return counts


def near_pairs(
    queries: Words, entries: Words, *, radius: int = 4, chunk: int = 2048
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """All pairs of hashes that differ in few bits.

    Multi-index hashing (Norouzi et al., 2012): entries are sorted by each of four bands
    of 16 bits; a query asks each band for its own value and the 16 values one bit away.

    Args:
        queries: (M,) or (M, 4) words; the first is the hash.
        entries: (N,) or (N, 4).
        radius: Bits that may differ, at most 4.
        chunk: Queries at a time.

    Yields:
        Indices into queries and into entries, each pair once.

    Raises:
        ValueError: If the radius is above what the bands can promise.
    """
    if radius > BANDS:
        raise ValueError("four bands find pairs that differ in four bits at most")
    asked, stored = (w if w.ndim == 1 else w[:, 0] for w in (queries, entries))
    masks = np.concatenate([[0], 1 << np.arange(BITS // BANDS)]).astype(np.uint16)
    bands = [_band(stored, band) for band in range(BANDS)]
    orders = [np.argsort(band, kind="stable") for band in bands]
    starts = [
        np.concatenate([[0], np.cumsum(np.bincount(band, minlength=1 << 16))])
        for band in bands
    ]
    for begin in range(0, len(asked), chunk):
        some = asked[begin : begin + chunk]
        left, right = [], []
        for band in range(BANDS):
            wanted = _band(some, band)[:, None] ^ masks
            low, high = starts[band][wanted], starts[band][wanted.astype(np.int64) + 1]
            counts = (high - low).sum(axis=1)
            query = np.repeat(np.arange(len(some)), counts)
            entry = orders[band][_ranges(low.ravel(), high.ravel())]
            close = np.bitwise_count(some[query] ^ stored[entry]) <= radius
            left.append(query[close])
            right.append(entry[close])
        # A pair may meet in several bands.
        both = np.concatenate(left) * len(stored) + np.concatenate(right)
        both = np.unique(both)
        yield begin + both // len(stored), both % len(stored)


def _band(words: Words, band: int) -> npt.NDArray[np.uint16]:
    value = np.zeros(len(words), np.uint16)
    for place, bit in enumerate(_BAND_BITS[band]):
        value |= ((words >> np.uint64(bit)) & np.uint64(1)).astype(np.uint16) << place
    return value


def _ranges(
    low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """All the numbers of several ranges, one range after another."""
    counts = high - low
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(low - (ends - counts), counts) + np.arange(total)
