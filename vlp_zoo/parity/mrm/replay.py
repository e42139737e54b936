"""Replay of recorded runs of the official MRM code, for ``vlpzoo parity mrm``.

A recording holds official weights, inputs, mask noise, intermediates, losses, gradients,
six optimiser steps and a short epoch with accumulation. `replay_fixture` loads the weights
through the converter that ECAMP's checkpoints go through, runs ``MRM(variant="official")``
on the same inputs and compares quantity by quantity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.published.official import ecamp_name, ecamp_state
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.methods.base import parameter_groups
from vlp_zoo.methods.mae import patch_targets
from vlp_zoo.methods.mrm.mrm import DEVIATION, MEAN, MRM, Pass
from vlp_zoo.parity.comparison import (
    ABSOLUTE_MID,
    RELATIVE_NORM,
    RELATIVE_TRAJECTORY,
    Comparison,
    gradients_of,
    relative,
    same,
    tensor,
    worst_norm,
)
from vlp_zoo.parity.masked import (
    compare_positions,
    decay_groups,
    outputs_of,
    recorded_images,
    segments,
    word_scores,
)
from vlp_zoo.parity.mrm.parts import replay_losses, replay_pipeline
from vlp_zoo.parity.names import Names
from vlp_zoo.parity.replay import (
    Read,
    Recording,
    Replay,
    count_inputs,
    intermediates,
    take_step,
)
from vlp_zoo.schedules import warmup_cosine

__all__ = ["replay_fixture"]

RELATIVE_EPOCH = 1e-3
"""AdamW's first steps enlarge the rounding noise of gradients that vanish."""
RELATIVE_NOISE = 2e-2
"""What that noise makes of the norms of biases of attention keys."""
DRAWS = 5.0
"""Standard errors by which the spread of a freshly drawn matrix may differ."""
KINDS = {"all_positions": "all", "non_padding": "words", "masked_only": "hidden"}
"""Name of a recorded reduction of the report loss to ours."""
SCHEDULE = {"lr": 1.5e-4, "min_lr": 0.0, "warmup_epochs": 40, "epochs": 200}
"""The authors' own."""


def _built(config: Mapping[str, Any]) -> MRM:
    module = MRM(
        variant="official",
        image_size=config["S"],
        encoder_sizes={
            "patch_size": config["patch"],
            "embed_dim": config["dv"],
            "depth": config["depth"],
            "num_heads": config["heads"],
        },
        mask_ratio=config["ratio"],
        decoder_width=config["dd"],
        decoder_depth=config["ddepth"],
        decoder_heads=config["dheads"],
        text_width=config["H"],
        text_depth=config["tl"],
        text_heads=config["th"],
        text_ffn=config["ff"],
        max_tokens=config["T"],
        vocab_size=config["V"],
    )
    torch.manual_seed(config["seed"])
    module.configure_model()
    return module


class _Replay(NamedTuple):
    module: MRM
    inputs: Read[Tensor]
    images: Tensor  # (B, 1 or 3, 2S, 2S) normalised

    def rows(self, chosen: list[int] | None, noise: Tensor) -> Pass:
        """A forward pass over some of the studies, or all."""
        ids, present, types = (
            _chosen(self.inputs[f"batch.{name}"], chosen)
            for name in ("ids", "attention_mask", "type_ids")
        )
        with segments(self.module.text_encoder, types):
            return self.module.run(
                _chosen(self.images, chosen),
                ids,
                present.bool(),
                noise.to(self.images.dtype),
            )

    def losses(self, run: Pass, chosen: list[int] | None = None) -> dict[str, Tensor]:
        """Under their recorded names, with ``total``."""
        labels, ids, present = (
            _chosen(self.inputs[f"batch.{name}"], chosen)
            for name in ("labels", "ids", "attention_mask")
        )
        image = self.module.image_loss(run, _chosen(self.images, chosen))
        report = self.module.text_loss(run, labels, present.bool(), ids != labels)
        return {"image": image, "report": report, "total": image + report}

    def __call__(self) -> tuple[Pass, dict[str, Tensor]]:
        run = self.rows(None, self.inputs["mask_noise"])
        return run, self.losses(run)

    def choose(self, **options: Any) -> None:
        """Change options of the module."""
        self.module.options = replace(self.module.options, **options)


