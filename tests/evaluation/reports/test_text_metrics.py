from __future__ import annotations

import math
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import f1_score
from torchmetrics.functional.text import bleu_score, rouge_score

from vlp_zoo.evaluation.reports.text_metrics import (
    bleu,
    bleu_counts,
    cider_d,
    finding_counts,
    finding_f1,
    micro_finding_f1,
    rouge_l,
    words,
)
from vlp_zoo.evaluation.statistics.intervals import Statistic, interval
from vlp_zoo.evaluation.statistics.metrics import macro

WRITTEN = [
    "The heart is normal in size. The lungs are clear. No pleural effusion.",
    "There is a small left pleural effusion with basilar atelectasis.",
    "Mild cardiomegaly. No focal consolidation, effusion or pneumothorax.",
    "Right lower lobe opacity may reflect pneumonia in the right clinical setting.",
]
GENERATED = [
    "The heart size is normal. Lungs are clear. No pleural effusion is seen.",
    "There is a small left pleural effusion.",
    "No focal consolidation or pneumothorax. The heart is mildly enlarged.",
    "The lungs are clear.",
]


def _drawn(seed: int, n: int) -> tuple[list[str], list[str]]:
    """Reports of few words, so that long n-grams match, too."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["no", "acute", "left", "right", "effusion", "clear", "the"])
    texts = [
        " ".join(rng.choice(vocabulary, rng.integers(5, 15))) for _ in range(2 * n)
    ]
    return texts[:n], texts[n:]


@pytest.mark.parametrize(
    ("candidates", "references"), [(GENERATED, WRITTEN), _drawn(0, 40)]
)
def test_bleu_and_rouge_match_torchmetrics(
    candidates: list[str], references: list[str]
) -> None:
    once = np.ones((len(candidates), 1), np.float32)
    ours = bleu(bleu_counts(candidates, references), once)[:, 0]
    # Its tokenizer parts at blanks, ours has done so before.
    plain = [" ".join(words(text)) for text in candidates]
    whole = [[" ".join(words(text))] for text in references]
    for n in range(1, 5):
        expected = float(bleu_score(plain, whole, n_gram=n))
        assert ours[n - 1] == pytest.approx(expected, rel=1e-5)
    for value, mine, other in zip(
        rouge_l(candidates, references), plain, whole, strict=True
    ):
        theirs = rouge_score(mine, other[0], rouge_keys="rougeL")["rougeL_fmeasure"]
        assert value == pytest.approx(float(theirs), rel=1e-5)


def test_bleu_by_hand() -> None:
    # "the" occurs twice in the reference: clipped to 2 of 7 (Papineni's example).
    once = np.ones((1, 1), np.float32)
    clipped = bleu_counts(["the " * 7], ["the cat is on the mat"])
    assert bleu(clipped, once)[0, 0] == pytest.approx(2 / 7)
    # Three of three words, half the length: exp(1 - 6/3).
    short = bleu(bleu_counts(["the cat is"], ["the cat is on the mat"]), once)
    np.testing.assert_allclose(short[:3, 0], math.exp(-1))
    assert short[3, 0] == 0
    assert bleu(bleu_counts([""], ["the cat"]), once).tolist() == [[0]] * 4


def test_bleu_is_of_the_corpus_and_takes_weights() -> None:
    candidates, references = _drawn(1, 12)
    repeats = np.random.default_rng(2).integers(0, 3, 12)
    counts = bleu_counts(candidates, references)
    again = bleu_counts(
        np.repeat(candidates, repeats).tolist(), np.repeat(references, repeats).tolist()
    )
    once = np.ones((len(again), 1), np.float32)
    weighted = bleu(counts, repeats[:, None].astype(np.float32))
    np.testing.assert_allclose(weighted, bleu(again, once))
    found = interval(
        Statistic(lambda w: bleu(counts, w)[1], 12),
        [str(i) for i in range(12)],
        replicates=300,
    )
    assert found.low < found.value < found.high


def test_the_common_subsequence_is_the_longest() -> None:
    def literal(first: list[str], second: list[str]) -> int:
        for size in range(len(first), 0, -1):
            for kept in combinations(first, size):
                rest = iter(second)
                if all(word in rest for word in kept):
                    return size
        return 0

    rng = np.random.default_rng(3)
    for _ in range(60):
        first, second = (
            rng.choice(["a", "b", "c"], rng.integers(1, 8)).tolist() for _ in range(2)
        )
        common = literal(first, second)
        f1 = 2 * common / (len(first) + len(second))
        found = rouge_l([" ".join(first)], [" ".join(second)])[0]
        assert found == pytest.approx(f1)


def test_rouge_with_the_weight_of_caption_code() -> None:
    # 2 common words of 2 and of 4: precision 1, recall 1/2.
    found = rouge_l(["left effusion"], ["small left pleural effusion"], beta=1.2)[0]
    assert found == pytest.approx((1 + 1.44) * 0.5 / (0.5 + 1.44))


def _literal_cider(candidates: list[str], references: list[str]) -> list[float]:
    """CIDEr-D as in its paper, over dictionaries."""

    def grams(text: str, n: int) -> list[tuple[str, ...]]:
        tokens = text.split()
        return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]

    def weight(gram: tuple[str, ...], text: str) -> float:
        n = len(gram)
        seen = sum(gram in grams(reference, n) for reference in references)
        rarity = math.log(len(references)) - math.log(max(1, seen))
        return grams(text, n).count(gram) * rarity

    values = []
    for mine, other in zip(candidates, references, strict=True):
        total = 0.0
        for n in range(1, 5):
            first = {g: weight(g, mine) for g in grams(mine, n)}
            second = {g: weight(g, other) for g in grams(other, n)}
            norm = math.hypot(*first.values()) * math.hypot(*second.values())
            dot = sum(min(first.get(g, 0.0), v) * v for g, v in second.items())
            total += dot / norm if norm else 0.0
        gap = len(mine.split()) - len(other.split())
        values.append(10 / 4 * total * math.exp(-(gap**2) / 72))
    return values


def test_cider_matches_its_definition() -> None:
    candidates, references = _drawn(4, 15)
    candidates[0], candidates[1] = references[0], ""
    found = cider_d(candidates, references)
    np.testing.assert_allclose(found, _literal_cider(candidates, references))
    assert found[1] == 0
    # Itself: each order gives 1 where any of its n-grams is rare.
    assert found[0] == pytest.approx(10)
    assert cider_d(["no effusion"], ["no effusion"])[0] == 0


def test_repeating_a_word_does_not_win() -> None:
    references = ["left effusion", "clear lungs", "normal heart"]
    honest = cider_d(references, references)[0]
    repeated = cider_d(["effusion " * 2, *references[1:]], references)[0]
    assert repeated < honest


def test_f1_of_findings_matches_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    truth = rng.choice([1, 0, np.nan], (80, 5), p=[0.3, 0.3, 0.4]).astype(np.float32)
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, 1).astype(np.float32)
    counts = finding_counts(truth, predicted)
    once = np.ones((80, 1), np.float32)
    f1 = partial(f1_score, truth == 1, predicted == 1)
    assert macro(finding_f1(counts, once))[0] == pytest.approx(f1(average="macro"))
    assert micro_finding_f1(counts, once)[0] == pytest.approx(f1(average="micro"))


def test_findings_by_hand() -> None:
    nan = np.nan
    truth = np.array([[1, 0, nan], [1, nan, 0]], np.float32)
    predicted = np.array([[1, 1, nan], [nan, 1, 0]], np.float32)
    once = np.ones((2, 1), np.float32)
    negative = finding_counts(truth, predicted)
    # First label: one in both, one omitted. Second: two invented. Third: nothing.
    np.testing.assert_allclose(finding_f1(negative, once)[:, 0], [2 / 3, 0, nan])
    assert micro_finding_f1(negative, once)[0] == pytest.approx(2 / (2 + 2 + 1))
    with pytest.raises(ValueError, match="shapes"):
        finding_counts(truth, predicted[:1])


def test_lengths_must_agree() -> None:
    for metric in (bleu_counts, rouge_l, cider_d):
        with pytest.raises(ValueError, match="zip"):
            metric(["a"], ["a", "b"])
