"""What generated reports are worth: overlap of words, findings, and baselines for both.

Reports of one department resemble each other, most of all the normal ones. A text that
is the same for everybody overlaps well with many of them, so each number stands beside
those of texts that know nothing of the image (`baseline_texts`).

Findings are read from both texts by the project's own rules
(`vlp_zoo.reports.annotate`); a finding counts as stated where it is stated as present,
and doubt does not count. Those of others (`vlp_zoo.evaluation.reports.scorers`) are asked
only where somebody wants them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.reports.text_metrics import (
    FIVE_FINDINGS,
    bleu,
    bleu_counts,
    cider_d,
    finding_counts,
    finding_f1,
    micro_finding_f1,
    rouge_l,
    words,
)
from vlp_zoo.evaluation.statistics.intervals import Statistic, case_means
from vlp_zoo.reports.annotate import label_vector
from vlp_zoo.reports.words.lexicon import CHEXPERT

__all__ = [
    "BASELINES",
    "FINDINGS",
    "ReportScores",
    "Scorer",
    "baseline_texts",
    "bleu_statistic",
    "finding_statistics",
    "macro_f1",
    "most_common_report",
    "score_columns",
    "score_reports",
    "score_statistics",
    "stated",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Scorer = Callable[[Sequence[str], Sequence[str]], Array]
"""Generated and written texts to counts (3, N, 14), or to values (N,)."""

FINDINGS = tuple(CHEXPERT)
"""The fourteen labels of CheXpert, "No Finding" among them."""
FIVE = [FINDINGS.index(name) for name in FIVE_FINDINGS]

BASELINES = ("most_common_report", "random_report", "other_patient")
"""Texts that know nothing of the image, see `baseline_texts`."""

TIED = 64
"""Equally common reports, and reports they are compared with, that are looked at."""


@dataclass(frozen=True)
class ReportScores:
    """Generated texts against references, case by case.

    Attributes:
        bleu: (N, 10) of `vlp_zoo.evaluation.reports.text_metrics.bleu_counts`.
        means: Name to (N,) values of which the mean counts.
        findings: Start of the names, such as "" or "chexbert_", to counts (3, N, 14).
        used: Indices of the findings that count in macro means.
    """

    bleu: Array
    means: Mapping[str, Array]
    findings: Mapping[str, Array]
    used: tuple[int, ...] = field(default=tuple(range(len(FINDINGS))))

    def statistics(self) -> dict[str, Statistic]:
        """Every number as a function of the case weights."""
        found: dict[str, Statistic] = {}
        for start, counts in self.findings.items():
            for name, statistic in finding_statistics(counts, self.used).items():
                found[f"{start}{name}"] = statistic
        found |= {name: case_means(values) for name, values in self.means.items()}
        for n in range(1, 5):
            found[f"bleu_{n}"] = bleu_statistic(self.bleu, n)
        return found

    def columns(self) -> dict[str, Array]:
        """What every case adds to the numbers; findings are labels and scores."""
        names = [
            *(f"bleu_matched_{n}" for n in range(1, 5)),
            *(f"bleu_written_{n}" for n in range(1, 5)),
            "words_generated",
            "words_reference",
        ]
        return {
            **{name: self.bleu[:, i] for i, name in enumerate(names)},
            **dict(self.means),
            **{
                name: values
                for start, counts in self.findings.items()
                for name, values in score_columns(start, counts).items()
            },
        }


def score_statistics(
    name: str, values: Array, used: Sequence[int]
) -> dict[str, Statistic]:
    """What a scorer gave, as functions of the case weights.

    Args:
        name: Name of the scorer.
        values: (N,), of which the mean counts, or counts (3, N, 14) of findings.
        used: Indices of the findings that count in macro means.
    """
    if values.ndim == 1:
        return {name: case_means(values)}
    found = finding_statistics(values, used)
    return {f"{name}_{metric}": statistic for metric, statistic in found.items()}


def score_columns(start: str, values: Array) -> dict[str, Array]:
    """What every case adds to a score: (N,) its value, or of findings the counts.

    Args:
        start: Name of the score; of findings the start of the names, ``"chexbert_"``.
        values: (N,), or counts (3, N, 14).
    """
    if values.ndim == 1:
        return {start: values}
    counted = ("stated_by_both", "invented", "omitted")
    return {f"{start}{what}": values[i].sum(1) for i, what in enumerate(counted)}


def score_reports(
    generated: Sequence[str],
    references: Sequence[str],
    *,
    truth: Labels | None = None,
    used: Sequence[int] | None = None,
    overlap: tuple[Sequence[str], Sequence[str]] | None = None,
    scorers: Mapping[str, Scorer] | None = None,
) -> ReportScores:
    """Compare texts, one reference per case, nothing cut and nothing left out.

    Args:
        generated: (N,) texts.
        references: (N,) as they were written.
        truth: (N, 14) of `stated` for the references, where it is known.
        used: Findings that count in macro means; None = all.
        overlap: Both sides as the overlap of words shall see them, where they differ.
        scorers: More of them, by name.
    """
    written = stated(references) if truth is None else truth
    mine, other = overlap or (generated, references)
    findings = {"": finding_counts(written, stated(generated))}
    means = {
        "cider_d": cider_d(mine, other),
        "rouge_l": rouge_l(mine, other),
    }
    for name, scorer in (scorers or {}).items():
        values = scorer(generated, references)
        if values.ndim == 1:
            means[name] = values
        else:
            findings[f"{name}_"] = values
    every = range(len(FINDINGS))
    return ReportScores(
        bleu_counts(mine, other),
        means,
        findings,
        tuple(every if used is None else used),
    )


def stated(texts: Sequence[str]) -> Labels:
    """The fourteen findings of each text.

    Returns:
        (N, 14) with 1 stated as present, 0 as absent, NaN doubted or not mentioned.

    Example:
        >>> int(np.nansum(stated(["Small effusion. No pneumothorax."])))
        1
    """
    known = {1: 1.0, 0: 0.0}
    rows = [label_vector(text, FINDINGS) for text in texts]
    values = [[known.get(row[name], np.nan) for name in FINDINGS] for row in rows]  # type: ignore[arg-type]
    return np.array(values, np.float32).reshape(len(texts), len(FINDINGS))


def finding_statistics(counts: Array, used: Sequence[int]) -> dict[str, Statistic]:
    """F1 of all findings and of five, as functions of the case weights.

    Args:
        counts: (3, N, 14) of `vlp_zoo.evaluation.reports.text_metrics.finding_counts`.
        used: Findings that count in macro means.
    """
    five = [k for k in FIVE if k in used]
    functions = {
        "f1_14_macro": partial(macro_f1, counts, list(used)),
        "f1_14_micro": partial(micro_finding_f1, counts),
        "f1_5_macro": partial(macro_f1, counts, five),
        "f1_5_micro": partial(micro_finding_f1, counts[:, :, FIVE]),
    }
    return {name: Statistic(of, counts.shape[1]) for name, of in functions.items()}


def bleu_statistic(counts: Array, order: int) -> Statistic:
    """Corpus BLEU of an order, 1 to 4, from the (N, 10) counts of `bleu_counts`."""
    return Statistic(lambda weights: bleu(counts, weights)[order - 1], len(counts))


def macro_f1(counts: Array, used: Sequence[int], weights: npt.NDArray[Any]) -> Array:
    """F1 of findings that references state, whoever wrote the other texts.

    A finding without a reference among the weighted cases is undefined, also where it
    was invented: what is averaged must not hang on the texts that are judged. The micro
    F1 counts inventions.

    Args:
        counts: (3, N, 14) of `vlp_zoo.evaluation.reports.text_metrics.finding_counts`.
        used: Findings that count.
        weights: (N, R).

    Returns:
        (len(used), R).
    """
    chosen = counts[:, :, list(used)]
    there = np.einsum("nk,nr->kr", chosen[0] + chosen[2], weights) > 0
    return np.where(there, finding_f1(chosen, weights), np.nan)


def most_common_report(texts: Sequence[str], seed: int) -> tuple[str, int]:
    """The text that most training reports share word for word.

    Where several are equally common (in large sets all bodies may differ), the one
    nearest to other reports is taken, by mean ROUGE-L over a seeded sample.

    Args:
        texts: Training reports, at least one.
        seed: Seed of the sample of reports.

    Returns:
        The text, and how many reports have it.

    Example:
        >>> most_common_report(["Clear lungs.", "Edema.", "clear lungs"], 0)
        ('Clear lungs.', 2)
    """
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for text in texts:
        key = " ".join(words(text))
        counts[key] += 1
        first.setdefault(key, text)
    most = max(counts.values())
    tied = sorted(key for key, count in counts.items() if count == most)
    if len(tied) == 1:
        return first[tied[0]], most
    rng = np.random.default_rng((seed, 73))
    some = [tied[i] for i in sorted(rng.permutation(len(tied))[:TIED])]
    others = [texts[i] for i in rng.permutation(len(texts))[:TIED]]
    near = [float(rouge_l([one] * len(others), others).mean()) for one in some]
    return first[some[int(np.argmax(near))]], most


def baseline_texts(
    train: Sequence[str],
    generated: Sequence[str],
    patient_ids: Sequence[str],
    seed: int,
) -> dict[str, list[str]]:
    """Texts for the test cases that know nothing of their images.

    Args:
        train: Training reports.
        generated: (N,) what was generated for the test cases.
        patient_ids: (N,).
        seed: Seed of the random reports.

    Returns:
        ``"most_common_report"`` of the training split for everyone;
        ``"random_report"`` of the training split for each; ``"other_patient"``: what
        was generated for somebody else, which keeps style and frequencies and takes
        the image away. The last one is missing where there is one patient only.
    """
    rng = np.random.default_rng((seed, 79))
    count = len(generated)
    common, _ = most_common_report(train, seed)
    drawn = rng.integers(0, len(train), count)
    found = {
        "most_common_report": [common] * count,
        "random_report": [train[i] for i in drawn],
    }
    names, first, patient_of = np.unique(
        np.asarray(patient_ids), return_index=True, return_inverse=True
    )
    if len(names) > 1:
        circle = rng.permutation(len(names))
        following = np.empty_like(circle)
        following[circle] = np.roll(circle, -1)
        found["other_patient"] = [generated[first[following[p]]] for p in patient_of]
    return found
