"""``vlp-rrg``: what a small decoder can write about an image from an encoder's tokens.

A transformer decoder (`vlp_zoo.evaluation.reports.decoder`) learns to write the training
reports while it looks at the image tokens of a tuned or frozen encoder. The step is
chosen on validation patients by CIDEr-D of greedy texts; the test split is written with
a beam, once. References are the reports as they are: not cut, no word replaced.

The headline is the macro F1 of fourteen findings read from both texts by rule. Overlap
of words rewards phrases that stand in every report, and micro averages are mostly "No
Finding" where most studies are normal: under both the most common training report, the
same for every patient, scores well. All are reported, each beside its baselines.

Images are never mirrored in training, since reports name sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Measure,
    Outcome,
    training_cases,
)
from vlp_zoo.evaluation.reports.judging import (
    HEADLINE,
    ThroughVocabulary,
    judge_reports,
)
from vlp_zoo.evaluation.reports.pieces import ReportPieces
from vlp_zoo.evaluation.reports.scorers import load_scorer, scorer_version
from vlp_zoo.evaluation.reports.scores import (
    bleu_statistic,
    finding_statistics,
    most_common_report,
)
from vlp_zoo.evaluation.reports.settings import WritingSettings
from vlp_zoo.evaluation.reports.text_metrics import (
    bleu_counts,
    cider_d,
    finding_counts,
    words,
)
from vlp_zoo.evaluation.reports.writer import Writer
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import Statistic
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.training.learner import Predictions, predict
from vlp_zoo.evaluation.training.loop import fit_best
from vlp_zoo.types import StudySource

__all__ = ["WriteReport"]


@dataclass(frozen=True)
class WriteReport(WritingSettings):
    """Settings and measurement of the preset."""

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
        score = partial(_overlap, self.select, judged)
        writer, fitted, _ = fit_best(
            lambda: Writer(candidate.module, pieces, self, float(lengths.mean())),
            *(train, val, [self.plan()], score, seed, extraction),
        )
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
        scored_by = {name: scorer_version(name) for name in self.scorers}
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
                **({"scored_by": scored_by} if scored_by else {}),
                **fitted.details(),
                "validation_cases": len(val),
                "vocabulary": len(pieces),
                "cut_training_reports": int((lengths > self.length).sum()),
                "most_common_report": common,
                "most_common_report_share": sharing / len(learnt),
            },
        )

    def statistic(self, cases: Cases, used: Sequence[int]) -> Statistic:
        """F1 of the findings, from those that both texts state."""
        said = cases.scores.astype(np.float32)
        counts = finding_counts(cases.labels, said)
        return finding_statistics(counts, used)[HEADLINE]

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
        return bleu_statistic(bleu_counts(texts, references), 4).value
    return float(cider_d(texts, references).mean())
