"""How far the outline of a mask lies from where it was drawn.

Three numbers of a case and structure, from the distances of every pixel of one outline
to the nearest of the other, in the frame in which the masks were drawn:

- ``hd95``: of the two directions the larger 95th percentile (Hausdorff distance).
- ``assd``: the mean over both outlines (average symmetric surface distance).
- ``surface_dice``: share of both outlines that is within `TOLERANCE` of the other
  (normalised surface Dice).

The unit is part of the name, since a distance without one says nothing:
``hd95_mm`` where the spacing of the pixels of every test image is known, which only
DICOM files say, and ``hd95_px``, in pixels of the image as it was annotated, elsewhere.

A mask without pixels has no outline. Cases in which the structure is not there are left
out of all three, as they are of ``dice_positive``; what is marked in them is
``false_area``. Where it is there and nothing was marked, ``surface_dice`` is 0, and the
distances are undefined: they are left out of the mean and counted beside it, since a
model that marks only what is easy has small distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.segmentation.mask_truth import unwrapped
from vlp_zoo.evaluation.segmentation.metrics import Overlap
from vlp_zoo.monai import load_monai
from vlp_zoo.types import StudySource

__all__ = [
    "TOLERANCE",
    "Spacing",
    "outline_agreement",
    "require_surfaces",
    "spacings",
    "surface_metrics",
    "without_distance",
]

TOLERANCE = 2
"""Pixels, or millimetres where the spacing is known."""

Flags = npt.NDArray[np.bool_]
Spacing = tuple[float, float]
"""Millimetres from pixel to pixel, (down, across)."""


def surface_metrics(unit: str) -> tuple[str, str, str]:
    """Names of the three metrics, in the order of `outline_agreement`.

    Args:
        unit: ``"px"`` or ``"mm"``.

    Example:
        >>> surface_metrics("px")
        ('hd95_px', 'assd_px', 'surface_dice@2px')
    """
    return f"hd95_{unit}", f"assd_{unit}", f"surface_dice@{TOLERANCE}{unit}"


def require_surfaces() -> None:
    """Say now, and not after the training, that the package is missing.

    Raises:
        DependencyNotFoundError: If MONAI is not installed.
    """
    load_monai("surface distances of masks")


def outline_agreement(
    predicted: Flags, actual: Flags, spacing: Spacing | None = None
) -> npt.NDArray[np.float64]:
    """Agreement of the outlines of one structure of one case.

    A pixel of a mask is on its outline if one of its four neighbours is not in the mask,
    or lies outside of the image.

    Args:
        predicted: (H, W).
        actual: (H, W).
        spacing: Spacing of the pixels; None measures in pixels.

    Returns:
        (3,): see `surface_metrics`; NaN where undefined.

    Raises:
        DependencyNotFoundError: If MONAI is not installed.
    """
    if not actual.any():
        return np.full(3, np.nan)
    if not predicted.any():
        return np.array([np.nan, np.nan, 0.0])
    metrics = load_monai("surface distances of masks").metrics
    mine, true = metrics.get_mask_edges(predicted, actual)
    there = metrics.get_surface_distance(mine, true, spacing=spacing)
    back = metrics.get_surface_distance(true, mine, spacing=spacing)
    both = np.concatenate([there, back]).astype(np.float64)
    furthest = max(np.percentile(there, 95), np.percentile(back, 95))
    # Distances are roots: 2 may come out as the next number above it.
    near = both <= TOLERANCE * (1 + 1e-6)
    return np.array([furthest, both.mean(), near.mean()])


def spacings(source: StudySource) -> dict[str, Spacing]:
    """Spacing of the pixels of each study by uid; empty unless it is known of all."""
    found: dict[str, Spacing] = {}
    for index, uid in enumerate(source.uids):
        inner, place = unwrapped(source, index)
        told: Any = getattr(inner, "spacing_mm", None)
        spacing = told(place) if callable(told) else None
        if spacing is None:
            return {}
        found[uid] = spacing
    return found


def without_distance(
    overlap: Overlap, names: tuple[str, ...]
) -> Mapping[str, dict[str, int]]:
    """Annotated cases that have no distance, by structure and reason.

    Args:
        overlap: Counts of N cases and K structures.
        names: (K,).
    """
    there, marked = overlap.actual > 0, overlap.predicted > 0
    known = overlap.pixels > 0
    return {
        name: {
            "missed": int((there & ~marked)[:, k].sum()),
            "marked_where_nothing_is": int((known & ~there & marked)[:, k].sum()),
            "both_empty": int((known & ~there & ~marked)[:, k].sum()),
        }
        for k, name in enumerate(names)
    }
