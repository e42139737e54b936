"""Replay of GLoRIA's recorded data pipeline: sentences, captions, images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from vlp_zoo.methods.gloria.transform import caption_sentences
from vlp_zoo.methods.paired.square import cut_out, fit_square
from vlp_zoo.parity.comparison import Comparison, same, tensor
from vlp_zoo.parity.gloria.recording import official_transform
from vlp_zoo.parity.paired import GREY_LEVEL, compare_crops
from vlp_zoo.parity.replay import Recording, count_inputs

__all__ = ["replay_pipeline", "word_labels"]

REAL = (256, 224)
"""Sides of square and crop of the image at real size."""


def word_labels(vocabulary: Sequence[str], ids: Tensor) -> list[list[str]]:
    """What the words of token ids (B, T) are called; [PAD] fills up to T."""
    found = []
    for row in ids.tolist():
        words: list[str] = []
        for token in (vocabulary[index] for index in row if index):
            if token.startswith("##"):
                words[-1] += token.removeprefix("##")
            else:
                words.append(token)
        found.append(words + ["[PAD]"] * (len(row) - len(words)))
    return found


def replay_pipeline(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Read the recorded reports and images, in their own number types."""
    facts, tensors = recording.facts("pipeline"), recording.tensors("pipeline")
    for name, entry in facts["reports"].items():
        yield _sentences(f"pipeline.{name}", entry["text"], entry["sentences"])
    yield from _captions(recording)
    config = recording.facts("meta")["config"]
    side, size = config["imsize"], config["crop"]
    # As the released code rounds where the margin is odd.
    middle = round((side - size) / 2)
    for index, (top, left) in enumerate(facts["train_crops_top_left"]):
        # A small recording holds some of the images.
        if f"raw.{index}" in tensors:
            corners = {"train": (left, top), "valid": (middle, middle)}
            yield from compare_crops(tensors, str(index), side, size, corners)
    if "big.raw" in tensors:
        yield from _real_size(tensors)
    given = ("raw.", "big.raw")
    texts = ("reports", "batch_reports", "train_draws", "train_crops_top_left")
    yield count_inputs(
        {
            "pipeline.": (tensors, lambda name: name.startswith(given)),
            "pipeline.json.": (facts, lambda name: name in texts),
        },
    )


def _sentences(title: str, text: str, recorded: list[str] | None) -> Comparison:
    """Whether we cut a text into the same sentences; None = a study left out."""
    ours = caption_sentences(text, official=True)
    return same(title, float(ours == (recorded or [])), 1.0)


def _captions(recording: Recording) -> Iterator[Comparison]:
    """Token ids of the batch and of both kinds of captions, by the recorded draws."""
    facts, expected = recording.facts("pipeline"), recording.facts("expected")
    transform = official_transform(recording)
    reports = facts["batch_reports"]
    draws = facts["train_draws"] or [None] * len(reports)
    again = facts["captions_sentence_draws"]
    rows, counts = [], []
    for index, (report, draw, other) in enumerate(
        zip(reports, draws, again, strict=True)
    ):
        yield _sentences(f"pipeline.batch{index}", report["text"], report["sentences"])
        found = caption_sentences(report["text"], official=True)
        for name, number in (("batch", draw), ("sentence", other), ("report", None)):
            if number is not None:
                title = f"pipeline.{name}.{index}.sentences"
                yield same(title, len(found), number[0])
            chosen = found if number is None else [found[number[1]]]
            fields = transform.tokens(chosen)
            ids = torch.from_numpy(fields["input_ids"])
            if name == "batch":
                rows.append(ids)
                counts.append(int(fields["word_count"]))
                continue
            kind = "captions_sentence" if number else "captions_full_report"
            entry = facts[kind][index]
            title = f"pipeline.{kind}.{index}"
            yield tensor(title, ids, torch.tensor(entry["ids"]), 0.0)
            length = int(fields["attention_mask"].sum())
            yield same(f"{title}.cap_len", length, entry["cap_len"])
    order, lengths = facts["order"], facts["cap_len_before_sort"]
    ids = torch.stack(rows)
    batch = recording.tensors("inputs")["batch.caption_ids"]
    yield tensor("pipeline.batch.ids", ids[order], batch, 0.0)
    used = (ids != 0).sum(1)
    yield tensor("pipeline.cap_len", used, torch.tensor(lengths), 0.0)
    sizes = torch.tensor(expected["train_reference"]["cap_lens"])
    yield tensor("pipeline.word_count", torch.tensor(counts)[order], sizes, 0.0)


def _real_size(tensors: Mapping[str, Tensor]) -> Iterator[Comparison]:
    side, size = REAL
    square, fitted = fit_square(tensors["big.raw"].numpy(), side, True, official=True)
    padded, middle = tensors["big.padded"], (side - size) // 2
    yield tensor("pipeline.big.padded", torch.from_numpy(square), padded, GREY_LEVEL)
    pixels, _ = cut_out(square, fitted, middle, middle, size)
    recorded = tensors["big.valid.image"]
    yield tensor("pipeline.big.valid", torch.from_numpy(pixels), recorded, GREY_LEVEL)
