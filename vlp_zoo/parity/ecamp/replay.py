"""Replay of recorded runs of the official ECAMP code, for ``vlpzoo parity ecamp``.

A fixture holds official weights, inputs, mask noise, intermediates, losses, gradients
and three optimiser steps. `replay_fixture` loads the weights through the converter
that also reads released checkpoints, runs ``ECAMP(variant="official")`` on the same
inputs and compares quantity by quantity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.methods.base import parameter_groups
from vlp_zoo.methods.ecamp.ecamp import ECAMP
from vlp_zoo.methods.ecamp.networks import Pass
from vlp_zoo.parity.comparison import (
    ABSOLUTE_MID,
    RELATIVE_NORM,
    RELATIVE_TRAJECTORY,
    Comparison,
    gradients_of,
    relative,
    same,
    worst_norm,
)
from vlp_zoo.parity.ecamp.parts import (
    by_our_name,
    full_gradients,
    official_module,
    replay_modules,
)
from vlp_zoo.parity.ecamp.text import replay_text
from vlp_zoo.parity.masked import (
    compare_positions,
    decay_groups,
    outputs_of,
    recorded_images,
    segments,
    word_scores,
)
from vlp_zoo.parity.replay import (
    Read,
    Recording,
    Replay,
    count_inputs,
    intermediates,
    take_step,
    under,
)

__all__ = ["replay_fixture"]

LOSSES = ("mim", "res", "mlm")
DESCRIPTION = {
    *("name", "seed", "visibility", "environment", "tensor_index"),
    *("image_stored_as", "resize", "dropout", "big_intermediates"),
}
"""Entries of ``meta.json`` that are for readers, or beside a thinned tensor."""


class _Replay(NamedTuple):
    module: ECAMP
    meta: Read[Any]
    tensors: Read[Tensor]
    images: Tensor  # (B, 3, 2S, 2S) normalised
    dtype: torch.dtype

    def ids(self, name: str) -> Tensor:
        return self.tensors[f"in.{name}"].long()

    def run(self) -> Pass:
        noise = self.tensors["in.mask_noise"].to(self.dtype)
        present = self.ids("attention_mask").bool()
        with segments(self.module.text_encoder, self.ids("type_ids")):
            return self.module.run(self.images, self.ids("ids"), present, noise)

    @property
    def cells(self) -> int:
        """Side of the super-resolution window in patches."""
        return int(self.meta["super_window_patches"])

    def losses(self, run: Pass) -> dict[str, Tensor]:
        module = self.module
        origin = torch.stack([self.ids("column"), self.ids("row")], dim=1)
        present = self.ids("attention_mask").bool()
        window = module.window(run, present, origin)
        weights = self.tensors["in.weights"].to(self.dtype)
        return {
            "mim": module.image_loss(run),
            "res": module.super_resolution_loss(run, self.images, window, self.cells),
            "mlm": module.text_loss(run, self.ids("labels"), present, weights),
        }


def _replay_training(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    meta, tensors = recording.facts("meta"), recording.tensors("tensors")
    state = under(tensors, "state.")
    module = official_module(meta, state, dtype)
    look = "image_mean", "image_std"
    images = recorded_images(tensors, "in.image", meta, look, dtype)
    replay = _Replay(module, meta, tensors, images, dtype)
    yield from _positions(module, state)
    with outputs_of(_parts(module)) as seen:
        run = replay.run()
    losses = replay.losses(run)
    for name in LOSSES:
        yield relative(f"loss.{name}", losses[name], meta["losses"][name])
    total = torch.stack(list(losses.values())).sum()
    yield relative("loss.total", total, meta["losses"]["total"])
    yield from _intermediates(replay, run, seen)
    for name in LOSSES:
        gradients = gradients_of(module, losses[name])
        norms = by_our_name(meta["grad_norms_by_loss"][name])
        yield worst_norm(f"grad_norm.{name}", gradients, norms, RELATIVE_NORM)
    gradients = gradients_of(module, total)
    norms = by_our_name(meta["grad_norms"])
    yield worst_norm("grad_norm.total", gradients, norms, RELATIVE_NORM)
    yield from full_gradients(gradients, tensors)
    yield decay_groups(module, meta["optimizer"]["groups"], "params")
    yield from _trajectory(replay)
    yield from _settings(replay, run)
    # Applied before the image was stored, where that is not in bytes.
    described = DESCRIPTION | (set(look) if "in.image" in tensors else set())
    yield count_inputs(
        {
            "": (tensors, lambda name: name.startswith("in.")),
            "meta.": (meta, lambda name: name not in described),
        },
    )


def _settings(replay: _Replay, run: Pass) -> Iterator[Comparison]:
    """Sizes and constants that follow from ours, against the recorded ones."""
    meta, module = replay.meta, replay.module
    vit: Any = module.image_encoder.timm
    norm: Any = module.text_encoder.bert.embeddings.LayerNorm
    found = {
        "batch_size": (len(replay.images), meta["batch_size"]),
        "len_keep": (run.mask.keep_ids.shape[1], meta["len_keep"]),
        "layer_norm_eps.vision": (vit.norm.eps, meta["layer_norm_eps"]["vision"]),
        "layer_norm_eps.text": (norm.eps, meta["layer_norm_eps"]["text"]),
        "text.seq_len": (replay.ids("ids").shape[1], meta["text"]["seq_len"]),
    }
    for name, (ours, recorded) in found.items():
        yield same(f"setting.{name}", ours, recorded)


def _positions(module: ECAMP, state: Mapping[str, Tensor]) -> Iterator[Comparison]:
    """The tables that our constructor makes against the file's."""
    fresh = ECAMP(
        variant="official",
        image_size=module.options.image_size,
        encoder_sizes=module.options.encoder_sizes,
        decoder_width=module.options.decoder_width,
        decoder_depth=1,
        decoder_heads=1,
        text_width=4,
        text_depth=1,
        text_heads=1,
        text_ffn=4,
        vocab_size=64,
    )
    fresh.configure_model()
    yield from compare_positions(fresh, state)


