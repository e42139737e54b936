"""Figures as SVG that takes its colours from the page: light, dark and in print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from vlp_zoo.evaluation.classification.metrics.calibration import Reliability
from vlp_zoo.leaderboard.replicates import Estimate
from vlp_zoo.leaderboard.text import number, percent, spelt

__all__ = [
    "ForestRow",
    "axis_ticks",
    "curve_figure",
    "forest_figure",
    "reliability_figure",
    "series",
]

COLOURS = 8
"""Colours of the page's style; encoders beyond take them again with dashes."""


@dataclass(frozen=True)
class ForestRow:
    """A difference to draw.

    Attributes:
        names: What is subtracted from what: this, then that.
        estimate: The difference.
        side: ``"above"``, ``"below"``, ``"open"`` or nothing.
        note: Shown at the right end, behind the numbers.
    """

    names: tuple[str, str]
    estimate: Estimate
    side: str
    note: str = ""

    @property
    def label(self) -> str:
        """In words."""
        return " minus ".join(self.names)


def series(place: int) -> str:
    """Classes of the n-th encoder: a colour, and a dash once colours are used up."""
    return f"s{place % COLOURS}" + (" dashed" if place >= COLOURS else "")


def curve_figure(
    points: Mapping[str, Sequence[tuple[float, Estimate]]],
    classes: Mapping[str, str],
    label: str,
) -> str:
    """Values over label fractions, one line per encoder, bars for intervals.

    Args:
        points: Name to (fraction, value), ascending.
        classes: Name to the classes of its line.
        label: Label of the vertical axis.
    """
    width, left, right, top, bottom, line = 640, 52, 196, 14, 40, 15
    # Every name has a line of its own beside the plot.
    height = max(320, top + bottom + 4 + line * len(points))
    fractions = sorted({f for each in points.values() for f, _ in each})
    bounds = [
        v
        for each in points.values()
        for _, e in each
        for v in (e.value, e.low, e.high)
        if v is not None
    ]
    ticks = axis_ticks(min(bounds), max(bounds))
    x0, x1 = math.log10(fractions[0]), math.log10(fractions[-1])

    def x(fraction: float) -> float:
        return (
            left
            + 14
            + (math.log10(fraction) - x0) / (x1 - x0) * (width - left - right - 28)
        )

    def y(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return height - bottom - share * (height - top - bottom)

    parts = [
        f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(t):.1f}" '
        f'y2="{y(t):.1f}"/><text class="tick" x="{left - 7}" y="{y(t) + 4:.1f}" '
        f'text-anchor="end">{_short(t)}</text>'
        for t in ticks
    ]
    parts += [
        f'<text class="tick" x="{x(f):.1f}" y="{height - bottom + 17}" '
        f'text-anchor="middle">{percent(f)}</text>'
        for f in fractions
    ]
    parts.append(
        f'<text class="axis" x="{(left + width - right) / 2:.1f}" y="{height - 4}" '
        'text-anchor="middle">training patients with labels (log scale)</text>'
    )
    ends = []
    for i, (name, each) in enumerate(points.items()):
        defined = [(f, e) for f, e in each if e.value is not None]
        if not defined:
            continue
        # Side by side, or bars of equal fractions hide each other.
        dodge = 3.0 * (i - (len(points) - 1) / 2)
        dodge = max(-12.0, min(12.0, dodge))
        at = [(x(f) + dodge, y(e.value or 0.0), f, e) for f, e in defined]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, *_ in at)
        parts.append(f'<g class="{classes[name]}"><polyline points="{path}"/>')
        for px, py, f, e in at:
            told = escape(f"{name}, {percent(f)}: {spelt(e)}")
            if e.low is not None and e.high is not None:
                parts.append(
                    f'<line class="bar" x1="{px:.1f}" x2="{px:.1f}" '
                    f'y1="{y(e.low):.1f}" y2="{y(e.high):.1f}"/>'
                )
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.6"><title>{told}</title>'
                "</circle>"
            )
        parts.append("</g>")
        ends.append((at[-1][1], at[-1][0], name))
    for at_y, (end_y, end_x, name) in zip(
        _apart([e[0] for e in sorted(ends)], line, top + 4, height - bottom),
        sorted(ends),
        strict=True,
    ):
        parts.append(
            f'<g class="{classes[name]}"><path class="lead" d="M{end_x + 6:.1f} '
            f'{end_y:.1f}L{width - right + 6} {at_y:.1f}"/><text class="name" '
            f'x="{width - right + 10}" y="{at_y + 4:.1f}">{escape(_cut(name, 27))}'
            f"<title>{escape(name)}</title></text></g>"
        )
    return _svg(width, height, f"{label} over label fractions", parts)


