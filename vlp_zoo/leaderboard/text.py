"""Boards as Markdown and as CSV: the same numbers, the same bytes each time."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from vlp_zoo.evaluation.features.cost import spelt_cost
from vlp_zoo.evaluation.statistics.metric_names import metric_title
from vlp_zoo.leaderboard.boards import KINDS, Board, Entry, Pair
from vlp_zoo.leaderboard.metric_order import higher_is_better
from vlp_zoo.leaderboard.replicates import Estimate
from vlp_zoo.leaderboard.reported import Reported, by_source
from vlp_zoo.leaderboard.transfer import Transfer, transfers

__all__ = [
    "NOTES",
    "board_title",
    "caption",
    "csv_text",
    "markdown",
    "marks",
    "number",
    "percent",
    "spelt",
    "transfer_notes",
    "transfer_rows",
    "transfer_title",
    "verdict",
]

COLUMNS = (
    *("board", "task", "protocol", "fraction", "split_sha256", "data_sha256"),
    *("role", "encoder", "encoder_sha256", "metric", "minus", "value", "sd", "low"),
    *("high", "interval_over", "draws", "seeds", "n", "n_patients", "n_train"),
    *("labels_used", "p", "p_holm", "flags"),
)

NOTES = (
    (
        "A table holds runs that share task, split, data, preset, settings, label "
        "fraction and the labels that count. Nothing is averaged or ranked across tables."
    ),
    (
        "Brackets are 95 % percentile intervals of a bootstrap over test patients. Of "
        "several draws (of labelled patients, of new weights, of those of a random init) "
        "the value is the mean over draws, ± is their standard deviation, "
        "and the interval is a hierarchical bootstrap over draws and patients. With few "
        "draws the part that is theirs comes out too small."
    ),
    (
        "Differences are paired: the same resampled patients and the same draws for both. "
        "Only draws that both sides have count."
    ),
    (
        "p is two-sided, from the replicates of the difference (by the normal law where "
        "fewer than ten lie beyond 0); Holm's correction is over the pairs of one table."
    ),
    (
        "Bold is the best encoder and every one not shown to be worse (p of Holm at "
        "least 0.05), which does not show them to be equal."
    ),
    (
        "† An encoder is one training. Another seed of it moves the numbers too, which "
        "intervals, p and bold do not know: of methods they call too many different."
    ),
    (
        "Nor do intervals cover, beyond Holm's correction within a table, the comparison "
        "of many numbers."
    ),
    "Research only, not for clinical use.",
)


def number(value: float | None, *, sign: bool = False, digits: int = 3) -> str:
    """``0.812``, ``+0.020``, or ``n/a``."""
    if value is None:
        return "n/a"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    # Minus zero is a matter of the last bit.
    return text.replace("-", "+" if sign else "") if not float(text) else text


def spelt(estimate: Estimate | None, *, sign: bool = False) -> str:
    """``0.812 ± 0.010 [0.790, 0.833]``, as far as there is one."""
    if estimate is None:
        return ""
    text = number(estimate.value, sign=sign)
    if estimate.sd is not None:
        text += f" ± {number(estimate.sd)}"
    if estimate.low is not None and estimate.high is not None:
        low, high = (number(v, sign=sign) for v in (estimate.low, estimate.high))
        text += f" [{low}, {high}]"
    return text


def board_title(board: Board) -> str:
    """Task, preset, share of labels, and what else sets boards of these apart."""
    row = board.shared
    title = f"{row.task}: {row.protocol}"
    if row.n_train:
        title += f", {percent(row.fraction)} of labels"
    found = marks(board)
    return f"{title} ({'; '.join(found)})" if found else title


def marks(board: Board) -> list[str]:
    """What tells a board from others of its task, preset and share of labels."""
    drawn = sorted({seed for entry in board.entries for seed in entry.seeds})
    found = []
    if board.shared.fraction < 1:
        word = "draw" if len(drawn) == 1 else "draws"
        found.append(f"{word} {', '.join(map(str, drawn))}")
    if board.left_out and (counted := _counted(board)):
        found.append(f"{counted} labels")
    found += [f"{name} {_short(value)}" for name, value in board.apart.items()]
    return found


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}…"


def percent(fraction: float) -> str:
    """``10 %``."""
    return f"{fraction * 100:.4g} %"


def caption(board: Board) -> list[str]:
    """What holds for all rows of a board, a sentence each."""
    row = board.shared
    lines = [
        f"test: {row.n} cases of {row.n_patients} patients"
        + (f"; training cases: {_span(board)}" if row.n_train else "")
        + (f"; {counted} labels count" if (counted := _counted(board)) else "")
    ]
    seeds = {entry.seeds for entry in board.entries}
    if len(seeds) > 1:
        lines.append(
            "not all rows have the same draws: their means are not over the same "
            "training patients, and differences are over the draws that two rows share"
        )
    random = [e for e in board.baselines if e.name.startswith(KINDS[0])]
    once = [e.name for e in random if len({run.draw[1] for run in e.runs}) == 1]
    if once:
        lines.append(
            f"weights drawn once, so that another draw may score otherwise: "
            f"{', '.join(once)}"
        )
    if "chance" in row.details:
        lines.append(f"chance: {number(float(row.details['chance']))}")
    elif board.headline == "macro_auroc" and not row.n_train:
        lines.append(f"chance: {number(0.5)}")
    lines += [f"known issue: {issue}" for issue in board.issues]
    if board.left_out:
        left_out = "; ".join(f"{k} ({v})" for k, v in sorted(board.left_out.items()))
        lines.append(f"left out: {left_out}")
    if board.apart:
        differing = ", ".join(f"{name} {value}" for name, value in board.apart.items())
        lines.append(f"set apart from tables of the same preset by: {differing}")
    return lines


def verdict(estimate: Estimate | None, metric: str) -> str:
    """``above``, ``below`` or ``open``: on which side of 0 the whole interval is."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    better = higher_is_better(metric)
    if estimate.low > 0:
        return "above" if better else "below"
    if estimate.high < 0:
        return "below" if better else "above"
    return "open"


