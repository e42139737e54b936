"""``vlp-seg`` and its relatives: masks from a frozen or tuned encoder.

The step is chosen by the Dice of validation images that have the structure; a pixel is
marked above a probability of 0.5, always. The number of trained parameters is stored.
Every convention of Dice is computed, each under its own name, and the one that gives
an empty prediction on an empty mask a 1 has the score of a model that never marks
anything beside it: on test lists in use that is up to 0.78.

That model is also a candidate: the baseline ``prevalence`` is run as always empty. The
baseline ``pixels`` gets the same decoder on the image itself, 32 x 32 pixels large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.encoders.references import ReferenceNetwork
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.baselines import Prevalence
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Measure,
    Outcome,
    by_label,
    training_cases,
)
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.segmentation.from_scratch import FromScratch
from vlp_zoo.evaluation.segmentation.mask_truth import MaskRule
from vlp_zoo.evaluation.segmentation.metrics import (
    Overlap,
    dice_with_empty,
    empty_floor,
    false_area,
    pixel_average_precision,
    pooled_dice,
    pooled_dice_with_background,
    positive_dice,
    positive_iou,
)
from vlp_zoo.evaluation.segmentation.online import OverlapScores
from vlp_zoo.evaluation.segmentation.segmenter import (
    THRESHOLD,
    AlwaysEmpty,
    Learnt,
    Masked,
    Segmenter,
    histograms_of,
    outlines_of,
    overlap_of,
)
from vlp_zoo.evaluation.segmentation.settings import SegmentationSettings
from vlp_zoo.evaluation.segmentation.surfaces import (
    require_surfaces,
    spacings,
    surface_metrics,
    without_distance,
)
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    case_means,
    interval,
)
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.training.learner import Predictions, predict
from vlp_zoo.evaluation.training.loop import fit_best

__all__ = ["OVERLAPS", "Segment", "stored_overlap"]

OVERLAPS: dict[str, Callable[[Overlap], Statistic]] = {
    "dice_positive": lambda counts: case_means(positive_dice(counts)),
    "dice_all": lambda counts: case_means(dice_with_empty(counts)),
    "dice_all_floor": lambda counts: case_means(empty_floor(counts)),
    "dice_micro": lambda counts: _pooled(pooled_dice, counts),
    "iou_positive": lambda counts: case_means(positive_iou(counts)),
    "false_area": lambda counts: case_means(false_area(counts)),
    "dice_with_background": lambda counts: _pooled(pooled_dice_with_background, counts),
}
"""Metrics that pixel counts decide, by name: Dice of the images that have the
structure; Dice of all, empty on empty = 1, and what an always-empty model gets by it;
Dice over the pixels of all images; IoU of the images that have it; share of the image
that is marked where it is not; BenchX's mean of structure and background. Each is a
mean over the structures."""


@dataclass(frozen=True)
class Segment(SegmentationSettings):
    """Settings and measurement of the preset."""

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Train, then score the test split in the frame in which it was annotated."""
        require_surfaces()
        rule = self.rule(task)
        chosen = training_cases(task, self.fraction, seed)
        train, seen = _annotated(task, rule, chosen)
        details: dict[str, Any] = {
            "threshold": THRESHOLD,
            "structures": list(rule.structures),
            "training_cases_not_annotated": len(chosen) - len(train),
        }
        learner: Masked
        chosen_by: list[Measure] = []
        module = candidate.module
        if isinstance(module, Prevalence):
            learner = AlwaysEmpty(rule, 32)
        else:
            score = partial(_validation_score, self.select)
            make: Callable[[], Learnt] = partial(Segmenter, module, rule, self)
            if isinstance(module, ReferenceNetwork):
                make = partial(FromScratch, module, rule, self, train)
            trained, fitted, _ = fit_best(
                make,
                *(train, task.splits["val"], [self.plan()], score, seed, extraction),
                OverlapScores(len(rule.structures)),
            )
            learner = trained
            details |= {**trained.details(), **fitted.details()}
            chosen_by = [Measure.validation(self.select, fitted.best_score)]
        learner.full = True
        learner.spacings = spacings(task.splits["test"])
        found = predict(learner, task.splits["test"], extraction)
        missing = {
            name: f"not annotated in {len(train)} training cases"
            for name, count in zip(rule.structures, seen, strict=True)
            if not count
        }
        outcome = self._scored(found, task, rule, seed, len(train), missing, details)
        return replace(outcome, measures=[*outcome.measures, *chosen_by])

    def statistic(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """The overlap that is reported, from the stored counts of pixels."""
        names = [cases.label_names[k] for k in used]
        return OVERLAPS[self.reported](stored_overlap(cases, names))

    def _scored(
        self,
        predictions: Predictions,
        task: Task,
        rule: MaskRule,
        seed: int,
        n_train: int,
        missing: dict[str, str],
        details: Mapping[str, Any],
    ) -> Outcome:
        test, counts = task.splits["test"], overlap_of(predictions)
        names = rule.structures
        positives = (counts.actual > 0).sum(0)
        for name, count in zip(names, positives, strict=True):
            if count < max(1, task.min_positives):
                missing.setdefault(name, f"{count} test cases with it")
        used = [k for k, name in enumerate(names) if name not in missing]
        kept = _columns(counts, used)
        order = dict.fromkeys((self.reported, "dice_all", "dice_all_floor", *OVERLAPS))
        statistics = {metric: OVERLAPS[metric](kept) for metric in order}
        histograms = histograms_of(predictions)[:, used]
        statistics["pixel_auprc"] = Statistic(
            partial(pixel_average_precision, histograms), len(test)
        )
        unit = "mm" if spacings(test) else "px"
        outlines = dict(
            zip(
                surface_metrics(unit),
                np.moveaxis(outlines_of(predictions), -1, 0),
                strict=True,
            )
        )
        statistics |= {name: case_means(v[:, used]) for name, v in outlines.items()}
        measures = []
        for metric, statistic in statistics.items():
            found = interval(
                statistic, test.patient_ids, replicates=self.replicates, seed=seed
            )
            per_label = by_label(names, used, statistic.values)
            measures.append(
                Measure.of(
                    metric, found, per_label, undefined_in_replicates=found.undefined
                )
            )
        shared = {
            "structures_used": len(used),
            "test_cases_by_structure": {
                name: {
                    "with": int(positives[k]),
                    "empty": int(
                        ((counts.pixels > 0) & (counts.actual == 0))[:, k].sum()
                    ),
                    "not_annotated": int((counts.pixels == 0)[:, k].sum()),
                }
                for k, name in enumerate(names)
            },
            "cases_without_distance": without_distance(counts, names),
            "always_empty": {
                "dice_positive": 0.0,
                "dice_all": OVERLAPS["dice_all_floor"](kept).value,
            },
            **details,
        }
        cases = _rows(counts, outlines, list(test.uids), list(test.patient_ids), names)
        return Outcome(measures, cases, n_train, missing, shared)


def _annotated(
    task: Task, rule: MaskRule, chosen: npt.NDArray[np.int64]
) -> tuple[Selected, list[int]]:
    """Training cases with a known structure, and in how many each is known."""
    source = task.splits["train"]
    flags = np.stack([rule.known_in(source, int(i)) for i in chosen])
    kept = [int(i) for i, known in zip(chosen, flags, strict=True) if known.any()]
    if not kept:
        raise ConfigError(
            f"a training case of {task.name} that was annotated for "
            f"{', '.join(rule.structures)}",
            f"none of {len(chosen)}",
            "raise --fractions, or give studies with masks",
        )
    return Selected(source, kept), [int(count) for count in flags.sum(0)]


def _validation_score(metric: str, predictions: Predictions) -> float:
    value = OVERLAPS[metric](overlap_of(predictions)).value
    if np.isnan(value):
        raise ConfigError(
            "a validation case with a mask to choose the step on",
            f"none in {len(predictions)} cases",
            "enlarge the validation split",
        )
    return value


def _pooled(of: Callable[[Overlap, Any], Any], counts: Overlap) -> Statistic:
    return Statistic(partial(of, counts), len(counts.pixels))


def _columns(counts: Overlap, used: Sequence[int]) -> Overlap:
    return Overlap(*(getattr(counts, f.name)[:, list(used)] for f in fields(Overlap)))


def _rows(
    counts: Overlap,
    outlines: Mapping[str, npt.NDArray[np.float64]],
    uids: list[str],
    patients: list[str],
    names: tuple[str, ...],
) -> Cases:
    """Each case's numbers; label = whether the structure is there, score = its Dice."""
    known = counts.pixels > 0
    present = np.where(known, counts.actual > 0, np.nan).astype(np.float32)
    values = {f.name: getattr(counts, f.name) for f in fields(Overlap)} | dict(outlines)
    columns = {
        f"{metric} {name}": table[:, k]
        for metric, table in values.items()
        for k, name in enumerate(names)
    }
    return Cases(uids, patients, names, present, dice_with_empty(counts), columns)


def stored_overlap(cases: Cases, names: Sequence[str]) -> Overlap:
    """Counts of some structures from the columns of stored cases.

    Raises:
        KeyError: If a count of one of them is not stored.
    """
    return Overlap(
        *(
            np.stack([cases.columns[f"{f.name} {n}"] for n in names], 1)
            for f in fields(Overlap)
        )
    )
