"""``vlp-grounding``: does a space of images and texts know *where* something is?

Nothing is fitted. A phrase is compared with every place of the image in the joint space
(`JointEncoder.embed_patches`); the map of cosines is stretched over the original image
and compared with the boxes (`vlp_zoo.evaluation.grounding.metrics`). Only methods that
have places in their joint space can take part; the others are left out by name.

A phrase is the name of a lesion in a few sentences, whose unit vectors are averaged, or
the report of the study, for data sets in which a record is a phrase with its boxes
(MS-CXR). Numbers are means over phrases within each finding, then over findings, with
intervals over patients. Two maps that see nothing stand beside each candidate:
``centre``, which is brightest in the middle of the image, and ``uniform``. A thorax is
in the middle of its picture, so that the first is no weak opponent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.evaluation.grounding.metrics import (
    IOU_THRESHOLDS,
    best_threshold,
    contrast_to_noise,
    finding_columns,
    ground,
    pointing_hit,
    threshold_ious,
)
from vlp_zoo.evaluation.grounding.similarity_maps import (
    Phrase,
    has_places,
    phrases_of,
    similarity_maps,
)
from vlp_zoo.evaluation.guard import learning
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, Protocol
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    case_means,
    interval,
    paired_interval,
)
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.types import StudySource

__all__ = ["Ground"]

Array = npt.NDArray[np.float64]

TRIED = tuple(round(-1 + 0.02 * i, 2) for i in range(101))
"""Thresholds of the IoU that are tried on the validation split: cosines."""
CENTRE = ("signed_cnr", "absolute_cnr", "pointing_game", "pixel_auroc", "pixel_ap")
"""What the map of the image's middle is measured by: it has no cosines to cut at."""
MEASURES = (*CENTRE, "miou")
TEMPLATES = (
    "There is {}.",
    "{}",
    "Findings suggesting {}.",
    "{} is present.",
    "The image shows {}.",
)
"""Sentences that affirm a finding; ours, in the wording of reports."""


