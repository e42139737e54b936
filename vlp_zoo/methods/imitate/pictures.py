"""What IMITATE writes of a batch: the two parts of each report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["write_reports"]


def write_reports(
    uids: Sequence[str], findings: Sequence[str], impressions: Sequence[str]
) -> str:
    """Markdown: the studies of a batch by number, with the two parts of their reports."""
    rows = zip(uids, findings, impressions, strict=True)
    return "\n\n".join(
        f"{number}. **{uid}** findings: {seen} *impression*: {concluded}"
        for number, (uid, seen, concluded) in enumerate(rows)
    )
