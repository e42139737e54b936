"""Which number a finished run is judged by, and where it is read.

Numbers of the closing evaluation come from its ``results.jsonl``, logged ones (losses)
from TensorBoard's files. Runs are judged on the validation split, so that nothing is
chosen by test cases; ``split: test`` is for tables from which nothing is chosen, and has
the test cases behind its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.evaluation.statistics.metric_names import on_validation

if TYPE_CHECKING:
    from vlp_zoo.evaluation.results import Result

__all__ = ["Measure", "Objective"]

TAKES = ("last", "min", "max")
SPLITS = {"val": "validation", "test": "test"}
OF_ROWS = ("metric", "split", "task", "fraction", "protocol")


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Attributes:
        group: What was measured; numbers of different groups never share a mean.
        value: Mean over the rows of the group (draws of labelled patients).
        low: Lower bound over test patients, where there is one row of theirs.
        high: Upper bound.
        rows: How many rows were averaged.
    """

    group: str
    value: float
    low: float | None = None
    high: float | None = None
    rows: int = 1


@dataclass(frozen=True)
class Objective:
    """Where to look. Either ``logged``, or rows of the evaluation.

    Attributes:
        metric: Name of the metric on the test split.
        split: ``"val"``, or ``"test"``, by which nothing should be chosen.
        task: Name of the task, as results have it; None for any.
        fraction: Share of labels; None for any.
        protocol: Preset; None for any.
        logged: Name of a logged value, such as ``val/loss``.
        take: ``"last"``, ``"min"`` or ``"max"`` of the logged values.
    """

    metric: str = "macro_auroc"
    split: str = "val"
    task: str | None = None
    fraction: float | None = None
    protocol: str | None = None
    logged: str | None = None
    take: str = "last"

    @classmethod
    def of(cls, section: Mapping[str, Any], *, benched: bool) -> Objective:
        """From the section of a sweep file.

        Args:
            section: Entries of the section.
            benched: Whether runs of the sweep are evaluated at all.

        Raises:
            ConfigError: If it names something else, or what no run has.
        """
        known = [entry.name for entry in fields(cls)]
        odd = [str(key) for key in section if key not in known]
        if odd:
            raise ConfigError(
                f"objective: {', '.join(known)}", ", ".join(odd), "rename it"
            )
        found = cls(**section)
        unread = [key for key in OF_ROWS if key in section]
        if found.logged is not None and unread:
            raise ConfigError(
                "objective: either logged, or rows of the evaluation",
                f"logged and {', '.join(unread)}",
                "leave one of them out",
            )
        for name, choices in (("split", SPLITS), ("take", TAKES)):
            if (given := getattr(found, name)) not in choices:
                wanted = f"objective: {name} among {', '.join(choices)}"
                raise ConfigError(wanted, repr(given), "pick one")
        if found.logged is None and not benched:
            raise ConfigError(
                f"results of an evaluation, for the objective {found.metric}",
                "a sweep of fit without evaluate:",
                "add evaluate: {task: ...}, or objective: {logged: val/loss}",
            )
        return found

    @property
    def described(self) -> str:
        """What is read, and of which split.

        Example:
            >>> Objective().described
            'macro_auroc of the validation split'
        """
        if self.logged is not None:
            return f"{self.logged} ({self.take})"
        return f"{self.metric} of the {SPLITS[self.split]} split"

    @property
    def warning(self) -> str | None:
        """What to say before anything is chosen by this; None if nothing."""
        if self.logged is not None or self.split != "test":
            return None
        return (
            f"chosen by {self.described}, as objective: {{split: test}} asks: the best "
            "value is optimistic, report one of other patients"
        )

    def measure(self, folder: Path) -> list[Measure]:
        """The numbers of a run, one per task, protocol and label fraction.

        Args:
            folder: The run's.

        Raises:
            DatasetNotFoundError: If the run left no such number.
        """
        if self.logged is not None:
            return [self._logged(folder, self.logged)]
        measures: list[Measure] = []
        stored = _stored(folder)
        for group, rows in self._grouped(stored).items():
            values = [row.value for row in rows if row.value is not None]
            single = len(rows) == 1
            bounds = (rows[0].low, rows[0].high) if single else (None, None)
            mean = sum(values) / len(values)
            measures.append(Measure(group, mean, *bounds, len(rows)))
        if not measures:
            raise DatasetNotFoundError(
                f"defined results of {self.described} in "
                f"{folder / 'bench' / 'results.jsonl'}",
                _metrics(stored),
                "check metric, task, fraction and protocol under objective:; runs that "
                "were evaluated before validation rows were written have test rows "
                "alone: give the sweep another name, or objective: {split: test}",
            )
        return measures

    def rows(self, folder: Path, beside: str | None = None) -> dict[str, list[Result]]:
        """Matching rows of the evaluation, by group, the newest of each.

        Args:
            folder: The run's.
            beside: Name of a baseline that was measured beside the encoder, from
                `baselines`; None for the encoder.
        """
        if beside is None:
            return self._grouped(_stored(folder))
        mine = [row for row in _stored(folder) if _baseline(row) == beside]
        return self._grouped(mine, "floor")

    def baselines(self, folder: Path) -> list[str]:
        """Names of the baselines that a run's evaluation measured, prevalence left out.

        Its AUROC is a half whatever the data.
        """
        names = (_baseline(row) for row in _stored(folder) if row.role == "floor")
        return [name for name in dict.fromkeys(names) if name != "prevalence"]

    def _grouped(
        self, rows: Sequence[Result], role: str = "encoder"
    ) -> dict[str, list[Result]]:
        newest: dict[tuple[Any, ...], Result] = {}
        for row in rows:
            if row.role == role and row.value is not None and self._fits(row):
                where = (row.encoder_sha256, row.task, row.protocol)
                newest[*where, row.fraction, row.seed] = row
        names: dict[str, str] = {}
        for row in newest.values():
            names.setdefault(row.family, row.encoder)
        groups: dict[str, list[Result]] = {}
        for row in newest.values():
            share = f"{100 * row.fraction:.4g} % of labels"
            group = f"{row.task}, {row.protocol}, {share}"
            group += f", {names[row.family]}" if len(names) > 1 else ""
            groups.setdefault(group, []).append(row)
        return groups

    def _fits(self, row: Result) -> bool:
        test = self.split == "test"
        return (
            row.metric == (self.metric if test else on_validation(self.metric))
            and self.task in (None, row.task)
            and self.fraction in (None, row.fraction)
            and self.protocol in (None, row.protocol)
        )

    def _logged(self, folder: Path, name: str) -> Measure:
        from tensorboard.backend.event_processing.event_accumulator import (
            EventAccumulator,
        )

        values: dict[int, float] = {}
        logs = sorted({file.parent for file in folder.rglob("events.out.tfevents.*")})
        for log in reversed(logs):  # an evaluation of the run logs beside it
            events: Any = EventAccumulator(str(log), size_guidance={"scalars": 0})
            events.Reload()
            if name in events.Tags()["scalars"]:
                # Steps that a resumed run took again count once, as taken last.
                values = {event.step: event.value for event in events.Scalars(name)}
                break
        if not values:
            raise DatasetNotFoundError(
                f"the logged value {name!r} below {folder}",
                f"{len(logs)} TensorBoard logs without it",
                "check objective: logged; tensorboard --logdir shows the names",
            )
        return Measure(f"{name} ({self.take})", self._taken(values))

    def _taken(self, values: Mapping[int, float]) -> float:
        ordered: Sequence[float] = [values[step] for step in sorted(values)]
        if self.take == "last":
            return ordered[-1]
        return min(ordered) if self.take == "min" else max(ordered)


def _baseline(row: Result) -> str:
    """``pixels``, ``random init`` (of whichever encoder), ..."""
    return row.encoder.partition(" of ")[0]


def _stored(folder: Path) -> list[Result]:
    from vlp_zoo.evaluation.results import ResultStore

    return ResultStore(folder / "bench").read()


def _metrics(rows: Sequence[Result]) -> str:
    """The metrics that have a value, 0 among them."""
    found = sorted({row.metric for row in rows if row.value is not None})
    return f"rows of {', '.join(found[:12])}" if found else "no rows"
