"""Encoders and baselines on tasks: what is missing is computed, the rest is found."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vlp_zoo.bench.candidates import candidates_of, refuse_two_poolings
from vlp_zoo.errors import DatasetNotFoundError, VLPZooError
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cost import cost_of
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Protocol
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.evaluation.statistics.metric_names import metric_title
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.files import slug, write_whole

__all__ = [
    "Candidate",
    "Cell",
    "SuiteError",
    "candidates_of",
    "cells_of",
    "evaluate_task",
    "runs_of",
]


@dataclass(frozen=True)
class Cell:
    """One run: who, how, and with which draw.

    Attributes:
        candidate: Encoder or baseline.
        protocol: The protocol, with its label fraction.
        seed: Seed of every random draw of the run.
        key: Hash under which it is found again.
    """

    candidate: Candidate
    protocol: Protocol
    seed: int
    key: str


class SuiteError(VLPZooError):
    """Runs that failed while others went on.

    Attributes:
        failures: Run to its error.
        results: Results of the runs that did not fail.
    """

    def __init__(
        self, failures: Mapping[str, VLPZooError], results: Sequence[Result]
    ) -> None:
        self.failures = dict(failures)
        self.results = list(results)
        lines = [
            f"{name}: {error.looked_for}; found {error.found}; {error.do_this}"
            for name, error in self.failures.items()
        ]
        super().__init__(
            "every run of the suite",
            f"{len(lines)} failed:\n  " + "\n  ".join(lines),
            "mend these and run the same command: finished runs are kept",
        )


def runs_of(
    fractions: Sequence[float], seeds: Sequence[int], draws_weights: bool = False
) -> Iterator[tuple[float, int]]:
    """Fraction and seed of each run; with all labels only new weights hang on it."""
    for fraction in fractions:
        for seed in seeds if fraction < 1 or draws_weights else seeds[:1]:
            yield fraction, seed


def evaluate_task(
    candidates: Sequence[Candidate],
    task: Task,
    store: ResultStore,
    extraction: Extraction,
    *,
    protocols: Sequence[Protocol] | None = None,
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    replicates: int = 1000,
    command: str = "",
    notify: Callable[[str], None] = lambda line: None,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> list[Result]:
    """Evaluate candidates on one task; each finished run is stored at once.

    A run that fails is reported and the others go on; what a user can mend in one run
    alone (a missing package, a label without cases) must not cost the rest.

    Args:
        candidates: Encoders and baselines, returned by `candidates_of`.
        task: The task.
        store: Where results are and go.
        extraction: How to encode, and the cache.
        protocols: Each is run at every fraction; None is the linear probe.
        fractions: Label fractions.
        seeds: For fractions below 1 each is a draw of patients.
        replicates: Number of bootstrap replicates; 0 for no intervals.
        command: The command that asked for it, for the record.
        notify: Takes one line about each step.
        progress: Takes the task, and how many of how many runs are done.

    Returns:
        All results of these candidates, found ones included.

    Raises:
        SuiteError: At the end, if runs failed; it carries the results of the others.
        ConfigError: If the store has the same weights, pooled in another way.
    """
    reasons: list[str] = []
    cells = list(
        cells_of(
            candidates,
            task,
            protocols or [LinearProbe()],
            fractions=fractions,
            seeds=seeds,
            replicates=replicates,
            notify=reasons.append,
        )
    )
    if not cells:
        raise DatasetNotFoundError(
            f"an evaluation that is possible on {task.name}",
            "; ".join(reasons) or "no encoders",
            "choose other presets, or give the data what is missing (labels of a table: "
            "--label-prefix)",
        )
    for reason in reasons:
        notify(reason)
    first: dict[str, Cell] = {}
    for cell in cells:
        other = first.setdefault(cell.key, cell)
        if other is not cell:
            notify(
                f"{task.name}: {_described(cell)}: the same image encoder as "
                f"{other.candidate.subject.name}, which stands for both"
            )
    cells = list(first.values())
    stored: dict[str, list[Result]] = {}
    for row in store.read():
        stored.setdefault(row.key, []).append(row)
    for cell in cells:
        for row in stored.get(cell.key, ())[:1]:
            before = str(row.details.get("own_pooling", ""))
            refuse_two_poolings(cell.candidate.subject, before, str(store.path))
    missing = [cell for cell in cells if cell.key not in stored]
    if len(missing) < len(cells):
        found = len(cells) - len(missing)
        notify(f"{task.name}: {found} of {len(cells)} runs found in {store.path}")
    if missing:
        task.make()
    announced = ""
    # By identity: settings need not be hashable.
    for protocol in {id(cell.protocol): cell.protocol for cell in missing}.values():
        waiting = {
            id(cell.candidate): cell.candidate
            for cell in missing
            if cell.protocol is protocol
        }
        line = f"{task.name}: {protocol.name} for {_names(list(waiting.values()))}"
        if line != announced:
            notify(line)
        announced = line
        protocol.warm(list(waiting.values()), task, extraction)
    failures: dict[str, VLPZooError] = {}
    results: list[Result] = []
    done = len(cells) - len(missing)
    progress(task.name, done, len(cells))
    for cell in cells:
        if cell.key not in stored:
            done += 1
            name = f"{task.name}: {_described(cell)}"
            # Another process may have measured it meanwhile.
            rows = store.find(cell.key)
            if not rows:
                try:
                    logs = store.folder / "logs" / slug(task.name) / _log_name(cell)
                    rows = _run(cell, task, replace(extraction, logs=logs), command)
                except Exception as error:  # noqa: BLE001  # raised again at the end
                    failed = _failure(error, cell, store)
                    failures[name] = failed
                    progress(task.name, done, len(cells))
                    notify(f"{name}: FAILED: {failed.looked_for}: {failed.found}")
                    continue
                rows = store.add(rows)
            stored[cell.key] = rows
            notify(f"{name}: {_shown(rows[0])} ({done} of {len(cells)})")
            progress(task.name, done, len(cells))
        rows = stored[cell.key]
        newest = {row.metric: row for row in rows if row.baseline is None}
        results += newest.values()
    by_identity = {c.subject.identity: c for c in candidates}
    for cell in cells:
        for identity in cell.candidate.baselines:
            baseline = by_identity[identity]
            key = cell.protocol.key(baseline, task, cell.seed)
            if (
                baseline is cell.candidate
                or cell.key not in stored
                or key not in stored
            ):
                continue
            gap = _difference(cell.protocol, stored[cell.key], stored[key], store)
            if gap is not None:
                results.append(gap)
    if failures:
        raise SuiteError(failures, results)
    return results


def cells_of(
    candidates: Sequence[Candidate],
    task: Task,
    protocols: Sequence[Protocol],
    *,
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    replicates: int = 1000,
    notify: Callable[[str], None] = lambda line: None,
) -> Iterator[Cell]:
    """Every run that is possible; impossible ones are named once, with the reason."""
    for protocol in protocols:
        asked = [(1.0, seeds[0])]
        if protocol.learns:
            asked = list(runs_of(fractions, seeds, protocol.draws_weights))
        possible = []
        for candidate in candidates:
            reason = protocol.refusal(candidate, task)
            if reason is None:
                possible.append(candidate)
            elif candidate.subject.role == "encoder":
                notify(f"{task.name}: {protocol.name}: left out: {reason}")
        draws = 1 + max((each.subject.draw for each in possible), default=0)
        # Where the network itself is trained one draw costs as much as an encoder.
        spare = not protocol.draws_weights
        for fraction, seed in asked:
            chosen = replace(protocol, fraction=fraction, replicates=replicates)
            together = [other for share, other in asked if share == fraction]
            for candidate in possible:
                if not _goes_with(candidate.subject, seed, together, draws, spare):
                    continue
                key = chosen.key(candidate, task, seed)
                yield Cell(candidate, chosen, seed, key)


def _goes_with(
    subject: Subject, seed: int, seeds: Sequence[int], draws: int, spare: bool
) -> bool:
    """Whether a run of this seed is of these weights, where they were drawn.

    Each seed has one draw of random weights, so that runs differ in both at once:
    crossing them would cost many runs more. The first seed has those that are left over
    too, if `spare`.
    """
    if not subject.family:
        return True
    left_over = all(other % draws != subject.draw for other in seeds)
    return seed % draws == subject.draw or (spare and left_over and seed == seeds[0])


def _run(cell: Cell, task: Task, extraction: Extraction, command: str) -> list[Result]:
    head, *rest = cell.protocol.run(cell.candidate, task, cell.seed, extraction)
    more: dict[str, Any] = {"command": command} if command else {}
    if cost := cost_of(cell.candidate.module):
        more["cost"] = cost
    return [replace(head, details={**head.details, **more}), *rest]


def _failure(error: Exception, cell: Cell, store: ResultStore) -> VLPZooError:
    """The error of a run as one message; what is no user's mistake leaves its trace."""
    if isinstance(error, VLPZooError):
        return error
    path = store.folder / "failures" / f"{cell.key}.txt"
    write_whole(path, "".join(traceback.format_exception(error)))
    return VLPZooError(
        f"a run of {cell.protocol.name} without fault",
        f"{type(error).__name__}: {str(error)[:200]}",
        f"see {path}, and report it if it is not yours to mend",
    )


