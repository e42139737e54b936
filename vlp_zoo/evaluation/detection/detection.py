"""``vlp-det`` and its relatives: boxes of lesions, found by a head on an encoder.

The head is one for all encoders (`vlp_zoo.evaluation.detection.detector`), the encoder is frozen
or tuned. Lesions are classes by name; an image without boxes is a negative, so the data
must be annotated throughout, or ``boxed_only`` set. The step (and the learning rate,
where there is a choice) is chosen by average precision on the validation split, and so
is the threshold of the RSNA score.

Boxes are judged in the frame of the original image: padding and resizing are undone.
All images count. Average precision is a mean over classes; FROC and the RSNA score ask
only whether something is there. `vlp_zoo.evaluation.detection.cases` says what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.detection.cases import (
    AVERAGED,
    above_score,
    best_threshold,
    boxes_of,
    cases_of,
    images_of,
    in_parts,
    matched_boxes,
    precision,
    stored_boxes,
)
from vlp_zoo.evaluation.detection.metrics import (
    COCO_IOUS,
    ImageBoxes,
    froc,
    froc_sensitivity,
    legacy_detection_map,
    rsna_scores,
)
from vlp_zoo.evaluation.detection.settings import DetectionSettings
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Measure,
    Outcome,
    by_label,
    training_cases,
)
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    case_means,
    interval,
)
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.training.learner import Predictions, predict
from vlp_zoo.evaluation.training.loop import fit_best
from vlp_zoo.types import StudySource

if TYPE_CHECKING:
    from vlp_zoo.evaluation.detection.detector import Detector

__all__ = ["Detect"]


@dataclass(frozen=True)
class Detect(DetectionSettings):
    """Settings and measurement of the preset."""

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Train at every learning rate, keep the best, then score the test split."""
        with learning(self.name):
            learner, limit, details = self._learn(candidate, task, seed, extraction)
        test = self._cases(task.splits["test"])
        found = predict(learner, test, extraction)
        learner.to("cpu")
        cases = cases_of(found, test, learner.classes)
        outcome = self._scored(cases, task, learner.classes, limit, seed, details)
        best = max(details["validation_by_learning_rate"].values())
        chosen_by = Measure.validation(next(iter(AVERAGED)), best)
        return replace(outcome, measures=[*outcome.measures, chosen_by])

    def statistic(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """Average precision, from the stored boxes."""
        names = [cases.label_names[k] for k in used]
        return precision(matched_boxes(stored_boxes(cases, names)[0], names), COCO_IOUS)

    def _learn(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> tuple[Detector, float, dict[str, Any]]:
        """The best detector on validation, the RSNA threshold there, and how it went."""
        from vlp_zoo.evaluation.detection.detector import Detector

        chosen = training_cases(task, self.fraction, seed)
        train = self._cases(Selected(task.splits["train"], [int(i) for i in chosen]))
        val = self._cases(task.splits["val"])
        boxes = [box for i in range(len(train)) for box in boxes_of(train, i)]
        lesions = [box.name for box in boxes if box.kind == "lesion"]
        if not lesions:
            raise ConfigError(
                f"a box of a lesion in the training cases of {task.name}",
                f"none in {len(train)} cases",
                "raise --fractions, or give studies with boxes of kind lesion",
            )
        classes = ["lesion"] if self.merge_classes else sorted(set(lesions))
        plans = [self.plan(len(train), rate) for rate in self.learning_rates]
        score = partial(_validation_ap, tuple(classes))
        learner, fitted, rates = fit_best(
            lambda: Detector(candidate.module, classes, self),
            *(train, val, plans, score, seed, extraction),
        )
        limit = best_threshold(images_of(predict(learner, val, extraction), classes))
        details = {
            **rates,
            "input_size": learner.size,
            "input_size_note": learner.dense.note,
            "training_cases": len(train),
            "training_boxes": len(lesions),
            **fitted.details(),
        }
        return learner, limit, details

    def _cases(self, source: StudySource) -> StudySource:
        if not self.boxed_only:
            return source
        kept = [
            i
            for i in range(len(source))
            if any(box.kind == "lesion" for box in boxes_of(source, i))
        ]
        if not kept:
            raise ConfigError(
                f"images with a box of a lesion in {source.name}",
                f"none of {len(source)}",
                "give studies with boxes, or set boxed_only: false",
            )
        return Selected(source, kept)

    def _scored(
        self,
        cases: Cases,
        task: Task,
        classes: Sequence[str],
        limit: float,
        seed: int,
        details: Mapping[str, Any],
    ) -> Outcome:
        n_train = int(details["training_cases"])
        undefined = {}
        for k, name in enumerate(cases.label_names):
            positives = int((cases.labels[:, k] == 1).sum())
            if name not in classes:
                undefined[name] = f"no box in {n_train} training cases"
            elif positives < max(1, task.min_positives):
                undefined[name] = f"boxes in {positives} test images"
        names = cases.label_names
        used = [k for k, name in enumerate(names) if name not in undefined]
        kept = [names[k] for k in used]
        matched = matched_boxes(stored_boxes(cases, kept)[0], kept)
        images = stored_boxes(cases)[0]
        curve = froc(images)
        sensitivity = in_parts(
            partial(froc_sensitivity, curve),
            len(curve.false_score) + len(curve.truth_score),
            len(images),
        )
        wanted: list[tuple[str, Statistic, dict[str, Any]]] = [
            *((name, precision(matched, ious), {}) for name, ious in AVERAGED.items()),
            (
                "froc_mean_sensitivity",
                Statistic(lambda weights: sensitivity(weights).mean(0), len(images)),
                {"sensitivities": sensitivity.values.tolist()},
            ),
            (
                "rsna_score",
                case_means(
                    rsna_scores([above_score(image, limit) for image in images])
                ),
                {"threshold": limit},
            ),
        ]
        measures = []
        for metric, statistic, more in wanted:
            found = interval(
                statistic, cases.patient_ids, replicates=self.replicates, seed=seed
            )
            per_label = (
                by_label(names, used, statistic.values) if metric in AVERAGED else {}
            )
            measures.append(Measure.of(metric, found, per_label, **more))
        if self.legacy_map:
            kept_boxes = [
                above_score(image, self.legacy_confidence) for image in images
            ]
            merged = [ImageBoxes(i.truth, i.detected, i.scores) for i in kept_boxes]
            counted = sum(bool(len(i.truth) and len(i.detected)) for i in merged)
            measures.append(
                Measure(
                    "legacy_mgca_map",
                    legacy_detection_map(merged),
                    details={"images_counted": counted},
                )
            )
        empty = sum(not len(image.truth) for image in images)
        shared = {**details, "test_images": len(images), "test_images_empty": empty}
        return Outcome(measures, cases, n_train, undefined, shared)


def _validation_ap(classes: Sequence[str], predictions: Predictions) -> float:
    images = images_of(predictions, classes)
    if not any(len(image.truth) for image in images):
        raise ConfigError(
            f"validation boxes of {', '.join(classes)}",
            f"none in {len(images)} cases",
            "give the validation split boxes, to choose the step on",
        )
    statistic = precision(matched_boxes(images, classes), COCO_IOUS)
    return float(np.nanmean(statistic.values))
