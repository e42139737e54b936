"""Everything that is known of how a row of a board came about."""

from __future__ import annotations

import json
from typing import Any

from vlp_zoo.leaderboard.boards import Board, Entry
from vlp_zoo.leaderboard.metric_names import metric_title
from vlp_zoo.leaderboard.replicates import Estimate
from vlp_zoo.leaderboard.text import number, spelt

__all__ = ["provenance_of"]


def provenance_of(board: Board, entry: Entry) -> dict[str, Any]:
    """What the page shows of an entry when it is asked.

    Args:
        board: Where the entry stands.
        entry: Encoder or floor.
    """
    row = entry.runs[0].head
    preset = {k: v for k, v in sorted(row.settings.items()) if k != "known_issues"}
    labels = list(row.per_label)
    return {
        "facts": [
            ("role", entry.role),
            ("weights SHA-256", row.encoder_sha256),
            ("task", row.task),
            ("split SHA-256", row.split_sha256),
            ("data SHA-256", row.data_sha256),
            ("preset", row.protocol),
            ("test", f"{row.n} cases of {row.n_patients} patients"),
            ("command", str(row.details.get("command", "not stored"))),
        ],
        "settings": [(k, json.dumps(v, ensure_ascii=False)) for k, v in preset.items()],
        "issues": board.issues,
        "runs": [
            {
                "seed": run.head.seed,
                "value": spelt(Estimate(run.head.value, run.head.low, run.head.high)),
                "facts": [
                    ("key", run.head.key),
                    ("commit", run.head.commit or "unknown"),
                    ("date", run.head.date),
                    ("device", run.head.device),
                    ("wall time", f"{run.head.seconds:g} s"),
                    ("training cases", str(run.head.n_train)),
                    (
                        "versions",
                        ", ".join(
                            f"{k} {v}" for k, v in sorted(run.head.versions.items())
                        ),
                    ),
                    ("predictions", run.head.predictions or "none"),
                    ("details", json.dumps(run.head.details, ensure_ascii=False)),
                ],
            }
            for run in entry.runs
        ],
        "labels": [
            (
                label,
                [number(run.head.per_label.get(label)) for run in entry.runs],
                board.left_out.get(label, ""),
            )
            for label in labels
        ],
        "metric": metric_title(board.headline),
    }
