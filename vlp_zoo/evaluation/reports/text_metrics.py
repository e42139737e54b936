"""Overlap of generated and written reports: BLEU, ROUGE-L, CIDEr-D.

Both texts go through `words`, whole and with nothing left out: scores against a
reference that was cut to a model's vocabulary and length reward predicting the unknown
word. One reference per case. Overlap of words says little about what a report claims;
`finding_counts` compares the findings.

Each metric gives values or counts per case, from which intervals are made
(`vlp_zoo.evaluation.statistics.intervals`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.statistics.metrics import ratio

__all__ = [
    "FIVE_FINDINGS",
    "bleu",
    "bleu_counts",
    "cider_d",
    "finding_counts",
    "finding_f1",
    "micro_finding_f1",
    "rouge_l",
    "words",
]

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]

ORDERS = 4
"""Longest n-gram of BLEU and CIDEr-D."""
CIDER_SIGMA = 6.0
"""Words of difference in length that CIDEr-D forgives."""

FIVE_FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
)
"""The five of the CheXpert competition; the usual alternative is all fourteen."""


def words(text: str) -> list[str]:
    """Lower-case runs of letters and digits, decimals whole; all else parts words.

    Example:
        >>> words("No T-wave change; 1.5 cm nodule (right).")
        ['no', 't', 'wave', 'change', '1.5', 'cm', 'nodule', 'right']
    """
    return re.findall(r"\d+(?:\.\d+)+|[^\W_]+", text.lower())


def bleu_counts(candidates: Sequence[str], references: Sequence[str]) -> Array:
    """What corpus BLEU sums over cases.

    Args:
        candidates: (N,) generated texts.
        references: (N,) one per case.

    Returns:
        (N, 10): matched n-grams for n = 1..4, n-grams of the candidate for n = 1..4,
        words of the candidate, words of the reference.
    """
    rows = np.zeros((len(candidates), 2 * ORDERS + 2))
    for row, candidate, reference in zip(rows, candidates, references, strict=True):
        mine, other = words(candidate), words(reference)
        for n in range(1, ORDERS + 1):
            grams = _grams(mine, n)
            row[n - 1] = (grams & _grams(other, n)).total()
            row[ORDERS + n - 1] = grams.total()
        row[-2:] = len(mine), len(other)
    return rows


def bleu(counts: Array, weights: Weights) -> Array:
    """Corpus BLEU-1 to BLEU-4 without smoothing (Papineni et al., ACL 2002).

    Args:
        counts: (N, 10) of `bleu_counts`.
        weights: (N, R) whole numbers.

    Returns:
        (4, R); 0 where no n-gram matches.

    Example:
        >>> counts = bleu_counts(["no acute effusion"], ["no effusion"])
        >>> bleu(counts, np.ones((1, 1), np.float32))[:, 0]
        array([0.66666667, 0.        , 0.        , 0.        ])
    """
    sums = counts.T @ weights.astype(np.float64)
    precision = np.nan_to_num(ratio(sums[:ORDERS], sums[ORDERS : 2 * ORDERS]))
    with np.errstate(divide="ignore"):
        logs = np.log(precision)
    orders = np.arange(1, ORDERS + 1)[:, None]
    missing = np.nan_to_num(ratio(sums[-1], sums[-2]), nan=np.inf)
    brevity = np.exp(np.minimum(0.0, 1 - missing))
    return brevity * np.exp(np.cumsum(logs, axis=0) / orders)


def rouge_l(
    candidates: Sequence[str], references: Sequence[str], beta: float = 1.0
) -> Array:
    """ROUGE-L per case: F of the longest common subsequence of words.

    Args:
        candidates: (N,) generated texts.
        references: (N,).
        beta: Weight of recall; 1 is the usual F1, 1.2 that of the COCO caption code.

    Returns:
        (N,); 0 where nothing is common.

    Example:
        >>> rouge_l(["small left effusion"], ["small effusion on the left"])
        array([0.5])
    """
    values = np.zeros(len(candidates))
    for i, pair in enumerate(zip(candidates, references, strict=True)):
        mine, other = (words(text) for text in pair)
        common = _common_subsequence(mine, other)
        if common:
            precision, recall = common / len(mine), common / len(other)
            weighted = recall + beta**2 * precision
            values[i] = (1 + beta**2) * precision * recall / weighted
    return values


def cider_d(candidates: Sequence[str], references: Sequence[str]) -> Array:
    """CIDEr-D per case (Vedantam et al., CVPR 2015), rare n-grams weighing more.

    The weights come from the references given, so a value belongs to its test set; a
    bootstrap of the means keeps them. Words are not stemmed. Differences in length are
    counted in words (the published code counts pairs of words, which is the same unless
    a text is empty).

    Args:
        candidates: (N,) generated texts.
        references: (N,).

    Returns:
        (N,) from 0 to 10; all 0 for a single case, in which no n-gram is rare.
    """
    mine = [words(text) for text in candidates]
    other = [words(text) for text in references]
    values = np.zeros(len(mine))
    for n in range(1, ORDERS + 1):
        pairs = [(_grams(a, n), _grams(b, n)) for a, b in zip(mine, other, strict=True)]
        frequency = Counter(gram for _, reference in pairs for gram in reference)
        rarity = {
            gram: math.log(len(pairs) / count) for gram, count in frequency.items()
        }
        unseen = math.log(len(pairs)) if pairs else 0.0
        for i, (candidate, reference) in enumerate(pairs):
            # A candidate cannot win by repeating a word: clipped to the reference.
            common = sum(
                min(count, reference[gram]) * reference[gram] * rarity[gram] ** 2
                for gram, count in candidate.items()
                if gram in reference
            )
            norms = [
                math.sqrt(
                    sum(
                        (count * rarity.get(gram, unseen)) ** 2
                        for gram, count in grams.items()
                    )
                )
                for grams in (candidate, reference)
            ]
            if common:
                values[i] += common / (norms[0] * norms[1])
    lengths = np.array([len(a) - len(b) for a, b in zip(mine, other, strict=True)])
    penalty: Array = np.exp(-(lengths**2) / (2 * CIDER_SIGMA**2))
    return 10 * penalty * values / ORDERS


def finding_counts(truth: Labels, predicted: Labels) -> Array:
    """Findings that both reports state, that one invents, and that one omits.

    What is not stated as present is not, as in the F1 by CheXbert.

    Args:
        truth: (N, K) of the written reports: 1 stated as present, 0 as absent, NaN not
            mentioned or uncertain.
        predicted: (N, K) of the generated reports.

    Returns:
        (3, N, K): in both, invented, omitted.

    Raises:
        ValueError: If shapes disagree.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"shapes {truth.shape}, {predicted.shape}")
    actual, claimed = truth == 1, predicted == 1
    counts = np.stack([actual & claimed, ~actual & claimed, actual & ~claimed])
    return counts.astype(np.float64)


def finding_f1(counts: Array, weights: Weights) -> Array:
    """F1 of each finding; the mean over the defined ones is the macro F1.

    Args:
        counts: (3, N, K) of `finding_counts`.
        weights: (N, R) whole numbers.

    Returns:
        (K, R); NaN where no report of either kind states the finding.
    """
    both, invented, omitted = np.einsum("cnk,nr->ckr", counts, weights)
    return ratio(2 * both, 2 * both + invented + omitted)


def micro_finding_f1(counts: Array, weights: Weights) -> Array:
    """F1 over all findings together: (3, N, K) and (N, R) to (R,)."""
    both, invented, omitted = np.einsum("cnk,nr->cr", counts, weights)
    return ratio(2 * both, 2 * both + invented + omitted)


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table per integer.

    Bits of a long integer stand for the words of ``first`` (Crochemore et al.,
    Information Processing Letters 80, 2001).
    """
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & every
    return len(first) - row.bit_count()
