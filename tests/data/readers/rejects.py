"""What the pre-check says of a data set that a fake wrote."""

from __future__ import annotations

from pathlib import Path

from vlp_zoo.data.catalogue import load
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.records import Card

__all__ = ["rejected"]


def rejected(card: Card, root: Path) -> list[tuple[str, str]]:
    """Uid and reason of each unusable record."""
    studies, _ = load(card, root)
    found = find_rejected(studies, need_report=False, progress=False)
    return [(item.uid, item.reason) for item in found]
