"""A folder that a phantom world is written to: empty, or written by one before."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2
import pandas as pd

from vlp_zoo.data.phantom.canvas import Picture
from vlp_zoo.data.phantom.world import SPLITS, World
from vlp_zoo.errors import ConfigError
from vlp_zoo.types import Study

__all__ = ["MARKER", "Layout", "prepare_folder", "split_sizes", "write_atomically"]

MARKER = "PHANTOM.json"
"""Says what a folder holds; only a folder that has it is ever overwritten."""

JPEG_QUALITY = 95


Source = TypeVar("Source", bound=World[Any])


@dataclass(frozen=True)
class Layout(Generic[Source]):
    """A phantom world on its way to disk: a tenth of it each for val and test.

    Attributes:
        world: The world that is drawn.
        out: Folder; empty, or an earlier phantom together with ``overwrite``.
        studies: Examinations over all splits.
        seed: Seed of the phantom world.
        image_size: Side in pixels.
        choice: Which images of an examination are taken, among ``world.choices``.
        overwrite: Whether an earlier phantom is replaced.
        advance: Called with (images done, images in all) after each image.
    """

    world: type[Source]
    out: Path
    studies: int
    seed: int
    image_size: int
    choice: str
    overwrite: bool = False
    advance: Callable[[int, int], None] | None = None

    @cached_property
    def sources(self) -> list[Source]:
        """The three splits."""
        sizes = split_sizes(self.studies)
        more = (self.seed, self.image_size, self.choice)
        return [self.world(split, sizes[split], *more) for split in SPLITS]

    def begin(self, name: str, contents: tuple[str, ...]) -> None:
        """Make the folder ready to be written.

        Args:
            name: Name of the layout.
            contents: Files and folders that the layout consists of.

        Raises:
            ConfigError: If the folder may not be written.
        """
        card = {
            "layout": name,
            "world": f"{self.world.name.replace('_', ' ')} {self.world.version}",
            "studies": sum(source.studies for source in self.sources),
            "seed": self.seed,
            "image_size": self.image_size,
            self.world.chooses: self.choice,
        }
        prepare_folder(self.out, card, contents, self.overwrite)

    def images(self) -> Iterator[tuple[Source, int, Study]]:
        """Source, index and drawing of each image."""
        total, done = sum(map(len, self.sources)), 0
        for source in self.sources:
            for index in range(len(source)):
                yield source, index, source[index]
                done += 1
                if self.advance:
                    self.advance(done, total)

    def write_image(self, name: str, image: Picture) -> None:
        """Write a grey or a red-green-blue picture, as PNG or JPEG by its name."""
        pixels = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        lossy = name.endswith(".jpg")
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if lossy else []
        _, packed = cv2.imencode(name[-4:], pixels, quality)
        write_atomically(self.out / name, packed.tobytes())

    def write_table(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Write a CSV, gzipped if so named; its bytes hang on nothing but its rows."""
        text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode()
        if name.endswith(".gz"):
            packed = io.BytesIO()
            with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as stream:
                stream.write(text)
            text = packed.getvalue()
        write_atomically(self.out / name, text)


def split_sizes(studies: int) -> dict[str, int]:
    """Studies of each split: a tenth each for val and test, at least one."""
    part = max(1, studies // 10)
    return {"train": max(1, studies - 2 * part), "val": part, "test": part}


def prepare_folder(
    out: Path, card: dict[str, Any], contents: tuple[str, ...], overwrite: bool
) -> None:
    """Make a folder ready to be written and sign it.

    Args:
        out: Created if missing.
        card: What will be written; goes into the marker file.
        contents: Files and folders that the layout consists of. Nothing else is
            removed from an existing folder.
        overwrite: Whether an earlier phantom may be replaced.

    Raises:
        ConfigError: If the folder holds something and may not be overwritten.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(
            f"a folder to write to: {out}", "it is a file", "give another --out"
        )
    inside = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if inside and MARKER not in inside:
        raise ConfigError(
            f"an empty folder to write to: {out}",
            f"{len(inside)} other files or folders, such as {inside[0]}",
            "give another --out; --overwrite replaces only what synth wrote itself",
        )
    if inside and not overwrite:
        raise ConfigError(
            f"an empty folder to write to: {out}",
            "an earlier phantom",
            "add --overwrite to replace it, or give another --out",
        )
    out.mkdir(parents=True, exist_ok=True)
    for name in contents:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    text = json.dumps(card, indent=2, sort_keys=True) + "\n"
    write_atomically(out / MARKER, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either whole or not there; parents are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
