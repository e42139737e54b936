"""``vlp-zeroshot`` and ``vlp-retrieval``: what a space shared by images and texts knows.

Nothing is fitted. Zero-shot scores are differences of cosines to sentences that affirm
and deny a finding; several sets of sentences are averaged as unit vectors, and each
alone is reported too, because one lucky wording is no ability. Retrieval ranks the whole
test pool. No score is standardised over the images it is compared with: a method must
be able to look at a single image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features import Extraction
from vlp_zoo.evaluation.joint import JointEncoder
from vlp_zoo.evaluation.linear_probe import scored
from vlp_zoo.evaluation.metrics import label_values, macro
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, Protocol
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.retrieval import relevant_pairs, retrieve
from vlp_zoo.evaluation.statistics import Interval, resample_patients
from vlp_zoo.evaluation.tasks import Task

__all__ = ["Retrieve", "ZeroShot"]

Array = npt.NDArray[np.float64]

TEMPLATES = (
    ("There is {}.", "There is no {}."),
    ("{}", "no {}"),
    ("Findings suggesting {}.", "No evidence of {}."),
    ("{} is present.", "{} is absent."),
    ("The image shows {}.", "The image does not show {}."),
)
"""Pairs that affirm and deny; ours, in the wording of reports."""


@dataclass(frozen=True)
class ZeroShot(Protocol):
    """Settings of the preset.

    Attributes:
        templates: Pairs of sentences with ``{}`` for the finding.
        words: Label to the words that stand for it; its name in lower case otherwise.
    """

    templates: tuple[tuple[str, str], ...] = TEMPLATES
    words: tuple[tuple[str, str], ...] = ()
    name: str = "vlp-zeroshot"

    needs_text: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.templates or any(
            "{}" not in sentence for pair in self.templates for sentence in pair
        ):
            raise ConfigError(
                "pairs of sentences with {} for the finding",
                str(self.templates)[:80],
                "correct the preset",
            )

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Score the test split by the mean of all prompt sets, and by each."""
        joint = _joint(candidate)
        images = _images(joint, task, extraction)
        spoken = dict(self.words)
        words = [
            spoken.get(label, label.replace("_", " ").lower())
            for label in task.label_names
        ]
        sides = [
            np.stack(
                [
                    extraction.texts(joint, [pair[side].format(w) for w in words])
                    for pair in self.templates
                ]
            ).astype(np.float64)
            for side in (0, 1)
        ]
        ensemble = np.subtract(*(_unit(_unit(side).mean(0)) for side in sides))
        labels = task.splits["test"].labels
        used = [k for k, n in enumerate(task.label_names) if n not in task.excluded]
        alone = [
            float(
                macro(
                    label_values(
                        "macro_auroc",
                        labels[:, used],
                        (images @ np.subtract(*(_unit(s[i]) for s in sides)).T)[
                            :, used
                        ],
                    )
                )[0]
            )
            for i in range(len(self.templates))
        ]
        return scored(
            images @ ensemble.T,
            task,
            self,
            seed,
            n_train=0,
            undefined={},
            details={
                "prompt_sets": len(self.templates),
                "macro_auroc_of_each": alone,
                "macro_auroc_mean": float(np.mean(alone)),
                "macro_auroc_sd": float(np.std(alone, ddof=1)) if len(alone) > 1 else 0,
            },
            # Differences of cosines are no probabilities: nothing to calibrate.
            metrics=("macro_auroc", "macro_auprc"),
        )


@dataclass(frozen=True)
class Retrieve(Protocol):
    """Settings of the preset.

    Attributes:
        at: The k of Recall@k; the largest is the headline, image to report.
    """

    at: tuple[int, ...] = (1, 5, 10)
    name: str = "vlp-retrieval"

    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    needs_text: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Rank the whole test pool, both ways."""
        joint = _joint(candidate)
        test = task.splits["test"]
        texts = [report.body for report in test.reports()]
        spoken = [i for i, text in enumerate(texts) if text.strip()]
        if len(spoken) < 2:
            raise ConfigError(
                f"test reports in {task.name}",
                f"{len(spoken)} that say something",
                "evaluate retrieval on a data set with reports",
            )
        texts = [texts[i] for i in spoken]
        images = _images(joint, task, extraction)[spoken]
        reports = extraction.texts(joint, texts)
        study = getattr(test, "study_ids", test.uids)
        right = relevant_pairs([study[i] for i in spoken], texts)
        patients = [test.patient_ids[i] for i in spoken]
        measures: list[Measure] = []
        columns: dict[str, npt.NDArray[np.float64]] = {}
        for way, queries, pool in (("i2t", images, reports), ("t2i", reports, images)):
            found = retrieve(
                queries,
                pool,
                right,
                patients,
                at=self.at,
                replicates=self.replicates,
                seed=seed,
            )
            columns[f"{way}_rank"] = found.ranks
            measures += [
                Measure(
                    f"{way}_recall@{k}",
                    interval.value,
                    interval.low,
                    interval.high,
                    details={"chance": found.chance[k]},
                )
                for k, interval in sorted(found.recall.items(), reverse=True)
            ]
            measures.append(Measure(f"{way}_median_rank", found.median_rank))
            measures.append(Measure(f"{way}_mrr", found.mean_reciprocal_rank))
        empty = np.empty((len(spoken), 0))
        cases = Cases(
            [test.uids[i] for i in spoken],
            patients,
            (),
            empty.astype(np.float32),
            empty,
            columns,
        )
        details = {"pool": len(spoken), "without_report": len(test) - len(spoken)}
        return Outcome(measures, cases, details=details)

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Difference of Recall at the largest k, image to report."""
        hits = [c.columns["i2t_rank"] <= max(self.at) for c in (one, two)]
        gap = hits[0].astype(np.float64) - hits[1]
        drawn = [
            (weights.T @ gap) / weights.sum(0)
            for weights in resample_patients(one.patient_ids, self.replicates, seed)
        ]
        low = high = float("nan")
        if drawn:
            low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
        return Interval(float(gap.mean()), float(low), float(high)), {}


def _joint(candidate: Candidate) -> JointEncoder:
    # `Protocol.refusal` has seen to it that there is one.
    assert candidate.joint is not None
    return candidate.joint


def _images(joint: JointEncoder, task: Task, extraction: Extraction) -> Array:
    found = extraction.get(cast(nn.Module, joint), task.splits["test"])
    return _unit(found.astype(np.float64))


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: Array = rows / np.maximum(length, 1e-12)
    return unit
