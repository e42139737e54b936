"""The leaderboard as one HTML file that needs neither network nor server.

Everything in it is text of ours or escaped text of the results; a content security
policy admits the page's own script, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from vlp_zoo.errors import DependencyNotFoundError
from vlp_zoo.evaluation.statistics.intervals import Interval
from vlp_zoo.evaluation.statistics.metric_names import metric_title
from vlp_zoo.leaderboard.boards import Board
from vlp_zoo.leaderboard.curves import Curve, make_curves, pooled_reliability
from vlp_zoo.leaderboard.groups import GroupTable, group_tables
from vlp_zoo.leaderboard.metric_order import higher_is_better
from vlp_zoo.leaderboard.provenance import provenance_of
from vlp_zoo.leaderboard.replicates import Estimate
from vlp_zoo.leaderboard.reported import Reported, by_source
from vlp_zoo.leaderboard.svg import (
    ForestRow,
    curve_figure,
    forest_figure,
    reliability_figure,
    series,
)
from vlp_zoo.leaderboard.text import (
    NOTES,
    board_title,
    caption,
    marks,
    number,
    percent,
    spelt,
    transfer_notes,
    transfer_rows,
    transfer_title,
    verdict,
)
from vlp_zoo.leaderboard.transfer import Transfer, transfers

__all__ = ["page"]

SHOWN = 12
"""Pairs drawn at once, the largest differences; the others are folded."""


def page(boards: Sequence[Board], reported: Sequence[Reported] = ()) -> str:
    """Render the page.

    Args:
        boards: The boards that `vlp_zoo.leaderboard.boards.make_boards` made.
        reported: Numbers of others, in a part of their own.

    Raises:
        DependencyNotFoundError: If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError as error:
        raise DependencyNotFoundError(
            "Jinja2, for leaderboard.html",
            str(error),
            "pip install 'vlp-zoo[report]', or take the tables alone with --no-html",
        ) from error
    here = files("vlp_zoo.leaderboard")
    script = (here / "page.js").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Lines of long names break after these signs rather than within a word.
    environment.filters["breakable"] = lambda name: Markup("<wbr>").join(
        escape(part) for part in re.split(r"(?<=[/_.:])(?=\w)", name)
    )
    template = environment.from_string(
        (here / "page.html.j2").read_text(encoding="utf-8")
    )
    colours = _colours(boards)
    rendered: str = template.render(
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        notes=NOTES,
        facts=_facts(boards),
        heat=_heat(boards),
        curves=[_curve(curve, colours) for curve in make_curves(boards)],
        tasks=_tasks(boards, colours),
        transfers=[_crossed(found) for found in transfers(boards)],
        sources=by_source(reported),
    )
    return rendered


def _facts(boards: Sequence[Board]) -> list[tuple[str, str]]:
    runs = [run for b in boards for e in b.entries for run in e.runs]
    encoders = {e.name for b in boards for e in b.encoders}
    dates = sorted(run.head.date for run in runs)
    counts = {
        "encoder": len(encoders),
        "task": len({board.shared.task for board in boards}),
        "board": len(boards),
        "run": len(runs),
    }
    return [
        *((str(n), what if n == 1 else f"{what}s") for what, n in counts.items()),
        (dates[-1][:10] or "unknown", "newest result"),
    ]


def _colours(boards: Sequence[Board]) -> dict[str, str]:
    """The same classes for an encoder in every figure."""
    encoders = sorted({entry.name for board in boards for entry in board.encoders})
    baselines = {entry.name for board in boards for entry in board.baselines}
    return dict.fromkeys(baselines, "floor") | {
        name: series(place) for place, name in enumerate(encoders)
    }


