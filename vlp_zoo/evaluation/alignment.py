"""``vlp-zeroshot`` and ``vlp-retrieval``: what a space shared by images and texts knows.

Nothing is fitted. Zero-shot scores are differences of cosines to sentences that affirm
and deny a finding; several sets of sentences are averaged as unit vectors, and each
alone is reported too, because one lucky wording is no ability. Classes that exclude each
other are only affirmed, and the nearest one is the answer. Thresholds come from the
validation split. Retrieval ranks the whole test pool. No score is standardised over the
images it is compared with: a method must be able to look at a single image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification import headline_of, scored, selection_value
from vlp_zoo.evaluation.features import Extraction
from vlp_zoo.evaluation.joint import JointEncoder
from vlp_zoo.evaluation.legacy import legacy_batch_hits
from vlp_zoo.evaluation.metrics import macro
from vlp_zoo.evaluation.operating_points import choose_thresholds, point_values
from vlp_zoo.evaluation.prompts import Prompts, plain, read_prompts
from vlp_zoo.evaluation.protocol import Candidate, Measure, Outcome, Protocol
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.retrieval import (
    chance_recall,
    cosines,
    first_places,
    precision_at,
    relevant_pairs,
    retrieve,
)
from vlp_zoo.evaluation.statistics import (
    Interval,
    case_means,
    interval,
    paired_means,
)
from vlp_zoo.evaluation.subject import Subject
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.reports.blank import is_blank

__all__ = ["Retrieve", "ZeroShot"]

Array = npt.NDArray[np.float64]
ASKED = ("val", "test")

LEGACY = ("", "zero", "test-f1", "test-mcc")


@dataclass(frozen=True)
class ZeroShot(Protocol):
    """Settings of the preset.

    Attributes:
        prompts: A name or path as of `vlp_zoo.evaluation.prompts.read_prompts`.
        templates: Pairs of sentences with ``{}`` for the finding, instead of the
            file's.
        words: Label to the words that stand for it, instead of the file's.
        legacy_threshold: Also report F1 and accuracy at a threshold as published code
            takes it: ``"zero"`` (the nearer sentence), ``"test-f1"`` or ``"test-mcc"``
            (the best one on the test split, which flatters).
    """

    prompts: str = "chest"
    templates: tuple[tuple[str, str], ...] = ()
    words: tuple[tuple[str, str], ...] = ()
    legacy_threshold: str = ""
    name: str = "vlp-zeroshot"

    needs_text: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.legacy_threshold not in LEGACY or any(
            "{}" not in sentence for pair in self.templates for sentence in pair
        ):
            raise ConfigError(
                "pairs of sentences with {} for the finding, and legacy_threshold "
                "zero, test-f1 or test-mcc",
                f"{str(self.templates)[:80]}, {self.legacy_threshold!r}",
                "correct the preset",
            )
        self.spoken()

    def spoken(self) -> Prompts:
        """The prompts with the preset's own templates and words on top."""
        found = read_prompts(self.prompts)
        own = {plain(label): words for label, words in self.words}
        return replace(
            found,
            templates=self.templates or found.templates,
            words={**found.words, **own},
            # Sentences of the file would replace the preset's templates.
            whole={} if self.templates else found.whole,
        )

    def settings(self, subject: Subject, task: Task) -> dict[str, Any]:
        """Also what the prompt file says, not only what it is called."""
        sha256 = read_prompts(self.prompts).sha256
        return {**super().settings(subject, task), "prompts_sha256": sha256}

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Score the test split by the mean of all prompt sets, and by each."""
        joint = _joint(candidate)
        prompts = self.spoken()
        pairs = [prompts.pairs(label) for label in task.label_names]
        sets = len(prompts.templates)
        # (sets, K, E) for sentences that affirm and those that deny.
        yes, no = (
            np.stack(
                [
                    extraction.texts(joint, [each[i][side] for each in pairs])
                    for i in range(sets)
                ]
            ).astype(np.float64)
            for side in (0, 1)
        )
        if task.single_label:
            # The class that is named best; what an image lacks is not asked.
            no = np.zeros_like(no)
        images = {split: _images(joint, task, extraction, split) for split in ASKED}

        def scores(split: str, which: slice) -> Array:
            # Without sentences that deny, `no` is zero and stays so.
            sides = (_unit(_unit(side[which]).mean(0)) for side in (yes, no))
            each = images[split] @ np.subtract(*sides).T
            if task.single_label:
                # Relative to the other classes, so that images can be ranked.
                each = each - each.mean(1, keepdims=True)
            return np.asarray(each)

        labels = task.splits["test"].labels
        used = [k for k, n in enumerate(task.label_names) if n not in task.excluded]
        if task.single_label:
            used = list(range(len(task.label_names)))
        alone = [
            selection_value(
                task.single_label,
                labels[:, used],
                scores("test", slice(i, i + 1))[:, used],
            )
            for i in range(sets)
        ]
        head = headline_of(task)
        outcome = scored(
            scores("test", slice(None)),
            task,
            self,
            seed,
            n_train=0,
            undefined={},
            details={
                "prompts": f"{prompts.name} {prompts.version}",
                "prompts_sha256": prompts.sha256,
                "prompt_sets": sets,
                f"{head}_of_each": alone,
                f"{head}_mean": float(np.mean(alone)),
                f"{head}_sd": float(np.std(alone, ddof=1)) if sets > 1 else 0.0,
            },
            validation=scores("val", slice(None)),
            # Cosines are no probabilities: nothing to calibrate.
            probabilities=False,
        )
        if not self.legacy_threshold or task.single_label:
            return outcome
        return replace(
            outcome,
            measures=[*outcome.measures, *self._legacy(outcome.cases, task)],
        )

    def _legacy(self, cases: Cases, task: Task) -> list[Measure]:
        """F1 and accuracy at zero or at the best threshold of the test split."""
        used = [k for k, n in enumerate(task.label_names) if n not in task.excluded]
        labels, scores = cases.labels[:, used], cases.scores[:, used]
        cut = np.zeros(len(used))
        if self.legacy_threshold != "zero":
            rule = "best_" + self.legacy_threshold.removeprefix("test-")
            cut = choose_thresholds(rule, labels, scores)
        once = np.ones((len(labels), 1), np.float32)
        where = "at_zero" if self.legacy_threshold == "zero" else "tuned_on_test"
        measures = []
        for metric in ("f1", "accuracy"):
            values = point_values(metric, labels, scores, cut, once)
            per_label = dict.fromkeys(task.label_names, None) | {
                task.label_names[k]: float(v[0])
                for k, v in zip(used, values, strict=True)
            }
            measures.append(
                Measure(
                    f"legacy_{metric}_{where}",
                    float(macro(values)[0]),
                    per_label=per_label,
                    details={"thresholds": [float(c) for c in cut]},
                )
            )
        return measures


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
        joint = _joint(candidate)
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
            found = retrieve(
                queries,
                found_in,
                right if way == "i2t" else right.T,
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
                Measure(
                    f"{way}_recall@{k}",
                    bounds.value,
                    bounds.low,
                    bounds.high,
                    details={"chance": found.chance[k]},
                )
                for k, bounds in sorted(found.recall.items(), reverse=True)
            ]
            measures.append(Measure(f"{way}_median_rank", found.median_rank))
            measures.append(Measure(f"{way}_mrr", found.mean_reciprocal_rank))
            measures.append(Measure(f"{way}_mean_rank", float(found.ranks.mean())))
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
        images = _images(joint, task, extraction, split)[asked]
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

    def _precisions(
        self, shares: Array, chance: float, patients: Sequence[str], seed: int
    ) -> list[Measure]:
        measures = []
        for k, values in zip(self.at, shares.T, strict=True):
            found = interval(
                case_means(values), patients, replicates=self.replicates, seed=seed
            )
            low, high = (found.low, found.high) if self.replicates else (None, None)
            details = {"chance": chance}
            measures.append(
                Measure(f"i2t_precision@{k}", found.value, low, high, details=details)
            )
        return measures

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Difference of the headline: Recall at the largest k, or Precision at the first."""
        mine, other = (c.columns["headline"].astype(np.float64) for c in (one, two))
        found = paired_means(
            mine, other, one.patient_ids, replicates=self.replicates, seed=seed
        )
        return found, {}


def _joint(candidate: Candidate) -> JointEncoder:
    # `Protocol.refusal` has seen to it that there is one.
    assert candidate.joint is not None
    return candidate.joint


def _images(
    joint: JointEncoder, task: Task, extraction: Extraction, split: str
) -> Array:
    found = extraction.get(cast(nn.Module, joint), task.splits[split])
    return _unit(found.astype(np.float64))


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: Array = rows / np.maximum(length, 1e-12)
    return unit
