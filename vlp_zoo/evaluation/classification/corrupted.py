"""``vlp-corruptions``: what is left of a linear probe when the test images get worse.

The probe of `vlp_zoo.evaluation.classification.linear_probe` is learnt and chosen on the
images as they are. The test images are then scored as they are and under every corruption
of `vlp_zoo.evaluation.features.corruptions`. The headline is the mean over corruptions and
severities; every number stands beside the one of the clean images, and its change from
there has an interval that is paired by patient. A robust encoder has a small change *and* a
good value: at chance nothing can be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.kinds import kind_of, stored_kind
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe, learn_probe
from vlp_zoo.evaluation.classification.repeated import (
    as_stored,
    mean_statistic,
    score_columns,
    stored_statistics,
)
from vlp_zoo.evaluation.features.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    VERSION,
    Corrupted,
)
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, by_label
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    Replicated,
    Statistic,
    replicate,
)
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import SPLITS, Task

__all__ = ["CorruptedImages"]

GROUP = "corrupted"


@dataclass(frozen=True)
class CorruptedImages(LinearProbe):
    """Settings of the preset, beside those of `LinearProbe`.

    Attributes:
        corruptions: Names of `vlp_zoo.evaluation.features.corruptions.CORRUPTIONS`.
        severities: From 1 to 5.
    """

    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    severities: tuple[int, ...] = SEVERITIES
    name: str = "vlp-corruptions"

    def __post_init__(self) -> None:
        super().__post_init__()
        strange = not {*self.corruptions} <= {*CORRUPTIONS}
        if strange or not {*self.severities} <= {*SEVERITIES} or not self.conditions:
            raise ConfigError(
                f"corruptions among {', '.join(CORRUPTIONS)}, severities of 1 to 5",
                f"{self.corruptions}, {self.severities}",
                "correct the preset",
            )

    @property
    def conditions(self) -> list[tuple[str, int]]:
        """Corruption and severity."""
        return [(name, s) for name in self.corruptions for s in self.severities]

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """Also the version of what is done to the images."""
        own = {"corruptions_version": VERSION}
        return {**super().settings(subject, task), **own}

    def warm(
        self, candidates: Sequence[Candidate], task: Task, extraction: Extraction
    ) -> None:
        """Read and corrupt each image once for all encoders."""
        super().warm(candidates, task, extraction)
        source = Corrupted(task.splits["test"], self.conditions)
        extraction.get_all([c.module for c in candidates], source)

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Learn on the images as they are, then score the test split again and again."""
        module, kind, names = candidate.module, kind_of(task), task.label_names
        features = {s: extraction.get(module, task.splits[s]) for s in SPLITS}
        probe, learnt = learn_probe(features, task, self, seed)
        missing = {**learnt.undefined, **task.excluded}
        used = kind.counted(names, missing)
        test = task.splits["test"]
        clean = probe.probabilities(features["test"])
        columns = kind.columns(test.labels, clean)
        cases = Cases(
            list(test.uids), list(test.patient_ids), names, test.labels, clean, columns
        )
        found = []
        seen = extraction.get(module, Corrupted(test, self.conditions))
        for i, (name, severity) in enumerate(self.conditions):
            rows = seen[i :: len(self.conditions)]
            scores = as_stored(kind, probe.probabilities(rows))
            found.append(scores)
            condition = f"{GROUP} {name}_{severity}"
            columns.update(score_columns(kind, names, scores, condition))
        statistics = [
            kind.statistic(kind.headline, test.labels[:, used], each[:, used])
            for each in (clean, *found)
        ]
        before, *after = replicate(statistics, cases.patient_ids, self.replicates, seed)
        labels = [
            by_label(names, used, each.values) if len(each.values) == len(used) else {}
            for each in statistics
        ]
        whole = mean_statistic(statistics[1:])
        measures = [
            self._measure(
                f"{kind.headline}@{GROUP}",
                _mean(after),
                before,
                by_label(names, used, whole.values),
            ),
            Measure.of(kind.headline, before.interval, labels[0]),
            Measure.of(f"{kind.headline}_change", (_mean(after) - before).interval),
        ]
        for name in self.corruptions:
            mine = [i for i, (each, _) in enumerate(self.conditions) if each == name]
            mean = _mean([after[i] for i in mine])
            measures.append(self._measure(f"{kind.headline}@{name}", mean, before))
            measures += [
                self._measure(
                    f"{kind.headline}@{name}_{self.conditions[i][1]}",
                    after[i],
                    before,
                    labels[i + 1],
                )
                for i in mine
            ]
        truth = task.splits["val"].labels[:, used]
        validation = probe.probabilities(features["val"])[:, used]
        measures.append(
            Measure.validation(kind.headline, kind.value(truth, validation))
        )
        details = {"labels_used": len(names) - len(missing), **learnt.details}
        return Outcome(measures, cases, learnt.n_train, missing, details)

    def statistic(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """The headline: the mean over corruptions and severities."""
        left_out = [n for k, n in enumerate(cases.label_names) if k not in used]
        metric = f"{stored_kind(cases).headline}@{GROUP}"
        return mean_statistic(stored_statistics(metric, cases, left_out))

    @staticmethod
    def _measure(
        metric: str,
        found: Replicated,
        clean: Replicated,
        labels: dict[str, float | None] | None = None,
    ) -> Measure:
        """A value with its interval, and what changed from the clean images."""
        change = _bounds((found - clean).interval)
        return Measure.of(metric, found.interval, labels, change_from_clean=change)


def _mean(parts: Sequence[Replicated]) -> Replicated:
    """The mean of numbers of the same resampled patients."""
    return Replicated(
        float(np.mean([each.value for each in parts])),
        np.mean([each.replicates for each in parts], axis=0),
        sum(each.undefined for each in parts),
    )


def _bounds(found: Interval) -> list[float]:
    """Value, lower and upper bound."""
    return [found.value, found.low, found.high]