def _chosen(rows: Tensor, chosen: list[int] | None) -> Tensor:
    return rows if chosen is None else rows[chosen]


def _replay_training(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    meta, expected = recording.facts("meta"), recording.facts("expected")
    inputs, noises = recording.tensors("inputs"), recording.tensors("epoch_noise")
    state = recording.tensors("state_dict")
    fresh, module = _built(meta["config"]), _built(meta["config"])
    yield _spread(fresh, meta["initial_std"])
    yield from compare_positions(fresh, state)
    ours = ecamp_state(state)
    check_keys(module.state_dict(), ours, "the recording")
    module.load_state_dict(ours)
    module.to(dtype).eval()
    images = recorded_images(inputs, "batch.image", meta, ("mean", "std"), dtype)
    yield same("setting.mean", MEAN[0], meta["mean"])
    yield same("setting.std", DEVIATION[0], meta["std"])
    yield same("setting.norm_pix", module.options.norm_pix, meta["norm_pix_loss"])
    yield same("setting.batch", len(images), meta["config"]["B"])
    yield same(
        "setting.channels", images.shape[1], 3 if meta["config"]["colour"] else 1
    )
    replay = _Replay(module, inputs, images)
    with outputs_of(_parts(module)) as seen:
        run, losses = replay()
    for name, value in losses.items():
        yield relative(f"loss.{name}", value, expected["losses"][name])
        yield relative(
            f"loss.{name}.float64",
            value,
            expected["float64"]["losses"].get(name, expected["losses"][name]),
        )
    yield from _intermediates(replay, run, seen, recording)
    yield from _gradients(module, losses, recording)
    yield decay_groups(module, expected["optimizer_groups"], "names")
    yield from _settings(replay, run, expected)
    weights = {name: each.clone() for name, each in module.state_dict().items()}
    yield from _trajectory(replay, expected["trajectory"])
    module.load_state_dict(weights)
    yield from _epoch(replay, expected["epoch_loop"], noises)
    for epoch, rate in expected["lr_by_epoch"].items():
        found = torch.tensor(_rate(float(epoch), SCHEDULE), dtype=torch.float64)
        yield relative(f"rate.epoch{epoch}", found, rate)
    yield count_inputs(
        {
            "inputs.": inputs,
            "epoch_noise.": noises,
            "config.": (meta["config"], lambda name: name != "lr"),
            "meta.": (meta, lambda name: name not in ("set", "versions")),
            "expected.": (expected, lambda name: name != "facts"),
        },
    )


def _spread(fresh: MRM, recorded: Mapping[str, Mapping[str, float]]) -> Comparison:
    """The matrix whose initial spread is farthest from the recorded one.

    Both are draws: the error is in standard errors of the ratio of two deviations.
    """
    worst = Comparison("initial.std (worst)", 0.0, 0.0, 0.0, DRAWS)
    parameters = dict(fresh.named_parameters())
    for key, entry in recorded.items():
        name = ecamp_name(key)
        if not name or name not in parameters:
            continue
        values = parameters[name].detach()
        ours, theirs = float(values.std()), entry["std"]
        error = abs(ours / theirs - 1) * values.numel() ** 0.5 if theirs else ours
        if error > worst.error:
            worst = worst._replace(ours=ours, official=theirs, error=error)
    return worst


def _parts(module: MRM) -> dict[str, nn.Module]:
    """Sub-modules whose outputs were recorded, under the recording's names."""
    vit: Any = module.image_encoder.timm
    decoder = module.decoder.blocks
    layers = module.text_encoder.bert.encoder.layer
    return {
        **{f"block{i}": block for i, block in enumerate(vit.blocks)},
        **{f"decoder_block{i}": block for i, block in enumerate(decoder)},
        # The layers' own forward is not called, their last norm is.
        **{f"text_layer{i}": part.output.LayerNorm for i, part in enumerate(layers)},
        "encoder_out": vit.norm,
        "decoder_embed": module.decoder.embed,
        "text_embeddings": module.text_encoder.bert.embeddings,
        "image_vector": module.image_to_text,
    }


@torch.no_grad()
def _intermediates(
    replay: _Replay, run: Pass, seen: dict[str, Tensor], recording: Recording
) -> Iterator[Comparison]:
    module = replay.module
    encoder, recorded = module.image_encoder, recording.tensors("intermediates")
    vit: Any = encoder.timm
    low = module.shrunk(replay.images, module.options.flags.antialias).expand(
        -1, 3, -1, -1
    )
    last = seen[f"decoder_block{module.options.decoder_depth - 1}"]
    labels = replay.inputs["batch.labels"]
    colour = replay.images.expand(-1, 3, -1, -1)
    target, _, _ = patch_targets(colour, module.decoder.patch_size, True)
    raw, _, _ = patch_targets(colour, module.decoder.patch_size, False)
    predicted = run.image.pixels.view(*run.image.pixels.shape[:2], -1, 3)
    found = {
        **seen,
        # The official code projects the class token as well and drops it afterwards.
        "bert_mlp_out": module.image_to_text(run.image.latent),
        "image_low": low,
        "patch_embed": vit.patch_embed(low),
        "mask": run.image.mask.hidden,
        "ids_restore": run.image.mask.restore_ids,
        "decoder_out": module.decoder.norm(last),
        "pred": run.image.pixels,
        "target_raw": raw.flatten(2),
        "image_loss_per_patch": (predicted - target).square().flatten(2).mean(2),
        "text_encoder_in": seen["text_embeddings"] + seen["image_vector"],
        **word_scores(module.mlm_head, run.text, labels),
    }
    thinned = {
        entry["name"]: {**entry, "flat_stride": entry["stride"]}
        for entry in recording.facts("expected")["big_intermediates"]
    }
    yield from intermediates(recorded, found, ABSOLUTE_MID, thinned)


def _gradients(
    module: MRM, losses: Mapping[str, Tensor], recording: Recording
) -> Iterator[Comparison]:
    """Norms for each loss, in either precision, and whole gradients of the total."""
    expected, whole = recording.facts("expected"), recording.tensors("gradients")
    names = Names.of(recording, ecamp_name)
    gradients: dict[str, Tensor | None] = {}
    norms = {**expected["grad_norm"], "float64": expected["float64"]["grad_norm_total"]}
    for name, recorded in norms.items():
        loss = losses["total" if name == "float64" else name]
        gradients = gradients_of(module, loss)
        title = f"grad_norm.{name}"
        yield names.worst_norm(title, gradients, recorded, RELATIVE_NORM)
    # Those that vanish were recorded as well, and vanish here.
    everything = names._replace(vanishing=frozenset())
    yield from everything.gradients(gradients, whole)


def _settings(
    replay: _Replay, run: Pass, expected: Mapping[str, Any]
) -> Iterator[Comparison]:
    """Losses under other settings, on the same weights, batch and noise."""
    official = replay.module.options
    for name, value in expected["report_loss_other_reductions"].items():
        replay.choose(report_loss=KINDS[name])
        yield relative(f"report_loss.{name}", replay.losses(run)["report"], value)
    replay.module.options = replace(official, norm_pix=False)
    found = replay.losses(run)
    for name, value in expected["without_norm_pix"].items():
        yield relative(f"without_norm_pix.{name}", found[name], value)
    for ratio in (0.5, 0.9):
        replay.module.options = replace(official, mask_ratio=ratio)
        other, found = replay()
        title, recorded = f"mask_ratio_{ratio}", expected[f"mask_ratio_{ratio}"]
        for name in ("image", "report"):
            yield relative(f"{title}.{name}", found[name], recorded[name])
        hidden = torch.tensor(recorded["hidden_per_image"])
        yield tensor(f"{title}.hidden", other.image.mask.hidden.sum(1), hidden, 0.0)
    replay.module.options = official


def _optimizer(module: MRM, recipe: Mapping[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameter_groups(module.named_parameters(), recipe["weight_decay"]),
        betas=tuple(recipe["betas"]),
    )


def _rate(epoch: float, limits: Mapping[str, float]) -> float:
    """Linear warm-up, then half a cosine down to ``min_lr``."""
    warmup, top = limits["warmup_epochs"], limits["lr"]
    factor = warmup_cosine(epoch, warmup, limits["epochs"])
    lowest = limits["min_lr"] if epoch >= warmup else 0.0
    return lowest + (top - lowest) * factor


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _trajectory(replay: _Replay, recorded: Mapping[str, Any]) -> Iterator[Comparison]:
    """Losses and gradient norms along the recorded AdamW steps, and where they end."""
    optimizer, limits = _optimizer(replay.module, recorded), recorded["args"]
    for index, entry in enumerate(recorded["steps"]):
        rate = _rate(entry["epoch"], limits)
        yield same(f"step{index}.rate", round(rate, 9), round(entry["lr"], 9))
        _set_rate(optimizer, rate)
        _, losses = replay()
        yield from take_step(
            f"step{index}", optimizer, losses, entry, RELATIVE_TRAJECTORY
        )
    _, losses = replay()
    for name, value in recorded["after"].items():
        yield relative(f"after.{name}", losses[name], value, RELATIVE_TRAJECTORY)
    yield from _ends(replay.module, "step", recorded["final_param_norm"])


def _epoch(
    replay: _Replay, recorded: Mapping[str, Any], noises: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    """The released epoch loop: two micro-batches a step, the last one dropped."""
    module, limits = replay.module, recorded["args"]
    optimizer = _optimizer(module, {"weight_decay": 0.05, "betas": (0.9, 0.95)})
    rows = recorded["micro_batches"]
    logged = [
        (image["loss1"], report["loss2"], rate["lr"])
        for image, report, rate in zip(*[iter(recorded["logged"])] * 3, strict=True)
    ]
    every, steps, ours = limits["accum_iter"], 0, 0.0
    optimizer.zero_grad()
    for index, (chosen, (image, report, rate)) in enumerate(
        zip(rows, logged, strict=True)
    ):
        if index % every == 0:
            place = recorded["epoch"] + index / len(rows)
            ours = _rate(place, limits)
            _set_rate(optimizer, ours)
        yield same(f"epoch.{index}.rate", round(ours, 9), round(rate, 9))
        losses = replay.losses(replay.rows(chosen, noises[f"noise.{index}"]), chosen)
        title = f"epoch.{index}"
        yield relative(f"{title}.image", losses["image"], image, RELATIVE_EPOCH)
        yield relative(f"{title}.report", losses["report"], report, RELATIVE_EPOCH)
        (losses["total"] / every).backward()
        if (index + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
    yield same("epoch.optimizer_steps", steps, recorded["optimizer_steps"])
    yield from _ends(module, "epoch", recorded["final_param_norm"])


def _ends(
    module: MRM, title: str, recorded: Mapping[str, float]
) -> Iterator[Comparison]:
    """The parameters whose norms end farthest from the recorded ones.

    The exact gradient of a bias of attention keys is zero. AdamW makes whole steps of
    its rounding noise, in a packed bias of queries, keys and values too.
    """
    wanted = {ecamp_name(key) or "": value for key, value in recorded.items()}
    ends: dict[bool, dict[str, Tensor | None]] = {False: {}, True: {}}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            noisy = name.endswith(("qkv.bias", "key.bias"))
            ends[noisy][name] = parameter.detach()
    yield worst_norm(f"{title}.parameters", ends[False], wanted, RELATIVE_NORM)
    yield worst_norm(f"{title}.key biases", ends[True], wanted, RELATIVE_NOISE)


replay_fixture = Replay(
    "MRM",
    {
        "state_dict.safetensors": _replay_training,
        "loss_level.json": replay_losses,
        "pipeline.json": replay_pipeline,
    },
)
