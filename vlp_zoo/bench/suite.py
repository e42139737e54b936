"""Encoders and baselines on tasks: what is missing is computed, the rest is found."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from vlp_zoo.encoders.checkpoint import open_encoder
from vlp_zoo.errors import (
    ConfigError,
    DatasetNotFoundError,
    EncoderLoadError,
    VLPZooError,
)
from vlp_zoo.evaluation.baselines import (
    Acquisition,
    PixelEncoder,
    Prevalence,
    random_copy,
)
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cost import cost_of
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.evaluation.protocol import Candidate, Protocol
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.evaluation.statistics.metric_names import metric_title
from vlp_zoo.evaluation.subject import Subject, subject_of
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

PIXELS = "pixels"
PREVALENCE = "prevalence"
ACQUISITION = "acquisition"


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


def candidates_of(
    encoders: Sequence[str],
    extraction: Extraction,
    *,
    baselines: bool = True,
    load: Callable[[str], nn.Module] = open_encoder,
    joints: Mapping[str, JointEncoder] | None = None,
    names: Mapping[str, str] | None = None,
    sources: Mapping[str, Sequence[str]] | None = None,
) -> list[Candidate]:
    """Load encoders and put their baselines behind them.

    Args:
        encoders: Specs as `open_encoder` takes them.
        extraction: How they will be encoded.
        baselines: Add a random copy of each architecture, pixels, what the acquisition
            tells, and prevalence.
        load: From spec to encoder.
        joints: Spec to the joint space of those encoders that have one.
        names: Spec to the name in results; the spec itself otherwise.
        sources: Spec to the data sets that the encoder was pre-trained on.

    Returns:
        Encoders first; nothing twice.

    Raises:
        EncoderLoadError: If an encoder cannot be loaded.
        ConfigError: If two of them have the same weights and pool in two ways.
    """
    found: dict[tuple[str, str], Candidate] = {}
    fresh: dict[str, Candidate] = {}
    plain: list[tuple[str, nn.Module]] = [
        (PIXELS, PixelEncoder()),
        (ACQUISITION, Acquisition()),
        (PREVALENCE, Prevalence()),
    ]
    others = [
        Candidate(subject_of(module, name, "floor", extraction), module)
        for name, module in plain
    ]
    for spec in dict.fromkeys(encoders):
        try:
            module = load(spec)
        except VLPZooError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise EncoderLoadError(
                f"the encoder {spec}",
                f"{type(error).__name__}: {error}",
                "check the name, the file and, for timm:, the connection",
            ) from error
        name = (names or {}).get(spec, spec)
        subject = subject_of(module, name, "encoder", extraction)
        compared: list[str] = []
        copy = random_copy(module) if baselines else None
        if copy is not None:
            random = subject_of(copy, f"random init of {name}", "floor", extraction)
            fresh.setdefault(random.identity, Candidate(random, copy))
            compared.append(random.identity)
        if baselines:
            # Pixels and acquisition; what the prevalence says is in the metrics.
            compared += [other.subject.identity for other in others[:2]]
        joint = (joints or {}).get(spec)
        # One image encoder may lie under several joint spaces.
        known = found.setdefault(
            (subject.identity, joint.sha256 if joint else ""),
            Candidate(
                subject,
                module,
                tuple(dict.fromkeys(compared)),
                joint,
                tuple((sources or {}).get(spec, ())),
            ),
        )
        _refuse_two_poolings(
            subject, known.subject.own_pooling, f"the encoder {known.subject.name}"
        )
    if not baselines:
        return list(found.values())
    taken = {identity for identity, _ in found}
    random_baselines = [c for identity, c in fresh.items() if identity not in taken]
    return [*found.values(), *random_baselines, *others]


def _refuse_two_poolings(subject: Subject, other: str, where: str) -> None:
    """Refuse weights that another encoder pools in another way.

    Results know an encoder by its weights and preprocessing, so the two would count as
    one.
    """
    if other and subject.own_pooling and other != subject.own_pooling:
        raise ConfigError(
            f"one pooling of the weights of {subject.name} ({subject.own_pooling})",
            f"the same weights pooled by {other} in {where}",
            "evaluate the two one by one, each with an --out of its own",
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
            _refuse_two_poolings(cell.candidate.subject, before, str(store.path))
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
        rows = stored.get(cell.key)
        if rows is None:
            done += 1
            name = f"{task.name}: {_described(cell)}"
            try:
                logs = store.folder / "logs" / slug(task.name) / _log_name(cell)
                rows = _run(cell, task, replace(extraction, logs=logs), command)
            except Exception as error:  # noqa: BLE001  # raised again at the end
                failed = _failure(error, cell, store)
                failures[name] = failed
                progress(task.name, done, len(cells))
                notify(f"{name}: FAILED: {failed.looked_for}: {failed.found}")
                continue
            rows = stored[cell.key] = store.add(rows)
            notify(f"{name}: {_shown(rows[0])} ({done} of {len(cells)})")
            progress(task.name, done, len(cells))
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
        for fraction, seed in asked:
            chosen = replace(protocol, fraction=fraction, replicates=replicates)
            for candidate in possible:
                key = chosen.key(candidate, task, seed)
                yield Cell(candidate, chosen, seed, key)


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
