"""The official IMITATE, with the weights and draws of a recorded run.

Weights are not stored but follow a rule (`generated_state`); they enter through the
converter that reads official checkpoints.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from vlp_zoo.encoders.frozen_text import CorpusText
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.weight_files import check_keys, renamed, renamed_state
from vlp_zoo.methods.imitate.imitate import IMITATE, Pass
from vlp_zoo.parity.imitate.losses import GROUPS
from vlp_zoo.parity.replay import Read, Recording

__all__ = [
    "CALLS",
    "Draws",
    "Model",
    "generated_state",
    "imitate_name",
    "imitate_state",
    "official_module",
]

NAMES: tuple[tuple[str, str], ...] = (
    ("cls_token", "findings_branch.class_token"),
    ("positional_embedding", "findings_branch.positions"),
    ("multi_attent.", "findings_branch.attention."),
    ("read_proj.", "findings_branch.project."),
    ("diag_proj.", "impression_head."),
    ("text_proj.", "text_head."),
    ("encoder.", "image_encoder.timm."),
    ("lm_model.", ""),
)
"""Official prefix to ours; "" leaves the key out: the text encoder is not a part."""

CALLS = (("m1", 1), ("m1", 2), ("m2", 1), ("m2", 2))
"""Pass and view, in the order in which the official code draws channels."""

Draws = Mapping[tuple[str, int], list[Tensor]]
"""Channels of each level by pass and view."""


def imitate_name(key: str) -> str | None:
    """Our name for a key of the official model; None = left out.

    Example:
        >>> imitate_name("diag_proj.0.weight")
        'impression_head.0.weight'
    """
    return renamed(key, NAMES)


def imitate_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole official IMITATE state under the names of our IMITATE.

    The frozen text encoder is left out; `IMITATE` takes it from its own files.

    Args:
        state: 560 tensors (559 from new transformers).

    Returns:
        State for ``IMITATE.load_state_dict``.
    """
    return renamed_state(state, NAMES)


def generated_state(
    shapes: Mapping[str, Sequence[int]], seed: int
) -> dict[str, Tensor]:
    """Weights of a recorded model, which follow from names, shapes and a seed.

    Args:
        shapes: Official name to shape, floating-point entries only.
        seed: Seed of the recording.
    """
    state: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        number = (seed * 1000003 + zlib.crc32(key.encode())) % (2**31 - 1)
        # The recording's rule; a Generator would give other numbers.
        draws = np.random.RandomState(number)
        values = draws.standard_normal(math.prod(shape)).reshape(shape)
        values = _scaled(key, values) * (0.25 if key.endswith("bn3.weight") else 1.0)
        state[key] = torch.from_numpy(np.asarray(values, np.float32))
    return state


def _scaled(key: str, n: Any) -> Any:
    last = key.rpartition(".")[2]
    if last == "running_mean":
        return 0.05 * n
    if last == "running_var":
        return 1 + 0.1 * np.abs(n)
    if key in ("cls_token", "positional_embedding"):
        return 0.1 * n
    if "_embeddings.weight" in key:
        return 0.05 * n
    if n.ndim == 1:
        return 1 + 0.1 * n if last == "weight" else 0.05 * n
    if n.ndim == 4:
        return n * np.sqrt(2 / math.prod(n.shape[1:]))
    return n * np.sqrt(1 / n.shape[1])


