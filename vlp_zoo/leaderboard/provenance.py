"""Everything that is known of how a row of a board came about."""

from __future__ import annotations

import json
from typing import Any

from vlp_zoo.evaluation.features.cost import spelt_cost
from vlp_zoo.evaluation.statistics.metric_names import metric_title
from vlp_zoo.leaderboard.boards import Board, Entry
from vlp_zoo.leaderboard.replicates import Estimate
from vlp_zoo.leaderboard.runs import Run
from vlp_zoo.leaderboard.text import number, spelt

__all__ = ["provenance_of"]


def provenance_of(board: Board, entry: Entry) -> dict[str, Any]:
    """What the page shows of an entry when it is asked.

    Args:
        board: Where the entry stands.
        entry: Encoder or baseline.
    """
    row = entry.runs[0].head
    preset = {k: v for k, v in sorted(row.settings.items()) if k != "known_issues"}
    labels = list(row.per_label)
    commands = [run.head.details.get("command") for run in entry.runs]
    return {
        "facts": [
            ("role", entry.role),
            ("weights SHA-256", row.encoder_sha256),
            *(
                [("cost of an image", cost)]
                if (cost := spelt_cost(row.details))
                else []
            ),
            ("task", row.task),
            ("split SHA-256", row.split_sha256),
            ("data SHA-256", row.data_sha256),
            ("preset", row.protocol),
            ("test", f"{row.n} cases of {row.n_patients} patients"),
            *([("command", _typed(commands[0]))] if len(set(commands)) == 1 else []),
        ],
        "settings": [(k, json.dumps(v, ensure_ascii=False)) for k, v in preset.items()],
        "issues": board.issues,
        "runs": [
            {
                "seed": _draw(run),
                "value": spelt(score),
                "facts": [
                    *_stored(run, score),
                    *([("command", _typed(typed))] if len(set(commands)) > 1 else []),
                    *_facts(run),
                ],
                "others": [_other(other) for other in run.others],
            }
            for run, score, typed in zip(entry.runs, entry.drawn, commands, strict=True)
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


def _draw(run: Run) -> str:
    weights = run.head.weights_draw
    return f"{run.head.seed}" + ("" if weights is None else f", weights {weights}")


def _facts(run: Run) -> list[tuple[str, str]]:
    row = run.head
    versions = ", ".join(f"{k} {v}" for k, v in sorted(row.versions.items()))
    details = {k: v for k, v in row.details.items() if k != "command"}
    return [
        ("key", row.key),
        ("commit", row.commit or "unknown"),
        ("date", row.date),
        ("device", row.device),
        ("wall time", f"{row.seconds:g} s"),
        ("training cases", str(row.n_train)),
        ("versions", versions),
        ("predictions", row.predictions or "none"),
        ("details", json.dumps(details, ensure_ascii=False)),
    ]


def _stored(run: Run, shown: Estimate) -> list[tuple[str, str]]:
    """The stored value, where the board counts other labels than the run did."""
    row = run.head
    if row.value == shown.value:
        return []
    labels = {*row.per_label, *row.undefined}
    counted = f"{len(labels) - len(row.undefined)} of {len(labels)} labels"
    value = spelt(Estimate(row.value, row.low, row.high))
    return [("stored value", f"{value}, over {counted}")]


def _other(run: Run) -> str:
    """A run that another one stands for, in a line."""
    row = run.head
    name = f"{metric_title(row.metric)} {spelt(Estimate(row.value, row.low, row.high))}"
    replicates = row.settings.get("replicates")
    return (
        f"{row.date or 'no date'}: {name}, commit {row.commit or 'unknown'}, "
        f"{replicates} replicates, as {row.encoder}, key {row.key}"
    )


def _typed(command: object) -> str:
    return "not stored" if command is None else str(command)
