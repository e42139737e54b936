"""Images from anywhere as a source of studies, as encoders of evaluation read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from vlp_zoo.errors import DataRejectedError
from vlp_zoo.pixels import read_grey, read_rgb
from vlp_zoo.types import Report, Study

__all__ = ["Files", "Picture", "Pictures"]

Picture = str | Path | npt.NDArray[np.uint8] | Image.Image
"""A file, uint8 (H, W) or (H, W, 3), or an image of Pillow's."""


class Pictures:
    """A list of images as a source of studies of which nothing else is known.

    Args:
        images: Files, arrays or images of Pillow's.
        colour: Read files in colour.
    """

    name = "images"
    label_names: tuple[str, ...] = ()
    fingerprint = ""

    def __init__(self, images: Sequence[Picture], colour: bool) -> None:
        self.images = images
        self.colour = colour
        self.uids = [str(i) for i in range(len(images))]
        self.patient_ids = self.uids
        self.labels = np.empty((len(images), 0), np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Study:
        uid = self.uids[index]
        pixels = _pixels(self.images[index], self.colour, uid)
        return Study(uid, uid, uid, pixels, Report(""))

    def reports(self) -> Iterator[Report]:
        """Nothing was reported."""
        return (Report("") for _ in self.images)


class Files(Pictures):
    """Files that are read once: what cannot be read is black and told afterwards.

    Args:
        images: Paths of files.
        colour: Read them in colour.
    """

    def __init__(self, images: Sequence[Path], colour: bool) -> None:
        super().__init__(images, colour)
        # In memory that the processes that read share with this one.
        self._rejected = torch.zeros(len(images), dtype=torch.bool)
        self._rejected.share_memory_()  # type: ignore[no-untyped-call]

    def __getitem__(self, index: int) -> Study:
        try:
            return super().__getitem__(index)
        except DataRejectedError:
            self._rejected[index] = True
        uid = self.uids[index]
        black = np.zeros((64, 64, 3) if self.colour else (64, 64), np.uint8)
        return Study(uid, uid, uid, black, Report(""))

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """(N,) whether each file could be read, as far as it was."""
        return np.asarray(~self._rejected.numpy())


def _pixels(image: Any, colour: bool, uid: str) -> npt.NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return read_rgb(image) if colour else read_grey(image)
    if isinstance(image, Image.Image):
        if image.mode not in ("L", "RGB"):
            raise DataRejectedError(
                f"an image of Pillow's in mode L or RGB at place {uid}",
                f"mode {image.mode}",
                "convert it, or give its file, which is read as the data sets are",
            )
        return np.asarray(ImageOps.exif_transpose(image))
    shape: tuple[int, ...] = getattr(image, "shape", ())
    if (
        getattr(image, "dtype", None) != np.uint8
        or 0 in shape
        or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3))
    ):
        raise DataRejectedError(
            f"uint8 (H, W) or (H, W, 3) at place {uid}",
            f"{getattr(image, 'dtype', type(image).__name__)} {shape}",
            "give the 256 grey levels or colours of the picture, or its file",
        )
    return np.asarray(image)
