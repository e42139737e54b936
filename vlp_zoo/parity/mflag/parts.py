"""M-FLAG's losses and its data pipeline alone: recorded inputs in, numbers out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.mflag.losses import alignment, orthogonality
from vlp_zoo.methods.mflag.mflag import HALF, MFLAG, joined
from vlp_zoo.parity.comparison import (
    FLOOR,
    RELATIVE_NORM,
    Comparison,
    relative,
    same,
    tensor,
)
from vlp_zoo.parity.replay import Read, Recording, count_inputs
from vlp_zoo.parity.words import recorded_words

__all__ = ["replay_losses", "replay_pipeline"]

MISSING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND"),
    *("1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"),
}
"""What the recorded reader of tables, pandas 1.2, takes for an empty cell."""


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Both losses with their gradients, from recorded features and projections."""
    expected, tensors = recording.facts("loss_level"), recording.tensors("loss_level")
    for case in expected:
        yield from _case(case, expected[case], tensors, dtype)
    yield count_inputs(
        {
            "loss_level.": tensors,
            "case.": expected,
        },
    )


def _case(
    case: str, wanted: Mapping[str, Any], tensors: Read[Tensor], dtype: torch.dtype
) -> Iterator[Comparison]:
    given = {
        name: tensors[f"{case}.in.{name}"].to(dtype).requires_grad_()
        for name in ("img_emb", "proj_img", "proj_text")
    }
    image, *pair = given.values()
    losses = {
        "orthogonal": orthogonality(image, divide_by=wanted["config_batch"]),
        "align": alignment(*pair),
    }
    for (name, value), precise in zip(losses.items(), wanted["float64"], strict=True):
        title = f"loss_level.{case}.{name}"
        yield relative(title, value, wanted[name])
        yield relative(f"{title}.float64", value, precise)
        found = torch.autograd.grad(value, list(given.values()), allow_unused=True)
        for part, slope in zip(given, found, strict=True):
            if slope is not None:
                key = f"{case}.grad.{name}.{part}"
                # Row by row: where a projection is zero its gradient is huge.
                size = tensors[key].abs().amax(1, keepdim=True).clamp(min=FLOOR)
                ours, theirs = slope / size, tensors[key] / size
                yield tensor(f"loss_level.{key}", ours, theirs, RELATIVE_NORM)


def replay_pipeline(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Rows of a table to texts to tokens, and how training images vary.

    Args:
        recording: Folder with ``pipeline.json``, ``pipeline.safetensors`` and
            ``meta.json``.
        dtype: Has no influence here.

    Raises:
        ConfigError: If an image is varied by a step that is not known here.
    """
    card, tensors = recording.facts("pipeline"), recording.tensors("pipeline")
    meta = recording.facts("meta")
    words = recorded_words(meta["vocab"])
    recorded = iter(
        [pair for pair in zip(card["texts"], card["tokens"], strict=True) if pair[0]]
    )
    for index, row in enumerate(card["rows"]):
        impression, findings = _cell(row["impression"]), _cell(row["findings"])
        findings = "" if findings == "dumb" else findings
        if str(index) in card["errors"]:
            # The released code stops there; here the other section is the text.
            known = impression or findings
            text = joined(impression, findings)
            yield same(f"pipeline.{index}.sections lost", text != known, False)
            continue
        text, tokens = next(recorded, ("none recorded", []))
        found = joined(impression, findings, separator="")
        ids = words.encode(found, meta["config"]["T"], sep=True)
        named = [words.tokens[i] for i in ids]
        yield same(f"pipeline.{index}.other text", found != text, False)
        yield same(f"pipeline.{index}.other tokens", named != tokens, False)
    yield same("pipeline.texts left", len(list(recorded)), 0)
    yield from _views(card, tensors, meta["config"])
    yield count_inputs(
        {
            "raw.": tensors,
            "card.": card,
        },
        {
            "card.missing_impression_with_findings": "it stops there; here the findings are read",
            "card.both_missing": "no text there; here the study counts for nothing",
        },
    )


def _cell(value: str | None) -> str:
    """A cell as the recorded reader of tables sees it; a missing one is empty."""
    return "" if value is None or value in MISSING else value


def _views(
    card: Mapping[str, Any], tensors: Read[Tensor], config: Mapping[str, Any]
) -> Iterator[Comparison]:
    """Parameters of the training views: with another random stream, no pixels agree."""
    options = MFLAG().options
    view, raw = options.variation, tensors["raw.images"]
    ours: dict[str, dict[str, Any]] = {
        "RandomCrop": {"size": [config["crop"]] * 2, "padding": "None"},
        "RandomRotation": {"degrees": options.rotation, "expand": False, "fill": 0},
        "RandomGrayscale": {},  # grey images stay as they are
        "RandomPerspective": {
            "p": view.perspective,
            "distortion_scale": view.distortion,
            "fill": 0,
        },
        "RandomAutocontrast": {"p": view.autocontrast},
        "ToTensor": {},
        "Normalize": {"mean": list(HALF), "std": list(HALF)},
    }
    for step in card["transform_steps"]:
        name = step["op"]
        if name not in ours:
            raise ConfigError(
                f"the recorded transform {name!r}", "no counterpart", "update vlp-zoo"
            )
        for key, value in ours[name].items():
            yield same(f"views.{name}.other {key}", value != step[key], False)
    yield same("views.side", raw.shape[-1], config["size"])
    free = raw.shape[-1] - config["crop"]
    offsets = torch.tensor(card["crop_offsets_top_left_in_call_order"])
    outside = int(((offsets < 0) | (offsets > free)).sum())
    yield same("views.crops outside of the image", outside, 0)
