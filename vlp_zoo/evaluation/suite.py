"""Encoders and floors on tasks: what is missing is computed, the rest is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import EncoderLoadError, VLPZooError
from vlp_zoo.evaluation.features import Extraction
from vlp_zoo.evaluation.floors import PixelEncoder, Prevalence, random_copy
from vlp_zoo.evaluation.linear_probe import (
    LinearProbe,
    Subject,
    probe_key,
    score,
    subject_of,
)
from vlp_zoo.evaluation.metrics import label_values
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.evaluation.statistics import paired_difference
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = ["DIFFERENCE", "Candidate", "candidates_of", "evaluate_task"]

DIFFERENCE = "macro_auroc_difference"
PIXELS = "pixels"
PREVALENCE = "prevalence"


@dataclass(frozen=True)
class Candidate:
    """An encoder or floor to be probed.

    Attributes:
        subject: Its identity.
        module: Itself.
        baselines: `Subject.identity` of the floors that it is compared with.
    """

    subject: Subject
    module: nn.Module
    baselines: tuple[str, ...] = ()


def candidates_of(
    encoders: Sequence[str],
    extraction: Extraction,
    *,
    floors: bool = True,
    load: Callable[[str], nn.Module] = load_encoder,
) -> list[Candidate]:
    """Load encoders and put their floors behind them.

    Args:
        encoders: Specs as `load_encoder` takes them.
        extraction: How they will be encoded.
        floors: Add a random copy of each architecture, pixels and prevalence.
        load: From spec to encoder.

    Returns:
        Encoders first; nothing twice.

    Raises:
        EncoderLoadError: If an encoder cannot be loaded.
    """
    found: dict[str, Candidate] = {}
    fresh: dict[str, Candidate] = {}
    plain: list[tuple[str, nn.Module]] = [
        (PIXELS, PixelEncoder()),
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
        subject = subject_of(module, spec, "encoder", extraction)
        baselines: list[str] = []
        if floors and isinstance(module, ImageEncoder):
            copy = random_copy(module)
            random = subject_of(copy, f"random init of {spec}", "floor", extraction)
            fresh.setdefault(random.identity, Candidate(random, copy))
            baselines.append(random.identity)
        if floors:
            baselines.append(others[0].subject.identity)
        found.setdefault(
            subject.identity,
            Candidate(subject, module, tuple(dict.fromkeys(baselines))),
        )
    if not floors:
        return list(found.values())
    random_floors = [c for name, c in fresh.items() if name not in found]
    return [*found.values(), *random_floors, *others]


def runs_of(
    fractions: Sequence[float], seeds: Sequence[int]
) -> Iterator[tuple[float, int]]:
    """Fraction and seed of each run; with all labels nothing depends on the seed."""
    for fraction in fractions:
        for seed in seeds if fraction < 1 else seeds[:1]:
            yield fraction, seed


def evaluate_task(
    candidates: Sequence[Candidate],
    task: Task,
    store: ResultStore,
    extraction: Extraction,
    *,
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    replicates: int = 1000,
    notify: Callable[[str], None] = lambda line: None,
) -> list[Result]:
    """Probe candidates on one task; each finished run is stored at once.

    Args:
        candidates: As of `candidates_of`.
        task: The task.
        store: Where results are and go.
        extraction: How to encode, and the cache.
        fractions: Label fractions.
        seeds: For fractions below 1 each is a draw of patients.
        replicates: Of the bootstrap.
        notify: Takes one line about each step.

    Returns:
        All results of these candidates, found ones included.
    """
    runs = [
        (candidate, LinearProbe(fraction=fraction, replicates=replicates), seed)
        for fraction, seed in runs_of(fractions, seeds)
        for candidate in candidates
    ]
    stored: dict[str, list[Result]] = {}
    for row in store.read():
        stored.setdefault(row.key, []).append(row)
    keys = [probe_key(c.subject, task, protocol, seed) for c, protocol, seed in runs]
    waiting = {
        candidate.subject.identity: candidate
        for (candidate, _, _), key in zip(runs, keys, strict=True)
        if key not in stored
    }
    if waiting:
        notify(f"{task.name}: encoding for {_names(list(waiting.values()))}")
        for split in SPLITS:
            modules = [candidate.module for candidate in waiting.values()]
            extraction.get_all(modules, task.splits[split])
    results: list[Result] = []
    for (candidate, protocol, seed), key in zip(runs, keys, strict=True):
        rows = stored.get(key)
        if rows is None:
            rows = _probe(candidate, task, protocol, seed, extraction)
            rows = stored[key] = store.add(rows)
            notify(f"{task.name}: {candidate.subject.name}: {_shown(rows[0])}")
        else:
            notify(f"{task.name}: {candidate.subject.name}: found in {store.path}")
        newest = {row.metric: row for row in rows if row.baseline is None}
        results += newest.values()
    for (candidate, protocol, seed), key in zip(runs, keys, strict=True):
        for baseline in candidate.baselines:
            if baseline == candidate.subject.identity:
                continue
            floor = next(c for c in candidates if c.subject.identity == baseline)
            other = stored[probe_key(floor.subject, task, protocol, seed)]
            gap = _difference(stored[key], other, store)
            if gap is not None:
                results.append(gap)
    return results


def _probe(
    candidate: Candidate,
    task: Task,
    protocol: LinearProbe,
    seed: int,
    extraction: Extraction,
) -> list[Result]:
    module = candidate.module
    features = {s: extraction.get(module, task.splits[s]) for s in SPLITS}
    return score(features, candidate.subject, task, protocol, seed)


def _difference(
    rows: Sequence[Result], floor: Sequence[Result], store: ResultStore
) -> Result | None:
    """The stored or computed paired difference of two runs; None without cases."""
    mine, other = rows[0], floor[0]
    for row in rows:
        if row.baseline and row.details.get("baseline_key") == other.key:
            return row
    one, two = store.cases(mine), store.cases(other)
    if one is None or two is None or one.uids != two.uids:
        return None
    undefined = {**mine.undefined, **other.undefined}
    used = [k for k, label in enumerate(one.label_names) if label not in undefined]
    replicates = int(mine.settings.get("replicates", 0))
    labels = one.labels[:, used]
    interval = paired_difference(
        "macro_auroc",
        labels,
        one.scores[:, used],
        two.scores[:, used],
        one.patient_ids,
        replicates=replicates,
        seed=mine.seed,
    )
    gaps = np.subtract(
        *(label_values("macro_auroc", labels, c.scores[:, used]) for c in (one, two))
    )
    per_label: dict[str, float | None] = dict.fromkeys(one.label_names, None)
    for k, gap in zip(used, gaps, strict=True):
        per_label[one.label_names[k]] = float(gap[0])
    row = replace(
        mine,
        metric=DIFFERENCE,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        per_label=per_label,
        undefined=undefined,
        baseline=other.encoder_sha256,
        baseline_name=other.encoder,
        details={"labels_used": len(used), "baseline_key": other.key},
    )
    return store.add([row])[0]


def _names(candidates: Sequence[Candidate]) -> str:
    return ", ".join(candidate.subject.name for candidate in candidates)


def _shown(result: Result) -> str:
    value: Any = "undefined" if result.value is None else f"{result.value:.3f}"
    return f"macro AUROC {value}"
