"""``vlp-retrieval``: each image's report, and each report's image, in the test pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.alignment.ranks import (
    FirstPlaces,
    chance_recall,
    cosines,
    first_places,
    legacy_batch_hits,
    precision_at,
    relevant_pairs,
    retrieve,
)
from vlp_zoo.evaluation.alignment.space import image_vectors, joint_of
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, Protocol
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Interval,
    case_means,
    interval,
)
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.reports.blank import is_blank

__all__ = ["Retrieve"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Retrieve(Protocol):
    """Settings of the preset.

    Attributes:
        at: The k of Recall@k and Precision@k.
        match: What is a right answer: ``"study"`` (the same study or the same words),
            or ``"class"`` (a label in common, as for CheXpert 5x200).
        merge_texts: Rank each different text once, as CXR-CLIP does; then only from
            images to texts.
        legacy_batch: Also rank inside mini-batches of this size, as BenchX does; 0
            does not.
    """

    at: tuple[int, ...] = (1, 5, 10)
    match: str = "study"
    merge_texts: bool = False
    legacy_batch: int = 0
    name: str = "vlp-retrieval"

    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    needs_text: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            self.match not in ("study", "class")
            or not self.at
            or (self.merge_texts and (self.match == "class" or self.legacy_batch))
        ):
            raise ConfigError(
                "some k, match study or class, merge_texts for studies alone and "
                "without mini-batches",
                f"{self.at}, {self.match!r}, {self.merge_texts}, {self.legacy_batch}",
                "correct the preset",
            )

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """Also how ties count; rows without the word used the middle of their places."""
        return {**super().settings(subject, task), "ties": "mean over orders"}

    def refusal(self, candidate: Candidate, task: Task) -> str | None:
        """Classes have to be known where they decide what is right."""
        if self.match == "class" and "labels" not in task.gives:
            return f"{task.name} has no labels to match by"
        return super().refusal(candidate, task)

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Rank the whole test pool, both ways."""
        joint = joint_of(candidate)
        test = task.splits["test"]
        asked, images, texts, right = self._pool(joint, task, extraction, "test")
        if len(asked) < 2:
            raise ConfigError(
                f"test reports in {task.name}",
                f"{len(asked)} that say something",
                "evaluate retrieval on a data set with reports",
            )
        reports = extraction.texts(joint, texts).astype(np.float64)
        patients = [test.patient_ids[i] for i in asked]
        ways = [("i2t", images, reports), ("t2i", reports, images)]
        measures: list[Measure] = []
        columns: dict[str, npt.NDArray[np.float64]] = {}
        for way, queries, found_in in ways[: 1 if self.merge_texts else 2]:
            relevant = right if way == "i2t" else right.T
            found = retrieve(
                queries,
                found_in,
                relevant,
                patients,
                at=self.at,
                replicates=self.replicates,
                seed=seed,
            )
            columns |= {
                f"{way}_rank": found.ranks,
                f"{way}_mrr": found.reciprocal,
                **{f"{way}_recall@{k}": hits for k, hits in found.hits.items()},
            }
            measures += [
                Measure.of(f"{way}_recall@{k}", bounds, chance=found.chance[k])
                for k, bounds in sorted(found.recall.items(), reverse=True)
            ]
            measures.append(Measure(f"{way}_median_rank", found.median_rank))
            measures.append(Measure(f"{way}_mrr", found.mean_reciprocal_rank))
            measures.append(self._mean_rank(way, found.ranks, relevant, patients, seed))
        headline = columns[f"i2t_recall@{max(self.at)}"]
        scores = cosines(images, reports)
        if self.match == "class":
            shares = precision_at(scores, right, self.at)
            headline = shares[:, 0]
            columns |= {
                f"i2t_precision@{k}": s for k, s in zip(self.at, shares.T, strict=True)
            }
            measures = [
                *self._precisions(shares, float(right.mean()), patients, seed),
                *measures,
            ]
        measures += self._validation(joint, task, extraction, measures[0].metric)
        if self.legacy_batch:
            for k in self.at:
                hit, share = legacy_batch_hits(scores, right, k, self.legacy_batch)
                measures.append(Measure(f"legacy_batch_hit@{k}", hit))
                measures.append(Measure(f"legacy_batch_precision@{k}", share))
        columns["headline"] = headline
        empty = np.empty((len(asked), 0))
        cases = Cases(
            [test.uids[i] for i in asked],
            patients,
            (),
            empty.astype(np.float32),
            empty,
            columns,
        )
        details = {"pool": len(texts), "left_out": len(test) - len(asked)}
        return Outcome(measures, cases, details=details)

    def _pool(
        self, joint: JointEncoder, task: Task, extraction: Extraction, split: str
    ) -> tuple[list[int], Array, list[str], npt.NDArray[np.bool_]]:
        """Cases that ask, their images, the texts to rank, and which are right."""
        source = task.splits[split]
        texts = [report.body for report in source.reports()]
        asked = [i for i, text in enumerate(texts) if not is_blank(text)]
        if self.match == "class":
            # Without a finding there is nothing to have in common.
            asked = [i for i in asked if (source.labels[i] == 1).any()]
        texts = [texts[i] for i in asked]
        images = image_vectors(joint, task, extraction, split)[asked]
        if self.match == "class":
            positive = (source.labels[asked] == 1).astype(np.float32)
            return asked, images, texts, np.asarray(positive @ positive.T > 0)
        if self.merge_texts:
            pool = list(dict.fromkeys(texts))
            place = {text: i for i, text in enumerate(pool)}
            right = np.zeros((len(texts), len(pool)), np.bool_)
            right[np.arange(len(texts)), [place[text] for text in texts]] = True
            return asked, images, pool, right
        study = getattr(source, "study_ids", source.uids)
        return asked, images, texts, relevant_pairs([study[i] for i in asked], texts)

    def _validation(
        self, joint: JointEncoder, task: Task, extraction: Extraction, headline: str
    ) -> list[Measure]:
        """The headline on the validation split; none without reports there."""
        asked, images, texts, right = self._pool(joint, task, extraction, "val")
        if len(asked) < 2:
            return []
        scores = cosines(images, extraction.texts(joint, texts).astype(np.float64))
        if self.match == "class":
            shares = precision_at(scores, right, self.at[:1])[:, 0]
        else:
            shares = first_places(scores, right).within(max(self.at))
        value, chance = float(shares.mean()), chance_recall(right, max(self.at))
        if self.match == "class":
            chance = float(right.mean())
        return [Measure.validation(headline, value, chance=chance, pool=len(texts))]

    def _mean_rank(
        self,
        way: str,
        ranks: npt.NDArray[np.float64],
        relevant: npt.NDArray[np.bool_],
        patients: Sequence[str],
        seed: int,
    ) -> Measure:
        """Every query counts, where Recall@k of a large pool rests on the few first."""
        found = interval(
            case_means(ranks), patients, replicates=self.replicates, seed=seed
        )
        chance = float(FirstPlaces.by_chance(relevant).ranks.mean())
        return Measure.of(f"{way}_mean_rank", found, chance=chance)

    def _precisions(
        self, shares: Array, chance: float, patients: Sequence[str], seed: int
    ) -> list[Measure]:
        measures = []
        for k, values in zip(self.at, shares.T, strict=True):
            found = interval(
                case_means(values), patients, replicates=self.replicates, seed=seed
            )
            measures.append(Measure.of(f"i2t_precision@{k}", found, chance=chance))
        return measures

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Difference of the headline: Recall at the largest k, or Precision at the first."""
        mine, other = (c.columns["headline"].astype(np.float64) for c in (one, two))
        gaps, draws = case_means(mine - other), {"replicates": self.replicates}
        return interval(gaps, one.patient_ids, seed=seed, **draws), {}
