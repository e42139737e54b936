"""Replay of recorded runs of the official ASG code, for ``vlpzoo parity asg``.

A fixture holds official weights, batches, intermediates, losses, gradients, ten
optimiser steps, the losses alone on given embeddings, and the data pipeline. Weights
come in through the converter that also reads released checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from vlp_zoo.encoders.published.official import asg_name
from vlp_zoo.methods.asg.asg import ASG, ASGBatch
from vlp_zoo.methods.asg.losses import global_scores, soft_labels
from vlp_zoo.methods.asg.networks import Pass
from vlp_zoo.methods.asg.regions import sentence_means
from vlp_zoo.methods.paired.words import merge_words, word_slots
from vlp_zoo.parity.asg.losses import (
    DOUBLE,
    GRADIENT,
    TERMS,
    compare_losses,
    replay_losses,
    slot_pairs,
)
from vlp_zoo.parity.asg.pipeline import replay_pipeline
from vlp_zoo.parity.asg.recording import (
    official_batch,
    official_module,
    pieces_of,
    run_batch,
)
from vlp_zoo.parity.comparison import (
    Comparison,
    gradients_of,
    relative,
    same,
    tensor,
)
from vlp_zoo.parity.names import Names
from vlp_zoo.parity.paired import (
    compare_ends,
    recorded_rate,
    replay_schedule,
    top_shares,
    weighted_total,
)
from vlp_zoo.parity.replay import (
    Recording,
    Replay,
    adamw,
    count_inputs,
    intermediates,
    take_step,
    under,
)
from vlp_zoo.parity.words import continuations

__all__ = ["replay_fixture"]

DESCRIPTION = {"set", "dropout", "versions"}
"""Entries of ``meta.json`` for readers."""

DRAWN = {"seed", "nregs", "empty_label", "dup_label", "empty_sentence"}
"""How the batch was drawn, which is recorded."""

NOT_REPLAYED = {
    "batch.token_type_ids": "the official report encoder has no table for them",
    "meta.tags": "names; the replay takes their tokens",
}
"""Inputs that no number of the recording depends on, or that stand there twice."""

MID, NORM, TRAJECTORY = 2e-5, 2e-4, 1e-4
"""Tolerances of the recordings' README, for float32."""

NOISE = 3e-6
"""Share of the largest gradient below which one is the rounding of a sum that cancels:
batch norm takes away what the biases of the last text layer add for some losses. The
recordings are that far from our float64 gradients (2.9e-6 at most on the public ones)."""

OWN_NOISE = 3.0
"""Times that in float32, where our own rounding, other with each number of threads and
each CPU, comes on top: 5.9e-6 in all with one thread of a CPU where two gave 2.3e-6."""