def official_module(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> IMITATE:
    """IMITATE as the released code has it, with official weights.

    Args:
        config: Sizes as the recordings have them.
        state: Tensors under official names.

    Raises:
        EncoderLoadError: If the weights do not fit.
    """
    module = IMITATE(
        image_size=config["h"],
        encoder_sizes={
            "layers": list(config["resnet_layers"]),
            "base_width": config["width"],
        },
        channel_tokens=config["mhsa_dim"],
        negatives="local",
        sync_batchnorm=False,
    )
    width = state["text_proj.0.weight"].shape[1]
    # Features come ready-made from the recording; only their width matters here.
    module.frozen_text = CorpusText(["-"], torch.ones(1), torch.zeros(1, width))
    module.configure_model()
    expected = module.state_dict()
    ours = imitate_state(state)
    # Counters are integers, which the rule of the weights leaves at zero.
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    ours = {**counters, **ours}
    check_keys(expected, ours, "the recorded weights")
    module.load_state_dict(ours)
    return module


class Model:
    """A recorded model with its inputs, in some precision."""

    def __init__(self, recording: Recording, dtype: torch.dtype) -> None:
        self.meta, self.tensors = recording.facts("model"), recording.tensors("model")
        self.dtype = dtype
        self.config: Read[Any] = self.meta["config"]
        shapes = {k: v["shape"] for k, v in self.meta["param_info"].items()}
        self.state = generated_state(shapes, self.config["seed"])
        # Normalised in float64, then rounded, as the recording's README has it.
        grey = self.tensors["in/image_u8"].double()[:, :, None] / 255
        mean, std = (
            torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
            for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        )
        images = ((grey.expand(-1, -1, 3, -1, -1) - mean) / std).float()
        self.views = list(images.to(dtype))
        self.module = self.fresh()
        self.features = self._text_features()

    def fresh(self) -> IMITATE:
        """The model before any step, in training mode."""
        return official_module(self.config, self.state).to(self.dtype).train()

    @torch.no_grad()
    def _text_features(self) -> tuple[Tensor, Tensor]:
        config, prefix = self.config, "lm_model."
        words, positions = (
            self.state[f"{prefix}embeddings.{name}_embeddings.weight"]
            for name in ("word", "position")
        )
        encoder = TextEncoder(
            len(words),
            width=words.shape[1],
            depth=config["bert_layers"],
            heads=12,
            ffn=config["bert_inter"],
            max_positions=len(positions),
        )
        own = {
            key.removeprefix(prefix): tensor
            for key, tensor in self.state.items()
            if key.startswith(prefix) and ".pooler." not in key
        }
        check_keys(encoder.bert.state_dict(), own, "the recorded text encoder")
        encoder.bert.load_state_dict(own)
        encoder.to(self.dtype).eval()
        found = [
            encoder(
                self.tensors[f"in/{section}_ids"],
                self.tensors[f"in/{section}_mask"].bool(),
            ).tokens[:, 0]
            for section in ("find", "imp")
        ]
        return found[0], found[1]

    def recorded_draws(self) -> dict[tuple[str, int], list[Tensor]]:
        """Channels by pass and view, as stored."""
        return {
            (name, view): self._stored(f"mask/view{view}_{name}")
            for name, view in CALLS
        }

    def _stored(self, prefix: str) -> list[Tensor]:
        if f"{prefix}/scale" in self.tensors:
            return self.scale(int(self.tensors[f"{prefix}/scale"]))
        levels = range(1, 1 + len(self.module.channels))
        return [self.tensors[f"{prefix}/stage{level}"] for level in levels]

    def scale(self, stage: int) -> list[Tensor]:
        """The mask mode that shows one stage: its channels, as many as fit."""
        none = torch.zeros(0, dtype=torch.int64)
        drawn = [none] * len(self.module.channels)
        fitting = min(self.module.channels[stage], self.module.options.channel_tokens)
        drawn[stage] = torch.arange(fitting)
        return drawn

    def seeded_draws(self, seed: int) -> dict[tuple[str, int], list[Tensor]]:
        """Channels as the official code draws them after seeding."""
        generator = torch.Generator().manual_seed(seed)
        methods = dict(zip(("m1", "m2"), self.config["mask"], strict=True))
        drawn = {}
        for name, view in CALLS:
            if methods[name] == "scale":
                stage = torch.randint(0, 4, (1,), generator=generator)
                drawn[name, view] = self.scale(int(stage))
                continue
            sizes = zip(self.module.channels, self.module.drawn_channels, strict=True)
            drawn[name, view] = [
                torch.randint(0, channels, (count,), generator=generator)
                for channels, count in sizes
            ]
        return drawn

    def run(self, drawn: Draws) -> Pass:
        """Forward pass in training mode."""
        once, again = ([drawn[name, view] for view in (1, 2)] for name in ("m1", "m2"))
        return self.module.run(self.views, once, again, *self.features)

    def losses(self, run: Pass) -> dict[str, Tensor]:
        """Our loss terms by their recorded name, with the total."""
        present = torch.ones(len(self.features[0]), dtype=torch.bool)
        terms = self.module.objective(run, *self.features, present, present, 1.0)
        named = {theirs: terms[ours] for theirs, ours in GROUPS.items()}
        return {**named, "total": torch.stack(list(terms.values())).sum()}
