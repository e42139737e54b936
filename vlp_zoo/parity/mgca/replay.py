"""Replay of recorded runs of the official MGCA code, for ``vlpzoo parity mgca``.

A fixture holds official weights, a batch, intermediates, losses, gradients, ten optimiser
steps, the losses alone on given embeddings, and the data pipeline. Weights come in through
the converter that also reads released checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.encoders.published.official import mgca_name
from vlp_zoo.methods.mgca.losses import sinkhorn
from vlp_zoo.methods.mgca.mgca import MGCA, Pass
from vlp_zoo.methods.mgca.networks import (
    attentive_bert,
    attentive_vit,
    official_slots,
)
from vlp_zoo.methods.paired.square import enlarged
from vlp_zoo.methods.paired.word_towers import local_features
from vlp_zoo.methods.paired.words import Pieces, merge_words, word_slots
from vlp_zoo.parity.comparison import (
    Comparison,
    gradients_of,
    relative,
    same,
    tensor,
)
from vlp_zoo.parity.mgca.parts import replay_losses, replay_pipeline
from vlp_zoo.parity.mgca.recording import (
    TERMS,
    compare_losses,
    official_module,
)
from vlp_zoo.parity.names import Names
from vlp_zoo.parity.paired import (
    compare_ends,
    recorded_rate,
    replay_schedule,
    weighted_total,
)
from vlp_zoo.parity.replay import (
    Recording,
    Replay,
    adamw,
    count_inputs,
    take_step,
    under,
)
from vlp_zoo.parity.words import continuations

__all__ = ["replay_fixture"]

DESCRIPTION = {"set", "versions", "feature_width", "local_feature_width"}
"""Entries of ``meta.json`` for readers."""

DRAWN = {"seed", "gain", "imsize", "dt", "tlayers", "theads", "tinter", "tmaxpos", "lr"}
"""How the networks were drawn, and what ``bert_config`` and the steps say again."""

NOT_REPLAYED = {
    "batch.token_type_ids": "the official report encoder has no table for them"
}
"""Inputs that no number of the recording depends on."""

MID, SCORES, NORM = 5e-5, 2e-4, 1e-3
"""Tolerances of the recordings' README, for float32; norms are those of the ResNet."""

GRADIENT, TRAJECTORY = 1e-3, 1e-3
"""Largest error relative to the largest value, or to the number of a step."""

WIDER = 4
"""Times the tolerance of intermediates for a ResNet, in which float32 is further from
float64: the recorded ones are 3 times as far as `MID` on a public set."""

KINKS = 1e-1
"""Largest error of a ResNet's gradient norm along the steps: it jumps where maxima of
pooling change places, while losses agree. Single precision, in which the steps were
recorded, has been seen 6.4e-2 from double on a public set."""

NOISE = 1e-5
"""Share of the largest gradient below which one is the rounding of a sum that cancels."""


