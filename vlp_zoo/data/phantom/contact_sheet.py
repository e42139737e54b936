"""A contact sheet of a synthetic world: one picture for each label, with its words."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vlp_zoo.data.phantom.canvas import Mask, Picture
from vlp_zoo.data.phantom.folder import write_atomically
from vlp_zoo.data.phantom.wording import capital
from vlp_zoo.data.phantom.world import World
from vlp_zoo.types import Study

__all__ = ["FRAME", "OUTLINE", "ContactSheet", "compose_sheet", "frame", "outline"]

COLUMNS = 5
CAPTION = 62
OUTLINE = (255, 190, 60)
FRAME = (90, 165, 255)

Source = TypeVar("Source", bound=World[Any])


def outline(tile: Picture, mask: Mask) -> None:
    """Draw the border of a mask of any size on a square picture."""
    large = cv2.resize(mask.astype(np.uint8), tile.shape[:2])
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(tile, contours, -1, OUTLINE, 1)


def frame(tile: Picture, study: Study, name: str, room: int) -> None:
    """Draw the boxes of the lesions of a name, with some pixels of room."""
    scale = len(tile) / study.image.shape[0]
    for box in study.boxes:
        if box.kind == "lesion" and box.name == name:
            x1, y1, x2, y2 = (int(v * scale) for v in box.xyxy)
            near, far = (x1 - room, y1 - room), (x2 - 1 + room, y2 - 1 + room)
            cv2.rectangle(tile, near, far, FRAME, 1)


def compose_sheet(tiles: Sequence[tuple[str, str, Picture]], side: int) -> Image.Image:
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
        pen.text((left + 4, top + side + 2), capital(title), (235,) * 3, heading)
        pen.multiline_text(
            (left + 4, top + side + 17), "\n".join(lines), (170, 170, 170), small,
            spacing=1,
        )  # fmt: skip
    return sheet


@dataclass(frozen=True)
class ContactSheet(Generic[Source]):
    """How a world shows one example of each label, with marks and the impression.

    Attributes:
        pick: Label and index of an image for each example; nothing is drawn.
        mark: Draws on a picture (side, side, 3) what a study has of a label.
        reduce: Brings a sheet down to a palette, to make the file small.
    """

    pick: Callable[[Source], list[tuple[str, int]]]
    mark: Callable[[Picture, Study, str], None]
    reduce: Callable[[Image.Image], Image.Image]

    def __call__(self, path: Path, source: Source, side: int = 200) -> list[str]:
        """Draw the sheet.

        Args:
            path: ``.png`` to write.
            source: Where the examples come from.
            side: Pixels of one picture on the sheet.

        Returns:
            The labels on the sheet, in order.
        """
        tiles = []
        for label, index in self.pick(source):
            study = source[index]
            small = cv2.resize(study.image, (side, side), interpolation=cv2.INTER_AREA)
            grey = small[:, :, None] if small.ndim == 2 else small
            tile = np.array(np.broadcast_to(grey, (side, side, 3)), np.uint8)
            self.mark(tile, study, label)
            words = study.report.impression or study.report.findings
            tiles.append((label, words, tile))
        packed = io.BytesIO()
        self.reduce(compose_sheet(tiles, side)).save(packed, "PNG", optimize=True)
        write_atomically(path, packed.getvalue())
        return [label for label, _, _ in tiles]
