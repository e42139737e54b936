"""Replay of recorded runs of the official GLoRIA code, for ``vlpzoo parity gloria``.

A fixture holds official weights, a batch, intermediates, losses, gradients, optimiser
steps, the losses alone on given embeddings, the data pipeline, and zero-shot scores.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.gloria.gloria import GLoRIA, Pass
from vlp_zoo.methods.gloria.losses import Words, match, word_attention
from vlp_zoo.methods.gloria.networks import STATES
from vlp_zoo.methods.paired.heads import unit_length
from vlp_zoo.methods.paired.word_towers import local_features
from vlp_zoo.methods.paired.words import merge_words, word_slots
from vlp_zoo.parity.comparison import (
    Comparison,
    close,
    gradients_of,
    relative,
    same,
)
from vlp_zoo.parity.gloria.losses import MID, SCORE, replay_losses
from vlp_zoo.parity.gloria.pipeline import replay_pipeline, word_labels
from vlp_zoo.parity.gloria.recording import (
    PARTS,
    Inputs,
    gloria_name,
    named_losses,
    official_module,
)
from vlp_zoo.parity.gloria.zero_shot import replay_zero_shot
from vlp_zoo.parity.masked import outputs_of
from vlp_zoo.parity.names import Names
from vlp_zoo.parity.replay import Recording, Replay, count_inputs, under
from vlp_zoo.parity.words import continuations

__all__ = ["replay_fixture"]

TRAJECTORY = {"clipped": 1e-3, "unclipped": 2e-4}
"""Relative tolerances of totals along the steps, in single precision."""
PARTS_OF = 5
"""Factor of the same for the total's parts."""
LATER = 5e-2
"""The same from the sixth clipped step on, where rounding has grown."""
NORM_BEFORE_CLIP = 5e-2
ATTENTION = 1e-4
"""Tolerance of softmaxes over products of some hundreds, of the largest value."""
NORM = 1e-3
"""Tolerance of gradients of the whole model, of norms and of the largest value."""
ROUNDED = 20
"""Factor of tolerances in double precision where single was recorded: its own rounding.
Losses, steps and norms that were recorded in double precision are met to many digits."""
DOUBLE = 1e-9
VARIANTS: dict[str, dict[str, Any]] = {
    "variant_mean_of_layers": {"text_scale": "mean"},
    "variant_no_token_merging": {},
    "variant_text_normalised": {"text_scale": "unit"},
}
"""Recorded settings of the released code to ours."""
DESCRIPTION = {"set", "versions", "tokenizer", "special"}
"""Entries of ``meta.json`` for readers; the tokenizer checks the special tokens."""
DRAWN = {"seed", "drop", "stem", "B", "imsize"}
"""Entries of its config that made the inputs; ``imsize`` is the pipeline's."""