def _heat(boards: Sequence[Board]) -> dict[str, Any]:
    """Encoders and baselines by board; tints compare within a column only."""
    rows: dict[tuple[bool, str], dict[str, Any]] = {}
    for board in boards:
        values = {
            entry.name: score.value
            for entry in board.entries
            if (score := entry.scores.get(board.headline)) and score.value is not None
        }
        if not values:
            continue
        # Baselines are of the range: where all encoders are close, it shows to what.
        low, high = min(values.values()), max(values.values())
        for entry in board.entries:
            value = values.get(entry.name)
            if value is None:
                continue
            tint = (value - low) / (high - low) if high > low else 0.5
            if not higher_is_better(board.headline):
                tint = 1 - tint
            place = (entry.role != "encoder", entry.name)
            rows.setdefault(place, {})[board.key] = {
                "text": number(value),
                "value": f"{value:.9f}",
                "tint": f"{tint:.2f}",
                "title": spelt(entry.scores[board.headline]),
                "best": entry.name in board.unbeaten,
            }
    columns = [
        {
            "protocol": board.shared.protocol,
            "lines": _column_lines(board, boards),
            "metric": metric_title(board.headline),
            "title": board_title(board),
            "first": "descending" if higher_is_better(board.headline) else "ascending",
        }
        for board in boards
    ]
    blocks = [
        [
            {"name": name, "cells": [cells.get(board.key) for board in boards]}
            for (baseline, name), cells in sorted(rows.items())
            if baseline == wanted
        ]
        for wanted in (False, True)
    ]
    spans: dict[tuple[str, str], int] = {}
    for board in boards:
        where = (board.shared.task, board.shared.split_sha256[:7])
        spans[where] = spans.get(where, 0) + 1
    tasks = [(task, split, span) for (task, split), span in spans.items()]
    return {"tasks": tasks, "columns": columns, "blocks": blocks}


def _column_lines(board: Board, boards: Sequence[Board]) -> list[str]:
    """Below the preset: the share of labels, and what tells apart columns of one."""

    def place(each: Board) -> tuple[Any, ...]:
        row = each.shared
        return (row.task, row.protocol, row.fraction)

    lines = [percent(board.shared.fraction)] if board.shared.n_train else []
    if sum(place(each) == place(board) for each in boards) > 1:
        lines += marks(board)
    return lines


def _curve(curve: Curve, colours: dict[str, str]) -> dict[str, Any]:
    board = curve.boards[0]
    row = board.shared
    differing = {each for held in curve.boards for each in held.apart.items()}
    apart = [f"{name} {value}" for name, value in sorted(differing)]
    notes = []
    if curve.missing:
        notes.append(
            f"Not drawn, for their predictions are missing or contradict their "
            f"numbers: {', '.join(curve.missing)}."
        )
    if curve.left_out:
        notes.append(
            "Boards count different labels; every point here is made again from the "
            f"predictions without {', '.join(curve.left_out)}."
        )
    return {
        "title": ", ".join([f"{row.task}: {row.protocol}", *apart]),
        "hash": f"split {row.split_sha256[:12]}, data {row.data_sha256[:12]}",
        "metric": metric_title(board.headline),
        "svg": curve_figure(curve.points, colours, metric_title(board.headline)),
        "notes": notes,
        "rows": [
            (name, [(percent(f), spelt(e)) for f, e in each])
            for name, each in curve.points.items()
        ],
    }


def _tasks(boards: Sequence[Board], colours: dict[str, str]) -> list[dict[str, Any]]:
    """Boards by task, split and data."""
    grouped: dict[tuple[str, str, str], list[Board]] = {}
    for board in boards:
        row = board.shared
        key = (row.task, row.split_sha256, row.data_sha256)
        grouped.setdefault(key, []).append(board)
    return [
        {
            "name": task,
            "split": split,
            "data": data,
            "boards": [_shown(board, colours) for board in held],
        }
        for (task, split, data), held in grouped.items()
    ]


def _shown(board: Board, colours: dict[str, str]) -> dict[str, Any]:
    others = board.metrics[1:]
    shown = (board.headline, *board.shown)
    metrics = [
        {
            "title": metric_title(metric),
            "first": "descending" if higher_is_better(metric) else "ascending",
            "more": metric not in shown,
        }
        for metric in board.metrics
    ]
    blocks = []
    for entries in (board.encoders, board.baselines):
        rows = []
        for i, entry in enumerate(entries):
            gaps = [entry.gap(kind) for kind in board.kinds]
            rows.append(
                {
                    "id": f"{board.key}-{entry.role}-{i}",
                    "name": entry.name,
                    "colour": colours[entry.name],
                    "best": entry.name in board.unbeaten,
                    "score": _value(entry.scores.get(board.headline)),
                    "gaps": [
                        _value(
                            gap.estimate if gap else None,
                            sign=True,
                            metric=board.headline,
                        )
                        for gap in gaps
                    ],
                    "others": [_value(entry.scores.get(m), plain=True) for m in others],
                    "draws": len(entry.runs),
                    "flags": entry.flags,
                    "search": " ".join((entry.name, board_title(board), *entry.flags)),
                    "drawer": provenance_of(board, entry),
                }
            )
        blocks.append(rows)
    return {
        "key": board.key,
        "title": board_title(board),
        "short": board_title(board).removeprefix(f"{board.shared.task}: "),
        "metrics": metrics,
        "gaps": [f"minus {kind}" for kind in board.kinds],
        "flagged": any(entry.flags for entry in board.entries),
        "blocks": blocks,
        "caption": caption(board),
        "issues": board.issues,
        "folded": any(metric["more"] for metric in metrics),
        "forests": _forests(board),
        "reliability": _reliability(board, colours),
        "groups": [_grouped(table) for table in group_tables(board)],
        "replicates": board.replicates,
        "pairs": len(board.pairs),
    }


