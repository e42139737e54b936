"""Texts for the test cases as numbers with intervals, each beside its baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlp_zoo.evaluation.protocol import Measure, Outcome, by_label
from vlp_zoo.evaluation.reports.scores import (
    FINDINGS,
    ReportScores,
    Scorer,
    baseline_texts,
    score_reports,
    stated,
)
from vlp_zoo.evaluation.reports.text_metrics import words
from vlp_zoo.evaluation.results import Cases
from vlp_zoo.evaluation.statistics.intervals import (
    Statistic,
    interval,
    paired_interval,
)
from vlp_zoo.types import StudySource

__all__ = ["HEADLINE", "ThroughVocabulary", "judge_reports", "measures_beside"]

HEADLINE = "f1_14_macro"
UNKNOWN = "unk"


@dataclass(frozen=True)
class ThroughVocabulary:
    """Texts as models see them that score against their own vocabulary.

    Attributes:
        known: Words that stay; the others become one unknown word. None keeps all.
        max_words: Words after which a text is cut; 0 does not cut.

    Example:
        >>> ThroughVocabulary(frozenset({"small", "effusion"}), 2)("Small L effusion.")
        'small unk'
    """

    known: frozenset[str] | None = None
    max_words: int = 0

    @classmethod
    def of(cls, texts: Sequence[str], count: int, max_words: int) -> ThroughVocabulary:
        """The words that ``texts`` have at least ``count`` times; 0 keeps all."""
        counts = Counter(word for text in texts for word in words(text))
        known = frozenset(w for w, n in counts.items() if n >= count)
        return cls(known if count else None, max_words)

    def __call__(self, text: str) -> str:
        """The text itself where nothing is known and nothing cut."""
        known = self.known
        if known is None and not self.max_words:
            return text
        kept = words(text)[: self.max_words or None]
        return " ".join(w if known is None or w in known else UNKNOWN for w in kept)


def judge_reports(
    generated: Sequence[str],
    references: Sequence[str],
    learnt: Sequence[str],
    test: StudySource,
    *,
    replicates: int,
    seed: int,
    least: int = 10,
    spelt: ThroughVocabulary | None = None,
    scorers: Mapping[str, Scorer] | None = None,
) -> Outcome:
    """Score texts, and beside them texts that know nothing of the images.

    Args:
        generated: (N,).
        references: (N,) as written.
        learnt: Training reports, for the baselines.
        test: The N cases.
        replicates: Number of bootstrap replicates over patients.
        seed: Seed of baseline texts and bootstrap replicates.
        least: Findings that fewer references state, or fewer do not, count in no
            macro mean.
        spelt: How both sides look when overlaps are counted; None leaves them whole.
        scorers: Scorers of other packages, loaded, by name.

    Returns:
        Without what is known of the training. The cases have the findings of the
        references as labels (NaN = doubted or not mentioned), those of the generated
        texts as scores (1 = stated as present), and all texts, so that everything can
        be computed again.
    """
    truth = stated(references)
    positives = (truth == 1).sum(0)
    undefined = {
        name: f"stated in {count} of {len(truth)} references"
        for name, count in zip(FINDINGS, positives, strict=True)
        if min(count, len(truth) - count) < max(1, least)
    }
    used = [k for k, name in enumerate(FINDINGS) if name not in undefined]
    seen = spelt or ThroughVocabulary()
    shown = [seen(text) for text in references]

    def scored(texts: Sequence[str]) -> ReportScores:
        return score_reports(
            texts,
            references,
            truth=truth,
            used=used,
            overlap=([seen(text) for text in texts], shown),
            scorers=scorers,
        )

    baselines = baseline_texts(learnt, generated, test.patient_ids, seed)
    mine = scored(generated)
    others = {name: scored(texts) for name, texts in baselines.items()}
    cases = Cases(
        list(test.uids),
        list(test.patient_ids),
        FINDINGS,
        truth,
        (stated(generated) == 1).astype(np.float64),
        {
            "generated": np.array(generated, object),
            "reference": np.array(references, object),
            **{name: np.array(texts, object) for name, texts in baselines.items()},
            **mine.columns(),
        },
    )
    details = {
        "labeller": "rules",
        "distinct_texts": len(set(generated)),
        "empty_texts": sum(not words(text) for text in generated),
        "mean_words_generated": float(mine.bleu[:, -2].mean()),
        "mean_words_reference": float(mine.bleu[:, -1].mean()),
    }
    measures = _measures(mine, others, test.patient_ids, replicates, seed)
    return Outcome(measures, cases, undefined=undefined, details=details)


def _measures(
    mine: ReportScores,
    others: Mapping[str, ReportScores],
    patients: Sequence[str],
    replicates: int,
    seed: int,
) -> list[Measure]:
    """Each number with its baselines, differences to them, then the baselines alone."""
    how: dict[str, Any] = {"replicates": replicates, "seed": seed}
    baselines = {name: each.statistics() for name, each in others.items()}
    statistics = mine.statistics()
    measures, alone = measures_beside(statistics, baselines, patients, **how)
    labels = by_label(FINDINGS, mine.used, statistics[HEADLINE].values)
    measures = [
        replace(each, per_label=labels) if each.metric == HEADLINE else each
        for each in measures
    ]
    measures += [
        Measure.of(
            f"{HEADLINE}_minus_{baseline}",
            paired_interval(statistics[HEADLINE], every[HEADLINE], patients, **how),
        )
        for baseline, every in baselines.items()
    ]
    return measures + alone


def measures_beside(
    statistics: Mapping[str, Statistic],
    baselines: Mapping[str, Mapping[str, Statistic]],
    patients: Sequence[str],
    *,
    replicates: int,
    seed: int,
) -> tuple[list[Measure], list[Measure]]:
    """Numbers with what the baselines have, and those of the baselines alone.

    Args:
        statistics: Metric to its statistic of the generated texts.
        baselines: Baseline to the same metrics of its texts.
        patients: (N,) one per case.
        replicates: Number of bootstrap replicates.
        seed: Seed of the replicates.
    """
    how: dict[str, Any] = {"replicates": replicates, "seed": seed}
    alone = {
        (baseline, metric): interval(statistic, patients, **how)
        for baseline, every in baselines.items()
        for metric, statistic in every.items()
    }
    measures = []
    for metric, statistic in statistics.items():
        known = {baseline: alone[baseline, metric].value for baseline in baselines}
        defined = [value for value in known.values() if not np.isnan(value)]
        details: dict[str, Any] = {"floors": known}
        if defined:
            details["chance"] = max(defined)
        found = interval(statistic, patients, **how)
        measures.append(Measure.of(metric, found, **details))
    rest = [Measure.of("_".join(name), found) for name, found in alone.items()]
    return measures, rest
