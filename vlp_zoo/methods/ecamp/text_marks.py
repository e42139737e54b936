"""Marks on the tokens of a report: entities, descriptors, stock phrases, pieces.

Marking is table look-up on ids: an entity test is one indexed read of a (V,) table,
and Python only visits the few positions where a longer run of tokens may start.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self, TypedDict

import numpy as np
import numpy.typing as npt

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.ecamp.text_rules import OFFICIAL, TextRules
from vlp_zoo.reports.words.entities import (
    ENTITIES,
    NEVER_MATCHED,
    OFFICIAL_ENTITIES,
    TEMPLATES,
)

__all__ = ["Marks", "TokenTables", "mark_tokens"]

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Runs = Mapping[int, tuple[tuple[int, ...], ...]]

SENTENCE_ENDS = (".", "!", "?")


class Marks(TypedDict):
    """What is known about each of a report's T tokens, padding included."""

    entity_mask: Mask  # (T,)
    descriptor_mask: Mask  # (T,)
    template_mask: Mask  # (T,)
    continuation_mask: Mask  # (T,)


@dataclass(frozen=True, slots=True)
class TokenTables:
    """A vocabulary seen with ECAMP's eyes.

    Attributes:
        rules: What counts as an entity and as a descriptor.
        entity: (V,) bool, True where an entity is, or may begin with, this token.
        entity_runs: First id to the id runs of whole-word entities, longest first;
            empty for single-token rules.
        template: (V,) bool, True where a stock phrase may begin.
        template_runs: First id to the id runs of stock phrases, longest first.
        continuation: (V,) bool, ``##`` pieces.
        wordless: (V,) bool, tokens without a letter or digit, special ones included.
        sentence_end: (V,) bool.
        period_id: Id of ".", -1 where the vocabulary has none.
    """

    rules: TextRules
    entity: Mask
    entity_runs: Runs
    template: Mask
    template_runs: Runs
    continuation: Mask
    wordless: Mask
    sentence_end: Mask
    period_id: int

    @classmethod
    def build(cls, tokenizer: ReportTokenizer, rules: TextRules = OFFICIAL) -> Self:
        """Look every entity and stock phrase up in a vocabulary."""
        templates = _runs(tokenizer, (" ".join(words) for words in TEMPLATES))
        entities: Runs = {}
        if rules.single_tokens:
            found = map(tokenizer.token_id, OFFICIAL_ENTITIES - NEVER_MATCHED)
            first = [index for index in found if index is not None]
            known, all_of_them = len(first), len(OFFICIAL_ENTITIES - NEVER_MATCHED)
            if known < all_of_them:
                warnings.warn(
                    f"{known} of the {all_of_them} entities that the official rules "
                    "look for are single tokens of this vocabulary; the others are "
                    "never found (the authors' tokenizer file has them all: "
                    "--model.tokenizer FILE; or --model.entities words)",
                    stacklevel=2,
                )
        else:
            entities = _runs(tokenizer, ENTITIES)
            first = list(entities)
        ends = [tokenizer.token_id(mark) for mark in SENTENCE_ENDS]
        period = tokenizer.token_id(".")
        return cls(
            rules=rules,
            entity=_table(tokenizer.vocab_size, first),
            entity_runs=entities,
            template=_table(tokenizer.vocab_size, templates),
            template_runs=templates,
            continuation=tokenizer.continuation,
            wordless=_wordless(tokenizer),
            sentence_end=_table(
                tokenizer.vocab_size, (index for index in ends if index is not None)
            ),
            period_id=-1 if period is None else period,
        )


def mark_tokens(ids: Ids, tables: TokenTables) -> Marks:
    """Mark the tokens of one report.

    With single-token rules, entities are sought at positions 1 to T - 2, and the two
    positions before an entity are its descriptors, except [CLS] and a full stop; the
    position beyond a full stop still is one. With whole-word rules all pieces of a
    word share its marks, and descriptors end where the sentence does.

    Args:
        ids: (T,) unmasked ids, [CLS] first, padded.
        tables: From `TokenTables.build`.

    Returns:
        Four (T,) bool arrays.
    """
    continuation = tables.continuation[ids]
    if tables.rules.single_tokens:
        entity = tables.entity[ids]
        entity[0] = entity[-1] = False
        descriptor = _tokens_before(ids, entity, tables.period_id)
    else:
        entity = _whole_words(ids, continuation, tables)
        descriptor = _words_before(ids, entity, continuation, tables)
    return {
        "entity_mask": entity,
        "descriptor_mask": descriptor,
        "template_mask": _templates(ids, tables),
        "continuation_mask": continuation,
    }


def _tokens_before(ids: Ids, entity: Mask, period_id: int) -> Mask:
    before = np.zeros_like(entity)
    before[:-1] |= entity[1:]
    before[:-2] |= entity[2:]
    before &= ids != period_id
    before[0] = False
    return before


def _whole_words(ids: Ids, continuation: Mask, tables: TokenTables) -> Mask:
    found = np.zeros(ids.shape, np.bool_)
    for start in np.flatnonzero(tables.entity[ids]).tolist():
        for run in tables.entity_runs[int(ids[start])]:
            end = start + len(run)
            fits = end == len(ids) or (end < len(ids) and not continuation[end])
            if fits and ids[start:end].tolist() == list(run):
                found[start:end] = True
                break
    return found


def _words_before(
    ids: Ids, entity: Mask, continuation: Mask, tables: TokenTables
) -> Mask:
    starts = np.flatnonzero(~continuation)
    word_entity = entity[starts]
    end = tables.sentence_end[ids[starts]]
    before = np.zeros_like(word_entity)
    before[:-1] |= word_entity[1:]
    before[:-2] |= word_entity[2:] & ~end[1:-1]
    before &= ~tables.wordless[ids[starts]] & ~word_entity
    spread: Mask = before[np.cumsum(~continuation) - 1]
    return spread


def _templates(ids: Ids, tables: TokenTables) -> Mask:
    found = np.zeros(ids.shape, np.bool_)
    last = len(ids)
    if tables.rules.single_tokens:
        # The published scan ends where the longest run would, even for the shorter.
        runs = [run for group in tables.template_runs.values() for run in group]
        last -= max(map(len, runs), default=0)
    free = 0
    for start in np.flatnonzero(tables.template[ids]).tolist():
        if start < free or start > last:
            continue
        for run in tables.template_runs[int(ids[start])]:
            if ids[start : start + len(run)].tolist() == list(run):
                free = start + len(run)
                found[start:free] = True
                break
    return found


def _runs(tokenizer: ReportTokenizer, phrases: Iterable[str]) -> Runs:
    """Phrases as id runs by their first id; unspellable ones are left out."""
    runs: dict[int, list[tuple[int, ...]]] = {}
    for phrase in phrases:
        run = tuple(tokenizer.pieces(phrase))
        if run and tokenizer.unk_id not in run:
            runs.setdefault(run[0], []).append(run)
    return {
        first: tuple(sorted(set(group), key=lambda run: (-len(run), run)))
        for first, group in runs.items()
    }


def _table(size: int, ids: Iterable[int]) -> Mask:
    table = np.zeros(size, np.bool_)
    table[list(ids)] = True
    return table


def _wordless(tokenizer: ReportTokenizer) -> Mask:
    table = np.array([not any(map(str.isalnum, t)) for t in tokenizer.tokens])
    special = [tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    table[special] = True
    return table
