"""A contact sheet of the chest world: one picture for each finding, with its words."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vlp_zoo.data.phantom.canvas import Picture
from vlp_zoo.data.phantom.chest.facts import LABELS, label_states
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.contact_sheet import (
    FRAME,
    OUTLINE,
    ContactSheet,
    frame,
    outline,
)
from vlp_zoo.types import Study

__all__ = ["pick_examples", "write_contact_sheet"]

SEARCH = 600
"""Studies that are looked through for examples."""
GREYS = 40
"""Grey levels of a sheet: enough for the eye, half of the size."""


def pick_examples(source: PhantomChestSource) -> list[tuple[str, int]]:
    """For each label the image that shows it with the least beside it.

    Args:
        source: Looked through without drawing.

    Returns:
        (label, index of the image), "No Finding" first; a label that no study has
        is left out. A lateral image comes last where the source has one.
    """
    best: dict[str, tuple[float, int]] = {}
    studies = min(SEARCH, source.studies)
    first: dict[str, int] = {}
    for index, number in enumerate(source.study_ids):
        first.setdefault(number, index)
    indices = list(first.values())[:studies]
    for study, index in enumerate(indices):
        facts = source.study_facts(study)
        states = label_states(facts)
        for label in LABELS:
            if states[label] != 1:
                continue
            extent = max(
                (f.amount for f in facts.findings if f.label == label), default=0.0
            )
            burden = len(facts.findings) - 0.8 * extent
            if label == "Support Devices":
                devices = sum(f.label == label for f in facts.findings)
                burden = len(facts.findings) - 2.0 * devices
            if label not in best or burden < best[label][0]:
                best[label] = (burden, index)
    order = ["No Finding", *(label for label in LABELS if label != "No Finding")]
    examples = [(label, best[label][1]) for label in order if label in best]
    if "LATERAL" in source.views:
        examples.append(("Lateral view", source.views.index("LATERAL")))
    return examples


def _mark(tile: Picture, study: Study, label: str) -> None:
    """Outline the masks of the label and frame its lesions."""
    mask = study.masks.get(label.lower())
    if mask is not None:
        outline(tile, mask)
        frame(tile, study, label.lower(), 0)


def _reduced(sheet: Image.Image) -> Image.Image:
    colours = [(int(v),) * 3 for v in np.linspace(0, 255, GREYS)] + [OUTLINE, FRAME]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in colours for value in colour])
    return sheet.quantize(palette=palette, dither=Image.Dither.NONE)


write_contact_sheet = ContactSheet(pick_examples, _mark, _reduced)
"""Draws one example of each label, with marks and the report's impression."""
