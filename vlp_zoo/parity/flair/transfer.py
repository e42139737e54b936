"""FLAIR's transfer as recorded: zero-shot, linear probe and adapters.

The adapters are no part of the benchmark; they are written here from the specification
to be compared with the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.methods.flair import FLAIR
from vlp_zoo.parity.comparison import Comparison, relative, same, tensor
from vlp_zoo.parity.replay import Recording
from vlp_zoo.reports.captions import fill
from vlp_zoo.variation import canvas

__all__ = ["replay_transfer"]

TEMPLATE = "A fundus photograph of [CLS]"
UNNAMED = "myopic maculopathy"
"""The released code does not add names with these words to their descriptions."""

MID, LOGITS, PROBABILITY, PRINTED = 1e-5, 1e-4, 1e-4, 1e-4
SOLVER = 0.02
"""How early the solver of the logistic regression may stop."""

RATIO, ALPHA, BETA = 0.2, 1.0, 5.0
EPOCHS = 40


def replay_transfer(module: FLAIR, recording: Recording) -> Iterator[Comparison]:
    """Everything that the released code does with a trained model.

    Args:
        module: In evaluation mode.
        recording: Has ``expected.json`` and ``intermediates.safetensors``.
    """
    with torch.no_grad():
        yield from _inference(module, recording)
        yield from _prototypes(module, recording)
        yield from _zero_shot(module, recording)
    yield from _probes(recording)
    yield from _clip_adapter(module, recording)
    yield from _tip_adapter(module, recording)


def prompts(name: str, descriptions: Mapping[str, list[str]]) -> list[str]:
    """The captions of a class: its descriptions, and its name."""
    texts = list(descriptions.get(name, ()))
    if name not in texts and (not texts or UNNAMED not in name):
        texts.append(name)
    return [fill(TEMPLATE, "", text) for text in texts]


def _inference(module: FLAIR, recording: Recording) -> Iterator[Comparison]:
    """One image against several texts."""
    mids, facts = recording.tensors("intermediates"), recording.facts("expected")
    card = facts["infer"]
    yield same("infer.caption", card["caption"] != TEMPLATE, 0)
    raw = mids["infer.raw_u8"]
    # In float32 there, unlike the canvases of training.
    pixels = raw.permute(2, 0, 1).float() / 255
    shown = canvas(pixels, card["image_size"])[None].to(module.dtype)
    yield tensor("infer.preprocessed", shown, mids["infer.preprocessed"], 1e-6)
    texts = module.embed_texts([fill(TEMPLATE, "", name) for name in card["classes"]])
    logits = module.scale * unit(module, shown) @ texts.to(module.dtype).T
    yield tensor("infer.logits", logits, mids["infer.logits"], LOGITS)
    yield tensor("infer.probs", logits.softmax(1), mids["infer.probs"], PROBABILITY)
    # The caller's image is as it was.
    changed = facts["float32_input_changed_in_place"]
    before = raw.float()
    kept = before.clone()
    _ = canvas(before.permute(2, 0, 1), card["image_size"])
    yield same("infer.input changed", int(not torch.equal(before, kept)), 0)
    yield same("infer.max_before", float(raw.max()), changed["max_before"])


def unit(module: FLAIR, images: Tensor) -> Tensor:
    """Embeddings of unit length of images (B, 3, H, W) in 0..1, of any size."""
    features = module.image_encoder(images).pooled
    return functional.normalize(module.image_head(features), dim=1)


def _prototypes(module: FLAIR, recording: Recording) -> Iterator[Comparison]:
    mids = recording.tensors("intermediates")
    card = recording.facts("expected")["prototypes"]
    classes, texts = card["classes"], card["definitions"]
    plain = module.prototypes([prompts(name, {}) for name in classes])
    yield tensor("prototypes.plain", plain, mids["prototypes.plain"], MID)
    described = [prompts(name, texts) for name in classes]
    found = module.prototypes(described)
    yield tensor(
        "prototypes.domain_knowledge", found, mids["prototypes.domain_knowledge"], MID
    )
    norms = torch.tensor(card["norms"])
    yield tensor("prototypes.norms", found.norm(dim=1), norms, MID)
    # The released code leaves the names behind in the dictionary; ours is read only.
    after = card["definitions_after_first_call"]
    left = [
        [fill(TEMPLATE, "", text) for text in after[name]] == captions
        for name, captions in zip(classes, described, strict=True)
        if name in after
    ]
    yield same("prototypes.descriptions", len(left) - sum(left), 0)
    again = module.prototypes([prompts(name, texts) for name in classes])
    equal = int(torch.equal(again, found))
    yield same("prototypes.second call", equal, int(card["second_call_equal"]))


def _zero_shot(module: FLAIR, recording: Recording) -> Iterator[Comparison]:
    """Features and prototypes of the few images that the adapters learn from."""
    mids, card = recording.tensors("intermediates"), _card(recording)
    images = mids["adapt.image_u8"].to(module.dtype) / 255
    found = module.image_encoder(images).pooled
    yield tensor(
        "adapt.X_no_projection",
        found,
        mids["adapt.X_no_projection"],
        MID * max(float(found.abs().max()), 1.0),
    )
    ours = unit(module, images)
    yield tensor("adapt.X", ours, mids["adapt.X"], MID)
    texts = module.prototypes(
        [prompts(name, card["definitions"]) for name in card["classes"]]
    )
    plain = module.prototypes([prompts(name, {}) for name in card["classes"]])
    recorded = mids["adapt.text_embeds"]
    # Whether descriptions were used is seen in the recording.
    near = min((texts, plain), key=lambda x: float((x - recorded).abs().max()))
    yield tensor("adapt.text_embeds", near, recorded, MID)
    scale = module.scale
    recorded_scale = card["logit_scale_exp"]
    yield relative("adapt.logit_scale_exp", scale, recorded_scale)
    ours = (scale * ours @ near.to(module.dtype).T).softmax(1)
    yield tensor("adapt.zero_shot", ours, mids["adapt.zero_shot_probs"], PROBABILITY)


def _card(recording: Recording) -> dict[str, Any]:
    facts = recording.facts("expected")
    targets = facts["adapt"]["targets"]
    classes = sorted(targets, key=lambda name: int(targets[name]))
    definitions = facts["prototypes"]["definitions"]
    return {**facts["adapt"], "classes": classes, "definitions": definitions}


def _probes(recording: Recording) -> Iterator[Comparison]:
    """Logistic regression on projected features, and on those before the head."""
    from sklearn.linear_model import LogisticRegression

    mids = recording.tensors("intermediates")
    labels = mids["adapt.label"].numpy()
    for name in ("", "_no_projection"):
        probe = LogisticRegression(C=0.316, max_iter=1000, class_weight="balanced")
        inputs = mids[f"adapt.X{name}"].numpy()
        probe.fit(inputs, labels)
        recorded = mids[f"adapt.lp_coef{name}"]
        tolerance = SOLVER * float(recorded.abs().max())
        found = torch.from_numpy(probe.coef_)
        yield tensor(f"adapt.lp_coef{name}", found, recorded, tolerance)
        if not name:
            found = torch.from_numpy(probe.intercept_)
            wanted = mids["adapt.lp_intercept"]
            yield tensor("adapt.lp_intercept", found, wanted, tolerance)
            found = torch.from_numpy(probe.predict_proba(inputs))
            wanted = mids["adapt.lp_probs"]
            yield tensor("adapt.lp_probs", found, wanted, SOLVER)


def _inputs(
    module: FLAIR, recording: Recording
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features, prototypes, labels and s, as recorded."""
    mids, dtype = recording.tensors("intermediates"), module.dtype
    features, texts = (mids[f"adapt.{n}"].to(dtype) for n in ("X", "text_embeds"))
    return features, texts, mids["adapt.label"], module.scale