def _replay_model(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    module, tags = official_module(recording, dtype)
    mid = recording.tensors("intermediates")
    yield tensor("mid.train.text_features", tags, mid["train.text_features"], MID)
    batch = official_batch(recording.tensors("inputs"), "batch.", module, dtype)
    yield from _training(module, recording, batch, dtype)
    yield from _others(module, recording, batch, dtype)
    module, _ = official_module(recording, dtype)
    yield from _trajectory(module, recording, batch)
    yield from _sorted_batch(recording)
    yield from _settings(module, recording)
    meta = recording.facts("meta")
    yield count_inputs(
        {
            "": recording.tensors("inputs"),
            "meta.": (meta, lambda name: name not in DESCRIPTION),
            "config.": (meta["config"], lambda name: name not in DRAWN),
        },
        NOT_REPLAYED,
    )


def _replay_merging(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Word pieces to words, on random vectors."""
    mid = recording.tensors("intermediates")
    ids, vocabulary = mid["agg.ids"], recording.facts("meta")["vocab"]
    slots = word_slots(continuations(vocabulary, ids), ids != 0)
    merged = merge_words(mid["agg.in"][:, 0].to(dtype), slots)
    yield tensor("mid.agg.out", merged, mid["agg.out"][:, 0], MID)


def _sorted_batch(recording: Recording) -> Iterator[Comparison]:
    """The official collate from its samples: by length, longest first."""
    inputs = recording.tensors("inputs")
    order = inputs["presort.cap_len"].argsort(descending=True, stable=True).tolist()
    for name, field in (("caption_ids", "caption_ids"), ("region", "regions")):
        ours = torch.stack([inputs[f"presort.{i}.{name}"] for i in order])
        batch = inputs[f"batch.{field}"]
        wanted = batch if name == "caption_ids" else batch[..., 1:]
        yield tensor(f"presort.{name}", ours, wanted, 0.0)
    yield slot_pairs("batch", inputs)


def _settings(module: ASG, recording: Recording) -> Iterator[Comparison]:
    """Sizes and weights that our defaults or the tensors give."""
    meta, config = recording.facts("meta"), recording.facts("meta")["config"]
    for theirs, ours in TERMS.items():
        recorded = meta["loss_weights"][theirs]
        yield same(f"setting.{theirs}", module.options.weights[ours], recorded)
    images = recording.tensors("inputs")["batch.imgs"]
    yield same("setting.B", len(images), config["B"])
    yield same("setting.grid", module.grid[0], meta["grid"])
    yield same(
        "setting.lr", recording.facts("expected")["trajectory"]["max_lr"], config["lr"]
    )


# Losses, intermediates, gradients -----------------------------------------------


def _parts(
    module: ASG, run: Pass, batch: ASGBatch, source: Tensor | None
) -> dict[str, Tensor]:
    """The directional parts of the losses, and the accuracies."""
    scores = global_scores(run.image, run.report, module.options.temperature, False)
    soft = soft_labels((batch["tags"] == 1).to(run.image.dtype), False)
    parts: dict[str, Tensor] = {}
    for index, (found, name) in enumerate(zip(scores, ("kl", "kl1"), strict=True)):
        parts[f"loss_ira{index}"] = -found.diagonal().mean()
        parts[f"{name}_for"] = (soft * (soft.log() - found)).sum(1).mean()
        parts[f"{name}_back"] = (found.exp() * (found - soft.log())).sum(1).mean()
        both = parts[f"{name}_for"] + parts[f"{name}_back"]
        parts[f"loss_soft{index}"] = both / 2
    return parts | top_shares(run.image @ run.report.T)


def _training(
    module: ASG, recording: Recording, batch: ASGBatch, dtype: torch.dtype
) -> Iterator[Comparison]:
    expected, mid = recording.facts("expected"), recording.tensors("intermediates")
    inputs = recording.tensors("inputs")
    stale = inputs["batch.regions"][:, 0, 0].long()
    lengths = inputs["presort.cap_len"]
    yield tensor(
        "official_roi_index",
        lengths.argsort(descending=True, stable=True),
        stale,
        0.0,
    )
    run = run_batch(module, recording, batch, dtype)
    terms = module.terms(run, batch, stale)
    yield from compare_losses("loss", module, terms, expected["train_reference"])
    if dtype == torch.float64:
        for theirs, ours in TERMS.items():
            value = expected["float64"]["losses"][theirs]
            yield relative(f"float64.{theirs}", terms[ours], value, DOUBLE[theirs])
    recorded = expected["train_reference"]
    for name, value in _parts(module, run, batch, stale).items():
        official = recorded["sub"].get(name, recorded.get(name))
        yield relative(f"train_reference.{name}", value, official)
    seen = _seen(module, run, batch, stale)
    yield from _mids("train", seen, mid, module.options.temperature)
    state = module.state_dict()
    for key, value in mid.items():
        if key.startswith("bn_after."):
            name = asg_name(key.removeprefix("bn_after.")) or ""
            yield tensor(f"mid.{key}", state[name], value, MID)
    yield from _gradients(module, terms, recording)
    aligned = module.terms(run, batch, None)
    yield from compare_losses(
        "train_aligned", module, aligned, expected["train_aligned"]
    )
    seen = _seen(module, run, batch, None)
    yield from _mids("train_aligned", seen, mid, module.options.temperature)
    gradients = gradients_of(module, weighted_total(aligned, module.options.weights))
    norms = expected["train_aligned"]["grad_norm"]["total"]
    yield Names.of(recording, asg_name).worst_norm(
        "train_aligned.grad_norm.total", gradients, norms, NORM, NOISE
    )


def _seen(
    module: ASG, run: Pass, batch: ASGBatch, source: Tensor | None
) -> dict[str, Tensor]:
    """Our quantities under the fixture's names."""
    regions = module.region_features(run, batch["region_boxes"], source)
    assert run.word_embeddings is not None
    assert run.patch_embeddings is not None
    assert run.tag_logits is not None
    sentences = sentence_means(batch["sentence_words"], run.word_embeddings)
    valid = batch["region_groups"] >= 0
    rows, columns = module.grid
    label = (batch["tags"] == 1).to(run.image.dtype)
    soft = soft_labels(label, False)
    unit = torch.nn.functional.normalize(label, dim=1)
    return {
        "img_feat_q": run.pooled,
        "patch_feat_q": run.patches,
        "img_emb_q": run.image,
        "report_emb_q": run.report,
        "patch_emb_q": run.patch_embeddings.transpose(1, 2).reshape(
            len(valid), -1, rows, columns
        ),
        "word_emb_q": run.word_embeddings,
        "roi_feature": regions,
        "sen_emb_q": sentences,
        "scores": run.image @ run.report.T / module.options.temperature,
        "scores_re": (
            regions @ sentences.transpose(1, 2) / module.options.temperature
        ).where(valid[:, :, None] & valid[:, None], 0.0),
        "pred_class_image": run.tag_logits[..., None],
        "cls_label": label,
        "soft_label": unit @ unit.T,
        "final_label": soft,
    }


def _mids(
    group: str,
    seen: Mapping[str, Tensor],
    recorded: Mapping[str, Tensor],
    temperature: float,
) -> Iterator[Comparison]:
    # Those two are compared by `_others`, before the heads; text features at the start.
    apart = ("text_features", "report_feat_q", "word_feat_q")
    named = {k: v for k, v in under(recorded, f"{group}.").items() if k not in apart}
    if "scores_re" in named:
        # Outside an image's own block the recording holds -inf and zeros.
        value = named["scores_re"]
        known = value.isfinite() & (seen["scores_re"] != 0)
        named["scores_re"] = value.where(known, 0.0)
    # Scores are cosines over the temperature, and so are their errors.
    for scale, are_scores in ((1.0, False), (1 / temperature, True)):
        some = {
            f"{group}.{name}": value
            for name, value in named.items()
            if name.startswith("scores") == are_scores
        }
        ours = {f"{group}.{name}": value for name, value in seen.items()}
        yield from intermediates(some, ours, MID * scale)


@torch.no_grad()
def _others(
    module: ASG, recording: Recording, batch: ASGBatch, dtype: torch.dtype
) -> Iterator[Comparison]:
    """Words, positions, the tag decoder alone, and evaluation mode."""
    mid = recording.tensors("intermediates")
    report = pieces_of(recording, batch)
    words = module.encode_words(report)
    yield tensor(
        "mid.train.report_feat_q", words[:, 0], mid["train.report_feat_q"], MID
    )
    yield tensor("mid.train.word_feat_q", words[:, 1:], mid["train.word_feat_q"], MID)
    options = module.options
    for official, name in ((True, "all_zero"), (False, "0_to_T")):
        module.options = replace(options, official_positions=official)
        hidden = module.encode_pieces(report.ids, report.present)
        real = report.present[:, : hidden.shape[1], None]
        recorded = mid[f"bert.hidden_positions_{name}"][:, : hidden.shape[1]]
        yield tensor(f"mid.bert.{name}", hidden * real, recorded * real, MID)
    module.options = options
    patches = mid["train.patch_feat_q"].to(dtype)
    logits = module.tag_decoder(module.tag_features, patches)
    yield tensor("mid.irl.logits", logits[..., None], mid["irl.logits"], MID)
    attention = module.tag_decoder.attention(module.tag_features, patches)
    yield tensor("mid.irl.attention", attention, mid["irl.attention"], MID)
    module.eval()
    stale = recording.tensors("inputs")["batch.regions"][:, 0, 0].long()
    run = run_batch(module, recording, batch, dtype)
    terms = module.terms(run, batch, stale)
    losses = recording.facts("expected")["eval_after_one_forward"]
    yield from compare_losses("eval", module, terms, losses)
    seen = _seen(module, run, batch, stale)
    yield from _mids("eval", seen, mid, module.options.temperature)
    module.train()


def _gradients(
    module: ASG, terms: Mapping[str, Tensor], recording: Recording
) -> Iterator[Comparison]:
    names = Names.of(recording, asg_name)
    norms = recording.facts("expected")["train_reference"]["grad_norm"]
    prefix = "train_reference.grad_norm"
    total = weighted_total(terms, module.options.weights)
    for theirs, ours in TERMS.items():
        found, title = gradients_of(module, terms[ours]), f"{prefix}.{theirs}"
        yield names.worst_norm(title, found, norms[theirs], NORM, NOISE)
    found = gradients_of(module, total)
    yield names.worst_norm(f"{prefix}.total", found, norms["total"], NORM, NOISE)
    official = recording.tensors("gradients")
    noise = NOISE * max(float(g.abs().max()) for g in official.values())
    if module.dtype == torch.float32:
        noise *= OWN_NOISE
    yield from names.gradients(
        found, official, lambda value: GRADIENT * float(value.abs().max()) + noise
    )


# Losses alone, and ten steps ----------------------------------------------------


def _trajectory(
    module: ASG, recording: Recording, batch: ASGBatch
) -> Iterator[Comparison]:
    """Losses, rates and final norms along the recorded AdamW steps."""
    recipe = recording.facts("expected")["trajectory"]
    optimizer = adamw(module, recipe)
    stale = recording.tensors("inputs")["batch.regions"][:, 0, 0].long()
    for step, entry in enumerate(recipe["steps"]):
        rate = optimizer.param_groups[0]["lr"] = recorded_rate(step, recipe)
        yield relative(f"step{step}.lr", torch.tensor(rate), entry["lr"], 1e-6)
        run = run_batch(module, recording, batch, module.tag_features.dtype)
        terms = module.terms(run, batch, stale)
        losses = {theirs: terms[ours] for theirs, ours in TERMS.items()}
        losses["total"] = weighted_total(terms, module.options.weights)
        yield from take_step(f"step{step}", optimizer, losses, entry, TRAJECTORY)
    names, noisy = Names.of(recording, asg_name), ("qkv.bias", "in_proj_bias")
    ends = recipe["final_param_norm"]
    yield from compare_ends(module, names, ends, TRAJECTORY, noisy)


replay_fixture = Replay(
    "ASG",
    {
        "state_dict.safetensors": _replay_model,
        "expected.json": replay_schedule,
        "intermediates.safetensors": _replay_merging,
        "loss_level.json": replay_losses,
        "pipeline.json": replay_pipeline,
    },
)
