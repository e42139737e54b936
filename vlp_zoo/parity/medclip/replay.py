"""Replay of recorded runs of the official MedCLIP code, for ``vlpzoo parity medclip``.

A recording holds official weights of a Swin or a ResNet and a BERT, a collated batch,
intermediates, losses with and without varied sentences and labels, gradients, and the
steps of the released trainer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.methods.medclip.medclip import (
    DEVIATION,
    MEAN,
    label_targets,
)
from vlp_zoo.modules import bert_layers
from vlp_zoo.parity.comparison import (
    RELATIVE_NORM,
    RELATIVE_TRAJECTORY,
    Comparison,
    curve,
    gradients_of,
    magnitude,
    relative,
    same,
    tensor,
    within,
    worst_norm,
)
from vlp_zoo.parity.medclip.parts import (
    compare_heads,
    compare_prompts,
    replay_losses,
    replay_pipeline,
)
from vlp_zoo.parity.medclip.recording import Model, official_state
from vlp_zoo.parity.replay import (
    Read,
    Recording,
    Replay,
    count_inputs,
    intermediates,
    under,
)
from vlp_zoo.schedules import warmup_cosine

__all__ = ["replay_fixture"]

MID = 5e-5
"""Error of intermediates over the largest magnitude."""


def _replay_training(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    expected, recorded = recording.facts("expected"), recording.tensors("intermediates")
    replay = Model(recording, dtype)
    module, config = replay.module, replay.config
    yield same("setting.B", len(replay.images), config["B"])
    yield same("setting.mean", MEAN, replay.meta["image_mean"])
    yield same("setting.std", DEVIATION, replay.meta["image_std"])
    yield same("setting.labels", replay.labels[0].shape[1], len(replay.meta["labels"]))
    yield same(
        "setting.features", module.image_encoder.width, replay.meta["feature_width"]
    )
    scale = torch.tensor(config["logit_scale"])
    yield relative("setting.logit_scale", module.log_scale, float(scale))
    yield from _passed(replay, recorded)
    # Running statistics after one forward pass.
    replay.module = module = replay.fresh()
    yield from _losses(replay, "train_reference", recording)
    buffers = {
        f"vision_model.model.{k}": v
        for k, v in module.image_encoder.timm.named_buffers()
    }
    for key, value in under(recorded, "bn_after.").items():
        yield within(f"bn_after.{key}", buffers[key], value, MID)
    module.eval()
    yield from _evaluated(replay, recorded)
    if recording.has("zero_shot.json"):
        _, image = replay.see()
        yield from compare_prompts(module, image, recording)
        # Heads were put on the network as it was at first.
        replay.module = replay.fresh().eval()
        yield from compare_heads(replay.see()[0], recording)
    for kind in ("without_augmented_text", "hard_clip"):
        replay.module = replay.fresh()
        yield from _losses(replay, kind, recording)
    yield from _trajectory(replay, expected["trajectory"])
    recipe = expected["lr_curve"]
    peak, warmup, steps = (recipe[name] for name in ("max_lr", "warmup", "steps"))
    recorded_rates = recipe["lr_used_at_step"]
    rates = [
        peak * warmup_cosine(step, warmup, steps) for step in range(len(recorded_rates))
    ]
    yield curve("lr_curve", rates, recorded_rates, 1e-5 * peak)
    said = ("set", "versions", "swin_config", "model_max_length")
    yield count_inputs(
        {
            "inputs.": replay.inputs,
            "state.": recording.tensors("state_dict"),
            "config.": (config, lambda name: name not in ("seed", "lr")),
            "meta.": (replay.meta, lambda name: name not in said),
            "expected.": (
                expected,
                lambda name: name != "parameters_without_gradient",
            ),
        },
    )


@torch.no_grad()
def _passed(replay: Model, recorded: Read[Tensor]) -> Iterator[Comparison]:
    """What passes through the networks."""
    module = replay.module
    pooled, image = replay.see()
    text, second = replay.read(), replay.read("aug_")
    network: Any = module.image_encoder.timm
    units = [functional.normalize(rows, dim=1) for rows in (image, text, second)]
    similar = replay.labels[0] @ replay.labels[1].T
    forth, back = label_targets(*replay.labels, "dot")
    ours = {
        "swin.last_hidden_state": network.forward_features(replay.images).flatten(1, 2),
        "swin.pooler_output": pooled,
        "resnet.fc_output": image,
        "train.img_features": image,
        "train.text_features": text,
        "train.aug_text_features": second,
        "train.img_embeds": units[0],
        "train.text_embeds": units[1],
        "train.aug_text_embeds": units[2],
        "train.logits": module.scale() * units[0] @ units[1].T,
        "train.logits_aug": module.scale() * units[0] @ units[2].T,
        "label_similarity": similar,
        "target_rows": forth,
        "target_columns": back,
    }
    encoder: Any = module.text_tower
    encoder = encoder.encoder
    ids, mask = (
        replay.inputs[f"batch.{name}"] for name in ("input_ids", "attention_mask")
    )
    hidden = encoder.embeddings(ids)
    ours["bert.hidden_0"] = hidden
    for depth, layer in enumerate(encoder.bert.encoder.layer, 1):
        hidden = bert_layers(nn.ModuleList([layer]), hidden, mask > 0)
        ours[f"bert.hidden_{depth}"] = hidden
    others = ("bn_after.", "eval.", "mean_includes_padding.")
    passed = {key: x for key, x in recorded.items() if not key.startswith(others)}
    yield from intermediates(passed, ours, _allowed)


@torch.no_grad()
def _evaluated(replay: Model, recorded: Mapping[str, Tensor]) -> Iterator[Comparison]:
    units = [functional.normalize(x, dim=1) for x in (replay.see()[1], replay.read())]
    ours = {
        "img_embeds": units[0],
        "text_embeds": units[1],
        "logits": replay.module.scale() * units[0] @ units[1].T,
    }
    yield from intermediates(under(recorded, "eval."), ours, _allowed)


def _allowed(recorded: Tensor) -> float:
    return MID * magnitude(recorded)


def _losses(replay: Model, kind: str, recording: Recording) -> Iterator[Comparison]:
    """Losses and gradients of one way to compare."""
    facts = recording.facts("expected")
    expected, precise = facts[kind], facts["float64"]
    losses = replay.losses(kind)
    wanted = {"total": expected["total"], **expected.get("parts", {})}
    for name, value in wanted.items():
        yield relative(f"{kind}.{name}", losses[name], value)
    yield relative(
        f"{kind}.logit_scale", replay.module.log_scale, expected["logit_scale_after"]
    )
    gradients = gradients_of(replay.module, losses["total"])
    vanishing = set(precise["params_with_vanishing_gradient"])
    parts = replay.official(gradients)
    kept = {name: value for name, value in parts.items() if name not in vanishing}
    norms = {kind: expected["grad_norms"]}
    if kind == "train_reference":
        norms["float64"] = precise["grad_norms"]
        yield relative("float64.total", losses["total"], precise["total"])
        for name, value in precise["parts"].items():
            yield relative(f"float64.{name}", losses[name], value)
        whole = official_state(recording.tensors("gradients"))
        for name, value in whole.items():
            yield within(f"grad.{name}", gradients[name], value)
        mean = facts["mean_includes_padding"]
        row = slice(mean["row"], mean["row"] + 1)
        with torch.no_grad():
            alone, among = (
                functional.normalize(replay.read("", row, most), dim=1)
                for most in (mean["tokens"], mean["padded_to"])
            )
        recorded = recording.tensors("intermediates")
        yield tensor(
            "mean_includes_padding.row_alone",
            alone,
            recorded["mean_includes_padding.row_alone"],
            MID,
        )
        cosine = (alone * among).sum()
        yield relative(
            "mean_includes_padding.cosine",
            cosine,
            mean["cosine_alone_vs_batch"],
        )
    for title, recorded_norms in norms.items():
        found = {name: kept[name] for name in recorded_norms if name in kept}
        yield worst_norm(f"grad_norm.{title}", found, recorded_norms, RELATIVE_NORM)
        yield same(
            f"grad_norm.{title}.missing",
            len(set(recorded_norms) - set(parts)),
            0,
        )
    present = [value for value in gradients.values() if value is not None]
    norm = nn.utils.get_total_norm(present)
    yield relative(
        f"grad_norm.{kind}.all", norm, expected["grad_norm_all"], RELATIVE_NORM
    )


def _trajectory(replay: Model, recorded: Mapping[str, Any]) -> Iterator[Comparison]:
    """The steps of the released trainer, and where parameters end."""
    module = replay.module = replay.fresh()
    setup, spared = recorded["setup"], set(recorded["no_decay"])
    named = dict(module.named_parameters())
    number = {key: place for place, key in enumerate(replay.weights)}
    none = {number[key] for key in spared if key in number}
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in named.items():
        owners = {int(value) for value in replay.owners[name].flatten().tolist()}
        groups[bool(owners & none)].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": groups[False], "weight_decay": setup["weight_decay"]},
            {"params": groups[True], "weight_decay": 0.0},
        ],
        lr=setup["lr"],
    )
    total = setup["steps_per_epoch"] * setup["epochs"]
    for index, entry in enumerate(recorded["steps"]):
        rate = setup["lr"] * warmup_cosine(index, setup["warmup_ratio"] * total, total)
        yield same(f"step{index}.lr", round(rate, 9), round(entry["lr"], 9))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = replay.losses()["total"]
        yield relative(f"step{index}.loss", loss, entry["loss"], RELATIVE_TRAJECTORY)
        yield relative(
            f"step{index}.logit_scale",
            module.log_scale,
            entry["logit_scale"],
            RELATIVE_TRAJECTORY,
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(module.parameters(), entry["max_norm"])
        yield relative(
            f"step{index}.grad_norm",
            norm,
            entry["grad_norm_before_clip"],
            RELATIVE_NORM,
        )
        optimizer.step()
    ends = replay.official({name: value.detach() for name, value in named.items()})
    wanted = recorded["final_param_norms"]
    found = {
        name: value
        for name, value in ends.items()
        if name in wanted and not name.endswith("key.bias")
    }
    yield worst_norm("final.parameters", found, wanted, RELATIVE_NORM)


replay_fixture = Replay(
    "MedCLIP",
    {
        "state_dict.safetensors": _replay_training,
        "loss_level.json": replay_losses,
        "pipeline.json": replay_pipeline,
    },
)