def _forests(board: Board) -> list[dict[str, Any]]:
    what = f"difference of {metric_title(board.headline)}"
    baselines = [
        ForestRow(
            (entry.name, gap.baseline),
            gap.estimate,
            verdict(gap.estimate, board.headline),
        )
        for entry in board.encoders
        for gap in entry.gaps
        if gap.estimate.value is not None
    ]
    pairs = [
        ForestRow(
            (pair.first, pair.second),
            pair.estimate,
            verdict(pair.estimate, board.headline)
            if pair.adjusted is not None and pair.adjusted < 0.05
            else "open",
            f"p {number(pair.adjusted)}" if pair.adjusted is not None else "",
        )
        for pair in board.pairs
    ]
    found = []
    if baselines:
        found.append(_forest("Against baselines", baselines, what))
    count = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
    tested = f"p after Holm's correction over {count}; coloured below 0.05."
    if pairs:
        title = "Encoder against encoder"
        found.append(_forest(title, pairs[:SHOWN], what, tested))
    if pairs[SHOWN:]:
        title = f"The other {len(pairs) - SHOWN} pairs"
        found.append(_forest(title, pairs[SHOWN:], what, tested, folded=True))
    return found


def _forest(
    title: str,
    rows: Sequence[ForestRow],
    what: str,
    note: str = "",
    *,
    folded: bool = False,
) -> dict[str, Any]:
    svg = forest_figure(rows, what)
    return {"title": title, "svg": svg, "note": note, "folded": folded}


def _reliability(board: Board, colours: dict[str, str]) -> list[dict[str, str]]:
    found = [
        (e.name, made)
        for e in board.encoders
        if (made := pooled_reliability(e, board.left_out))
    ]
    if not found:
        return []
    most = max(max(r.probability.max(), r.rate.max()) for _, r in found)
    limit = next(each for each in (0.25, 0.5, 1.0) if most <= each)
    return [
        {
            "name": name,
            "svg": reliability_figure(
                made, colours[name], f"Reliability of {name}", limit
            ),
        }
        for name, made in found
    ]


def _grouped(table: GroupTable) -> dict[str, Any]:
    """A cell per group, and the gap between best and worst."""
    rows = []
    for name, slices in table.rows:
        cells = [_value(_estimate(slices.groups.get(group))) for group in table.groups]
        gap = _value(_estimate(slices.gap))
        chance, p = (
            "" if np.isnan(value) else number(value)
            for value in (slices.chance, slices.p_value)
        )
        rows.append(
            {"name": name, "cells": cells, "gap": gap, "chance": chance, "p": p}
        )
    left_out = {k: v for _, slices in table.rows for k, v in slices.left_out.items()}
    return {
        "column": table.column,
        "groups": table.groups,
        "rows": rows,
        "left_out": sorted(left_out.items()),
    }


def _crossed(found: Transfer) -> dict[str, Any]:
    best = higher_is_better(found.board.headline)
    return {
        "title": transfer_title(found),
        "notes": transfer_notes(found),
        "tested": found.tested,
        "first": "descending" if best else "ascending",
        "rows": list(transfer_rows(found)),
    }


def _estimate(found: Interval | None) -> Estimate | None:
    if found is None:
        return None
    value, low, high = (
        None if np.isnan(v) else v for v in (found.value, found.low, found.high)
    )
    return Estimate(value, low, high)


def _value(
    estimate: Estimate | None,
    *,
    sign: bool = False,
    plain: bool = False,
    metric: str = "",
) -> dict[str, str]:
    if estimate is None or estimate.value is None:
        return {"text": "", "spread": "", "span": "", "value": "", "side": ""}
    spread = "" if estimate.sd is None or plain else f"± {number(estimate.sd)}"
    span = ""
    if estimate.low is not None and estimate.high is not None and not plain:
        span = spelt(Estimate(None, estimate.low, estimate.high), sign=sign)[4:]
    return {
        "text": number(estimate.value, sign=sign),
        "spread": spread,
        "span": span,
        "value": f"{estimate.value:.9f}",
        "side": verdict(estimate, metric) if metric else "",
    }
