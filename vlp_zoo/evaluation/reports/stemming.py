"""Porter's stemmer: English words without their endings.

M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980, as published: none
of its later extensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

__all__ = ["porter_stem"]

STEP_2 = {
    "ational": "ate",
    "tional": "tion",
    "enci": "ence",
    "anci": "ance",
    "izer": "ize",
    "abli": "able",
    "alli": "al",
    "entli": "ent",
    "eli": "e",
    "ousli": "ous",
    "ization": "ize",
    "ation": "ate",
    "ator": "ate",
    "alism": "al",
    "iveness": "ive",
    "fulness": "ful",
    "ousness": "ous",
    "aliti": "al",
    "iviti": "ive",
    "biliti": "ble",
}
STEP_3 = {
    "icate": "ic",
    "ative": "",  # codespell:ignore ative
    "alize": "al",
    "iciti": "ic",
    "ical": "ic",
    "ful": "",
    "ness": "",
}
STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment"),
    *("ent", "ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


@lru_cache(maxsize=65536)
def porter_stem(word: str) -> str:
    """The stem of a lower-case word; words of one or two letters stay as they are.

    Example:
        >>> [porter_stem(word) for word in ("effusions", "enlarged", "opacities")]
        ['effus', 'enlarg', 'opac']
    """
    if len(word) <= 2 or not word.isascii() or not word.isalpha():
        return word
    word = _plural(word)
    word = _past(word)
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    for endings in (STEP_2, STEP_3):
        word = _replaced(word, endings)
    word = _step_4(word)
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _short_end(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word


def _plural(word: str) -> str:
    for ending, instead in (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending):
            return word[: -len(ending)] + instead
    return word


def _past(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        if not word.endswith(ending):
            continue
        stem = word[: -len(ending)]
        if not _has_vowel(stem):
            return word
        if stem.endswith(("at", "bl", "iz")):
            return stem + "e"
        if _double_end(stem) and stem[-1] not in "lsz":
            return stem[:-1]
        if _measure(stem) == 1 and _short_end(stem):
            return stem + "e"
        return stem
    return word


def _replaced(word: str, endings: dict[str, str]) -> str:
    ending = _longest(word, endings.__contains__)
    if ending and _measure(word[: -len(ending)]) > 0:
        return word[: -len(ending)] + endings[ending]
    return word


def _step_4(word: str) -> str:
    ending = _longest(word, STEP_4.__contains__)
    stem = word[: -len(ending)] if ending else word
    if not ending or _measure(stem) <= 1:
        return word
    return word if ending == "ion" and not stem.endswith(("s", "t")) else stem


def _longest(word: str, known: Callable[[str], bool]) -> str:
    """The longest known ending that leaves a letter; "" for none."""
    return next((word[i:] for i in range(1, len(word)) if known(word[i:])), "")


def _consonants(word: str) -> list[bool]:
    kinds: list[bool] = []
    for letter in word:
        # y is a vowel after a consonant: "syzygy".
        after_consonant = bool(kinds) and kinds[-1]
        kinds.append(letter not in "aeiou" and not (letter == "y" and after_consonant))
    return kinds


def _measure(stem: str) -> int:
    """How often a consonant follows a vowel."""
    kinds = _consonants(stem)
    return sum(second and not first for first, second in pairwise(kinds))


def _has_vowel(stem: str) -> bool:
    return not all(_consonants(stem))


def _double_end(stem: str) -> bool:
    return len(stem) > 1 and stem[-1] == stem[-2] and _consonants(stem)[-1]


def _short_end(stem: str) -> bool:
    """Consonant, vowel, consonant that is not w, x or y."""
    return _consonants(stem)[-3:] == [True, False, True] and stem[-1] not in "wxy"
