"""Replay of recorded ECAMP text runs, for ``vlpzoo parity``.

`replay_text_fixture` takes a folder with ``cases.json`` (reports, contexts, draws) and
``tensors.safetensors`` (ids, masks, masked ids and weights that the authors' code made
of them), runs this package on the same draws, and says how far the results lie apart.
A command shows its rows as a table; a row passes when ``mismatches`` is 0 and
``max_error`` is at most 1e-6.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.methods.ecamp.text import (
    OFFICIAL,
    ReportTransform,
    assemble,
    insertion_points,
    mask_tokens,
    token_weights,
)
from vlp_zoo.parity.comparison import Read, replayed

__all__ = ["TextParity", "replay_text_fixture"]


NOT_REPLAYED = {
    "column": "where the window lies, which the pre-training replay takes as given",
    "row": "as column",
    "period_id": "the transform finds it in the vocabulary; ids agree or not",
    "templates": "the transform makes them with the tokenizer; weights agree or not",
}
"""Entries of a text fixture that the text side has no way to take, and why."""


class TextParity(NamedTuple):
    """One compared quantity.

    Attributes:
        quantity: ``ids``, ``attention_mask``, ``masked_ids``, ``weights``, or
            ``draws``: whether draws were recorded at exactly the places where this
            package would read one, and whether insertion points lie in their range.
        compared: Number of values.
        mismatches: Values that differ; for weights, by more than 1e-6 of the value.
        max_error: Largest difference: 0 or 1 for ids and masks, relative for weights.
    """

    quantity: str
    compared: int
    mismatches: int
    max_error: float


def replay_text_fixture(
    fixture_dir: str | Path, tokenizer: ReportTokenizer
) -> list[TextParity]:
    """Run the recorded cases through the package.

    Args:
        fixture_dir: Folder with ``cases.json`` and ``tensors.safetensors``.
        tokenizer: The authors' published vocabulary.

    Returns:
        One row per quantity, and one that counts the inputs.

    Raises:
        DatasetNotFoundError: If a file of the fixture is missing.
    """
    folder = Path(fixture_dir)
    for name in ("cases.json", "tensors.safetensors"):
        if not (folder / name).is_file():
            raise DatasetNotFoundError(
                f"a text fixture in {folder}", f"no {name}", "give the fixture's folder"
            )
    shared: Read[Any] = Read(
        json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    )
    recorded = Read(load_file(folder / "tensors.safetensors"))
    cases, length = shared["cases"], shared["max_length"]
    transform = ReportTransform(tokenizer, length, OFFICIAL)
    rows = [_replay(case, transform) for case in cases]
    batch = {
        name: torch.from_numpy(np.stack([row[name] for row in rows]))
        for name in rows[0]
    }
    masked = mask_tokens(
        batch["input_ids"],
        batch["attention_mask"],
        batch["entity_mask"],
        batch["descriptor_mask"],
        batch["continuation_mask"],
        token_noise=batch["token_noise"].nan_to_num(2.0),
        entity_noise=batch["entity_noise"].nan_to_num(2.0),
        mask_id=shared["mask_id"],
    )
    weights = token_weights(
        batch["attention_mask"], batch["descriptor_mask"], batch["template_mask"]
    )
    misplaced = sum(
        _misplaced(case, row) for case, row in zip(cases, rows, strict=True)
    )
    constants = [
        tokenizer.mask_id != shared["mask_id"],
        tokenizer.pad_id != shared["pad_id"],
        int(batch["input_ids"][0, 0]) != shared["cls_id"],
        len(cases) != shared["n"],
    ]
    found = [
        TextParity("constants", len(constants), sum(constants), float(any(constants))),
        _compare("type_ids", np.zeros_like(recorded["ids"]), recorded["type_ids"]),
        _compare("ids", batch["input_ids"].numpy(), recorded["ids"]),
        _compare(
            "attention_mask",
            batch["attention_mask"].numpy(),
            recorded["attention_mask"] > 0,
        ),
        _compare("masked_ids", masked.numpy(), recorded["masked_ids"]),
        _compare("weights", weights.numpy(), recorded["weights"]),
        TextParity("draws", length * len(cases), misplaced, float(misplaced > 0)),
    ]
    names = {*recorded, *shared} - {"name", "visibility"}
    inputs = replayed(names, recorded.asked | shared.asked, NOT_REPLAYED)
    row = TextParity(inputs.quantity, int(inputs.official), int(inputs.error), 0.0)
    return [*found, row]


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


def _compare(
    quantity: str, ours: npt.NDArray[Any], theirs: npt.NDArray[Any]
) -> TextParity:
    wide = theirs.astype(np.float64)
    error = np.abs(ours.astype(np.float64) - wide)
    exact = quantity != "weights"
    if not exact:
        # Most weights are small: an absolute tolerance would see no error in them.
        np.divide(error, np.abs(wide), out=error, where=wide != 0)
    largest = float((error > 0).max() if exact else error.max())
    return TextParity(quantity, error.size, int((error > 1e-6).sum()), largest)
