"""Replay of recorded ECAMP text runs, for ``vlpzoo parity``.

A folder has ``cases.json`` (reports, contexts, draws) and ``tensors.safetensors``: ids,
masks, masked ids and weights that the authors' code made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.ecamp.text import (
    OFFICIAL,
    ReportTransform,
    assemble,
    insertion_points,
    select_masked,
    token_weights,
)
from vlp_zoo.parity.comparison import Comparison, same, tensor
from vlp_zoo.parity.replay import Recording, count_inputs

__all__ = ["replay_text"]

NOT_REPLAYED = {
    "column": "where the window lies, which the pre-training replay takes as given",
    "row": "as column",
    "cases.period_id": "the transform finds it in the vocabulary; ids agree or not",
    "cases.templates": "the transform makes them with the tokenizer; weights agree or not",
}
"""Entries of a text fixture that the text side has no way to take, and why."""


def replay_text(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Run the recorded cases through the package: ids, masks, weights, draws.

    ``text.draws`` counts the draws that were recorded where this package reads none, the
    other way round, and insertion points out of their range.

    Args:
        recording: Folder with ``cases.json`` and ``tensors.safetensors``, and the authors'
            published vocabulary; without one ``mimic_wordpiece.json`` beside the folder.
        dtype: Has no influence here: tokens are integers, weights float32.

    Raises:
        DatasetNotFoundError: If a file or an entry is missing.
    """
    file = recording.vocabulary.find(recording.folder.parent / "mimic_wordpiece.json")
    words = ReportTokenizer.from_file(file)
    shared, recorded = recording.facts("cases"), recording.tensors("tensors")
    cases, length = shared["cases"], shared["max_length"]
    transform = ReportTransform(words, length, OFFICIAL)
    rows = [_replay(case, transform) for case in cases]
    batch = {
        name: torch.from_numpy(np.stack([row[name] for row in rows]))
        for name in rows[0]
    }
    hidden = select_masked(
        batch["attention_mask"],
        batch["entity_mask"],
        batch["descriptor_mask"],
        batch["continuation_mask"],
        token_noise=batch["token_noise"].nan_to_num(2.0),
        entity_noise=batch["entity_noise"].nan_to_num(2.0),
    )
    masked = batch["input_ids"].masked_fill(hidden, shared["mask_id"])
    weights = token_weights(
        batch["attention_mask"], batch["descriptor_mask"], batch["template_mask"]
    )
    ids = batch["input_ids"]
    constants = {
        "mask_id": words.mask_id,
        "pad_id": words.pad_id,
        "cls_id": int(ids[0, 0]),
        "n": len(cases),
    }
    for name, ours in constants.items():
        yield same(f"text.{name}", ours, shared[name])
    present = batch["attention_mask"]
    yield tensor("text.type_ids", torch.zeros_like(ids), recorded["type_ids"], 0.0)
    yield tensor("text.ids", ids, recorded["ids"], 0.0)
    yield tensor("text.attention_mask", present, recorded["attention_mask"] > 0, 0.0)
    yield tensor("text.masked_ids", masked, recorded["masked_ids"], 0.0)
    # Most weights are small: an absolute tolerance would see no error in them.
    expected = recorded["weights"].double()
    wanted = (expected != 0).double()
    ratio = weights.double() / expected.where(expected != 0, 1.0)
    yield tensor("text.weights", ratio, wanted, 1e-6)
    misplaced = sum(
        _misplaced(case, row) for case, row in zip(cases, rows, strict=True)
    )
    yield same("text.draws", misplaced, 0)
    yield count_inputs(
        {
            "": recorded,
            "cases.": (shared, lambda name: name not in ("name", "visibility")),
        },
        NOT_REPLAYED,
    )


def _replay(case: dict[str, Any], transform: ReportTransform) -> dict[str, Any]:
    text = assemble(case["report"], case["llm_output"], case["draw_where"])
    fields = transform.encode(text)
    for name, draws in (
        ("token_noise", case["draws_token"]),
        ("entity_noise", case["draws_entity"]),
    ):
        noise = np.full(transform.max_length, np.nan)
        for position, value in draws:
            noise[position] = value
        fields[name] = noise
    return fields


def _misplaced(case: dict[str, Any], row: dict[str, Any]) -> int:
    """Places with a draw where none is read, or the other way round."""
    inner = row["attention_mask"].copy()
    inner[0] = inner[-1] = False
    tokens = inner & ~row["continuation_mask"]
    wrong = tokens != ~np.isnan(row["token_noise"])
    wrong |= (row["entity_mask"] & inner) != ~np.isnan(row["entity_noise"])
    inserted = case["draw_insert"] < OFFICIAL.insert_probability
    where = case["draw_where"]
    in_range = where is None or 0 <= where <= insertion_points(case["report"])
    return int(wrong.sum() + (inserted == (where is None)) + (not in_range))
