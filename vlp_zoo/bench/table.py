"""Results as a table with intervals, baselines and what they allow one to say."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from rich import box
from rich.table import Table

from vlp_zoo.bench.candidates import ACQUISITION, PIXELS
from vlp_zoo.evaluation.results import Result
from vlp_zoo.evaluation.statistics.metric_names import metric_title

__all__ = ["result_tables", "verdicts"]

RANDOM = "random init"
RECALIBRATED = {
    "macro_ece_platt": "by Platt's line on validation",
    "macro_ece_scaled": "at validation temperature",  # as results of 0.1 have it
    "ece_scaled": "at validation temperature",
}
"""A recalibrated metric to what was done."""
OTHERS = 2
"""Metrics shown beside the headline; all are in the results."""
Group = tuple[str, str, str, float, int]


def result_tables(results: Sequence[Result]) -> list[Table]:
    """One table per task, split, protocol, label fraction and seed.

    Numbers of different splits or protocols never share a table.

    Args:
        results: Any results; rows appear in their order.
    """
    tables = []
    for group, rows in _groups(results).items():
        task, _, protocol, fraction, seed = group
        title = f"{task}: {protocol}"
        if "shots" in rows[0].details:
            title += f", {rows[0].details['draws']} draws of patients"
        elif rows[0].n_train:
            title += f", {fraction:.0%} of the training patients' labels"
        if fraction < 1:
            title += f" (draw {seed})"
        table = Table(
            title=title,
            caption=_caption(rows),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            title_justify="left",
        )
        head, *others = _metrics(rows)
        table.add_column("encoder", overflow="fold")
        for name in (
            f"{metric_title(head)} [95 %]",
            f"minus {RANDOM}",
            f"minus {PIXELS}",
            # Numbers are short and their names are not: the last word under the others.
            *("\n".join(metric_title(o).rsplit(" ", 1)) for o in others[:OTHERS]),
        ):
            table.add_column(name, justify="right", no_wrap=True)
        lines = _drawn(row for row in rows if row.metric == head)
        ended = False
        for line in sorted(lines, key=lambda line: line[0].role != "encoder"):
            row = line[0]
            if row.role != "encoder" and not ended:
                table.add_section()
                ended = True
            keys = {each.key for each in line}
            mine = [r for r in rows if r.key in keys]
            table.add_row(
                row.encoder,
                _interval(line) if len(line) == 1 else _spread(line),
                _interval(_against(mine, RANDOM), sign=True),
                _interval(_against(mine, PIXELS), sign=True),
                *(_number(_value(mine, metric)) for metric in others[:OTHERS]),
                style=None if row.role == "encoder" else "dim",
            )
        tables.append(table)
    return tables


def verdicts(results: Sequence[Result]) -> list[str]:
    """For each encoder and table one line: which baselines it is above."""
    lines = []
    for rows in _groups(results).values():
        head = _metrics(rows)[0]
        for row in rows:
            if row.metric != head or row.role != "encoder":
                continue
            if row.value is None:
                lines.append(f"{_what(row)}: {_advice(row)}")
                continue
            gaps = [r for r in rows if r.key == row.key and r.baseline]
            chance = _chance(row)
            if not gaps and chance is not None:
                # What has no baseline but chance is compared with that.
                beats = row.low is not None and row.low > chance
                word = "above chance" if beats else "NOT shown to be above chance"
                lines.append(f"{_what(row)}: {word} ({chance:.3f})")
                continue
            kinds = dict.fromkeys(map(_baseline, gaps))
            above = [
                kind
                for kind in kinds
                if all((gap.low or 0.0) > 0 for gap in _against(gaps, kind))
            ]
            rest = [kind for kind in kinds if kind not in above]
            said = []
            if above:
                said.append(f"above {' and '.join(above)}")
            if rest:
                said.append(f"NOT shown to be above {' or '.join(rest)}")
            if not gaps:
                said.append("compared with no baseline")
            lines.append(
                f"{_what(row)}: {', '.join(said)} (paired 95 % intervals over test "
                "patients)"
            )
    return lines


def _advice(row: Result) -> str:
    """What to do where nothing could be judged."""
    reasons = "; ".join(f"{name}: {why}" for name, why in row.undefined.items())
    return (
        f"no {metric_title(row.metric)}, as no label could be judged"
        + (f" ({reasons})" if reasons else "")
        + ". Give the splits more labelled studies (--val-fraction and --test-fraction "
        "of a table without its own split), or lower --min-positives"
    )


def _what(row: Result) -> str:
    learnt = f", {row.fraction:.0%} of labels" if row.n_train else ""
    if "shots" in row.details:
        each = "class" if row.settings.get("single_label") else "label"
        learnt = f", {row.details['shots']} patients per {each}"
    return f"{row.encoder} on {row.task}, {row.protocol}{learnt}"


def _chance(row: Result) -> float | None:
    """Score of a model that knows nothing, where it needs no baseline to be run."""
    if row.n_train:
        return None
    if "chance" in row.details:
        return float(row.details["chance"])
    return 0.5 if row.metric == "macro_auroc" else None


def _groups(results: Sequence[Result]) -> dict[Group, list[Result]]:
    groups: dict[Group, list[Result]] = {}
    for row in results:
        # A split names the studies, the data what is known of them.
        split = row.split_sha256 + row.data_sha256
        group = (row.task, split, row.protocol, row.fraction, row.seed)
        groups.setdefault(group, []).append(row)
    return groups


def _metrics(rows: Sequence[Result]) -> list[str]:
    """Metrics of the group, the headline first: the order in which runs wrote them."""
    return list(dict.fromkeys(row.metric for row in rows if row.baseline is None))


def _caption(rows: Sequence[Result]) -> str:
    first = rows[0]
    text = f"test: {first.n} images of {first.n_patients} patients"
    if first.n_train:
        text += f"; training: {first.n_train}"
    if "labels_used" in first.details:
        used = int(first.details["labels_used"])
        text += f"; {used} of {len(first.per_label)} labels count"
    if "closed_questions" in first.details:
        asked = (first.details[f"{word}_questions"][-1] for word in ("closed", "open"))
        text += "; test questions: {} closed, {} open".format(*asked)
    if first.settings.get("single_label"):
        text += "; classes exclude each other, the highest score is the answer"
    if "pool" in first.details:
        chance = {r.metric: r.details["chance"] for r in rows if "chance" in r.details}
        levels = ", ".join(
            f"{metric_title(m)} {value:.3f}" for m, value in chance.items()
        )
        text += f"; pool of {first.details['pool']}; chance: {levels}"
    issues = first.settings.get("known_issues") or []
    text += "".join(f"\nknown issue: {issue}" for issue in issues)
    missing: dict[str, str] = {}
    for row in rows:
        missing |= row.undefined
    if missing:
        left_out = "; ".join(f"{name} ({why})" for name, why in missing.items())
        text += f"\nleft out: {left_out}"
    draws = max(map(len, _drawn(r for r in rows if r.metric == _metrics(rows)[0])))
    if draws > 1:
        text += (
            f"\n{RANDOM}: mean ± standard deviation of {draws} draws of weights; "
            "brackets of differences are the outermost of the draws"
        )
    text += "".join(f"\n{line}" for line in _beyond_ranking(rows))
    edge = {
        row.encoder: row.details["c"]
        for row in rows
        if row.details.get("c_at_edge") and row.encoder != "prevalence"
    }
    if edge:
        chosen = ", ".join(f"{name} (C = {c:g})" for name, c in edge.items())
        text += f"\nC at the edge of its grid: {chosen}"
    unseen = {
        f"{row.encoder}: {', '.join(row.details['classes_not_learnt'])}"
        for row in rows
        if row.details.get("classes_not_learnt")
    }
    if unseen:
        text += f"\nclasses without a training case: {'; '.join(sorted(unseen))}"
    slow = {row.encoder for row in rows if row.details.get("converged") is False}
    if slow:
        text += f"\nnot converged: {', '.join(sorted(slow))}"
    return text


def _beyond_ranking(rows: Sequence[Result]) -> list[str]:
    """For each encoder calibration, operating points, outlines and groups, if measured."""
    lines = []
    for key in dict.fromkeys(r.key for r in rows if r.role == "encoder"):
        mine = {r.metric: r for r in rows if r.key == key and r.baseline is None}
        said = []
        for mended, how in RECALIBRATED.items():
            name = mended.rpartition("_")[0]
            if name in mine and mended in mine:
                title = metric_title(name.removeprefix("macro_"))
                before, after = (_number(mine[each].value) for each in (name, mended))
                said.append(f"{title} {before}, {how} {after}")
        said += [
            f"{name.replace('@', ' at ').replace('95', ' 95 %')} "
            f"{_number(mine[name].value)}"
            for name in ("sensitivity@specificity95", "specificity@sensitivity95")
            if name in mine
        ]
        said += [
            f"{metric_title(name)} {_number(row.value)}{_missed(row)}"
            for name, row in mine.items()
            if name.partition("_")[0] in ("hd95", "assd", "surface")
        ]
        for name, row in mine.items():
            _, gap, attribute = name.partition("_gap_by_")
            if gap:
                worst = row.details["worst"]
                value = _number(row.details["groups"][worst][0])
                by_chance = _number(row.details.get("gap_by_chance"))
                chance = "" if by_chance == "n/a" else f"; by chance {by_chance}"
                said.append(
                    f"gap by {attribute} {_number(row.value)} (worst: {worst} "
                    f"{value}{chance})"
                )
        if said:
            lines.append(f"{next(iter(mine.values())).encoder}: {'; '.join(said)}")
    return lines


def _missed(row: Result) -> str:
    """How many structures were missed, which have no distance."""
    cases = row.details.get("cases_without_distance", {})
    missed = sum(cases[name]["missed"] for name in cases if name not in row.undefined)
    distance = not row.metric.startswith("surface")
    return f" without {missed} missed" if missed and distance else ""


def _drawn(headlines: Iterable[Result]) -> list[list[Result]]:
    """Rows of one line each: the draws of a random init share theirs."""
    lines: dict[tuple[str, str], list[Result]] = {}
    for row in headlines:
        how = json.dumps(row.settings, sort_keys=True)
        place = (row.key, "") if row.role == "encoder" else (row.family, how)
        lines.setdefault(place, []).append(row)
    return list(lines.values())


def _against(rows: Sequence[Result], baseline: str) -> list[Result]:
    """Differences to a kind of baseline, of a random init one to each draw."""
    return [row for row in rows if row.baseline and _baseline(row) == baseline]


def _baseline(gap: Result) -> str:
    name = gap.baseline_name or ""
    return name if name in (PIXELS, ACQUISITION) else RANDOM


def _value(rows: Sequence[Result], metric: str) -> float | None:
    return _mean([row for row in rows if row.metric == metric])


def _mean(rows: Sequence[Result]) -> float | None:
    values = [row.value for row in rows]
    known = [value for value in values if value is not None]
    # A mean over some of the draws would be another number.
    return fmean(known) if known and len(known) == len(values) else None


def _number(value: float | None, sign: bool = False) -> str:
    if value is None or math.isnan(value):
        return "n/a"
    return f"{value:{'+' if sign else ''}.3f}"


def _interval(rows: Sequence[Result], sign: bool = False) -> str:
    """The mean and, of several draws, the outermost bounds."""
    if not rows:
        return ""
    text = _number(_mean(rows), sign)
    lows = [row.low for row in rows if row.low is not None and not math.isnan(row.low)]
    highs = [row.high for row in rows if row.high is not None]
    if len(lows) < len(rows) or len(highs) < len(rows):
        return text
    return rf"{text} \[{_number(min(lows), sign)}, {_number(max(highs), sign)}]"


def _spread(rows: Sequence[Result]) -> str:
    """The mean over draws of random weights with their standard deviation."""
    values = [row.value for row in rows if row.value is not None]
    if len(values) < len(rows):
        return _number(None)
    return f"{_number(fmean(values))} ± {_number(stdev(values))}"