def markdown(boards: Sequence[Board], reported: Sequence[Reported] = ()) -> str:
    """The leaderboard as GitHub shows it.

    Args:
        boards: The boards that `vlp_zoo.leaderboard.boards.make_boards` made.
        reported: Numbers of others, in a part of their own.
    """
    lines = ["# Leaderboard", ""]
    lines += [f"* {note}" for note in NOTES]
    for board in boards:
        lines += ["", *_table(board)]
    for transfer in transfers(boards):
        lines += ["", *_transfer(transfer)]
    if reported:
        lines += ["", *_reported(reported)]
    return "\n".join(lines) + "\n"


def csv_text(boards: Sequence[Board]) -> str:
    """Every measured number as a row, differences too; ``minus`` names the other."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for board in boards:
        for entry in board.entries:
            for metric in board.metrics:
                if metric in entry.scores:
                    rows.writerow(_record(board, entry, metric, entry.scores[metric]))
            for gap in entry.gaps:
                rows.writerow(
                    _record(board, entry, board.headline, gap.estimate, gap.baseline)
                )
            for pair in board.pairs:
                if pair.first == entry.name:
                    rows.writerow(
                        _record(
                            *(board, entry, board.headline, pair.estimate, pair.second),
                            pair=pair,
                        )
                    )
    return out.getvalue()


def _table(board: Board) -> Iterator[str]:
    row = board.shared
    yield f"## {_cell(board_title(board))}"
    yield ""
    yield (
        f"Split `{row.split_sha256[:12]}`, data `{row.data_sha256[:12]}`, board "
        f"`{board.key}`."
    )
    yield from (f"{_cell(line)}." for line in caption(board))
    yield ""
    yield from _ranks(board)
    if set(board.metrics[1:]) - set(board.shown):
        yield from _folded("All metrics", _metrics(board))
    if board.pairs:
        yield from _folded("Paired differences between encoders", _differences(board))


def transfer_title(found: Transfer) -> str:
    """Encoder, preset and share of labels."""
    row = found.board.shared
    return f"{found.encoder}, {row.protocol}, {percent(row.fraction)} of labels"


def transfer_notes(found: Transfer) -> list[str]:
    """How to read the table of learnt here, tested there."""
    notes = [
        (
            f"{metric_title(found.board.headline)}, learnt and tuned on the data of a row, "
            "tested on those of a column. Numbers compare down a column."
        )
    ]
    if found.other:
        notes.append("‡ Other test cases or labels than the rest of the column.")
    return notes


def transfer_rows(found: Transfer) -> Iterator[tuple[str, list[str]]]:
    """Where it was learnt, and a cell for each data set it was tested on."""
    for learnt in found.learnt:
        pairs = [(learnt, tested) for tested in found.tested]
        yield (
            learnt,
            [spelt(found.cells.get(p)) + " ‡" * (p in found.other) for p in pairs],
        )


def _transfer(found: Transfer) -> Iterator[str]:
    yield f"## Learnt here, tested there: {_cell(transfer_title(found))}"
    yield ""
    yield from transfer_notes(found)
    yield ""
    yield from _head(["learnt on", *found.tested])
    for learnt, cells in transfer_rows(found):
        yield _row([_cell(learnt), *cells])


def _ranks(board: Board) -> Iterator[str]:
    others = board.shown
    flagged = any(entry.flags for entry in board.entries)
    costs = {e.name: spelt_cost(e.runs[0].head.details) for e in board.entries}
    known = any(costs.values())
    yield from _head(
        [
            *("encoder", metric_title(board.headline)),
            *(f"minus {kind}" for kind in board.kinds),
            *(*map(metric_title, others), "draws"),
            *((["cost of an image"] if known else []) + (["flags"] if flagged else [])),
        ]
    )
    for entry in board.entries:
        gaps = [entry.gap(kind) for kind in board.kinds]
        score = spelt(entry.scores.get(board.headline))
        if entry.name in board.unbeaten:
            score = f"**{score}**"
        yield _row(
            [
                _named(entry),
                score,
                *(spelt(gap.estimate, sign=True) if gap else "" for gap in gaps),
                *(_plain(entry, metric) for metric in others),
                str(len(entry.runs)),
                *([costs[entry.name]] if known else []),
                *([", ".join(entry.flags)] if flagged else []),
            ]
        )


def _metrics(board: Board) -> Iterator[str]:
    """A row for each metric: there are more of them than encoders."""
    yield from _head(["metric", *(entry.name for entry in board.entries)])
    for metric in board.metrics:
        cells = [_plain(entry, metric) for entry in board.entries]
        yield _row([_cell(metric_title(metric)), *cells])


def _differences(board: Board) -> Iterator[str]:
    yield from _head(["paired difference", "[95 %]", "p †", "p (Holm) †"])
    for pair in board.pairs:
        yield _row(
            [
                f"{_cell(pair.first)} minus {_cell(pair.second)}",
                spelt(pair.estimate, sign=True),
                number(pair.estimate.p_value, digits=4),
                number(pair.adjusted, digits=4),
            ]
        )


def _folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines that a reader opens; Markdown inside needs the blank lines."""
    yield ""
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def _head(titles: Sequence[str]) -> list[str]:
    return [_row([_cell(title) for title in titles]), "|" + "---|" * len(titles)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _named(entry: Entry) -> str:
    name = _cell(entry.name)
    return name if entry.role == "encoder" else f"*baseline:* {name}"


def _plain(entry: Entry, metric: str) -> str:
    return number(entry.scores[metric].value) if metric in entry.scores else ""


def _reported(rows: Sequence[Reported]) -> Iterator[str]:
    yield "## Reported elsewhere"
    yield ""
    yield (
        "Numbers from papers and repositories, as printed there. Splits, label maps and "
        "heads are theirs: none compares with a measured number above, nor with that "
        "of another source."
    )
    for source, tables in by_source(rows).items():
        yield ""
        yield f"### {_cell(source)}"
        for table in tables:
            yield ""
            yield f"| {_cell(table.title)} | {' | '.join(table.fractions)} |"
            yield "|---|" + "---|" * len(table.fractions)
            for name, values in table.rows:
                yield f"| {_cell(name)} | {' | '.join(values)} |"
            yield from (f"\n{_cell(note)}" for note in table.notes)


def _record(
    board: Board,
    entry: Entry,
    metric: str,
    estimate: Estimate,
    minus: str = "",
    pair: Pair | None = None,
) -> list[str]:
    row = board.shared
    values = (estimate.value, estimate.sd, estimate.low, estimate.high)
    value, sd, low, high = ("" if v is None else f"{v:.6f}" for v in values)
    p_values = (estimate.p_value, pair.adjusted) if pair else (None, None)
    texts = [
        *(board.key, row.task, row.protocol, f"{row.fraction:g}"),
        *(row.split_sha256, row.data_sha256, entry.role, entry.name),
        *(entry.runs[0].head.encoder_sha256, metric, minus),
    ]
    return [
        *map(_harmless, texts),
        *(value, sd, low, high, estimate.covers, str(estimate.draws)),
        " ".join(map(str, entry.seeds)),
        *(str(row.n), str(row.n_patients), str(entry.runs[0].head.n_train)),
        _counted(board).split(" of ")[0],
        *("" if p is None else f"{p:.6f}" for p in p_values),
        "; ".join(entry.flags),
    ]


def _span(board: Board) -> str:
    used = sorted({run.head.n_train for e in board.entries for run in e.runs})
    return str(used[0]) if len(used) == 1 else f"{used[0]} to {used[-1]}"


def _counted(board: Board) -> str:
    row = board.shared
    if not row.per_label:
        return ""
    labels = {*row.per_label, *board.left_out}
    return f"{len(labels) - len(board.left_out)} of {len(labels)}"


def _cell(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no new cell, no new line."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]|])", r"\\\1", line)
    # Inside a word an underscore is harmless.
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)


def _harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