def _replay_model(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    module, inputs = official_module(recording, dtype), Inputs.of(recording, dtype)
    expected = recording.facts("expected")
    yield from _settings(module, recording)
    yield from _training(module, inputs, recording)
    yield from _evaluation(module, inputs, recording)
    for name in [name for name in expected if name.startswith("variant_")]:
        if "last_layer_only" in name:
            continue  # the released code cannot; ours has no such setting
        if name not in VARIANTS:
            raise ConfigError(f"the setting {name}", "none here", "update vlp-zoo")
        module = official_module(recording, dtype)
        module.options = replace(module.options, **VARIANTS[name])
        merge = name != "variant_no_token_merging"
        run = inputs.run(module, merge=merge)
        tokenizer = module.known_tokenizer()
        counts = inputs if merge else inputs.by_pieces(tokenizer.unk_id)
        losses = named_losses(module, run, counts.counts)
        yield from _compare(name, losses, expected[name])
        norms = torch.tensor(expected[name]["text_emb_g_norm"])
        yield close(f"{name}.text_emb_g_norm", run.text.norm(dim=1), norms, MID)
        yield _norms(name, module, losses["total"], recording, "grad_norm_total", name)
    for name in ("clipped", "unclipped"):
        yield from _trajectory(name, inputs, recording, dtype)
    meta = recording.facts("meta")
    yield count_inputs(
        {
            "": recording.tensors("inputs"),
            "meta.": (meta, lambda name: name not in DESCRIPTION),
            "config.": (meta["config"], lambda name: name not in DRAWN),
        },
    )


def _settings(module: GLoRIA, recording: Recording) -> Iterator[Comparison]:
    """Sizes that our networks have without being told."""
    meta, tensors = recording.facts("meta"), recording.tensors("inputs")
    bert: Any = module.text_encoder.spec["bert"]
    for name, value in meta["bert_config"].items():
        yield same(f"setting.bert.{name}", float(bert[name] == value), 1.0)
    tower = meta["tower"]
    yield same("setting.grid", module.grid[0], tower["local_grid"])
    yield same("setting.places", module.place_head.in_features, tower["local_width"])
    yield same("setting.pooled", module.image_encoder.width, tower["global_width"])
    types = tensors["batch.token_type_ids"].abs().sum()
    yield same("setting.segments", 0.0, float(types))
    lengths = tensors["batch.attention_mask"].sum(1)
    yield close("setting.cap_lens", lengths, tensors["batch.cap_lens"], 0.0)


def _compare(
    title: str,
    losses: Mapping[str, Tensor],
    recorded: Mapping[str, Any],
    tolerance: float = 1e-5,
) -> Iterator[Comparison]:
    for name in (*PARTS, "total"):
        yield relative(f"{title}.{name}", losses[name], recorded[name], tolerance)


def _training(
    module: GLoRIA, inputs: Inputs, recording: Recording
) -> Iterator[Comparison]:
    expected, mid = recording.facts("expected"), recording.tensors("intermediates")
    reference = expected["train_reference"]
    run = inputs.run(module)
    losses = named_losses(module, run, inputs.counts)
    yield from _compare("loss", losses, reference)
    total = reference["model_calc_loss_total"]
    yield relative("loss.model_calc_loss_total", losses["total"], total)
    tolerance = DOUBLE if module.dtype == torch.float64 else 1e-5
    yield from _compare("float64", losses, expected["float64"], tolerance)
    state = module.state_dict()
    for key in under(mid, "bn_after."):
        ours = state[gloria_name(key) or ""]
        yield close(f"mid.bn_after.{key}", ours, mid[f"bn_after.{key}"], MID)
    seen = _seen(module, run, inputs)
    for key in under(mid, "train."):
        if key not in seen:
            raise ConfigError(f"the intermediate {key}", "none here", "update vlp-zoo")
        scores = key.startswith("scores_")
        sharp = key.startswith(("attn_map.", "text1."))
        tolerance = SCORE if scores else ATTENTION if sharp else MID
        tolerance *= 1 if module.dtype == torch.float32 else ROUNDED
        wanted = mid[f"train.{key}"]
        yield close(f"mid.{key}", seen[key], wanted, tolerance, absolute=scores)
    words = word_labels(recording.facts("meta")["vocab"], inputs.ids)
    wrong = sum(a != b for a, b in zip(words, reference["words"], strict=True))
    yield same("train_reference.words", wrong, 0)
    # Local and global norms are those of the unweighted sums of both directions.
    parts = {
        term: losses[f"{term}_image_rows"] + losses[f"{term}_text_rows"]
        for term in ("local", "global")
    }
    for name, loss in {**parts, "total": losses["total"]}.items():
        key = f"grad_norm_{name}"
        yield _norms("train_reference", module, loss, recording, key)
    yield _norms("float64", module, losses["total"], recording, "grad_norm_total")
    gradients = gradients_of(module, losses["total"])
    ours = map(gloria_name, expected["float64"]["params_without_gradient"])
    missing = {name for name in ours if name is not None}
    unmoved = {name for name, gradient in gradients.items() if gradient is None}
    yield same("params_without_gradient", len(unmoved ^ missing), 0)
    share = NORM * (1 if module.dtype == torch.float32 else ROUNDED)
    yield from Names.of(recording, gloria_name).gradients(
        gradients,
        recording.tensors("gradients"),
        lambda value: share * float(value.abs().max()),
    )


@torch.no_grad()
def _seen(module: GLoRIA, run: Pass, inputs: Inputs) -> dict[str, Tensor]:
    """Our quantities under the recorded names, after a pass in training mode."""
    assert run.places is not None
    places, words = run.places, run.words
    # A copy, as the pass would count the batch twice.
    encoder = copy.deepcopy(module.image_encoder)
    images = nn.functional.interpolate(
        inputs.images, (encoder.image_size,) * 2, mode="bilinear", align_corners=True
    )
    local = local_features(encoder, encoder(images)).transpose(1, 2)
    bert = module.text_encoder.bert
    parts = {"0": bert.embeddings} | {
        # The layers' own forward is not called, their last norm is.
        str(number + 1): layer.output.LayerNorm
        for number, layer in enumerate(bert.encoder.layer)
    }
    with outputs_of(parts) as hidden:
        module.encode_pieces(inputs.ids, inputs.mask, inputs.ids.shape[1])
    last = [hidden[str(number)] for number in range(len(parts))][-STATES:]
    scales = module.options.scales
    products = words[:, None] @ places.transpose(1, 2)  # (texts, images, W, P)
    counted = torch.arange(words.shape[1]) < inputs.counts[:, None]
    attention = word_attention(
        products, counted[:, None].expand(-1, len(places), -1), scales.attention
    )
    count = int(inputs.counts[1])
    pairs = {
        f"attn_map.{i}": attention[i, i, : int(n), ::5]
        for i, n in enumerate(inputs.counts)
    }
    return {
        **{f"bert_hidden_last4.{i}": states for i, states in enumerate(last)},
        **pairs,
        "img_feat_g": run.pooled,
        "img_feat_l.strided7": local.flatten()[::7],
        "img_emb_g": run.image,
        "img_emb_l": torch.unflatten(places.transpose(1, 2), 2, module.grid),
        "text_emb_l": words.transpose(1, 2),
        "text_emb_g": run.text,
        **_scores(module, run, inputs),
        "text1.word_softmax_image0": products[1, 0, :count].softmax(0).T,
        "text1.weighted_context": (attention[1, :, :count] @ places).transpose(1, 2),
    }


def _scores(module: GLoRIA, run: Pass, inputs: Inputs) -> dict[str, Tensor]:
    assert run.places is not None
    scales, pool = module.options.scales, module.options.pool
    local = match(run.places, Words(run.words, inputs.counts), scales, pool)
    return {
        "scores_local": scales.loss * local,
        "scores_global": scales.loss * unit_length(run.image) @ unit_length(run.text).T,
    }


@torch.no_grad()
def _evaluation(
    module: GLoRIA, inputs: Inputs, recording: Recording
) -> Iterator[Comparison]:
    """Evaluation mode, with the statistics of the one training pass."""
    mid = recording.tensors("intermediates")
    run = inputs.run(module.eval())
    recorded = recording.facts("expected")["eval_after_one_forward"]
    losses = named_losses(module, run, inputs.counts)
    yield from _compare("eval", losses, recorded)
    seen = {"img_emb_g": run.image, "text_emb_g": run.text}
    seen |= _scores(module, run, inputs)
    for key in under(mid, "eval."):
        scores = key.startswith("scores_")
        yield close(
            f"mid.eval.{key}",
            seen[key],
            mid[f"eval.{key}"],
            SCORE if scores else MID,
            absolute=scores,
        )


def _norms(
    title: str,
    module: GLoRIA,
    loss: Tensor,
    recording: Recording,
    key: str,
    group: str | None = None,
) -> Comparison:
    recorded = recording.facts("expected")[group or title][key]
    names, found = Names.of(recording, gloria_name), gradients_of(module, loss)
    exact = 1e-6 if title == "float64" else NORM * ROUNDED
    tolerance = NORM if module.dtype == torch.float32 else exact
    return names.worst_norm(f"{title}.{key}", found, recorded, tolerance)


def _trajectory(
    name: str, inputs: Inputs, recording: Recording, dtype: torch.dtype
) -> Iterator[Comparison]:
    """Losses and norms along the recorded Adam steps, and where they end.

    The clipped ones go on as the released module's under its trainer.
    """
    expected, double = recording.facts("expected"), dtype == torch.float64
    recorded, trainer = expected[f"trajectory_{name}"], expected["trainer"]
    module = official_module(recording, dtype)
    taken = _steps(module, inputs, recorded)
    steps = recorded["steps_float64" if double else "steps"]
    totals = []
    for number, entry in enumerate(steps):
        found, norm = next(taken)
        title = f"{name}.step{number}"
        for key in sorted(found.keys() & entry.keys()):
            # Parts of the total make up for one another's rounding.
            single = TRAJECTORY[name] * (1 if key == "total" else PARTS_OF)
            tolerance = DOUBLE if double else single
            yield relative(f"{title}.{key}", found[key], entry[key], tolerance)
        before = entry["grad_norm_before_clip"]
        if before is not None:
            tolerance = DOUBLE if double else NORM_BEFORE_CLIP
            yield relative(f"{title}.grad_norm_before_clip", norm, before, tolerance)
        totals.append(found["total"])
    if "final_param_norms" in recorded:
        names, ends = Names.of(recording, gloria_name), recorded["final_param_norms"]
        title = f"{name}.final_param_norms"
        yield names.worst_end(title, module, ends, TRAJECTORY[name])
    if name == "unclipped":
        return
    more = len(trainer["losses"]) - len(totals)
    totals += [next(taken)[0]["total"] for _ in range(more)]
    for number, (ours, value) in enumerate(zip(totals, trainer["losses"], strict=True)):
        tolerance = LATER if number >= len(steps) else 2 * TRAJECTORY[name]
        yield relative(f"trainer.step{number}", ours, value, tolerance)
    yield same("trainer.lr_after", module.options.learning_rate, trainer["lr_after"])
    training = trainer["image_tower_train"] and trainer["bert_train"]
    yield same("trainer.training", float(module.training), float(training))


def _steps(
    module: GLoRIA, inputs: Inputs, recipe: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Losses before each step, and the norm of the gradient that it takes."""
    module.options = replace(
        module.options,
        learning_rate=recipe["lr"],
        betas=list(recipe["betas"]),
        weight_decay=recipe["weight_decay"],
    )
    optimizer = module.configure_optimizers()
    (group,) = optimizer.param_groups
    assert group["eps"] == recipe["eps"]
    limit = recipe["clip"] or float("inf")
    while True:
        losses = named_losses(module, inputs.run(module), inputs.counts)
        optimizer.zero_grad()
        losses["total"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(module.parameters(), limit)
        optimizer.step()
        yield {name: loss.detach() for name, loss in losses.items()}, norm


def _merging(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Word pieces to words, on random vectors, and their names."""
    mid, vocabulary = (
        recording.tensors("intermediates"),
        recording.facts("meta")["vocab"],
    )
    ids = mid["agg.ids"]
    slots = word_slots(continuations(vocabulary, ids), ids != 0)
    states = mid["agg.emb_in"].to(dtype)
    merged = [merge_words(layer, slots) for layer in states.unbind(1)]
    yield close("mid.agg.emb_out", torch.stack(merged, 1), mid["agg.emb_out"], MID)
    expected = recording.facts("expected")
    found = word_labels(vocabulary, ids)
    wrong = sum(a != b for a, b in zip(found, expected["agg_words"], strict=True))
    yield same("agg_words", wrong, 0)
    pieces = [[vocabulary[i] for i in row if i] for row in ids.tolist()]
    yield same("agg_tokens", float(pieces == expected["agg_tokens"]), 1.0)


replay_fixture = Replay(
    "GLoRIA",
    {
        "state_dict.safetensors": _replay_model,
        "intermediates.safetensors": _merging,
        "loss_level.json": replay_losses,
        "pipeline.json": replay_pipeline,
        "zero_shot.json": replay_zero_shot,
    },
)
