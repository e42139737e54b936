"""Replay of ASG's recorded data pipeline: images, boxes, words, captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.vocabulary import word_piece
from vlp_zoo.methods.paired.captions import caption_pieces
from vlp_zoo.methods.paired.square import Placement, cut_out, fit_square
from vlp_zoo.parity.comparison import Comparison, tensor
from vlp_zoo.parity.replay import Recording, count_inputs
from vlp_zoo.types import Box

__all__ = ["replay_pipeline"]

GREY_LEVEL = 1 / 255 / 0.224
"""One grey level after normalisation: resizing may differ by it between builds."""

BOXES = 1e-4


def replay_pipeline(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Preprocess the recorded images, boxes and sentences, in their own number types."""
    card, tensors = recording.facts("pipeline"), recording.tensors("pipeline")
    side, crop = card["imsize"], card["crop"]
    for index in range(len(card["names"])):
        if f"raw.{index}" not in tensors:
            continue  # a small recording holds some of the images
        raw = tensors[f"raw.{index}"].numpy()
        square, fitted = fit_square(raw, side, antialias=False)
        middle = (side - crop) // 2
        offsets = {"valid": (middle, middle), "train": card["train_crop_xy"][index]}
        for split, (x, y) in offsets.items():
            pixels, placement = cut_out(square, fitted, x, y, crop)
            title = f"pipeline.{split}"
            yield tensor(
                f"{title}.image.{index}",
                _normalised(pixels),
                tensors[f"{split}.image.{index}"],
                1.01 * GREY_LEVEL,
            )
            found, kept = _boxes(tensors[f"region_px.{index}"], placement)
            scaled = torch.tensor(found).reshape(-1, 4) * card["grid"] / crop
            yield from _regions(title, index, scaled, kept, tensors, card["num_region"])
    yield from _captions(recording.facts("meta"), card, tensors)
    if "big.raw" in tensors:
        yield from _real_size(tensors)
    given = ("raw", "region_px", "sent_index", "labels", "big.raw", "big.region_px")
    yield count_inputs(
        {"pipeline.": (tensors, lambda name: name.startswith(given))},
        {"pipeline.labels": "the official pipeline passes them through"},
    )


def _normalised(pixels: np.ndarray[Any, Any]) -> Tensor:
    grey = torch.from_numpy(pixels)[None].expand(3, -1, -1) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    return (grey - mean) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def _boxes(
    boxes: Tensor, placement: Placement
) -> tuple[list[tuple[float, float, float, float]], list[int]]:
    found, kept = [], []
    for row, corners in enumerate(boxes.tolist()):
        if corners[0] < 0:
            break
        x1, y1, x2, y2 = corners
        seen = placement.apply(Box("region", (x1, y1, x2, y2)))
        if seen is not None:
            found.append(seen.xyxy)
            kept.append(row)
    return found, kept


def _regions(
    title: str,
    index: int,
    scaled: Tensor,
    kept: list[int],
    tensors: Mapping[str, Tensor],
    slots: int,
) -> Iterator[Comparison]:
    split = title.partition(".")[2]
    rows = torch.full((slots, 4), -1.0)
    rows[: len(kept)] = scaled
    recorded = tensors[f"{split}.region.{index}"]
    yield tensor(f"{title}.region.{index}", rows, recorded, BOXES)
    words = torch.full_like(tensors[f"{split}.sent_index.{index}"], -1)
    words[: len(kept)] = tensors[f"sent_index.{index}"][kept]
    recorded = tensors[f"{split}.sent_index.{index}"]
    yield tensor(f"{title}.sent_index.{index}", words, recorded, 0.0)
    labels = torch.arange(slots).where(torch.arange(slots) < len(kept), -100)
    recorded = tensors[f"{split}.count_label.{index}"]
    yield tensor(f"{title}.count_label.{index}", labels, recorded, 0.0)


def _captions(
    meta: Mapping[str, Any], card: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    vocabulary = {token: i for i, token in enumerate(meta["vocab"])}
    tokenizer = ReportTokenizer(word_piece(vocabulary), origin="the fixture")
    lengths = []
    for index, name in enumerate(card["names"]):
        sentences = [text for text in card["sentences"][name] if text]
        ids, present, _, _ = caption_pieces(tokenizer, sentences, card["max_words"])
        recorded = tensors[f"caption_ids.{index}"]
        lengths.append(int(present.sum()))
        ours = torch.from_numpy(ids[present])
        yield tensor(f"pipeline.caption_ids.{index}", ours, recorded, 0.0)
    yield tensor(
        "pipeline.caption_lengths",
        torch.tensor(lengths),
        torch.tensor(card["presort_caption_lengths"]),
        0.0,
    )
    order = torch.tensor(lengths).argsort(descending=True, stable=True)
    recorded = torch.tensor(card["collate_first_column_of_regions"])
    yield tensor("pipeline.official_roi_index", order, recorded, 0.0)


def _real_size(tensors: Mapping[str, Tensor]) -> Iterator[Comparison]:
    square, fitted = fit_square(tensors["big.raw"].numpy(), 256, antialias=False)
    pixels, placement = cut_out(square, fitted, 16, 16, 224)
    recorded = tensors["big.valid_uint8"]
    yield tensor("pipeline.big.valid_uint8", torch.from_numpy(pixels), recorded, 1.0)
    found, kept = _boxes(tensors["big.region_px"], placement)
    rows = torch.full_like(tensors["big.region"], -1.0)
    rows[: len(kept)] = torch.tensor(found) * 14 / 224
    yield tensor("pipeline.big.region", rows, tensors["big.region"], BOXES)
    yield tensor(
        "pipeline.big.kept_box_ids",
        torch.tensor(kept),
        tensors["big.kept_box_ids"],
        0.0,
    )
