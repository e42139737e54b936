"""Slips of the keyboard that a rare report carries; no clinical word is touched."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["TYPOS", "slip"]

TYPOS = {
    "There": "Theer",
    "evidence": "evidnce",
    "identified": "identifed",
    "structures": "strucutres",
    "radiograph": "radiogaph",
    "comparison": "comparsion",
    "within": "wihtin",
    "limits": "limtis",
    "present": "presnet",
    "silhouette": "silouhette",
    "contours": "contuors",
    "significant": "signifcant",
    "interval": "intreval",
    "the": "teh",
}


def slip(text: str, rng: np.random.Generator) -> str:
    """Misspell one word, if a word of the list is there."""
    there = [word for word in TYPOS if re.search(rf"\b{word}\b", text)]
    if not there:
        return text
    word = there[int(rng.integers(len(there)))]
    return re.sub(rf"\b{word}\b", TYPOS[word], text, count=1)
