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
from vlp_zoo.methods.ecamp_text import (
    OFFICIAL,
    ReportTransform,
    assemble,
    insertion_points,
    mask_tokens,
    token_weights,
)

__all__ = ["TextParity", "replay_text_fixture"]


class TextParity(NamedTuple):
    """One compared quantity.

    Attributes:
        quantity: ``ids``, ``attention_mask``, ``masked_ids``, ``weights``, or
            ``draws``: whether draws were recorded at exactly the places where this
            package would read one, and whether insertion points lie in their range.
        compared: Number of values.
        mismatches: Values that differ; for weights, by more than 1e-6.
        max_error: Largest absolute difference; 0 or 1 for ids and masks.
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
        One row per quantity.

    Raises:
        DatasetNotFoundError: If a file of the fixture is missing.
    """
    folder = Path(fixture_dir)
    for name in ("cases.json", "tensors.safetensors"):
        if not (folder / name).is_file():
            raise DatasetNotFoundError(
                f"a text fixture in {folder}", f"no {name}", "give the fixture's folder"
            )
    shared = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    recorded = load_file(folder / "tensors.safetensors")
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
        mask_id=tokenizer.mask_id,
    )
    weights = token_weights(
        batch["attention_mask"], batch["descriptor_mask"], batch["template_mask"]
    )
    misplaced = sum(
        _misplaced(case, row) for case, row in zip(cases, rows, strict=True)
    )
    return [
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
    error = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    exact = quantity != "weights"
    largest = float((error > 0).max() if exact else error.max())
    return TextParity(quantity, error.size, int((error > 1e-6).sum()), largest)
