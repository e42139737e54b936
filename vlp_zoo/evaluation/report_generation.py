"""``vlp-rrg``: what a small decoder can write about an image from an encoder's tokens.

A transformer decoder (`vlp_zoo.evaluation.report_decoder`) learns to write the training
reports while it looks at the image tokens of a tuned or frozen encoder. The step is
chosen on validation patients by CIDEr-D of greedy texts; the test split is written with
a beam, once. References are the reports as they are: not cut, no word replaced.

The headline is the macro F1 of fourteen findings read from both texts by rule. Overlap
of words rewards phrases that stand in every report, and micro averages are mostly "No
Finding" where most studies are normal: under both the most common training report, the
same for every patient, scores well. All are reported, each beside its floors.

Images are never mirrored in training, since reports name sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch

from vlp_zoo.augment import PIPELINES
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features import Extraction
from vlp_zoo.evaluation.learner import Plan, Predictions, predict
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Measure,
    Outcome,
    Protocol,
    training_cases,
)
from vlp_zoo.evaluation.report_judging import (
    HEADLINE,
    ThroughVocabulary,
    judge_reports,
)
from vlp_zoo.evaluation.report_pieces import ReportPieces
from vlp_zoo.evaluation.report_scores import (
    SCORERS,
    load_scorer,
    macro_f1,
    most_common_report,
)
from vlp_zoo.evaluation.report_writer import Writer
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics import Interval, paired_interval
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.text_metrics import (
    bleu,
    bleu_counts,
    cider_d,
    finding_counts,
    words,
)
from vlp_zoo.evaluation.training import fit
from vlp_zoo.reports.blank import stated
from vlp_zoo.types import Report, StudySource

__all__ = ["WriteReport"]

SECTIONS = ("body", "findings", "impression")


@dataclass(frozen=True)
class WriteReport(Protocol):
    """Settings of the preset.

    Attributes:
        frozen: Train the decoder only; the encoder stays in evaluation mode.
        section: ``"body"`` (findings, then impression), ``"findings"`` or
            ``"impression"``; studies without it are left out and counted.
        steps: Optimiser steps at label fractions up to 1 %, up to 10 % and above.
        batch_size: Cases per step.
        learning_rate: Peak, of the decoder.
        encoder_learning_rate: Peak, of the encoder.
        weight_decay: Of matrices and kernels.
        schedule: As of `vlp_zoo.evaluation.learner.Plan`.
        warmup: As of `Plan`.
        clip: Largest norm of the gradient; 0 does not clip.
        evaluations: Looks at the validation split.
        validation_cases: Most cases of each look.
        select: ``"cider_d"`` or ``"bleu_4"`` of greedy texts chooses the step.
        augment: A name of `vlp_zoo.augment.PIPELINES`.
        vocabulary: Most sub-words, learnt from the training reports of the fraction.
        length: Most sub-words of a report, in training and when writing.
        beams: Of the search on the test split; 1 is greedy.
        length_penalty: As of `ReportDecoder.generate`.
        width: Of the decoder.
        heads: Of the decoder.
        layers: Of the decoder.
        feedforward: Of the decoder.
        dropout: Of the decoder.
        scorers: Of `vlp_zoo.evaluation.report_scores.SCORERS`, beside our own.
        reference_words: Cut both texts to this many words before counting overlaps, as
            old code does; 0 does not.
        reference_count: Words seen less often in training become one and the same
            unknown word on both sides before counting overlaps; 0 keeps all.
    """

    frozen: bool = False
    section: str = "body"
    steps: tuple[int, int, int] = (1500, 5000, 20000)
    batch_size: int = 32
    learning_rate: float = 1e-4
    encoder_learning_rate: float = 1e-5
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup: float = 0.05
    clip: float = 1.0
    evaluations: int = 20
    validation_cases: int = 500
    select: str = "cider_d"
    augment: str = "finetune"
    vocabulary: int = 5000
    length: int = 128
    beams: int = 3
    length_penalty: float = 1.0
    width: int = 512
    heads: int = 8
    layers: int = 3
    feedforward: int = 512
    dropout: float = 0.1
    scorers: tuple[str, ...] = ()
    reference_words: int = 0
    reference_count: int = 0
    name: str = "vlp-rrg"

    needs: ClassVar[frozenset[str]] = frozenset({"reports"})
    reads_pixels: ClassVar[bool] = True
    draws_weights: ClassVar[bool] = True
    headline: ClassVar[str] = HEADLINE

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            self.section not in SECTIONS
            or self.select not in ("cider_d", "bleu_4")
            or self.augment not in PIPELINES
        ):
            raise ConfigError(
                f"section {', '.join(SECTIONS)}, select cider_d or bleu_4, augment "
                f"{', '.join(PIPELINES)}",
                f"{self.section!r}, {self.select!r}, {self.augment!r}",
                "correct the preset",
            )
        unknown = sorted(set(self.scorers) - set(SCORERS))
        if unknown:
            raise ConfigError(
                f"scorers among {', '.join(SCORERS)}",
                ", ".join(unknown),
                "correct the preset; our own scores need no name",
            )
        least = {
            "beams": 1,
            "length": 2,
            "layers": 1,
            "heads": 1,
            "validation_cases": 2,
            "reference_words": 0,
            "reference_count": 0,
        }
        small = [
            f"{k}={getattr(self, k)}" for k, v in least.items() if getattr(self, k) < v
        ]
        if len(self.steps) != 3 or small or self.width % self.heads:
            raise ConfigError(
                "three numbers of steps, a width that the heads divide, and at least "
                + ", ".join(f"{k}={v}" for k, v in least.items()),
                f"{self.steps}, width={self.width}, heads={self.heads}, {', '.join(small)}",
                "correct the preset",
            )

    def plan(self) -> Plan:
        """Length and speed at the protocol's label fraction."""
        few, some, all_ = self.steps
        steps = few if self.fraction <= 0.01 else some if self.fraction <= 0.1 else all_
        return Plan(
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup=self.warmup,
            evaluations=self.evaluations,
            clip=self.clip,
        )

    def said(self, report: Report) -> str:
        """The part of a report that is written; "" where it is missing."""
        text = report.body if self.section == "body" else getattr(report, self.section)
        return stated(str(text))

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Train the decoder, choose the step, then write about the test split."""
        # Before the training, which takes much longer than finding out.
        scorers = {name: load_scorer(name) for name in self.scorers}
        chosen = [int(i) for i in training_cases(task, self.fraction, seed)]
        train, learnt = self._spoken(Selected(task.splits["train"], chosen), task, 1)
        val, judged = self._spoken(task.splits["val"], task, 2)
        if len(val) > self.validation_cases:
            rng = np.random.default_rng((seed, 83))
            some = sorted(rng.permutation(len(val))[: self.validation_cases].tolist())
            val, judged = Selected(val, some), [judged[i] for i in some]
        pieces = ReportPieces.train(learnt, self.vocabulary)
        lengths = pieces.lengths(learnt)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            writer = Writer(candidate.module, pieces, self, float(lengths.mean()))
        score = partial(_overlap, self.select, judged)
        fitted = fit(writer, train, val, self.plan(), score, seed, extraction)
        test, references = self._spoken(task.splits["test"], task, 1)
        writer.beams = self.beams
        generated = [str(p["text"]) for p in predict(writer, test, extraction)]
        common, sharing = most_common_report(learnt, seed)
        outcome = judge_reports(
            generated,
            references,
            learnt,
            test,
            replicates=self.replicates,
            seed=seed,
            least=task.min_positives,
            spelt=ThroughVocabulary.of(
                learnt, self.reference_count, self.reference_words
            ),
            scorers=scorers,
        )
        left_out = {
            f"without_report_{split}": total - used
            for split, total, used in (
                ("train", len(chosen), len(train)),
                ("test", len(task.splits["test"]), len(test)),
            )
        }
        return replace(
            outcome,
            measures=[
                *outcome.measures,
                Measure.validation(self.select, fitted.best_score, beams=1),
            ],
            n_train=len(train),
            details={
                **outcome.details,
                **left_out,
                **fitted.details(),
                "validation_cases": len(val),
                "vocabulary": len(pieces),
                "cut_training_reports": int((lengths > self.length).sum()),
                "most_common_report": common,
                "most_common_report_share": sharing / len(learnt),
            },
        )

    def difference(
        self, one: Cases, two: Cases, undefined: Mapping[str, str], seed: int
    ) -> tuple[Interval, dict[str, float | None]]:
        """Difference of the macro F1, and of the F1 of each finding."""
        used = [k for k, name in enumerate(one.label_names) if name not in undefined]
        counts = [
            finding_counts(c.labels, c.scores.astype(np.float32), unknown="negative")
            for c in (one, two)
        ]
        mine, other = (partial(macro_f1, each, used) for each in counts)
        found = paired_interval(
            mine, other, one.patient_ids, replicates=self.replicates, seed=seed
        )
        once = np.ones((len(one.uids), 1), np.float32)
        gaps = (mine(once) - other(once))[:, 0]
        per_label: dict[str, float | None] = dict.fromkeys(one.label_names, None)
        for k, gap in zip(used, gaps, strict=True):
            per_label[one.label_names[k]] = float(gap)
        return found, per_label

    def _spoken(
        self, source: StudySource, task: Task, least: int
    ) -> tuple[StudySource, list[str]]:
        """The cases whose section says something, and what it says."""
        texts = [self.said(report) for report in source.reports()]
        kept = [i for i, text in enumerate(texts) if words(text)]
        if len(kept) < least:
            raise ConfigError(
                f"at least {least} reports with a {self.section} in {source.name}",
                f"{len(kept)} of {len(texts)} in {task.name}",
                "choose another section in the preset, or data with reports",
            )
        return Selected(source, kept), [texts[i] for i in kept]


def _overlap(metric: str, references: Sequence[str], predictions: Predictions) -> float:
    texts = [str(p["text"]) for p in predictions]
    if metric == "bleu_4":
        once = np.ones((len(texts), 1), np.float32)
        return float(bleu(bleu_counts(texts, references), once)[3, 0])
    return float(cider_d(texts, references).mean())
