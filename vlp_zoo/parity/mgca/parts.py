"""MGCA's losses alone, on recorded embeddings, and its recorded data pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.vocabulary import word_piece
from vlp_zoo.methods.mgca.losses import clipped_weights, sinkhorn
from vlp_zoo.methods.mgca.mgca import MGCA, Pass
from vlp_zoo.methods.paired.captions import caption_pieces
from vlp_zoo.methods.paired.square import cut_out, fit_square
from vlp_zoo.methods.paired.word_fields import WordTransform
from vlp_zoo.parity.comparison import FLOOR, Comparison, same, tensor
from vlp_zoo.parity.mgca.recording import (
    OFFICIAL,
    TERMS,
    compare_losses,
    temperatures,
)
from vlp_zoo.parity.paired import compare_crops
from vlp_zoo.parity.replay import Recording, count_inputs, under
from vlp_zoo.types import Report

__all__ = ["replay_losses", "replay_pipeline"]

MID = 5e-5
GRADIENT = 1e-4
"""Tolerance of gradients, relative to the largest value."""

CASES: dict[str, dict[str, Any]] = {
    "vit": {},
    "cnn": {},
    "vit_unidirectional": {"bidirectional": False},
    "cnn_local_atten": {"learnt_attention": True},
    "vit_sinkhorn_1_eps_0p1": {"sinkhorn_iterations": 1, "sinkhorn_epsilon": 0.1},
}
"""Recorded case to the options it was made with; a name begins with its tower."""

LEAVES = {
    "img_global_raw": "image",
    "report_global_raw": "report",
    "img_local_raw": "patches",
    "word_local_raw": "words",
}

LEAST_WORDS = 3
"""Words that a report of the released code must have; we leave none out."""

NOT_REPLAYED = {
    "sections": "sections are split by our own rules, vlp_zoo.reports.sections",
    "data_pct_0.5_length": "the released code ignores the share; ours is a share",
}


def _small(recording: Recording, tower: str, dtype: torch.dtype) -> MGCA:
    """MGCA around the smallest networks: only its losses are of use."""
    tensors, meta = recording.tensors("loss_level"), recording.facts("meta")
    number, joint = tensors["in.prototypes"].shape
    module = MGCA(
        image_encoder="micro" if tower == "vit" else "tiny_resnet",
        image_size=32,
        text_width=8,
        text_depth=1,
        text_heads=1,
        text_ffn=8,
        vocab_size=8,
        head_hidden=4,
        joint_width=joint,
        prototypes=number,
        **temperatures(meta),
        learnt_attention=True,
        **OFFICIAL,
    )
    module.configure_model()
    for ours, theirs in (("word", "word_local"), ("patch", "patch_local")):
        layer = getattr(module, f"{ours}_attention")
        layer.load_state_dict(under(tensors, f"in.{theirs}_atten_layer."))
        for name in layer.state_dict():
            tensors[f"in.{theirs}_atten_layer.{name}"]
    return module.to(dtype)


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Losses and gradients on recorded embeddings, without any network."""
    tensors, recorded = recording.tensors("loss_level"), recording.facts("loss_level")
    meta = recording.facts("meta")
    towers = {name: _small(recording, name, dtype) for name in ("vit", "cnn")}
    attention = tensors["in.patch_attn_cls_row"].to(dtype).mean(1)
    everywhere = torch.ones_like(attention, dtype=torch.bool)
    heard = tensors["in.word_attn"].to(dtype)
    for case, changes in CASES.items():
        if case not in recorded:
            continue
        module = towers[case.partition("_")[0]]
        own = {"learnt_attention": False, **changes}
        base = module.options
        module.options = replace(base, **own)
        with torch.no_grad():
            module.prototypes.weight.copy_(tensors["in.prototypes"])
        module.normalise_prototypes()
        raw = {key: tensors[f"in.{key}"].to(dtype).requires_grad_() for key in LEAVES}
        unit = {
            LEAVES[key]: functional.normalize(value, dim=-1)
            for key, value in raw.items()
        }
        vit = module.image_encoder.is_vit
        run = Pass(
            pooled=unit["image"],
            **unit,
            present=~tensors["in.pad_mask"].bool(),
            patch_weights=clipped_weights(
                attention if vit else torch.ones_like(attention), everywhere
            ),
            word_weights=clipped_weights(heard, heard > 0),
        )
        title = f"loss_level.{case}"
        yield from compare_losses(title, module, run, recorded[case])
        weights = {
            "word_weights": run.word_weights,
            "patch_weights": run.patch_weights,
        }
        for name, ours in weights.items():
            if f"{case}.{name}" in tensors:
                yield tensor(f"{title}.{name}", ours, tensors[f"{case}.{name}"], MID)
        terms = module.terms(run)
        leaves = {**raw, "prototypes": module.prototypes.weight}
        for key, value in under(tensors, f"{case}.grad.").items():
            loss, leaf = key.split(".")
            (found,) = torch.autograd.grad(
                terms[TERMS[loss]], leaves[leaf], retain_graph=True
            )
            tolerance = GRADIENT * max(float(value.abs().max()), FLOOR)
            yield tensor(f"{title}.grad.{key}", found, value, tolerance)
        if case == "vit":
            yield from _codes(module, run, recording)
        module.options = base
    sizes = {"B": len(attention), "P": attention.shape[1], "W": heard.shape[1]}
    for name, size in sizes.items():
        yield same(f"loss_level.setting.{name}", size, recorded["sizes"][name])
    scores = tensors["sinkhorn.scores"].to(dtype)
    codes = sinkhorn(
        scores, meta["temperatures"]["sinkhorn_epsilon"], meta["sinkhorn_iterations"]
    )
    # With gathered rows ours are those of one process, in any number of processes.
    for name in ("one_process", "two_processes"):
        expected = tensors[f"sinkhorn.codes_{name}"]
        yield tensor(f"sinkhorn.codes_{name}", codes, expected, MID)
    inputs = ("in.", "sinkhorn.scores")
    cases = {name for name, value in recorded.items() if "losses" in dict_of(value)}
    yield count_inputs(
        {
            "loss_level.": (tensors, lambda name: name.startswith(inputs)),
            "case.": (recorded, lambda name: name in cases),
        },
    )


