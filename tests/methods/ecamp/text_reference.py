"""ECAMP's text rules written out position by position, slowly and obviously.

Written from the description of the rules, not from the vectorised code; the tests
compare the two. Everything works on plain lists of one report.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = [
    "assemble_slowly",
    "descriptors_of_tokens",
    "descriptors_of_words",
    "entities_of_words",
    "mask_as_corrected",
    "mask_as_official",
    "templates_official",
    "weigh",
]


def assemble_slowly(report: str, context: str, insert_at: int | None) -> str:
    if insert_at is None:
        text = report
    else:
        pieces = report.split(".")
        text = ""
        for number in range(insert_at):
            text += pieces[number] + "."
        text += context
        for number in range(insert_at, len(pieces)):
            text += pieces[number] + "."
    return text.replace("..", ".")


def descriptors_of_tokens(
    ids: Sequence[int], entities: set[int], period: int
) -> set[int]:
    found = set()
    for position in range(1, len(ids) - 1):
        if ids[position] in entities:
            for before in (position - 1, position - 2):
                if before > 0 and ids[before] != period:
                    found.add(before)
    return found


def templates_official(
    ids: Sequence[int], long: list[int], short: list[int]
) -> set[int]:
    found: set[int] = set()
    start = 0
    while start <= len(ids) - 5:
        for run in (long, short):
            if list(ids[start : start + len(run)]) == run:
                found.update(range(start, start + len(run)))
                start += len(run) - 1
                break
        start += 1
    return found


def mask_as_official(
    tokens: Sequence[str],
    entity: set[int],
    token_noise: Sequence[float],
    entity_noise: Sequence[float],
) -> list[bool]:
    length = len(tokens)
    inner = [p for p in sorted(entity) if 1 <= p <= length - 2]
    hidden = [False] * length
    for position in range(1, length - 1):
        if tokens[position] == "[PAD]":
            break
        if tokens[position].startswith("##"):
            hidden[position] = hidden[position - 1]
        elif inner:
            hidden[position] = token_noise[position] < 0.7 and position not in inner
        else:
            hidden[position] = token_noise[position] < 0.75
    for position in inner:
        hidden[position] = entity_noise[position] < 0.75
    return hidden


def _words(tokens: Sequence[str]) -> list[list[int]]:
    """Positions of each word, padding left out."""
    words: list[list[int]] = []
    for position, token in enumerate(tokens):
        if token == "[PAD]":
            break
        if token.startswith("##"):
            words[-1].append(position)
        else:
            words.append([position])
    return words


def entities_of_words(tokens: Sequence[str], names: Collection[str]) -> set[int]:
    found: set[int] = set()
    for word in _words(tokens)[1:]:
        if "".join(tokens[p].removeprefix("##") for p in word) in names:
            found.update(word)
    return found


def descriptors_of_words(tokens: Sequence[str], entity: set[int]) -> set[int]:
    words = _words(tokens)
    found: set[int] = set()
    for number, word in enumerate(words):
        if word[0] not in entity:
            continue
        for back in (1, 2):
            if number - back < 1:
                break
            before = words[number - back]
            if tokens[before[0]] in {".", "!", "?"}:
                break
            letters = any(c.isalnum() for c in tokens[before[0]])
            if letters and before[0] not in entity:
                found.update(before)
    return found


def mask_as_corrected(
    tokens: Sequence[str],
    entity: set[int],
    descriptors: set[int],
    token_noise: Sequence[float],
    entity_noise: Sequence[float],
) -> list[bool]:
    hidden = [False] * len(tokens)
    for word in _words(tokens)[1:]:
        first = word[0]
        if first in entity:
            state = entity_noise[first] < 0.75
        elif first in descriptors:
            state = True
        else:
            state = token_noise[first] < (0.7 if entity else 0.75)
        for position in word:
            hidden[position] = state
    return hidden


def weigh(
    length: int, real: int, descriptors: set[int], templates: set[int], padding: bool
) -> list[float]:
    total = length if padding else real
    weights = [1.0 if padding or p < real else 0.0 for p in range(length)]
    for position in templates:
        weights[position] = 0.05
    if not templates:
        return weights
    d, m = len(templates), len(descriptors)
    b = len(templates & descriptors)
    if m:
        factor = (0.95 * (d - b) + m) / (m - 0.95 * b)
        for position in descriptors:
            weights[position] *= factor
    else:
        factor = total / (total - 0.95 * d)
        weights = [weight * factor for weight in weights]
    return weights
