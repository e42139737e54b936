"""ECAMP's losses and super-resolution alone: recorded intermediates in, numbers out.

A small recording holds what its losses are made of instead of the whole model: the
predicted and the true pixels of hidden patches, the last layer of the text model, and
the weights behind them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.published.official import ecamp_name, ecamp_state
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.methods.ecamp.ecamp import ECAMP
from vlp_zoo.methods.ecamp.networks import Pass
from vlp_zoo.modules import PatchMask, mask_patches
from vlp_zoo.parity.comparison import (
    ABSOLUTE_MID,
    RELATIVE_NORM,
    Comparison,
    gradients_of,
    magnitude,
    relative,
    tensor,
    worst_norm,
)
from vlp_zoo.parity.replay import Read, Recording, count_inputs, under

__all__ = ["by_our_name", "full_gradients", "official_module", "replay_modules"]


def official_module(
    meta: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype
) -> ECAMP:
    """``ECAMP(variant="official")`` with official weights, in eval mode.

    Args:
        meta: ``vision`` and ``text`` sizes as the fixtures have them.
        state: Tensors under official names.
        dtype: Number type of the parameters.

    Raises:
        EncoderLoadError: If the weights do not fit.
    """
    module = _built(meta)
    _load(module, ecamp_state(state))
    return module.to(dtype).eval()


def _built(meta: Mapping[str, Any]) -> ECAMP:
    vision, text = meta["vision"], meta["text"]
    module = ECAMP(
        variant="official",
        image_size=vision["img_size"],
        encoder_sizes={
            key: vision[key]
            for key in ("patch_size", "embed_dim", "depth", "num_heads")
        },
        mask_ratio=meta["mask_ratio"],
        window_source="batch",
        decoder_width=vision["decoder_embed_dim"],
        decoder_depth=vision["decoder_depth"],
        decoder_heads=vision["decoder_num_heads"],
        text_width=text["hidden_size"],
        text_depth=text["num_hidden_layers"],
        text_heads=text["num_attention_heads"],
        text_ffn=text["intermediate_size"],
        max_tokens=text["max_position_embeddings"],
        vocab_size=text["vocab_size"],
    )
    module.configure_model()
    return module


def _load(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    check_keys(module.state_dict(), state, "the fixture")
    module.load_state_dict(state)


def replay_modules(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Replay the losses of image and text, and the super-resolved image.

    Image and text may come from two recorded runs: no number here needs both.

    Args:
        recording: Folder with ``parts.json`` and ``parts.safetensors``.
        dtype: Arithmetic of the replay.
    """
    meta, tensors = recording.facts("parts"), recording.tensors("parts")
    module = _built(meta)
    ours = ecamp_state(under(tensors, "state."))
    _load(module.mlm_head, under(ours, "mlm_head."))
    _load(module.super_resolution, under(ours, "super_resolution."))
    module.to(dtype).eval()
    yield from _image(module, meta, tensors, dtype)
    yield from _text(module, meta, tensors, dtype)
    yield count_inputs(
        {
            "": (tensors, lambda name: name.startswith("in.")),
            "meta.": (meta, lambda name: name != "sources"),
        },
    )


def _image(
    module: ECAMP, meta: Read[Any], tensors: Read[Tensor], dtype: torch.dtype
) -> Iterator[Comparison]:
    """The masked pixels of all images, and the whole of the first one doubled."""
    mask = mask_patches(tensors["in.mask_noise"], module.options.mask_ratio)
    yield tensor("mid.mask", mask.hidden, tensors["mid.mask"], 0.0)
    first = torch.zeros_like(mask.hidden).index_fill(0, torch.tensor(0), True)
    predicted = _placed(tensors["mid.decoder_pred"], mask.hidden | first, dtype)
    predicted.requires_grad_()
    true = _placed(tensors["mid.image_low.patches"], mask.hidden, dtype)
    nothing = torch.zeros(0, dtype=dtype)
    low = module.decoder.image(true)
    loss = module.image_loss(Pass(low, mask, nothing, predicted, nothing, nothing))
    yield relative("loss.mim", loss, meta["losses"]["mim"])
    (slope,) = torch.autograd.grad(loss, predicted)
    # The last layer adds its bias to every patch but the class token's.
    norms = meta["grad_norms_by_loss"]["mim"]
    bias = {"decoder_pred.bias": slope.sum((0, 1))}
    yield worst_norm("grad_norm.mim", bias, norms, RELATIVE_NORM)
    with torch.no_grad():
        image = module.decoder.image(predicted[:1])
        corner = torch.arange(tensors["mid.super_res_out"].shape[-1])[None]
        sharp = module.super_resolution(image, corner, corner)[0]
    yield tensor("mid.super_res_out", sharp, tensors["mid.super_res_out"], ABSOLUTE_MID)


def _placed(rows: Tensor, where: Tensor, dtype: torch.dtype) -> Tensor:
    """Patches (N, p*p*3) at the N true places of (B, P), zeros elsewhere."""
    patches = torch.zeros(*where.shape, rows.shape[1], dtype=dtype)
    patches[where] = rows.to(dtype)
    return patches


def _text(
    module: ECAMP, meta: Read[Any], tensors: Read[Tensor], dtype: torch.dtype
) -> Iterator[Comparison]:
    """The weighted cross-entropy of all tokens, from the last layer of the text model."""
    hidden = tensors["mid.text_last_hidden"].to(dtype)
    nothing = torch.zeros(0, dtype=dtype)
    nowhere = PatchMask(*(nothing for _ in PatchMask._fields))
    loss = module.text_loss(
        Pass(nothing, nowhere, nothing, nothing, nothing, hidden),
        tensors["in.labels"].long(),
        tensors["in.attention_mask"].bool(),
        tensors["in.weights"].to(dtype),
    )
    yield relative("loss.mlm", loss, meta["losses"]["mlm"])
    recorded = by_our_name(meta["grad_norms_by_loss"]["mlm"])
    gradients = gradients_of(module, loss)
    known = {name: g for name, g in gradients.items() if name in recorded}
    yield worst_norm("grad_norm.mlm", known, recorded, RELATIVE_NORM)
    yield from full_gradients(gradients, tensors)


def full_gradients(
    gradients: Mapping[str, Tensor | None], tensors: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    """Compare those parameters whose whole gradient was recorded, as ``grad.NAME``."""
    for key, expected in under(tensors, "grad.").items():
        ours = gradients[ecamp_name(key) or ""]
        tolerance = RELATIVE_NORM * magnitude(expected)
        yield tensor(f"grad.{key}", ours, expected, tolerance)


def by_our_name(official: Mapping[str, float | None]) -> dict[str, float | None]:
    """Numbers per parameter under our names."""
    return {ecamp_name(key) or "": value for key, value in official.items()}
