"""Recorded runs of the official GLoRIA code: names, module with their weights, batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.encoders.vocabulary import word_piece
from vlp_zoo.encoders.weight_files import check_keys, renamed, renamed_state
from vlp_zoo.methods.gloria.gloria import GLoRIA, Pass
from vlp_zoo.methods.gloria.losses import Scales
from vlp_zoo.methods.gloria.options import GLoRIAOptions
from vlp_zoo.methods.gloria.transform import GLoRIATransform
from vlp_zoo.methods.paired.words import Pieces, word_slots
from vlp_zoo.parity.replay import Recording
from vlp_zoo.parity.words import continuations

__all__ = [
    "PARTS",
    "Inputs",
    "gloria_name",
    "gloria_state",
    "named_losses",
    "official_module",
    "official_transform",
]

NAMES = (
    ("text_encoder.model.pooler.", ""),
    ("text_encoder.model.embeddings.position_ids", ""),
    ("text_encoder.model.", "text_encoder.bert."),
    ("img_encoder.global_embedder.", "image_head."),
    ("img_encoder.local_embedder.", "place_head."),
    ("img_encoder.model.", "image_encoder.timm."),
)
"""Official prefix to ours; "" leaves the key out: the pooler is never used."""

PARTS = {
    "local_image_rows": ("local", 0),
    "local_text_rows": ("local", 1),
    "global_image_rows": ("global", 0),
    "global_text_rows": ("global", 1),
}
"""Their names of the cross-entropies to our term and its direction."""


def gloria_name(key: str) -> str | None:
    """Our name for a key of the official model; None = left out.

    Example:
        >>> gloria_name("img_encoder.global_embedder.bias")
        'image_head.bias'
    """
    return renamed(key, NAMES)


def gloria_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole official state under the names of our GLoRIA.

    Args:
        state: Without the prefix ``gloria.`` of Lightning's checkpoints.
    """
    ours = renamed_state(state, NAMES)
    # A 1x1 convolution there.
    ours["place_head.weight"] = ours["place_head.weight"].flatten(1)
    return {
        name: value.reshape(()) if name.endswith("num_batches_tracked") else value
        for name, value in ours.items()
    }


def official_options(recording: Recording) -> dict[str, Any]:
    """Options of the released code, with the sizes of a recording."""
    meta = recording.facts("meta")
    config, bert = meta["config"], meta["bert_config"]
    scales, weights = Scales(*config["temps"]), config["weights"]
    return {
        "image_encoder": "resnet50",
        # Lists, which the option's type does not allow for; timm takes them.
        "encoder_sizes": {"layers": config["blocks"], "channels": config["planes"]},
        "image_size": meta["tower"]["upsample"],
        "crop_size": config["crop"],
        "text_width": config["E"],
        "text_depth": config["layers"],
        "text_heads": config["heads"],
        "text_ffn": config["ff"],
        "text_dropout": bert["hidden_dropout_prob"],
        "text_positions": bert["max_position_embeddings"],
        "max_tokens": config["T"],
        "caption": "report" if config["full_report"] else "sentence",
        "sentences": "official",
        "count_unknown": False,
        "attention_scale": scales.attention,
        "word_scale": scales.words,
        "loss_scale": scales.loss,
        "local_weight": weights[0],
        "global_weight": weights[1],
        "negatives": "local",
        "sync_bn": False,
        "schedule": "constant",
        "learning_rate": config["lr"],
    }


def official_transform(recording: Recording, **changes: Any) -> GLoRIATransform:
    """What the workers run, by the released options and the recorded vocabulary."""
    vocabulary = {token: i for i, token in enumerate(recording.facts("meta")["vocab"])}
    tokenizer = ReportTokenizer(word_piece(vocabulary), origin="the fixture")
    options = GLoRIAOptions(**{**official_options(recording), **changes})
    return GLoRIATransform(tokenizer, options, train=True)


def official_module(recording: Recording, dtype: torch.dtype) -> GLoRIA:
    """GLoRIA as released, with official weights, in training mode.

    Raises:
        EncoderLoadError: If the weights do not fit.
    """
    module = GLoRIA(**official_options(recording))
    module.tokenizer = official_transform(recording).tokenizer
    module.vocab_size = module.tokenizer.vocab_size
    module.configure_model()
    ours = gloria_state(recording.tensors("state_dict"))
    check_keys(module.state_dict(), ours, "the fixture")
    module.load_state_dict(ours)
    # On CPUs batch norm adds up channels-last maps one by one, which costs two digits.
    module.image_encoder.timm.to(memory_format=torch.contiguous_format)
    return module.to(dtype).train()


class Inputs(NamedTuple):
    """The recorded batch."""

    images: Tensor  # (B, 3, S, S) normalised
    ids: Tensor  # (B, T)
    mask: Tensor  # (B, T) bool
    continues: Tensor  # (B, T) bool
    counts: Tensor  # (B,)

    @classmethod
    def of(cls, recording: Recording, dtype: torch.dtype) -> Inputs:
        """Read them."""
        tensors = recording.tensors("inputs")
        ids = tensors["batch.caption_ids"]
        counts = recording.facts("expected")["train_reference"]["cap_lens"]
        return cls(
            tensors["batch.imgs"].to(dtype),
            ids,
            tensors["batch.attention_mask"].bool(),
            continuations(recording.facts("meta")["vocab"], ids),
            torch.tensor(counts),
        )

    def by_pieces(self, unknown: int) -> Inputs:
        """The same where pieces are words; unknown ones still cut the caption."""
        known = self.mask & (self.ids != unknown)
        return self._replace(counts=known.sum(1) - 1)

    def run(self, module: GLoRIA, *, merge: bool = True) -> Pass:
        """A forward pass; without ``merge`` every position is a word, padding too."""
        if merge:
            texts = module.read(Pieces(self.ids, self.mask, self.continues))
        else:
            pieces = module.encode_pieces(self.ids, self.mask, self.ids.shape[1])
            slots = word_slots(torch.zeros_like(self.mask), torch.ones_like(self.mask))
            texts = module.encode_words(pieces, slots)
        return Pass(*module.encode_images(self.images), *texts)


def named_losses(module: GLoRIA, run: Pass, counts: Tensor) -> dict[str, Tensor]:
    """The four cross-entropies under recorded names, and the weighted total."""
    terms = module.terms(run, counts, counts)
    losses = {name: terms[term][way] for name, (term, way) in PARTS.items()}
    options = module.options
    local = options.local_weight * (
        losses["local_image_rows"] + losses["local_text_rows"]
    )
    whole = losses["global_image_rows"] + losses["global_text_rows"]
    return {**losses, "total": local + options.global_weight * whole}