def _replay_model(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    module = official_module(recording, dtype)
    learnt = module.options
    module.options = plain = replace(learnt, learnt_attention=False)
    yield from _training(module, recording)
    yield from _encoders(module, recording)
    expected = recording.facts("expected")
    module.train()
    variants = {
        "train_unidirectional": replace(plain, bidirectional=False),
        "train_use_local_atten": learnt,
    }
    for name, options in variants.items():
        module.options = options
        run = _pass(module, recording)
        yield from compare_losses(name, module, run, expected[name])
    module.options = replace(plain, token_weights="aligned")
    yield from _aligned(module, recording)
    # A ResNet steps in double: in single precision the kernels of the processor decide
    # which of nearly equal maxima is pooled, and the steps part (1.4e-3 of a loss).
    vit = module.image_encoder.is_vit
    module = official_module(recording, dtype if vit else torch.float64)
    module.options = plain
    yield from _trajectory(module, recording)
    meta, inputs = recording.facts("meta"), recording.tensors("inputs")
    lengths = inputs["batch.attention_mask"].sum(1)
    yield tensor("batch.cap_lens", lengths, inputs["batch.cap_lens"], 0.0)
    yield same("setting.B", len(lengths), meta["config"]["B"])
    yield count_inputs(
        {
            "": inputs,
            "meta.": (meta, lambda name: name not in DESCRIPTION),
            "config.": (meta["config"], lambda name: name not in DRAWN),
        },
        NOT_REPLAYED,
    )


def _reports(recording: Recording) -> Pieces:
    """The reports of the recorded batch."""
    inputs = recording.tensors("inputs")
    ids = inputs["batch.caption_ids"]
    continues = continuations(recording.facts("meta")["vocab"], ids)
    return Pieces(ids, inputs["batch.attention_mask"].bool(), continues)


def _pass(module: MGCA, recording: Recording) -> Pass:
    """A forward pass of the recorded batch."""
    module.normalise_prototypes()
    images = recording.tensors("inputs")["batch.imgs"].to(module.dtype)
    return module.run(images, _reports(recording))


def _training(module: MGCA, recording: Recording) -> Iterator[Comparison]:
    expected, mid = recording.facts("expected"), recording.tensors("intermediates")
    wide = module.dtype == torch.float64
    run = _pass(module, recording)
    recorded = expected["train_reference"]
    yield from compare_losses("train_reference", module, run, recorded)
    terms = module.terms(run)
    total = weighted_total(terms, module.options.weights)
    yield relative("training_step", total, expected["training_step_total"])
    if wide:
        yield from compare_losses("float64", module, run, expected["float64"])
    wider, seen = _wider(module), _seen(module, run, recording)
    yield from _mids(seen, under(mid, "train."), "train", wider)
    assert run.patches is not None
    count = recording.facts("meta")["local_tokens"]
    yield same("setting.local_tokens", run.patches.shape[1], count)
    state = module.state_dict()
    for key, value in under(mid, "bn_after.").items():
        after = state[mgca_name(key) or ""]
        yield tensor(f"mid.bn_after.{key}", after, value, wider * MID)
    yield from _gradients(module, terms, total, recording)
    module.eval()
    with torch.no_grad():
        run = _pass(module, recording)
    recorded = expected["eval_after_one_forward"]
    yield from compare_losses("eval", module, run, recorded)
    seen = _seen(module, run, recording)
    yield from _mids(seen, under(mid, "eval."), "eval", wider)


@torch.no_grad()
def _seen(module: MGCA, run: Pass, recording: Recording) -> dict[str, Tensor]:
    """Our quantities under the fixture's names."""
    options = module.options
    assert run.words is not None
    assert run.patches is not None
    states, _, heard = module.hear(_reports(recording))
    words, patches = module.counterparts(run)
    scores = {
        name: rows @ module.prototypes.weight.T
        for name, rows in (("img", run.image), ("report", run.report))
    }
    tau = options.token_temperature
    codes = (options.sinkhorn_epsilon, options.sinkhorn_iterations)
    return {
        "img_feat_q": run.pooled,
        "img_emb_q": run.image,
        "report_emb_q": run.report,
        "patch_emb_q": run.patches,
        "word_emb_q": run.words,
        "report_feat_q": states[:, 0],
        "word_feat_q": states[:, 1:],
        "mask": ~run.present,
        "word_attn_raw": heard,
        "word_atten_weights": run.word_weights,
        "patch_atten_weights": run.patch_weights,
        "word_atten_output": words,
        "patch_atten_output": patches,
        "scores": run.image @ run.report.T / options.temperature,
        "word_sim": run.words @ words.transpose(1, 2) / tau,
        "patch_sim": run.patches @ patches.transpose(1, 2) / tau,
        **{f"{name}_proto_out": found for name, found in scores.items()},
        **{f"{name}_code": sinkhorn(found, *codes) for name, found in scores.items()},
    }


def _wider(module: MGCA) -> float:
    return 1 if module.image_encoder.is_vit else WIDER


def _mids(
    seen: Mapping[str, Tensor],
    recorded: Mapping[str, Tensor],
    title: str,
    wider: float = 1,
) -> Iterator[Comparison]:
    for key, value in recorded.items():
        name = key.partition(".")[0]
        if name == "patch_feat_q":
            continue  # before the heads, see `_encoders`
        if name == "word_attn_clipped":
            # Ours are divided by their sum at once.
            value = value / value.sum(1, keepdim=True)
            name = "word_atten_weights"
        found = seen[name]
        if key == "patch_sim.sample0_strided6":
            found = found[0, ::6, ::6]
        elif key.endswith(".strided7"):
            found = found.reshape(-1)[::7]
        scale = SCORES if name in ("scores", "word_sim", "patch_sim") else MID
        yield tensor(f"mid.{title}.{key}", found, value, wider * scale)


@torch.no_grad()
def _encoders(module: MGCA, recording: Recording) -> Iterator[Comparison]:
    """What stands before the heads: local features, positions, rows of attention."""
    mid, options = recording.tensors("intermediates"), module.options
    images = recording.tensors("inputs")["batch.imgs"].to(module.dtype)
    images = enlarged(images, options.image_size)
    encoder = module.image_encoder
    encoder.train()
    if encoder.is_vit:
        encoded, looked = attentive_vit(encoder, images)
        row = mid["vit.last_block_cls_row"].mean(1)
        yield tensor("mid.vit.last_block_cls_row", looked, row, MID)
    else:
        encoded = encoder(images)
    features = local_features(encoder, encoded)
    for key, value in mid.items():
        if key.startswith("train.patch_feat_q"):
            thin = (
                features if key == "train.patch_feat_q" else features.reshape(-1)[::7]
            )
            yield tensor(f"mid.{key}", thin, value, _wider(module) * MID)
    ids, mask = _reports(recording)[:2]
    for official, name in ((True, "all_zero"), (False, "0_to_T")):
        module.options = replace(options, official_positions=official)
        layers = module.text_encoder.bert.encoder.layer
        hidden, heard = attentive_bert(layers, module.embed_pieces(ids), mask)
        recorded = mid[f"bert.hidden_positions_{name}"]
        real = mask[..., None]
        yield tensor(f"mid.bert.{name}", hidden * real, recorded * real, MID)
        if official:
            row = mid["bert.last_layer_attention_cls_row"].mean(1)
            yield tensor("mid.bert.cls_row", heard, row, MID)
    module.options = options


def _aligned(module: MGCA, recording: Recording) -> Iterator[Comparison]:
    """Weights of words that are their own, and the words of both kinds."""
    mid, expected = recording.tensors("intermediates"), recording.facts("expected")
    run, title = _pass(module, recording), "train_attention_aligned"
    yield from compare_losses(title, module, run, expected[title])
    recorded = under(mid, "aligned.")
    yield from _mids({"word_atten_weights": run.word_weights}, recorded, "aligned")
    for title, words in (
        ("words", expected["words"]),
        ("aligned.words", expected["train_attention_aligned"]["words"]),
    ):
        kind = "aligned" if title.startswith("aligned") else "official"
        report = _reports(recording)
        slots = word_slots(report.continues, report.present)
        if kind == "official":
            slots = official_slots(slots, report.present)
        yield _same_words(title, recording, report.ids, slots, words)


def _replay_merging(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Word pieces and attention to words, on random vectors."""
    mid = recording.tensors("intermediates")
    ids = mid["agg.ids"]
    continues = continuations(recording.facts("meta")["vocab"], ids)
    slots = official_slots(word_slots(continues, ids != 0), ids != 0)
    merged = merge_words(mid["agg.emb_in"].to(dtype), slots)
    yield tensor("mid.agg.emb_out", merged, mid["agg.emb_out"], MID)
    heard = torch.nn.functional.pad(mid["agg.attn_in"].to(dtype), (0, 1))
    merged = merge_words(heard[..., None], slots)[..., 0]
    yield tensor("mid.agg.attn_out", merged, mid["agg.attn_out"], MID)
    words = recording.facts("expected")["agg_words"]
    yield _same_words("agg_words", recording, ids, slots, words)


def _same_words(
    title: str, recording: Recording, ids: Tensor, slots: Tensor, recorded: list[Any]
) -> Comparison:
    """How many slots hold other words than recorded."""
    vocabulary, wrong = recording.facts("meta")["vocab"], 0
    for row, places, labels in zip(ids.tolist(), slots.tolist(), recorded, strict=True):
        words = [""] * len(row)
        for piece, place in zip(row, places, strict=True):
            if place < len(row):
                words[place] += vocabulary[piece].removeprefix("##")
        wrong += sum(
            (word or "[PAD]") != label
            for word, label in zip(words, labels, strict=True)
        )
    return same(f"{title} ({ids.numel()})", wrong, 0)


# Gradients and ten steps --------------------------------------------------------


def _gradients(
    module: MGCA, terms: Mapping[str, Tensor], total: Tensor, recording: Recording
) -> Iterator[Comparison]:
    expected = recording.facts("expected")
    names = Names.of(recording, mgca_name)
    norms = expected["train_reference"]["grad_norm"]
    for theirs, ours in TERMS.items():
        found, title = gradients_of(module, terms[ours]), f"grad_norm.{theirs}"
        yield names.worst_norm(title, found, norms[theirs], NORM, NOISE)
    found = gradients_of(module, total)
    yield names.worst_norm("grad_norm.total", found, norms["total"], NORM, NOISE)
    if module.dtype == torch.float64:
        wide = expected["float64"]["grad_norm_total"]
        yield names.worst_norm("float64.grad_norm", found, wide, NORM, NOISE)
    known = [gradient for gradient in found.values() if gradient is not None]
    norm = torch.nn.utils.get_total_norm(known)
    recorded = expected["train_reference"]["grad_norm_global_total"]
    yield relative("grad_norm_global_total", norm, recorded, NORM)
    official = recording.tensors("gradients")
    noise = NOISE * max(float(value.abs().max()) for value in official.values())
    yield from names.gradients(
        found, official, lambda value: GRADIENT * float(value.abs().max()) + noise
    )


def _trajectory(module: MGCA, recording: Recording) -> Iterator[Comparison]:
    """Losses, rates and final norms along the recorded AdamW steps."""
    recipe = recording.facts("expected")["trajectory"]
    optimizer = adamw(module, recipe)
    frozen_epochs = recipe["freeze_prototypes_epochs"]
    yield same("setting.freeze", module.options.freeze_prototypes_epochs, frozen_epochs)
    for step, entry in enumerate(recipe["steps"]):
        rate = optimizer.param_groups[0]["lr"] = recorded_rate(step, recipe)
        yield relative(f"step{step}.lr", torch.tensor(rate), entry["lr"], 1e-6)
        frozen = entry["epoch"] < frozen_epochs
        yield same(f"step{step}.prototype_grad", not frozen, entry["prototype_grad"])
        module.prototypes.requires_grad_(not frozen)
        terms = module.terms(_pass(module, recording))
        losses = {theirs: terms[ours] for theirs, ours in TERMS.items()}
        total = weighted_total(terms, module.options.weights)
        norms = TRAJECTORY if module.image_encoder.is_vit else KINKS
        title = f"step{step}"
        # The recordings' README bounds the total; a part may be off by as much.
        most = TRAJECTORY * abs(entry["total"])
        for name, value in losses.items():
            yield tensor(f"{title}.{name}", value, torch.tensor(entry[name]), most)
        yield from take_step(
            title, optimizer, {"total": total}, entry, TRAJECTORY, norm_tolerance=norms
        )
    names, ends = Names.of(recording, mgca_name), recipe["final_param_norm"]
    yield from compare_ends(module, names, ends, TRAJECTORY, ("qkv.bias",))


replay_fixture = Replay(
    "MGCA",
    {
        "state_dict.safetensors": _replay_model,
        "expected.json": replay_schedule,
        "intermediates.safetensors": _replay_merging,
        "loss_level.json": replay_losses,
        "pipeline.json": replay_pipeline,
    },
)