def forest_figure(rows: Sequence[ForestRow], label: str) -> str:
    """Differences with their intervals around 0, one below the other.

    Args:
        rows: From top to bottom.
        label: Label of the axis.
    """
    # Text is as wide as it is: the drawing begins where the longest label ends.
    shown = [" minus ".join(_cut(name, 24) for name in row.names) for row in rows]
    left = 24 + int(6.0 * max(len(label) for label in shown))
    right, step, top = 232, 24, 8
    width = left + 290 + right
    height = top + step * len(rows) + 42
    bounds = [
        v
        for row in rows
        for v in (row.estimate.value, row.estimate.low, row.estimate.high)
        if v is not None
    ]
    ticks = axis_ticks(min([*bounds, 0.0]), max([*bounds, 0.0]))

    def x(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return left + share * (width - left - right)

    floor = top + step * len(rows)
    parts = [
        f'<line class="{"zero" if abs(t) < 1e-12 else "grid"}" x1="{x(t):.1f}" '
        f'x2="{x(t):.1f}" y1="{top}" y2="{floor}"/><text class="tick" '
        f'x="{x(t):.1f}" y="{floor + 15}" text-anchor="middle">'
        f"{_short(t, sign=True)}</text>"
        for t in ticks
    ]
    for i, row in enumerate(rows):
        middle = top + step * i + step / 2
        e = row.estimate
        parts.append(
            f'<g class="{row.side or "open"}"><text class="name" x="{left - 12}" '
            f'y="{middle + 4}" text-anchor="end">{escape(shown[i])}'
            f"<title>{escape(row.label)}</title></text>"
        )
        if e.low is not None and e.high is not None:
            parts.append(
                f'<line class="bar" x1="{x(e.low):.1f}" x2="{x(e.high):.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
        if e.value is not None:
            parts.append(
                f'<rect x="{x(e.value) - 4:.1f}" y="{middle - 4}" width="8" height="8"/>'
            )
        told = spelt(Estimate(e.value, e.low, e.high), sign=True)
        parts.append(
            f'<text class="value" x="{width - right + 14}" y="{middle + 4}">'
            f"{escape(f'{told}  {row.note}')}</text></g>"
        )
    parts.append(
        f'<text class="axis" x="{(left + width - right) / 2}" y="{height - 8}" '
        f'text-anchor="middle">{escape(label)}</text>'
    )
    return _svg(width, height, label, parts)


def reliability_figure(
    reliability: Reliability, classes: str, label: str, limit: float
) -> str:
    """Share of positives over mean probability; on the diagonal one may believe it.

    Args:
        reliability: Points.
        classes: CSS classes of the line.
        label: What is drawn.
        limit: End of both axes.
    """
    size, edge = 190, 30

    def at(p: float, r: float) -> str:
        span = size - edge - 8
        return f"{edge + p / limit * span:.1f},{size - edge - r / limit * span:.1f}"

    points = [
        at(p, r) for p, r in zip(reliability.probability, reliability.rate, strict=True)
    ]
    corner, end = at(0, 0), at(limit, limit)
    (cx, cy), (ex, ey) = corner.split(","), end.split(",")
    across, up = float(ex) - float(cx), float(cy) - float(ey)
    parts = [
        f'<rect class="frame" x="{cx}" y="{ey}" width="{across:.1f}" height="{up:.1f}"/>',
        f'<line class="zero" x1="{cx}" y1="{cy}" x2="{ex}" y2="{ey}"/>',
        f'<g class="{classes}"><polyline points="{" ".join(points)}"/>',
    ]
    for point, p, r, n in zip(
        points,
        reliability.probability,
        reliability.rate,
        reliability.cases,
        strict=True,
    ):
        px, py = point.split(",")
        parts.append(
            f'<circle cx="{px}" cy="{py}" r="2.8"><title>probability {p:.3f}, rate '
            f"{r:.3f}, {n} cases</title></circle>"
        )
    parts.append("</g>")
    for share in (0.0, limit / 2, limit):
        tx, ty = at(share, share).split(",")
        parts.append(
            f'<text class="tick" x="{tx}" y="{float(cy) + 14:.1f}" '
            f'text-anchor="middle">{_short(share)}</text><text class="tick" '
            f'x="{float(cx) - 5:.1f}" y="{float(ty) + 4:.1f}" text-anchor="end">'
            f"{_short(share)}</text>"
        )
    return _svg(size, size, label, parts)


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def axis_ticks(low: float, high: float) -> list[float]:
    """Round numbers around a range, three to seven."""
    rough = 10.0 ** math.floor(math.log10(max(high - low, 6e-3) / 3))

    def ends(step: float) -> tuple[int, int]:
        return math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)

    steps = (rough, 2 * rough, 5 * rough)
    step = next((s for s in steps if np.ptp(ends(s)) <= 6), 10 * rough)
    first, last = ends(step)
    last = max(last, first + 1)
    return [round(step * i, 10) for i in range(first, last + 1)]


def _short(value: float, *, sign: bool = False) -> str:
    text = number(value, sign=sign, digits=3).rstrip("0").rstrip(".")
    return "0" if text in ("", "+", "+0", "0") else text


def _cut(name: str, length: int) -> str:
    """The middle is left out: names differ at their ends."""
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept - kept // 2]}…{name[-(kept // 2) :]}"


def _apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending places moved so that neighbours keep their distance."""
    moved = list(places)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    if moved and moved[-1] > high:
        moved[-1] = high
        for i in range(len(moved) - 2, -1, -1):
            moved[i] = min(moved[i], moved[i + 1] - gap)
    return [float(np.round(place, 2)) for place in moved]
