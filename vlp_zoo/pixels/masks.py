"""Mask pictures: two values, one of which is marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.pixels.pictures import Picture
from vlp_zoo.pixels.rejects import unreadable
from vlp_zoo.types import FileName

__all__ = ["marked"]

Mask = npt.NDArray[np.bool_]


def marked(path: FileName, picture: Picture) -> Mask:
    """What a picture of two values marks.

    Black is not marked, the other value is: 0 and 1, 0 and 255, 0 and 65,535, two
    colours of a palette or two colours. Where there is transparency, what is clear is
    not marked; a picture of one value then has its shape in the alpha channel.

    Args:
        path: For messages.
        picture: Decoded.

    Returns:
        bool (H, W).

    Raises:
        DataRejectedError: If it was stored with loss or has other values: soft edges
            and compression noise would count as marked.
    """
    if picture.lossy:
        raise _no_mask(path, "a format with loss, which blurs the border")
    values = picture.values
    if values.ndim == 3:
        # One number per colour, 0 for black.
        wide = values.astype(np.int64)
        values = (wide[..., 0] << 32) | (wide[..., 1] << 16) | wide[..., 2]
    found = _values(values)
    if len(found) > 2:
        raise _no_mask(path, f"{len(found)} values: {_shown(picture, found)}")
    if picture.entries > len(found):
        raise _no_mask(path, f"{picture.entries} palette entries of one colour")
    bright = np.asarray(values != 0)
    if picture.alpha is not None:
        return _through_alpha(path, picture.alpha, bright, len(found))
    if len(found) == 2 and found[0] != 0:
        raise _no_mask(path, f"two values, neither black: {_shown(picture, found)}")
    return bright


def _values(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The values of a picture, ascending; quick where they are no more than two."""
    first = values.flat[0]
    others = values[values != first]
    if not len(others):
        return np.array([first])
    if (others == others[0]).all():
        return np.sort(np.array([first, others[0]]))
    return np.unique(values)


def _through_alpha(
    path: FileName, alpha: npt.NDArray[Any], bright: Mask, colours: int
) -> Mask:
    seen = _values(alpha)
    if len(seen) > 2 or (len(seen) == 2 and seen[0] != 0):
        raise _no_mask(path, f"{len(seen)} degrees of transparency")
    opaque = np.asarray(alpha != 0)
    if opaque.all():
        return bright
    if colours == 1 and opaque.any():
        return opaque
    if not (bright & ~opaque).any():
        # Black and clear outside, or black inside of what is opaque.
        return bright
    raise _no_mask(path, "one shape in the colours and another in the transparency")


def _shown(picture: Picture, found: npt.NDArray[Any]) -> str:
    if picture.values.ndim == 3:
        few = [
            "#" + "".join(f"{v >> s & 255:02x}" for s in (32, 16, 0))
            for v in found[:6].tolist()
        ]
    else:
        few = [f"{value:g}" for value in found[:6].tolist()]
    return ", ".join(few) + (", ..." if len(found) > 6 else "")


def _no_mask(path: FileName, found: str) -> Exception:
    return unreadable(
        path, "bad_mask", f"{found}; a mask has two values, 0 and 255 say"
    )
