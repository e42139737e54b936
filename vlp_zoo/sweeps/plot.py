"""A sweep as one picture: points with intervals, or lines over a numeric axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.errors import DependencyNotFoundError
from vlp_zoo.files import write_whole
from vlp_zoo.sweeps.plan import Sweep
from vlp_zoo.sweeps.summary import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw", "numeric_axis"]

COLOURS = ("#2a6f97", "#c1666b", "#6a994e", "#a98467", "#7b5ea7", "#3d3d3d")
BASELINE = "#9a9a9a"
SMALL: Any = {"markersize": 4, "capsize": 2}


def numeric_axis(sweep: Sweep) -> str | None:
    """The axis to draw lines over: the only one of at least three different numbers."""
    found = []
    for axis, choices in sweep.grid.items():
        values = [choice.value for choice in choices.values()]
        numbers = [v for v in values if type(v) in (int, float)]
        if len(numbers) == len(values) and len(set(numbers)) >= 3:
            found.append(axis)
    return found[0] if len(found) == 1 else None


def draw(
    sweep: Sweep, lines: Sequence[Line], path: Path, baseline: str | None = None
) -> None:
    """Write the picture as SVG, the same bytes for the same numbers.

    Args:
        sweep: The sweep.
        lines: Summary lines from `vlp_zoo.sweeps.summary.summarise`; at least one.
        path: The file.
        baseline: Name of the variant that a line is drawn at.

    Raises:
        DependencyNotFoundError: Without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyNotFoundError(
            "matplotlib, for the plot", "not installed", "pip install 'vlp-zoo[report]'"
        ) from error
    groups = list(dict.fromkeys(line.group for line in lines))
    axis = None if sweep.search else numeric_axis(sweep)
    rows = max(sum(line.group == group for line in lines) for group in groups)
    tall = 3.2 if axis or sweep.search else 1.2 + 0.32 * rows
    figure = Figure(figsize=(7.5, tall * len(groups)), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False)[:, 0]
    for panel, group in zip(panels, groups, strict=True):
        mine = [line for line in lines if line.group == group]
        if sweep.search:
            _trials(panel, mine, maximize=sweep.search.direction != "minimize")
        elif axis:
            _curves(panel, mine, axis)
        else:
            _points(panel, mine, baseline)
        panel.set_title(group, fontsize=9, loc="left")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    # Letters stay text, and identifiers and date do not change from run to run.
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": sweep.name}
    with matplotlib.rc_context(settings):
        undated: Any = {"format": "svg", "metadata": {"Date": None}}
        write_whole(path, lambda part: figure.savefig(part, **undated))


def _reach(line: Line) -> tuple[float, float]:
    """How far the bar reaches down and up: spread over seeds, else the interval."""
    if line.spread is not None:
        return line.spread, line.spread
    if line.low is None or line.high is None:
        return 0.0, 0.0
    return max(0.0, line.mean - line.low), max(0.0, line.high - line.mean)


def _bars(lines: Sequence[Line]) -> Any:
    down, up = zip(*map(_reach, lines), strict=True)
    return [list(down), list(up)]


def _points(panel: Axes, lines: Sequence[Line], baseline: str | None) -> None:
    rows = list(range(len(lines)))[::-1]
    for row, line in zip(rows, lines, strict=True):
        if line.variant == baseline:
            panel.axvline(line.mean, color=BASELINE, linewidth=0.8, linestyle="--")
        if len(line.values) > 1:
            values = list(line.values.values())
            panel.plot(values, [row] * len(values), ".", color=BASELINE, markersize=4)
    means = [line.mean for line in lines]
    panel.errorbar(means, rows, xerr=_bars(lines), fmt="o", color=COLOURS[0], **SMALL)
    panel.set_yticks(rows, [line.variant for line in lines], fontsize=8)
    panel.set_ylim(-0.6, len(lines) - 0.4)
    panel.tick_params(axis="x", labelsize=8)
    _label(panel.set_xlabel, lines)


def _curves(panel: Axes, lines: Sequence[Line], axis: str) -> None:
    curves: dict[str, list[Line]] = {}
    for line in lines:
        others = [str(v) for name, v in line.axes.items() if name != axis]
        curves.setdefault(", ".join(others), []).append(line)
    for number, (name, curve) in enumerate(curves.items()):
        curve.sort(key=lambda line: float(line.axes[axis]))
        panel.errorbar(
            [float(line.axes[axis]) for line in curve],
            [line.mean for line in curve],
            yerr=_bars(curve),
            fmt="o-",
            color=COLOURS[number % len(COLOURS)],
            label=name,
            **SMALL,
        )
    if len(curves) > 1:
        panel.legend(fontsize=8, frameon=False)
    values = sorted({float(line.axes[axis]) for line in lines})
    if values[0] > 0 and values[-1] / values[0] >= 100:
        panel.set_xscale("log")
    panel.set_xlabel(axis, fontsize=8)
    panel.tick_params(labelsize=8)
    _label(panel.set_ylabel, lines)


def _trials(panel: Axes, lines: Sequence[Line], maximize: bool) -> None:
    values = [line.mean for line in lines]
    better = max if maximize else min
    best = [better(values[: n + 1]) for n in range(len(values))]
    numbers = [int(line.variant.split()[-1]) for line in lines]
    panel.plot(numbers, values, "o", color=COLOURS[0], markersize=4, label="trial")
    panel.step(numbers, best, where="post", color=COLOURS[1], label="best so far")
    panel.legend(fontsize=8, frameon=False)
    panel.set_xlabel("trial", fontsize=8)
    panel.tick_params(labelsize=8)


def _label(put: Any, lines: Sequence[Line]) -> None:
    """What the bars are, beside the numbers that they belong to."""
    if any(line.spread is not None for line in lines):
        put("mean ± sd over seeds", fontsize=8)
    elif any(line.low is not None for line in lines):
        put("value, 95 % over test patients", fontsize=8)
