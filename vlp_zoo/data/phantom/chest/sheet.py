"""A contact sheet of the chest world: one picture for each finding, with its words."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from vlp_zoo.data.phantom.chest.facts import LABELS, label_states
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.data.phantom.folder import write_atomically
from vlp_zoo.types import Study

__all__ = ["compose_sheet", "pick_examples", "write_contact_sheet"]

COLUMNS = 5
CAPTION = 62
SEARCH = 600
"""Studies that are looked through for examples."""
OUTLINE = (255, 190, 60)
FRAME = (90, 165, 255)
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


def _tile(study: Study, label: str, side: int) -> npt.NDArray[np.uint8]:
    """The picture in colour with the masks of the label outlined."""
    picture = cv2.resize(study.image, (side, side), interpolation=cv2.INTER_AREA)
    tile = np.repeat(picture[:, :, None], 3, 2)
    mask = study.masks.get(label.lower())
    if mask is not None:
        large = cv2.resize(mask.astype(np.uint8), (side, side))
        contours, _ = cv2.findContours(
            large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        cv2.drawContours(tile, contours, -1, OUTLINE, 1)
        scale = side / study.image.shape[0]
        for box in study.boxes:
            if box.kind == "lesion" and box.name == label.lower():
                x1, y1, x2, y2 = (int(v * scale) for v in box.xyxy)
                cv2.rectangle(tile, (x1, y1), (x2 - 1, y2 - 1), FRAME, 1)
    return np.asarray(tile, np.uint8)


def _palette() -> Image.Image:
    colours = [(int(v),) * 3 for v in np.linspace(0, 255, GREYS)] + [OUTLINE, FRAME]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in colours for value in colour])
    return palette


def compose_sheet(
    tiles: Sequence[tuple[str, str, npt.NDArray[np.uint8]]], side: int
) -> Image.Image:
    """Pictures in rows, each with its title and a few lines of its report.

    Args:
        tiles: Title, words and picture (side, side, 3) of each.
        side: Pixels of one picture.
    """
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * side, rows * (side + CAPTION)), (18, 18, 18))
    pen = ImageDraw.Draw(sheet)
    heading, small = ImageFont.load_default(12), ImageFont.load_default(9)
    for place, (title, words, tile) in enumerate(tiles):
        left = side * (place % COLUMNS)
        top = (side + CAPTION) * (place // COLUMNS)
        sheet.paste(Image.fromarray(tile), (left, top))
        lines = textwrap.wrap(words, max(20, side // 5))
        if len(lines) > 4:
            lines = [*lines[:3], f"{lines[3]} ..."]
        pen.text((left + 4, top + side + 2), title, (235, 235, 235), heading)
        pen.multiline_text(
            (left + 4, top + side + 17), "\n".join(lines), (170, 170, 170), small,
            spacing=1,
        )  # fmt: skip
    return sheet


def write_contact_sheet(
    path: Path, source: PhantomChestSource, side: int = 200
) -> list[str]:
    """Draw one example of each label with outlines and the report's impression.

    Args:
        path: ``.png`` to write.
        source: Where the examples come from.
        side: Pixels of one picture on the sheet.

    Returns:
        The labels on the sheet, in order.
    """
    examples = pick_examples(source)
    tiles = []
    for label, index in examples:
        study = source[index]
        words = study.report.impression or study.report.findings
        tiles.append((label, words, _tile(study, label, side)))
    sheet = compose_sheet(tiles, side)
    packed = io.BytesIO()
    reduced = sheet.quantize(palette=_palette(), dither=Image.Dither.NONE)
    reduced.save(packed, "PNG", optimize=True)
    write_atomically(path, packed.getvalue())
    return [label for label, _ in examples]
