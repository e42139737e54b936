"""The one message that a picture is refused with."""

from __future__ import annotations

from vlp_zoo.errors import DataRejectedError
from vlp_zoo.types import FileName

__all__ = ["MOST_PIXELS", "unreadable"]

MOST_PIXELS = 1 << 28
"""No radiograph or photograph has more; what claims to would only fill the memory."""


def unreadable(path: FileName, reason: str, detail: str) -> DataRejectedError:
    """The error for a file; its reason is the word that a pre-check lists it under."""
    return DataRejectedError(
        f"an image in {path}",
        f"{reason}: {' '.join(detail.split())[:300]}",
        "restore the file, or let the data module leave it out: --data.on_error skip",
    )
