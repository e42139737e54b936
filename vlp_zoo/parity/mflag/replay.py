"""Replay of recorded runs of the official M-FLAG code, for ``vlpzoo parity mflag``.

A recording holds official weights, inputs, intermediates, losses, gradients and optimiser
steps under a cosine that restarts. `replay_fixture` loads them into our networks, of the
recorded sizes, and compares quantity by quantity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.encoders.frozen_text import BertText
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.weight_files import check_keys, renamed, renamed_state
from vlp_zoo.methods.mflag.mflag import MFLAG, Pass
from vlp_zoo.methods.optimisation import cosine_restarts
from vlp_zoo.parity.comparison import (
    RELATIVE_NORM,
    RELATIVE_TRAJECTORY,
    Comparison,
    curve,
    gradients_of,
    magnitude,
    relative,
    same,
    within,
)
from vlp_zoo.parity.mflag.parts import replay_losses, replay_pipeline
from vlp_zoo.parity.names import Names
from vlp_zoo.parity.replay import (
    Read,
    Recording,
    Replay,
    count_inputs,
    intermediates,
    take_step,
    under,
)
from vlp_zoo.parity.resnet import narrow_stem
from vlp_zoo.parity.words import recorded_words

__all__ = ["replay_fixture"]

NAMES = (
    ("encoder.", "image_encoder.timm."),
    ("proj_v.", "image_head."),
    ("proj_t.", "text_head."),
    ("lm_model.", ""),
)
"""Official prefix to ours; "" leaves the key out: the text encoder is not a part."""
TERMS = {"orthogonal": "orthogonality", "align": "alignment"}
MID = 5e-5
"""Error of intermediates over the largest magnitude, of the recordings' README."""
LOWEST = 1e-8
"""Learning rate at the end of each period."""


def _name(key: str) -> str | None:
    return renamed(key, NAMES)


def _text(
    meta: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype
) -> BertText:
    """The recorded text encoder, frozen."""
    bert = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 0,
        **meta["bert_config"],
    }
    encoder = TextEncoder.from_spec({"bert": bert, "pooling": "cls"})
    own = {
        key.removeprefix("bert."): value
        for key, value in under(state, "lm_model.").items()
        if not key.startswith(
            ("cls.", "pooler.", "bert.pooler.", "embeddings.position_ids")
        )
    }
    check_keys(encoder.bert.state_dict(), own, "the recorded text encoder")
    encoder.bert.load_state_dict(own)
    return BertText(
        "recorded",
        meta["config"]["T"],
        parts=(encoder.to(dtype), recorded_words(meta["vocab"])),
    )


class _Replay:
    """The recorded model with its inputs, in some arithmetic."""

    def __init__(self, recording: Recording, dtype: torch.dtype) -> None:
        self.meta = recording.facts("meta")
        self.config: Read[Any] = self.meta["config"]
        self.inputs, self.dtype = recording.tensors("inputs"), dtype
        state = recording.tensors("state_dict")
        self.weights = {key: state[key] for key in state}
        self.text = _text(self.meta, self.weights, dtype)
        self.module = self.fresh()
        # A small recording holds one of three equal channels.
        self.images = self.inputs["batch.image"].to(dtype).expand(-1, 3, -1, -1)
        with torch.no_grad():
            self.hidden = self.text.encoder(
                self.inputs["batch.input_ids"], self.inputs["batch.attention_mask"] > 0
            ).tokens

    def fresh(self) -> MFLAG:
        """The model before any step, in training mode."""
        module = MFLAG(
            image_size=self.config["crop"],
            encoder_sizes={
                "layers": self.config["blocks"],
                "channels": self.config["planes"],
            },
            head_hidden=self.config["hidden"],
            joint_width=self.config["joint"],
            off_diagonal=self.meta["orthogonal_off_diagonal_weight"],
            statistics="local",
        )
        module.frozen_text = self.text
        module.configure_model()
        narrow_stem(module.image_encoder.timm, self.config["stem"])
        expected = module.state_dict()
        ours = {
            name: value.reshape(expected[name].shape)
            if name.endswith("num_batches_tracked") and name in expected
            else value
            for name, value in renamed_state(self.weights, NAMES).items()
        }
        check_keys(expected, ours, "the recording")
        module.load_state_dict(ours)
        # Sums in the order of the recording: with so few rows their rounding grows.
        module.image_encoder.timm.to(memory_format=torch.contiguous_format)
        return module.to(self.dtype).train()

    def __call__(self) -> tuple[Pass, dict[str, Tensor]]:
        """A forward pass, and losses under their recorded names with ``total``."""
        run = self.module.run(self.images, self.hidden[:, 0])
        terms = self.module.objective(run, divide_by=self.config["cfg_batch"])
        losses = {theirs: terms[ours] for theirs, ours in TERMS.items()}
        return run, {**losses, "total": torch.stack(list(terms.values())).sum()}


