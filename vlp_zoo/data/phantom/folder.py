"""A folder that a phantom world is written to: empty, or written by one before."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError

__all__ = ["MARKER", "prepare_folder", "write_atomically"]

MARKER = "PHANTOM.json"
"""Says what a folder holds; only a folder that has it is ever overwritten."""


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
