"""FLAIR with the weights of a recorded run: names, sizes, vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.vocabulary import word_piece
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.methods.flair import FLAIR
from vlp_zoo.methods.text_keys import exact_key
from vlp_zoo.parity.replay import Recording
from vlp_zoo.parity.resnet import resnet_sizes

__all__ = ["class_keys", "flair_name", "official_module"]

PARTS = {
    "vision_model.model.": "image_encoder.timm.",
    "vision_model.projection_head_vision.": "image_head.",
    "text_model.model.": "text_tower.encoder.bert.",
    "text_model.projection_head_text.": "text_head.",
    "logit_scale": "log_scale",
}
"""Beginnings of the official names to ours."""


def flair_name(key: str) -> str | None:
    """Our name of an official tensor; None for what never has a gradient or a use."""
    if ".pooler." in key or key.endswith("position_ids"):
        return None
    for theirs, ours in PARTS.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def class_keys(words: Sequence[str]) -> dict[str, Tensor]:
    """Keys of drawn categories, as a batch has them."""
    keys = torch.tensor([exact_key(word) for word in words])
    return {"report_key": keys, "word_keys": keys[:, None]}


def official_module(recording: Recording, dtype: torch.dtype, **options: Any) -> FLAIR:
    """FLAIR's official variant with the recorded weights, in training mode.

    Args:
        recording: Has ``meta.json`` and ``state_dict.safetensors``.
        dtype: Number type of the parameters.
        **options: Changes to the options.

    Raises:
        EncoderLoadError: If the weights do not fit.
    """
    meta, state = recording.facts("meta"), recording.tensors("state_dict")
    config, bert = meta["config"], meta["bert_config"]
    vocabulary: list[str] = meta["vocab"]
    # A network of stages does not care for the side of its images.
    module = FLAIR(
        variant="official",
        image_encoder="resnet50",
        image_size=64,
        encoder_sizes=resnet_sizes(state, "vision_model.model."),
        text_width=config["dt"],
        text_depth=config["layers"],
        text_heads=config["heads"],
        text_ffn=config["ff"],
        text_dropout=0.0,
        max_tokens=config["maxpos"],
        vocab_size=len(vocabulary),
        joint_width=config["E"],
        descriptions="none",
        **options,
    )
    spec = word_piece({token: index for index, token in enumerate(vocabulary)})
    module.tokenizer = ReportTokenizer(spec, origin="the recording")
    module.vocab_size = module.tokenizer.vocab_size
    module.configure_model()
    longest = meta["tokenizer"]["max_length"]
    module.options = replace(module.options, max_tokens=longest)
    assert bert["hidden_size"] == config["dt"]
    named = {flair_name(key): value for key, value in state.items()}
    ours = {name: value for name, value in named.items() if name is not None}
    check_keys(module.state_dict(), ours, "the recording")
    module.load_state_dict(ours)
    return module.to(dtype).train()
