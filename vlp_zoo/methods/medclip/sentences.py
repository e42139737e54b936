"""MedCLIP's sentences: which of a report are read, what they say, how they are varied."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from vlp_zoo.reports.annotate import label_vector
from vlp_zoo.reports.sections import split_sentences
from vlp_zoo.reports.words.lexicon import CHEXPERT

__all__ = ["CLASSES", "label_row", "released_sentences", "sentences_of", "varied"]

CLASSES = tuple(CHEXPERT)
"""The 14 classes that images and sentences are compared by."""

SIGNS = {1: 1.0, 0: -1.0}
"""A stated presence, a stated absence; doubt and silence are 0."""


def label_row(text: str) -> npt.NDArray[np.float32]:
    """What a text says about each class: 1 present, -1 absent, 0 uncertain or silent.

    Example:
        >>> row = label_row("No pneumothorax. Small effusion.")
        >>> [row[CLASSES.index(name)] for name in ("Pneumothorax", "Edema")]
        [np.float32(-1.0), np.float32(0.0)]
    """
    said = label_vector(text, CLASSES).values()
    return np.array(
        [SIGNS.get(-9 if value is None else value, 0.0) for value in said], np.float32
    )


def sentences_of(text: str, least_words: int = 5) -> list[str]:
    """The sentences of a report that are long enough to say something.

    Example:
        >>> sentences_of("Stable. The lungs are clear and well expanded.")
        ['The lungs are clear and well expanded.']
    """
    return [
        sentence
        for sentence in split_sentences(text)
        if len(re.findall(r"[^\W_]+", sentence)) >= least_words
    ]


def released_sentences(text: str, least_tokens: int = 5) -> list[str]:
    """Sentences by the rule of the released code, which loses letters.

    It splits at numbers with a dot, eating the character behind, and at a dot and a
    blank, and keeps more than four tokens, of letters or of punctuation, in ASCII.

    Example:
        >>> released_sentences(
        ...     "1.Mild edema has got better. No change. 2. Tube at T4. OK"
        ... )
        ['ild edema has got better']
    """
    pieces = [
        piece
        for part in re.split(r"[0-9]+\.+[^0-9]", text.replace("\n", " "))
        for piece in part.split(". ")
    ]
    found = []
    for piece in pieces:
        words = re.findall(r"\w+|[^\w\s]+", piece.replace("\ufffd\ufffd", " ").lower())
        if len(words) < 2:
            continue
        plain = [word.encode("ascii", "ignore").decode() for word in words]
        plain = [word for word in plain if word]
        if len(plain) >= least_tokens:
            found.append(" ".join(plain))
    return found


def varied(text: str, rng: np.random.Generator) -> str:
    """A sentence with two words exchanged, or with a tenth of its words left out.

    Example:
        >>> varied("Small effusion.", np.random.default_rng(2))
        'effusion. Small'
    """
    words = text.split()
    if len(words) < 2:
        return text
    if rng.random() < 0.5:
        a, b = rng.choice(len(words), 2, replace=False)
        words[a], words[b] = words[b], words[a]
        return " ".join(words)
    kept = rng.random(len(words)) >= 0.1
    kept[int(rng.integers(len(words)))] |= not kept.any()
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)