@dataclass(frozen=True)
class Ground(Protocol):
    """Settings of the preset.

    Attributes:
        phrase: ``"finding"``: the name of the lesions' boxes, in ``templates``;
            ``"report"``: the study's report, which is one phrase about its boxes.
        templates: Sentences with ``{}`` for the finding.
        words: Finding to what a sentence calls it; its name in lower case otherwise.
        thresholds: Fixed thresholds of the cosine, over which the IoU is averaged.
        longest_side: Maps are compared in the frame of the original image, sampled
            with no more pixels than this along the longer side.
    """

    phrase: str = "finding"
    templates: tuple[str, ...] = TEMPLATES
    words: tuple[tuple[str, str], ...] = ()
    thresholds: tuple[float, ...] = IOU_THRESHOLDS
    longest_side: int = 512
    name: str = "vlp-grounding"

    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    needs_text: ClassVar[bool] = True
    learns: ClassVar[bool] = False
    headline: ClassVar[str] = "signed_cnr"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            self.phrase not in ("finding", "report")
            or not self.templates
            or any("{}" not in sentence for sentence in self.templates)
            or not self.thresholds
            or self.longest_side < 1
        ):
            raise ConfigError(
                "phrase finding or report, sentences with {} for the finding, a "
                "threshold, a longest side of 1 or more",
                f"{self.phrase!r}, {str(self.templates)[:80]}, {self.thresholds}, "
                f"{self.longest_side}",
                "correct the preset",
            )

    def refusal(self, candidate: Candidate, task: Task) -> str | None:
        """Why it cannot be measured; the joint space must have places."""
        reason = super().refusal(candidate, task)
        if reason is None and not has_places(candidate.joint):
            return (
                f"{candidate.subject.name} has no places in the space shared by "
                "images and texts"
            )
        return reason

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Compare every phrase of the test split with its boxes."""
        joint = candidate.joint
        # `refusal` has seen to it that there is one.
        assert joint is not None
        with learning(self.name):
            threshold, judged = self._tuned(joint, task.splits["val"], extraction)
        test = task.splits["test"]
        phrases = self._looked_for(test)
        if not phrases:
            raise ConfigError(
                f"a lesion's box with a phrase in the test split of {task.name}",
                f"none in {len(test)} studies",
                "evaluate grounding on a data set with boxes of kind lesion",
            )
        table: dict[str, list[float]] = {}
        for similarity, inside in similarity_maps(
            joint, test, phrases, self.longest_side, extraction
        ):
            row = _judged(similarity, inside, self.thresholds)
            row["miou_tuned"] = float("nan")
            if threshold is not None:
                row["miou_tuned"] = threshold_ious(similarity, inside, [threshold])[0]
            blind = _judged(_middle(inside.shape), inside, self.thresholds)
            row |= {f"centre {name}": blind[name] for name in CENTRE}
            row["uniform pointing_game"] = pointing_hit(np.zeros(inside.shape), inside)
            for name, value in row.items():
                table.setdefault(name, []).append(value)
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.array(column) for name, column in table.items()
        }
        columns["finding"] = np.array([p.finding for p in phrases], object)
        columns["phrase"] = np.array([p.sentences[0] for p in phrases], object)
        cases = Cases(
            [f"{test.uids[p.index]} {p.finding}" for p in phrases],
            [test.patient_ids[p.index] for p in phrases],
            (),
            np.empty((len(phrases), 0), np.float32),
            np.empty((len(phrases), 0)),
            columns,
        )
        details = {"threshold": threshold, "phrases": len(phrases)}
        outcome = self._scored(cases, task, seed, details)
        return replace(outcome, measures=[*outcome.measures, *judged])

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Difference of the headline, paired over test patients."""
        kept = ~np.isin(one.columns["finding"].astype(str), list(undefined))
        # A phrase counts where it has a value for both.
        gap = one.columns[self.headline] - two.columns[self.headline]
        both = [
            np.where(np.isnan(gap) | ~kept, np.nan, cases.columns[self.headline])
            for cases in (one, two)
        ]
        findings = one.columns["finding"].astype(str).tolist()
        (mine, names), (other, _) = (finding_columns(v, findings) for v in both)
        found = paired_interval(
            case_means(mine),
            case_means(other),
            one.patient_ids,
            replicates=self.replicates,
            seed=seed,
        )
        per_finding = _by_finding(mine - other, names)
        return found, {k: v for k, v in per_finding.items() if k not in undefined}

    def _scored(
        self, cases: Cases, task: Task, seed: int, details: Mapping[str, Any]
    ) -> Outcome:
        findings = cases.columns["finding"].astype(str).tolist()
        names, counts = np.unique(findings, return_counts=True)
        least = max(1, task.min_positives)
        undefined = {
            str(name): f"{count} phrases in test"
            for name, count in zip(names, counts, strict=True)
            if count < least
        }
        kept = ~np.isin(findings, list(undefined))
        values = {
            name: np.where(kept, column, np.nan)
            for name, column in cases.columns.items()
            if name not in ("finding", "phrase")
        }
        blind = [*(f"centre {name}" for name in CENTRE), "uniform pointing_game"]
        draws: dict[str, Any] = {"replicates": self.replicates, "seed": seed}
        measures = []
        for name in (*MEASURES, "miou_tuned", *blind):
            columns, labels = finding_columns(values[name], findings)
            found = interval(case_means(columns), cases.patient_ids, **draws)
            measures.append(
                Measure.of(
                    name.replace(" ", "_"),
                    found,
                    _by_finding(columns, labels),
                    defined=int((~np.isnan(values[name])).sum()),
                )
            )
        # What a map that knows nothing of the image reaches is what chance is here.
        blind_value = {m.metric: m.value for m in measures}["centre_signed_cnr"]
        chance = 0.0 if np.isnan(blind_value) else max(0.0, blind_value)
        head = measures[0]
        measures[0] = replace(head, details={**head.details, "chance": chance})
        for name in ("signed_cnr", "pointing_game"):
            mine, _ = finding_columns(values[name], findings)
            other, _ = finding_columns(values[f"centre {name}"], findings)
            found = interval(case_means(mine - other), cases.patient_ids, **draws)
            measures.append(Measure.of(f"{name}_above_centre", found))
        return Outcome(measures, cases, undefined=undefined, details=details)

    def _looked_for(self, source: StudySource) -> list[Phrase]:
        return phrases_of(source, self.phrase, self.templates, dict(self.words))

    def _tuned(
        self, joint: JointEncoder, val: StudySource, extraction: Extraction
    ) -> tuple[float | None, list[Measure]]:
        """Threshold with the best IoU, and the headline; nothing without boxes."""
        phrases = self._looked_for(val)
        if not phrases:
            return None, []
        tried, signed = [], []
        for similarity, inside in similarity_maps(
            joint, val, phrases, self.longest_side, extraction
        ):
            tried.append(threshold_ious(similarity, inside, TRIED))
            signed.append(contrast_to_noise(similarity, inside))
        ious = np.stack(tried)
        columns, _ = finding_columns(np.array(signed), [p.finding for p in phrases])
        judged = [Measure.validation(self.headline, case_means(columns).value)]
        # Boxes thinner than a pixel of the frame mark none.
        none = bool(np.isnan(ious).all())
        return None if none else best_threshold(ious, TRIED), judged


def _judged(
    similarity: Array, inside: npt.NDArray[np.bool_], thresholds: Sequence[float]
) -> dict[str, float]:
    found = ground(similarity, inside, thresholds)
    return {
        "signed_cnr": found.signed_cnr,
        "absolute_cnr": found.absolute_cnr,
        "pointing_game": found.pointing,
        "pixel_auroc": found.auroc,
        "pixel_ap": found.average_precision,
        "miou": float(found.ious.mean()),
    }


def _middle(size: tuple[int, ...]) -> Array:
    """A map that is brightest in the middle of the image and falls evenly."""
    down, across = (np.arange(side) + 0.5 - side / 2 for side in size)
    return np.asarray(-np.hypot(down[:, None], across[None]))


def _by_finding(columns: Array, names: Sequence[str]) -> dict[str, float | None]:
    counts = (~np.isnan(columns)).sum(0)
    sums = np.nansum(columns, axis=0)
    return {
        name: float(total / count) if count else None
        for name, total, count in zip(names, sums, counts, strict=True)
    }