def _parts(module: ECAMP) -> dict[str, nn.Module]:
    """Sub-modules whose outputs were recorded, under the fixture's names."""
    vit: Any = module.image_encoder.timm
    return {
        **{f"block{i}": block for i, block in enumerate(vit.blocks)},
        "encoder_out": vit.norm,
        "decoder_embed": module.decoder.embed,
        "bert_mlp_out": module.image_to_text,
        "text_embeddings": module.text_encoder.bert.embeddings,
        "fusion_self_attn": module.fusion.self_output,
        "fusion_gap": module.fusion.coarse,
        "fusion_out_layer": module.fusion.cross_output,
        "fusion_out": module.fusion.ffn_output,
    }


@torch.no_grad()
def _intermediates(
    replay: _Replay, run: Pass, seen: dict[str, Tensor]
) -> Iterator[Comparison]:
    module, encoder = replay.module, replay.module.image_encoder
    vit: Any = encoder.timm
    low = run.low.expand(-1, 3, -1, -1)
    whole = torch.arange(2 * encoder.image_size).expand(len(low), -1)
    hidden = run.mask.hidden.view(-1, 1, *encoder.grid).to(replay.dtype)
    hidden_px = functional.interpolate(hidden, scale_factor=float(encoder.patch_size))
    fusion = module.fusion
    fine = fusion.cross_attention(seen["fusion_self_attn"], seen["bert_mlp_out"])
    # The official code projects the class token as well and drops it afterwards.
    patches = functional.linear(
        run.latent, module.image_to_text.weight, module.image_to_text.bias
    )
    found = {
        **seen,
        "bert_mlp_out": patches,
        "image_low": low,
        "patch_embed": vit.patch_embed(low),
        "mask": run.mask.hidden,
        "ids_restore": run.mask.restore_ids,
        "ids_keep": run.mask.keep_ids,
        "decoder_pred": run.pixels,
        "pixel_mask": hidden_px,
        "super_pixel_mask": _window_pixels(replay, run),
        "super_res_out": module.super_resolution(
            module.decoder.image(run.pixels), whole, whole
        ),
        "fusion_cross_attn": fine,
        "text_last_hidden": run.text,
        **word_scores(module.mlm_head, run.text, replay.ids("labels")),
    }
    recorded = under(replay.tensors, "mid.")
    thinned = under(replay.meta.get("big_intermediates", {}), "mid.")
    yield from intermediates(recorded, found, ABSOLUTE_MID, thinned)


def _window_pixels(replay: _Replay, run: Pass) -> Tensor:
    """1 inside the super-resolution window, (B, 1, 2S, 2S)."""
    encoder = replay.module.image_encoder
    origin = torch.stack([replay.ids("column"), replay.ids("row")], dim=1)
    window = replay.module.window(run, replay.ids("attention_mask"), origin)
    step, cells = 2 * encoder.patch_size, replay.cells
    place = torch.arange(2 * encoder.image_size) // step
    first = window[:, :, None]
    rows, columns = ((place >= first) & (place < first + cells)).unbind(1)
    return (rows[:, None, :, None] & columns[:, None, None]).to(replay.dtype)


def _trajectory(replay: _Replay) -> Iterator[Comparison]:
    """Losses and gradient norms along the recorded AdamW steps."""
    recipe = replay.meta["optimizer"]
    optimizer = torch.optim.AdamW(
        parameter_groups(replay.module.named_parameters(), recipe["weight_decay"]),
        lr=recipe["lr"],
        betas=tuple(recipe["betas"]),
        eps=recipe["eps"],
    )
    for entry in replay.meta["trajectory"]:
        losses = replay.losses(replay.run())
        losses["total"] = torch.stack(list(losses.values())).sum()
        title = f"step{entry['step']}"
        yield from take_step(title, optimizer, losses, entry, RELATIVE_TRAJECTORY)


replay_fixture = Replay(
    "ECAMP",
    {
        "cases.json": replay_text,
        "meta.json": _replay_training,
        "parts.json": replay_modules,
    },
)