def dict_of(value: Any) -> Mapping[str, Any]:
    """The value if it has entries, else nothing."""
    return value if isinstance(value, Mapping) else {}


@torch.no_grad()
def _codes(module: MGCA, run: Pass, recording: Recording) -> Iterator[Comparison]:
    tensors, options = recording.tensors("loss_level"), module.options
    weight = module.prototypes.weight
    yield tensor("loss_level.prototypes", weight, tensors["prototypes_after"], MID)
    for name, rows in (("img_code", run.image), ("report_code", run.report)):
        ours = sinkhorn(
            rows @ weight.T, options.sinkhorn_epsilon, options.sinkhorn_iterations
        )
        yield tensor(f"loss_level.{name}", ours, tensors[name], MID)


# Data ---------------------------------------------------------------------------


def replay_pipeline(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Preprocess the recorded images and reports, in their own number types."""
    card, tensors = recording.facts("pipeline"), recording.tensors("pipeline")
    side, crop = card["image_size"], card["crop"]
    middle = (side - crop) // 2
    count = sum(name.startswith("raw.") for name in tensors)
    for index in range(count):
        top, left = card["train_crop_top_left"][index]
        corners = {"valid": (middle, middle), "train": (left, top)}
        yield from compare_crops(tensors, str(index), side, crop, corners)
    if "big.raw" in tensors:
        raw = tensors["big.raw"].numpy()
        square, fitted = fit_square(raw, 256, antialias=True, official=True)
        pixels, _ = cut_out(square, fitted, 16, 16, 224)
        recorded = tensors["big.out_u8"]
        yield tensor("pipeline.big.out_u8", torch.from_numpy(pixels), recorded, 1.0)
    yield from _captions(recording)
    inputs = ("raw.", "big.raw")
    given = {"text", "sections", "data_pct_0.5_length", "order", "order_valid"}
    yield count_inputs(
        {
            "pipeline.": (tensors, lambda name: name.startswith(inputs)),
            "": (card, lambda name: name in given),
        },
        NOT_REPLAYED,
    )


def _captions(recording: Recording) -> Iterator[Comparison]:
    """Sentences, tokens, which reports are kept, and the order by length."""
    card, meta = recording.facts("pipeline"), recording.facts("meta")
    vocabulary = {token: i for i, token in enumerate(meta["vocab"])}
    # A BERT's own: each underscore is a word.
    as_bert = {**word_piece(vocabulary), "pre_tokenizer": {"type": "BertPreTokenizer"}}
    tokenizer = ReportTokenizer(as_bert, origin="the fixture")
    transform = WordTransform(
        tokenizer=tokenizer,
        max_tokens=card["max_words"],
        resize=card["image_size"],
        image_px=card["crop"],
        train=False,
        official=True,
    )
    lengths = []
    for index, text in enumerate(card["text"]):
        report = Report(
            "", impression=text["impression"], findings=text["findings"], headed=True
        )
        sentences = transform.sentences(report)
        title = f"pipeline.{index}"
        enough = sum(len(s.split()) for s in sentences) >= LEAST_WORDS
        kept = text["sentences"] is not None
        yield same(f"{title}.kept", enough, kept)
        if not kept:
            continue
        right = sentences == text["sentences"]
        yield same(f"{title}.sentences ({len(sentences)})", right, True)
        ids, present, _, _ = caption_pieces(tokenizer, sentences, card["max_words"])
        found = torch.from_numpy(ids[present])
        recorded = torch.tensor(text["input_ids"])
        yield tensor(f"{title}.input_ids", found, recorded, 0.0)
        yield same(f"{title}.cap_len", len(found), text["cap_len"])
        if text["in_batch"]:
            lengths.append(len(found))
    # Ties may stand in any order, so the lengths are compared.
    for order in ("order", "order_valid"):
        found = torch.tensor(lengths)[torch.tensor(card[order])]
        recorded = torch.tensor(card["cap_lens"])
        yield tensor(f"pipeline.{order}", found, recorded, 0.0)
