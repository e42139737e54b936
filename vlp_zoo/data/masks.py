"""References to masks become pixels here, whatever form a data set stores them in."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vlp_zoo.data.records import MaskRef
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels import read_levels, read_mask

__all__ = ["decode_coco_rle", "decode_mask", "decode_relative_rle", "resized"]

Mask = npt.NDArray[np.bool_]


def decode_mask(mask: MaskRef, height: int, width: int) -> Mask:
    """The pixels of a mask in the frame of its image.

    Args:
        mask: Reference.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        bool (height, width).

    Raises:
        DataRejectedError: If the file is missing, unreadable, not of two values where
            it has to be, or of other proportions than the image; or the run lengths do
            not fit the frame.
    """
    rows, columns = mask.size or (height, width)
    if mask.kind == "file" and mask.two_valued:
        pixels = read_mask(mask.ref)
        _check_proportions(mask, pixels.shape, (height, width))
    elif mask.kind == "file":
        stored = read_levels(mask.ref)
        _check_levels(mask, stored)
        pixels = (stored >= mask.values[0]) & (stored <= mask.values[1])
    elif mask.kind == "rle_relative":
        pixels = decode_relative_rle(str(mask.ref), rows, columns)
    elif mask.kind == "rle_coco":
        pixels = decode_coco_rle(mask.ref, rows, columns)
    else:
        pixels = _shape(mask, rows, columns)
    return resized(pixels, height, width)


def resized(mask: Mask, height: int, width: int) -> Mask:
    """A mask at another size in pixels, by nearest pixel: bool (height, width)."""
    if mask.shape == (height, width):
        return mask
    # Nearest: a mean of labels is no label (areas would erode the smaller class).
    scaled = cv2.resize(
        mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
    )
    return np.asarray(scaled > 0)


def _check_levels(mask: MaskRef, stored: npt.NDArray[Any]) -> None:
    """A copy with loss, or one that was smoothed, has greys between the published ones."""
    known = [level for level in mask.levels if level is not None]
    odd = sorted(set(np.unique(stored).tolist()) - set(known))
    if mask.levels and len(odd) > len(mask.levels) - len(known):
        raise DataRejectedError(
            f"the values {', '.join(map(str, known))} in {mask.ref}, as published",
            f"bad_mask: {len(odd)} others: {', '.join(map(str, odd[:6]))}",
            "use the official file; a copy has to be made by nearest pixel, without loss",
        )


def _check_proportions(
    mask: MaskRef, found: tuple[int, ...], image: tuple[int, int]
) -> None:
    """A mask that lies on its side would be stretched over the image."""
    skew = abs(found[0] * image[1] - found[1] * image[0])
    # Each side may have been rounded by half a pixel when one of them was made smaller.
    if skew > max(*found, *image):
        raise DataRejectedError(
            f"a mask of the proportions of its image ({image[1]} x {image[0]}) in "
            f"{mask.ref}",
            f"{found[1]} x {found[0]} pixels",
            "make the mask at the size of the image, the same way up",
        )


def decode_relative_rle(rle: str, height: int, width: int) -> Mask:
    """SIIM-ACR's encoding: gaps since the end of the last run, column by column.

    It is neither COCO's nor the usual competition format (absolute, from 1); either
    decoder would give garbage without complaint.

    Args:
        rle: ``"gap length gap length ..."``; ``"-1"`` or blank for an empty mask.
        height: Height of the mask in pixels.
        width: Width of the mask in pixels.

    Raises:
        DataRejectedError: If it is not pairs of numbers, or leaves the frame.

    Example:
        >>> decode_relative_rle("1 2 3 1", 4, 2).astype(int)
        array([[0, 0],
               [1, 0],
               [1, 1],
               [0, 0]])
    """
    words = rle.split()
    if not words or words == ["-1"]:
        return np.zeros((height, width), np.bool_)
    try:
        numbers = np.array([int(word) for word in words], np.int64)
    except ValueError as error:
        raise _bad_rle("numbers in a run-length encoding", rle) from error
    if len(numbers) % 2 or (numbers < 0).any():
        raise _bad_rle("pairs of gap and length in a run-length encoding", rle)
    return _runs(numbers, rle, height, width)


def decode_coco_rle(rle: object, height: int, width: int) -> Mask:
    """COCO's encoding: lengths of off and on runs in turn, column by column.

    Args:
        rle: A list of counts, the compressed string of pycocotools, or a dict with
            ``counts`` and ``size``.
        height: Height of the mask in pixels.
        width: Width of the mask in pixels.

    Raises:
        DataRejectedError: If the counts do not fill the frame exactly.
    """
    if isinstance(rle, dict):
        height, width = (int(side) for side in rle.get("size", (height, width)))
        rle = rle.get("counts", "")
    try:
        counts = _uncompressed(rle) if isinstance(rle, str | bytes) else rle
        numbers = np.asarray(counts, np.int64).ravel()
    except (TypeError, ValueError, IndexError) as error:
        raise _bad_rle("counts of a COCO run-length encoding", str(rle)) from error
    if (numbers < 0).any() or numbers.sum() != height * width:
        raise _bad_rle(
            f"runs that fill {height} x {width} pixels", f"{int(numbers.sum())} pixels"
        )
    if len(numbers) % 2:
        numbers = numbers[:-1]
    return _runs(numbers, str(rle), height, width)


def _runs(numbers: npt.NDArray[np.int64], rle: str, height: int, width: int) -> Mask:
    ends = np.cumsum(numbers)
    if len(ends) and ends[-1] > height * width:
        raise _bad_rle(
            f"runs within {height} x {width} pixels",
            f"{int(ends[-1])} pixels in {rle[:60]!r}",
        )
    flat = np.zeros(height * width + 1, np.int8)
    flat[ends[0::2]] += 1
    # Two runs may touch: ends are taken off with add, not set.
    np.subtract.at(flat, ends[1::2], 1)
    on = np.cumsum(flat[:-1]) > 0
    return np.ascontiguousarray(on.reshape(width, height).T)


def _uncompressed(text: str | bytes) -> list[int]:
    """Pycocotools' six-bit characters, each count a difference to the one before last."""
    codes = text.encode() if isinstance(text, str) else text
    counts: list[int] = []
    position = 0
    while position < len(codes):
        value, shift, more = 0, 0, True
        while more:
            code = codes[position] - 48
            value |= (code & 0x1F) << shift
            more = bool(code & 0x20)
            position += 1
            shift += 5
            if not more and code & 0x10:
                value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def _shape(mask: MaskRef, height: int, width: int) -> Mask:
    canvas = np.zeros((height, width), np.uint8)
    if mask.kind == "polygon":
        points = np.rint(np.asarray(mask.ref, np.float64).reshape(-1, 2))
        if len(points) < 3:
            raise DataRejectedError(
                f"a polygon of three points or more for {mask.name}",
                f"{len(points)}",
                "mend the annotation, or leave the image out",
            )
        cv2.fillPoly(canvas, [points.astype(np.int32)], (1,))
    else:
        x1, y1, x2, y2 = (round(float(v)) for v in mask.ref)
        if mask.kind == "rectangle":
            canvas[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 1
        else:
            centre = ((x1 + x2) // 2, (y1 + y2) // 2)
            axes = (max((x2 - x1) // 2, 0), max((y2 - y1) // 2, 0))
            cv2.ellipse(canvas, centre, axes, 0, 0, 360, (1,), -1)
    return np.asarray(canvas > 0)


def _bad_rle(looked_for: str, found: str) -> DataRejectedError:
    return DataRejectedError(
        looked_for, repr(found[:80]), "download the table again, or leave the row out"
    )