def _replay_training(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    expected = recording.facts("expected")
    replay = _Replay(recording, dtype)
    module, config = replay.module, replay.config
    modes = {
        "encoder": module.image_encoder.training,
        "proj": module.image_head.training and module.text_head.training,
        "lm_model": replay.text.encoder.training,
    }
    for name, trains in expected["modes_at_build"].items():
        yield same(f"training.{name}", modes[name], trains)
    sizes = {
        "B": len(replay.images),
        "crop": replay.images.shape[-1],
        "D": replay.hidden.shape[2],
        "T": replay.hidden.shape[1],
        "layers": len(replay.text.encoder.bert.encoder.layer),
        "heads": replay.text.encoder.bert.config.num_attention_heads,
        "ff": replay.text.encoder.bert.config.intermediate_size,
    }
    for name, ours in sizes.items():
        yield same(f"setting.{name}", ours, config[name])
    yield same(
        "setting.features", module.image_encoder.width, replay.meta["feature_width"]
    )
    run, losses = replay()
    for name, value in losses.items():
        yield relative(f"loss.{name}", value, expected["train_reference"][name])
        if name in expected["float64"]:
            yield relative(f"loss.{name}.float64", value, expected["float64"][name])
    recorded = recording.tensors("intermediates")
    yield from _passed(replay, run, "train.", recorded)
    buffers = dict(module.named_buffers())
    for key, value in under(recorded, "bn_after.").items():
        ours = buffers[_name(key) or ""].reshape(value.shape)
        yield within(f"bn_after.{key}", ours, value, MID)
    yield from _gradients(module, losses, recording)
    with torch.no_grad():
        module.eval()
        run, losses = replay()
    for name, wanted in expected["eval_after_one_forward"].items():
        yield relative(f"eval.{name}", losses[name], wanted)
    yield from _passed(replay, run, "eval.", recorded)
    yield from _trajectory(replay, recording)
    yield from _schedule(expected)
    described = ("set", "versions")
    yield count_inputs(
        {
            "inputs.": replay.inputs,
            "state.": recording.tensors("state_dict"),
            "config.": (config, lambda name: name not in ("seed", "size")),
            "meta.": (replay.meta, lambda name: name not in described),
            "expected.": expected,
        },
    )


def _passed(
    replay: _Replay, run: Pass, prefix: str, recorded: Mapping[str, Tensor]
) -> Iterator[Comparison]:
    """What passed through the networks, in training or in evaluation mode."""
    moments = run.pooled.T @ run.pooled / replay.config["cfg_batch"]
    ours = {
        "img_emb": run.pooled,
        "proj_img_emb": run.image,
        "proj_text_emb": run.text,
        "text_hidden": replay.hidden,
        "correlation_over_config_batch": moments,
    }
    named = {f"{prefix}{name}": value for name, value in ours.items()}
    passed = {key: x for key, x in recorded.items() if key.startswith(prefix)}
    yield from intermediates(passed, named, lambda value: MID * magnitude(value))


def _gradients(
    module: MFLAG, losses: Mapping[str, Tensor], recording: Recording
) -> Iterator[Comparison]:
    """Norms for each loss, in either precision, and whole gradients of the total."""
    expected, whole = recording.facts("expected"), recording.tensors("gradients")
    precise, names = expected["float64"], Names.of(recording, _name)
    norms = {
        "float64": ("total", precise["grad_norm_total"]),
        **{
            name: (name, expected["train_reference"][f"grad_norm_{name}"])
            for name in losses
        },
    }
    gradients: dict[str, Tensor | None] = {}
    for title, (name, recorded) in norms.items():
        gradients = gradients_of(module, losses[name])
        title = f"grad_norm.{title}"
        yield names.worst_norm(title, gradients, recorded, RELATIVE_NORM)
    learns = {name for name, value in recorded.items() if value is not None}
    still = [key for key in precise["params_without_gradient"] if _name(key)]
    yield same("frozen parameters that learn here", len(still), 0)
    yield same("parameters that learn", len(gradients), len(learns))
    yield from names.gradients(gradients, whole)


def _trajectory(replay: _Replay, recording: Recording) -> Iterator[Comparison]:
    """Losses along the recorded AdamW steps, and where parameters end."""
    expected, config = recording.facts("expected"), replay.config
    recorded = expected["trajectory"]
    before = {k: v.clone() for k, v in replay.text.encoder.state_dict().items()}
    module = replay.module = replay.fresh()
    peak, decay = config["lr"], replay.meta["weight_decay"]
    optimizer = torch.optim.AdamW(module.parameters(), lr=peak, weight_decay=decay)
    period = _period(config["n_data"], config["epochs"], config["cfg_batch"])
    yield same("trajectory.T_0", period, recorded["T_0"])
    for index, entry in enumerate(recorded["steps"]):
        factor = cosine_restarts(index, recorded["T_0"], LOWEST / peak)
        rate = torch.tensor(peak * factor, dtype=torch.float64)
        yield relative(f"step{index}.rate", rate, entry["lr"])
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        _, losses = replay()
        yield from take_step(
            f"step{index}", optimizer, losses, entry, RELATIVE_TRAJECTORY
        )
    names, ends = Names.of(recording, _name), recorded["final_param_norms"]
    yield names.worst_end("final.parameters", module, ends, RELATIVE_NORM)
    after = replay.text.encoder.state_dict()
    still = all(torch.equal(after[key], value) for key, value in before.items())
    yield same("text model unchanged", still, recorded["text_model_unchanged"])


def _period(rows: int, epochs: int, batch: int) -> int:
    """Steps of a period in the released code, which takes 4 processes for granted."""
    return int(epochs * rows // 4 // batch * 0.4)


def _schedule(expected: Read[Any]) -> Iterator[Comparison]:
    """The learning rate's curve, and the period of the released settings."""
    for name in expected:
        if found := re.fullmatch(r"lr_curve_T0_(\d+)_peak_([\d.e+-]+)", name):
            period, peak = int(found[1]), float(found[2])
            rates = [
                peak * cosine_restarts(step, period, LOWEST / peak)
                for step in range(len(expected[name]))
            ]
            yield curve(name, rates, expected[name], 1e-6 * peak)
    for name, period in expected["T_0_released"].items():
        if found := re.fullmatch(r"N=(\d+),epochs=(\d+),batch=(\d+)", name):
            yield same(f"period.{name}", _period(*map(int, found.groups())), period)


replay_fixture = Replay(
    "M-FLAG",
    {
        "state_dict.safetensors": _replay_training,
        "loss_level.json": replay_losses,
        "pipeline.json": replay_pipeline,
    },
)