def _clip_adapter(module: FLAIR, recording: Recording) -> Iterator[Comparison]:
    """A bottleneck between features and scores, learnt one sample at a time."""
    mids, card = recording.tensors("intermediates"), _card(recording)
    features, texts, labels, scale = _inputs(module, recording)
    first, second = (
        mids[f"adapt.clip_{name}"].to(module.dtype).clone().requires_grad_()
        for name in ("w0", "w2")
    )

    def adapted(rows: Tensor) -> Tensor:
        inner = functional.relu(functional.relu(rows @ first.T) @ second.T)
        return functional.normalize(RATIO * inner + (1 - RATIO) * rows, dim=1)

    start = adapted(features)
    yield tensor("adapt.clip_start", start, mids["adapt.clip_residual_start"], MID)
    optimizer = torch.optim.AdamW([first, second], 1e-3, eps=1e-4, weight_decay=0.01)
    steps = EPOCHS * len(card["order"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    printed = []
    for _ in range(EPOCHS):
        losses = []
        for i in card["order"]:
            scores = scale * adapted(features[i : i + 1]) @ texts.T
            loss = functional.cross_entropy(scores, labels[i : i + 1])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        printed.append(sum(losses) / len(losses))
    wanted = torch.tensor(card["clip_adapter_epoch_losses_printed"])
    yield tensor("adapt.clip_losses", torch.tensor(printed), wanted, PRINTED)
    for name, value in (("w0", first), ("w2", second)):
        wanted = mids[f"adapt.clip_{name}_final"]
        yield tensor(f"adapt.clip_{name}_final", value, wanted, MID)
    ours = (scale * adapted(features) @ texts.T).softmax(1)
    yield tensor("adapt.clip_probs", ours, mids["adapt.clip_probs"], PROBABILITY)


def _tip_adapter(module: FLAIR, recording: Recording) -> Iterator[Comparison]:
    """Training features as keys of a cache, as they are and learnt."""
    mids, card = recording.tensors("intermediates"), _card(recording)
    features, texts, labels, scale = _inputs(module, recording)
    values = functional.one_hot(labels, len(texts)).to(features.dtype)

    def cached(rows: Tensor, keys: Tensor) -> Tensor:
        return torch.exp(-BETA * (1 - rows @ keys.T)) @ values

    def predicted(keys: Tensor) -> Tensor:
        return 100 * features @ texts.T + ALPHA * cached(features, keys)

    keys = features.clone()
    ours = predicted(keys)
    tolerance = 100 * MID
    yield tensor("adapt.tip_logits", ours, mids["adapt.tip_logits"], tolerance)
    yield tensor("adapt.tip_probs", ours.softmax(1), mids["adapt.tip_probs"], 1e-3)
    keys.requires_grad_()
    optimizer = torch.optim.AdamW([keys], 1e-3, eps=1e-4, weight_decay=0.01)
    printed = []
    for _ in range(EPOCHS):
        losses = []
        for i in card["order"]:
            # In the released code the samples are the keys themselves.
            row = keys[i : i + 1].detach().clone()
            scores = scale * row @ texts.T + scale / len(keys) * cached(row, keys)
            loss = functional.cross_entropy(scores, labels[i : i + 1])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        printed.append(sum(losses) / len(losses))
    wanted = torch.tensor(card["tip_f_epoch_losses_printed"])
    yield tensor("adapt.tip_f_losses", torch.tensor(printed), wanted, PRINTED)
    wanted = mids["adapt.tip_f_weight_final"]
    yield tensor("adapt.tip_f_weight_final", keys, wanted, MID)
    found = predicted(keys.detach()).softmax(1)
    yield tensor("adapt.tip_f_probs", found, mids["adapt.tip_f_probs"], 1e-3)