def _difference(
    protocol: Protocol,
    rows: Sequence[Result],
    baseline: Sequence[Result],
    store: ResultStore,
) -> Result | None:
    """The stored or computed paired difference of two runs; None without cases."""
    mine, other = rows[0], baseline[0]
    for row in rows:
        if row.baseline and row.details.get("baseline_key") == other.key:
            return row
    one, two = store.cases(mine), store.cases(other)
    if one is None or two is None or one.uids != two.uids:
        return None
    undefined = {**mine.undefined, **other.undefined}
    interval, per_label = protocol.difference(one, two, undefined, mine.seed)
    used = len(one.label_names) - len(undefined)
    seen = {k: v for k, v in mine.details.items() if k == "contamination"}
    row = replace(
        mine,
        metric=f"{mine.metric}_difference",
        value=interval.value,
        low=interval.low,
        high=interval.high,
        per_label=per_label,
        undefined=undefined,
        baseline=other.encoder_sha256,
        baseline_name=other.encoder,
        details={"labels_used": used, "baseline_key": other.key, **seen},
    )
    return store.add([row])[0]


def _names(candidates: Sequence[Candidate]) -> str:
    return ", ".join(candidate.subject.name for candidate in candidates)


def _described(cell: Cell) -> str:
    """Who, how, and of many runs which."""
    words = f"{cell.protocol.name}: {cell.candidate.subject.name}"
    if cell.protocol.fraction < 1:
        words += f", {100 * cell.protocol.fraction:.3g}% of the labels"
    return f"{words}, seed {cell.seed}" if cell.seed else words


def _log_name(cell: Cell) -> str:
    """Folder of a run's TensorBoard log; the key keeps those of two apart."""
    return slug(f"{_described(cell)} {cell.key[:8]}")


def _shown(result: Result) -> str:
    value: Any = "undefined" if result.value is None else f"{result.value:.3f}"
    return f"{metric_title(result.metric)} {value}"
