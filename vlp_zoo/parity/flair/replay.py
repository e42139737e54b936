"""Replay of recorded runs of the official FLAIR code, for ``vlpzoo parity flair``.

A folder holds a recorded model (losses, hidden states, gradients, the steps of the
released training loop, zero-shot), a recorded loss, a recorded pipeline, or several of
these. ``FLAIR(variant="official")`` runs on the recorded weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.flair import FLAIR
from vlp_zoo.methods.flair.networks import official_rate
from vlp_zoo.methods.paired.layers import LayersTower
from vlp_zoo.parity.comparison import (
    RELATIVE_NORM,
    RELATIVE_TRAJECTORY,
    Comparison,
    curve,
    gradients_of,
    relative,
    same,
    tensor,
)
from vlp_zoo.parity.flair.parts import replay_losses, replay_pipeline
from vlp_zoo.parity.flair.recording import class_keys, flair_name, official_module
from vlp_zoo.parity.flair.transfer import replay_transfer
from vlp_zoo.parity.names import Names
from vlp_zoo.parity.replay import (
    Read,
    Recording,
    Replay,
    adamw,
    count_inputs,
    take_step,
    under,
)

__all__ = ["replay_fixture"]

MID = 1e-5
"""Tolerance of hidden states, features and embeddings; logits have it times the scale."""

DRIFT = 1e-3
"""Tolerance of what six steps end with: AdamW's first ones take signs of gradients, and
rounding decides those of the smallest."""

DESCRIPTION = ("set", "versions", "vision_weights_requested")
"""What of ``meta.json`` decides nothing: it says how the recording was made."""


class _Batch(NamedTuple):
    images: Tensor  # (B, 3, H, W) in 0..1
    ids: Tensor  # (B, T)
    mask: Tensor  # (B, T) bool
    keys: dict[str, Tensor]
    captions: list[str]

    @classmethod
    def of(cls, recording: Recording, number: int, dtype: torch.dtype) -> _Batch:
        tensors = recording.tensors("inputs")
        written = recording.facts("inputs")["batches"][number]
        return cls(
            tensors[f"batch{number}.image_u8"].to(dtype) / 255,
            tensors[f"batch{number}.input_ids"],
            tensors[f"batch{number}.attention_mask"].bool(),
            class_keys(written["sel_category"]),
            written["captions"],
        )

    def losses(self, module: FLAIR) -> dict[str, Tensor]:
        """Under their recorded names."""
        images, texts = module.embed(self.images, self.ids, self.mask)
        return named_losses(module, images, texts, self.keys)


def named_losses(
    module: FLAIR, images: Tensor, texts: Tensor, keys: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Both directions and the loss that is trained on, as ``total``."""
    captions, back = module.contrast(images, texts, keys)
    total = (captions + back) / 2
    return {"caption_loss": captions, "image_loss": back, "total": total}


