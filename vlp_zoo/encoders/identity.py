"""Which weights these are, and what made them: digests and provenance."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlp_zoo import __version__
from vlp_zoo.encoders.image import ImageEncoder

__all__ = ["encoder_sha256", "provenance", "state_sha256"]


def encoder_sha256(encoder: ImageEncoder) -> str:
    """SHA-256 over names, shapes, types and values of all weights."""
    return state_sha256(encoder.timm.state_dict())


def state_sha256(state: Mapping[str, Tensor], start: str = "") -> str:
    """SHA-256 over names, shapes, types and values of a state dict.

    Args:
        state: Name to tensor, in any order.
        start: What else decides the identity, such as the name of a class.
    """
    digest = hashlib.sha256(start.encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


def provenance() -> dict[str, Any]:
    """Where and with what something was made: date, versions, machine, commit."""
    packages = {}
    for package in ("torch", "lightning", "timm", "transformers"):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = "not installed"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "vlp_zoo": __version__,
        "commit": _commit(),
        "versions": packages,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _commit() -> str | None:
    """Commit of the checkout this package runs from, with + if it was edited."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always"]
    try:
        done = subprocess.run(
            [*command, "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
