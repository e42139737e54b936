"""A simple model that answers: a softmax over known answers, of question times image.

What a question alone says is linear in its vector q. What an image f says is another thing
for each question, so the model is also linear in the products of the leading principal
components of both: w_a · [q, f, f ⊗ q]. Nothing else is learnt; the image encoder and
what embeds questions stay as they are. The blind model has q alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vlp_zoo.evaluation.classification.solvers.softmax import fit_softmax_path

__all__ = ["Answers", "Parts", "answer_text", "learn_answers", "word_vectors"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """Questions of a split as vectors.

    Attributes:
        questions: (Q, V).
        images: (Q, D), that of the image that each is about.
        answers: Q texts, as of `answer_text`.
    """

    questions: Array
    images: Array
    answers: list[str]

    def of(self, chosen: Sequence[int]) -> Parts:
        """Some of the questions."""
        rows = list(chosen)
        return Parts(
            self.questions[rows], self.images[rows], [self.answers[i] for i in rows]
        )


@dataclass(frozen=True)
class Answers:
    """What a model answered.

    Attributes:
        validation: Answers to the validation questions.
        test: Answers to the test questions.
        c: The chosen inverse strength of regularisation.
        known: How many answers it can give.
        converged: Whether the solver did.
    """

    validation: list[str]
    test: list[str]
    c: float
    known: int
    converged: bool


def answer_text(answer: str) -> str:
    """An answer the way answers are compared: small letters, single blanks, no full stop.

    Example:
        >>> answer_text(" Yes. "), answer_text("Right  Lung")
        ('yes', 'right lung')
    """
    return " ".join(answer.lower().split()).rstrip(". ")


def word_vectors(train: Sequence[str], *others: Sequence[str]) -> list[Array]:
    """Questions as words and pairs of words, weighted by how rare they are (TF-IDF).

    Args:
        train: Questions that the words are taken from; those of one question are left out.
        *others: More questions.

    Returns:
        For each list (Q, V), of unit length; 0 for a question without a known word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", min_df=2)
    try:
        made.fit(train)
    except ValueError:
        # No word is in two questions: all that is left are their numbers.
        return [np.zeros((len(each), 1)) for each in (train, *others)]
    return [made.transform(each).toarray() for each in (train, *others)]


def learn_answers(
    train: Parts,
    validation: Parts,
    test: Parts,
    *,
    rank: int,
    strengths: Sequence[float],
    most: int = 0,
    blind: bool = False,
) -> Answers:
    """Fit the softmax on training answers, choose C on validation, answer the test.

    The answers of the test questions are not looked at.

    Args:
        train: Training questions.
        validation: Validation questions.
        test: Test questions.
        rank: Principal components of images, and of questions, that are multiplied.
        strengths: Values of C, ascending.
        most: Only the most frequent training answers are learnt; 0 learns all.
        blind: Leave the images out.

    Raises:
        ValueError: If there are fewer than two answers to choose from.
    """
    names, counts = np.unique(train.answers, return_counts=True)
    # Of equally frequent ones the first by name.
    order = np.argsort(-counts, kind="stable")[: most or None]
    names = np.sort(names[order])
    if len(names) < 2:
        raise ValueError("two different answers are needed")
    place = {str(name): i for i, name in enumerate(names)}
    kept = train.of([i for i, a in enumerate(train.answers) if a in place])
    truth = np.array([place[answer] for answer in kept.answers])
    inputs = _Inputs(kept, rank, blind)
    fits = fit_softmax_path(inputs(kept), truth, len(names), strengths)
    seen = inputs(validation)
    tried = [[str(a) for a in names[fit.logits(seen).argmax(1)]] for fit in fits]
    right = [
        np.mean([a == b for a, b in zip(each, validation.answers, strict=True)])
        for each in tried
    ]
    # Of equal ones the first: the strongest regularisation.
    best = int(np.argmax(right))
    found = names[fits[best].logits(inputs(test)).argmax(1)]
    return Answers(
        tried[best],
        [str(answer) for answer in found],
        float(strengths[best]),
        len(names),
        fits[best].converged,
    )


class _Inputs:
    """What the softmax is given: questions, images, and their products."""

    def __init__(self, train: Parts, rank: int, blind: bool) -> None:
        self.blind = blind
        # Questions of a few hundred words: all that matters is in 4 times the rank.
        self._questions = _Components(train.questions, 4 * rank)
        self._images = _Components(train.images, rank)
        self.rank = rank

    def __call__(self, parts: Parts) -> Array:
        q = self._questions(parts.questions)
        if self.blind:
            return q
        f = self._images(parts.images)
        both = f[:, :, None] * q[:, None, : self.rank]
        return np.concatenate([q, f, both.reshape(len(q), -1)], 1)


class _Components:
    """Leading principal components, scaled together so that rows have a length of 1."""

    def __init__(self, values: Array, most: int) -> None:
        from sklearn.decomposition import PCA

        length = float(np.sqrt(values.var(0).sum()))
        # What never changes, such as the features of a constant, says nothing.
        self._scale = 1 / length if length > 1e-12 else 0.0
        self._axes = PCA(min(most, *values.shape), random_state=0)
        if self._scale:
            self._axes.fit(values)

    def __call__(self, values: Array) -> Array:
        if not self._scale:
            return np.zeros((len(values), 1))
        return np.asarray(self._axes.transform(values) * self._scale)
