"""The one message that a picture is refused with."""

from __future__ import annotations

from pathlib import Path

from vlp_zoo.errors import DataRejectedError

__all__ = ["MOST_PIXELS", "unreadable"]

MOST_PIXELS = 1 << 28
"""No radiograph or photograph has more; what claims to would only fill the memory."""


def unreadable(path: Path, reason: str, detail: str) -> DataRejectedError:
    """The error for a file; its reason is the word that a pre-check lists it under."""
    return DataRejectedError(
        f"an image in {path}",
        f"{reason}: {' '.join(detail.split())[:300]}",
        "restore the file, or let the data module leave it out: --data.on_error skip",
    )
