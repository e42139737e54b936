"""Numbers that papers and repositories report: kept apart, each with its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from vlp_zoo.errors import ConfigError
from vlp_zoo.reading import read_table

__all__ = ["Reported", "ReportedTable", "by_source", "read_reported"]


@dataclass(frozen=True)
class Reported:
    """One number of somebody else.

    Attributes:
        source: Paper or repository, with its table.
        method: Name of the method in the source.
        backbone: Name of the backbone in the source; may be empty.
        task: Kind of evaluation.
        dataset: And its split, where the source says.
        fraction: Share of labels: ``"1%"``.
        metric: With its definition, where the source says.
        value: The number, digit by digit as printed in the source.
        sd: Over runs; empty where the source has none.
        note: What a reader must know.
    """

    source: str
    method: str
    backbone: str
    task: str
    dataset: str
    fraction: str
    metric: str
    value: str
    sd: str
    note: str


@dataclass(frozen=True)
class ReportedTable:
    """Numbers of one source, task, data set and metric.

    Attributes:
        title: These three.
        fractions: The columns.
        rows: Method (and backbone) to one cell per column, empty where unknown.
        notes: What a reader must know of any of the numbers.
    """

    title: str
    fractions: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def read_reported(path: Path) -> list[Reported]:
    """Read a table of reported numbers.

    Args:
        path: CSV with the columns of `Reported`.

    Raises:
        DatasetNotFoundError: If there is no such file.
        ConfigError: If a column or a source is missing, or a value is no number.
    """
    wanted = [entry.name for entry in fields(Reported)]
    table = read_table(path, empty=True)
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ConfigError(
            f"columns {', '.join(wanted)} in {path}",
            f"no {', '.join(missing)}",
            "add them; only backbone, sd and note may be empty",
        )
    rows = []
    for number, record in enumerate(table.to_dict("records"), 2):
        row = Reported(**{name: str(record[name]) for name in wanted})
        try:
            float(row.value)
        except ValueError as error:
            raise ConfigError(
                f"a number in {path}:{number}", repr(row.value), "correct the row"
            ) from error
        if not (row.source and row.method):
            raise ConfigError(
                f"a source and a method in {path}:{number}", "none", "name them"
            )
        rows.append(row)
    return rows


def by_source(rows: Sequence[Reported]) -> dict[str, list[ReportedTable]]:
    """Tables of each source; numbers of different sources never share one."""
    grouped: dict[str, dict[tuple[str, str, str], list[Reported]]] = {}
    for row in rows:
        tables = grouped.setdefault(row.source, {})
        tables.setdefault((row.task, row.dataset, row.metric), []).append(row)
    return {
        source: [_table(key, tables[key]) for key in sorted(tables)]
        for source, tables in sorted(grouped.items())
    }


def _table(key: tuple[str, str, str], rows: Sequence[Reported]) -> ReportedTable:
    task, dataset, metric = key
    fractions = tuple(dict.fromkeys(row.fraction for row in rows))
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        name = f"{row.method}, {row.backbone}" if row.backbone else row.method
        value = f"{row.value} ± {row.sd}" if row.sd else row.value
        mine = cells.setdefault(name, {})
        # A source may print a cell twice, and differently.
        held = mine.get(row.fraction)
        mine[row.fraction] = value if held in (None, value) else f"{held} / {value}"
    return ReportedTable(
        f"{dataset}: {task}, {metric}",
        fractions,
        tuple((n, tuple(v.get(f, "") for f in fractions)) for n, v in cells.items()),
        tuple(dict.fromkeys(row.note for row in rows if row.note)),
    )