def _replay_model(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    meta, expected = recording.facts("meta"), recording.facts("expected")
    config, inputs = meta["config"], recording.tensors("inputs")
    count = len(recording.facts("inputs")["batches"])
    batches = [_Batch.of(recording, number, dtype) for number in range(count)]
    module = official_module(recording, dtype)
    yield from _settings(module, recording, batches)
    yield from _first_step(module, recording, batches[0])
    yield from _evaluation(official_module(recording, dtype).eval(), recording, batches)
    yield from _trajectory(official_module(recording, dtype), recording, batches)
    yield from _steady(official_module(recording, dtype), recording, batches[0])
    for index, recipe in enumerate(expected["lr_curves"]):
        yield _curve(f"lr_curve{index}", recipe)
    yield from replay_transfer(official_module(recording, dtype).eval(), recording)
    mids = recording.tensors("intermediates")
    told = ("infer.raw_u8", "adapt.image_u8", "adapt.label")
    yield count_inputs(
        {
            "inputs.": inputs,
            "meta.": (meta, lambda name: name not in DESCRIPTION),
            # The seed drew the recorded weights.
            "config.": (config, lambda name: name != "seed"),
            "expected.": expected,
            "intermediates.": (mids, lambda name: name in told),
        },
    )


def _settings(
    module: FLAIR, recording: Recording, batches: list[_Batch]
) -> Iterator[Comparison]:
    """Sizes that follow from the tensors, and words to ids."""
    meta, config = recording.facts("meta"), recording.facts("meta")["config"]
    bert: Any = module.text_tower.encoder.bert  # type: ignore[union-attr]
    for name, value in meta["bert_config"].items():
        ours, theirs = getattr(bert.config, name), value
        if isinstance(value, str):
            ours, theirs = ours != value, False
        yield same(f"setting.bert.{name}", ours, theirs)
    first = batches[0]
    for name, ours, theirs in (
        ("B", len(first.images), config["B"]),
        ("height", first.images.shape[2], config["img"][0]),
        ("width", first.images.shape[3], config["img"][1]),
        ("nb", len(batches), config["nb"]),
        ("feature_width", module.image_encoder.width, meta["feature_width"]),
        ("planes", module.image_encoder.width, 4 * config["planes"][-1]),
        ("lower_case", True, meta["tokenizer"]["lower_case"]),
    ):
        yield same(f"setting.{name}", ours, theirs)
    start = config["scale0"]
    scale = module.log_scale if start is None else torch.tensor(start)
    fresh = FLAIR(variant="official").options.temperature
    wanted = -torch.tensor(fresh).log() if start is None else module.log_scale.detach()
    yield relative("setting.scale0", scale, float(wanted), 1e-6)
    for number, batch in enumerate(batches):
        words, longest = module.known_tokenizer(), module.options.max_tokens
        ids, mask = words.encode_batch(batch.captions, longest, sep=True)
        written = recording.facts("inputs")["batches"][number]["tokens"]
        title = f"batch{number}"
        yield tensor(f"{title}.ids", torch.from_numpy(ids), batch.ids, 0.0)
        yield tensor(f"{title}.mask", torch.from_numpy(mask), batch.mask, 0.0)
        yield same(f"{title}.other tokens", _named(words, batch) != written, False)


def _named(words: ReportTokenizer, batch: _Batch) -> list[list[str]]:
    pairs = zip(batch.ids, batch.mask, strict=True)
    return [[words.tokens[i] for i in row[there].tolist()] for row, there in pairs]


def _first_step(
    module: FLAIR, recording: Recording, batch: _Batch
) -> Iterator[Comparison]:
    """Losses, what passes through, gradients and running statistics of batch 0."""
    expected, mids = recording.facts("expected"), recording.tensors("intermediates")
    step = expected["step0"]
    found = batch.losses(module)
    wanted = {**step, "total": step["loss"]}
    for name, value in found.items():
        yield relative(f"loss.{name}", value, wanted[name])
    double = expected["float64"]
    # A float64 replay meets the float64 recording; a float32 one its own.
    tolerance = 1e-9 if module.dtype == torch.float64 else 1e-5
    yield relative("float64.total", found["total"], double["loss"], tolerance)
    clamped = expected["logit_scale_after_clamp_step0"]
    yield relative("logit_scale.clamped", module.log_scale, clamped, 1e-6)
    statistics = {k: v.clone() for k, v in module.state_dict().items()}
    for key, value in under(mids, "bn_after.").items():
        yield _close(f"bn_after.{key}", statistics[flair_name(key) or ""], value)
    yield from _hidden(module, batch, mids)
    yield from _gradients(module, found["total"], recording)


@torch.no_grad()
def _hidden(module: FLAIR, batch: _Batch, mids: Read[Tensor]) -> Iterator[Comparison]:
    tower = module.text_tower
    assert isinstance(tower, LayersTower)
    states = tower.states(batch.ids, batch.mask)
    features = module.image_encoder(batch.images).pooled
    pooled = tower(batch.ids, batch.mask, batch.captions).pooled
    images = functional.normalize(module.image_head(features), dim=1)
    texts = functional.normalize(module.text_head(pooled), dim=1)
    scale = float(module.log_scale.exp())
    forth, _ = module.targets(batch.keys) or (None, None)
    found = {
        **{
            f"text.hidden_{n}": s
            for n, s in zip(("1", "2", "last"), states, strict=True)
        },
        "text.pooled": pooled,
        "text.embeds": texts,
        "vision.features": features,
        "vision.embeds": images,
        "target": forth,
    }
    for name, value in found.items():
        yield _close(f"train.{name}", value, mids[f"train.{name}"])
    logits = scale * texts @ images.T
    name = "train.logits_per_text"
    yield tensor(f"mid.{name}", logits, mids[name], MID * scale)


def _close(name: str, ours: Tensor | None, recorded: Tensor) -> Comparison:
    """Compare what passes through the networks, by the largest recorded value."""
    return tensor(
        f"mid.{name}", ours, recorded, MID * max(float(recorded.abs().max()), 1.0)
    )


def _gradients(
    module: FLAIR, total: Tensor, recording: Recording
) -> Iterator[Comparison]:
    """Norms of all gradients and of each, and whole gradients."""
    step, names = recording.facts("expected")["step0"], Names.of(recording, flair_name)
    found = gradients_of(module, total)
    whole = nn.utils.get_total_norm([g for g in found.values() if g is not None])
    yield relative("grad_norm.total", whole, step["total_norm"], RELATIVE_NORM)
    norms = step["grad_norms"]
    yield same("grad_norm.parameters", len(found), len(names.under(norms)))
    yield names.worst_norm("grad_norm", found, norms, RELATIVE_NORM)
    ours_without = [key for key in step["no_gradient"] if flair_name(key) is not None]
    yield same("grad.without", len(ours_without), 0)
    yield from names.gradients(found, recording.tensors("gradients"))


@torch.no_grad()
def _evaluation(
    module: FLAIR, recording: Recording, batches: list[_Batch]
) -> Iterator[Comparison]:
    """Embeddings in evaluation mode, of a caption alone, and without head or norms."""
    mids, expected = recording.tensors("intermediates"), recording.facts("expected")
    first = batches[0]
    images, texts = module.embed(first.images, first.ids, first.mask)
    unit = {"vision": images, "text": texts}
    for name, value in unit.items():
        ours = functional.normalize(value, dim=1)
        yield _close(f"eval.{name}.embeds", ours, mids[f"eval.{name}.embeds"])
    features = module.image_encoder(first.images).pooled
    yield _close("no_projection", features, mids["features.no_projection"])
    plain = module.image_head.projection(features)  # type: ignore[operator]
    name = "features.projection_no_norm"
    yield _close("projection_no_norm", plain, mids[name])
    flags = expected["flags"]
    shape = flags["shape_when_built_without_projection"]
    yield same("flags.width", features.shape[1], shape[1])
    yield same("flags.rows", features.shape[0], shape[0])
    # Our model has no such switches, so none that is ignored.
    kept = flags["projection_false_norm_true_equals_norm_false"]
    yield same("flags.norm without projection", kept, True)
    changed = flags["attributes_set_on_loaded_model_change_features"]
    yield same("flags.attributes are read", changed, False)
    row = expected["padding_dependence"]["row"]
    inside = functional.normalize(texts[row], dim=0)
    alone = module.embed_texts([first.captions[row]])[0].to(module.dtype)
    yield _close("pad.in_batch", inside, mids["pad.in_batch"])
    yield _close("pad.alone", alone, mids["pad.alone"])
    cosine = expected["padding_dependence"]["cosine_alone_vs_in_batch"]
    yield relative("pad.cosine", inside @ alone, cosine)


def _trajectory(
    module: FLAIR, recording: Recording, batches: list[_Batch]
) -> Iterator[Comparison]:
    """The released training loop: two passes over the batches, clipped, scheduled."""
    expected, mids = recording.facts("expected"), recording.tensors("intermediates")
    recipe, config = expected["trajectory_config"], recording.facts("meta")["config"]
    yield same("trajectory.lr", config["lr"], recipe["lr"])
    yield same("trajectory.wd", config["wd"], recipe["weight_decay"])
    yield same("trajectory.param_groups", 1, recipe["param_groups"])
    optimizer = adamw(module, recipe)
    epoch = recipe["steps_per_epoch"]
    steps = recipe["epochs"] * epoch
    yield same("trajectory.steps", steps, len(expected["trajectory"]))
    for index, entry in enumerate(expected["trajectory"]):
        factor = official_rate(index, recipe["warmup_epoch"] * epoch, 100 * epoch)
        rate = torch.tensor(recipe["lr"] * factor, dtype=torch.float64)
        yield relative(f"step{index}.lr", rate, entry["lr"], 1e-9)
        optimizer.param_groups[0]["lr"] = float(rate)
        losses = batches[entry["batch"]].losses(module)
        yield from _step(f"step{index}", optimizer, losses, entry, recipe["clip"])
    yield relative(
        "final.logit_scale",
        module.log_scale,
        expected["final_logit_scale"],
        RELATIVE_TRAJECTORY,
    )
    names, norms = Names.of(recording, flair_name), expected["final_param_norms"]
    yield names.worst_end("final.parameters", module, norms, DRIFT)
    state = module.state_dict()
    for key, value in under(mids, "bn_final.").items():
        tolerance = DRIFT * max(float(value.abs().max()), 1.0)
        name = flair_name(key) or ""
        yield tensor(f"mid.bn_final.{key}", state[name], value, tolerance)


def _steady(module: FLAIR, recording: Recording, batch: _Batch) -> Iterator[Comparison]:
    """Steps on one batch at one rate."""
    expected = recording.facts("expected")
    recipe = expected["trajectory_config"]
    optimizer = adamw(module, recipe)
    for index, entry in enumerate(expected["trajectory_no_schedule"]):
        optimizer.param_groups[0]["lr"] = entry["lr"]
        losses = {"total": batch.losses(module)["total"]}
        yield from _step(f"steady{index}", optimizer, losses, entry, recipe["clip"])


def _step(
    title: str,
    optimizer: torch.optim.Optimizer,
    losses: Mapping[str, Tensor],
    entry: Mapping[str, Any],
    clip: float,
) -> Iterator[Comparison]:
    """Compare losses and the norm of the gradient, clip it, and step."""
    recorded = {**entry, "total": entry["loss"]}
    recorded["grad_norm"] = entry["total_norm_before_clip"]
    yield from take_step(title, optimizer, losses, recorded, DRIFT, clip=clip)


def _curve(title: str, recipe: Mapping[str, Any]) -> Comparison:
    """The learning rate of every step."""
    peak, epoch, recorded = recipe["lr"], recipe["its"], recipe["values"]
    warmup, total = recipe["warmup_epoch"] * epoch, 100 * epoch
    rates = [peak * official_rate(k, warmup, total) for k in range(len(recorded))]
    return curve(title, rates, recorded, 1e-9 * peak)


replay_fixture = Replay(
    "FLAIR",
    {
        "state_dict.safetensors": _replay_model,
        "loss_level.json": replay_losses,
        "pipeline.json": replay_pipeline,
    },
)
