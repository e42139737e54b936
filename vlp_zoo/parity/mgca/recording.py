"""Recorded runs of the official MGCA code: module with their weights, batches, losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.encoders.published.official import mgca_state
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.methods.mgca.mgca import MGCA, Pass
from vlp_zoo.parity.comparison import Comparison, relative
from vlp_zoo.parity.paired import top_shares, vit_sizes, weighted_total
from vlp_zoo.parity.replay import Recording
from vlp_zoo.parity.resnet import resnet_sizes

__all__ = [
    "CONSTRUCTOR",
    "OFFICIAL",
    "TERMS",
    "compare_losses",
    "official_module",
    "temperatures",
]

TERMS = {"ita": "ita", "local": "cta", "proto": "cpa"}
"""Their names of the losses to ours."""

CONSTRUCTOR = {"ita": 1.0, "cta": 0.7, "cpa": 0.5}
"""Weights that the released class has where no command line sets them."""

PARTS = {
    "ita_image_to_text": ("ita", 0, 1.0),
    "ita_text_to_image": ("ita", 1, 1.0),
    "word_1": ("cta", 0, 2.0),
    "word_2": ("cta", 1, 2.0),
    "patch_1": ("cta", 2, 2.0),
    "patch_2": ("cta", 3, 2.0),
    "proto_image_code": ("cpa", 0, 2.0),
    "proto_report_code": ("cpa", 1, 2.0),
}
"""Their parts of the losses to ours: term, place, and factor, as ours are halved."""

OFFICIAL: dict[str, Any] = {
    "token_weights": "official",
    "official_positions": True,
    "unit_attended": False,
    "mask_padding": False,
    "negatives": "local",
    "sync_bn": False,
    "official_captions": True,
    "official_schedule": True,
}
"""Every flag of the released code."""


def official_module(recording: Recording, dtype: torch.dtype) -> MGCA:
    """MGCA with every official flag and official weights, in training mode.

    Its attention layers are there, which the released command leaves idle.

    Raises:
        EncoderLoadError: If the weights do not fit.
    """
    meta, state = recording.facts("meta"), recording.tensors("state_dict")
    config, bert = meta["config"], meta["bert_config"]
    module = MGCA(
        **_image(config, state),
        text_width=bert["hidden_size"],
        text_depth=bert["num_hidden_layers"],
        text_heads=bert["num_attention_heads"],
        text_ffn=bert["intermediate_size"],
        text_positions=bert["max_position_embeddings"],
        text_dropout=bert["hidden_dropout_prob"],
        vocab_size=bert["vocab_size"],
        max_tokens=config["T"],
        joint_width=config["emb"],
        head_hidden=config["hidden"],
        prototypes=config["K"],
        **temperatures(meta),
        **{f"{TERMS[k]}_weight": value for k, value in meta["loss_weights"].items()},
        learnt_attention=True,
        **OFFICIAL,
    )
    module.configure_model()
    ours = mgca_state(state, learnt_attention=True)
    check_keys(module.state_dict(), ours, "the fixture")
    module.load_state_dict(ours)
    # In the order that encoders keep on CPUs, batch norm of a large map is far from
    # float64 (2.9e-4 of features near 1; else 6e-6).
    module.image_encoder.timm.to(memory_format=torch.contiguous_format)
    return module.to(dtype).train()


def temperatures(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What the losses divide by, and how codes of prototypes are made."""
    heat = meta["temperatures"]
    return {
        "temperature": heat["global_"],
        "token_temperature": heat["local"],
        "prototype_temperature": heat["prototype"],
        "sinkhorn_epsilon": heat["sinkhorn_epsilon"],
        "sinkhorn_iterations": meta["sinkhorn_iterations"],
    }


def _image(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of the image encoder: a ViT, or a ResNet as deep as its weights."""
    if config["tower"] == "vit":
        return {"image_size": config["img"], "encoder_sizes": vit_sizes(config)}
    return {
        "image_encoder": "resnet50",
        "image_size": 299,
        "crop_size": config["img"],
        "encoder_sizes": {
            **resnet_sizes(state, "img_encoder_q.model."),
            "channels": config["planes"],
        },
    }


def compare_losses(
    title: str, module: MGCA, run: Pass, recorded: Mapping[str, Any]
) -> Iterator[Comparison]:
    """Losses, their parts, totals under both sets of weights, accuracies."""
    parts = module.parts(run)
    terms = {name: torch.stack(values).sum() for name, values in parts.items()}
    for theirs, ours in TERMS.items():
        yield relative(f"{title}.{ours}", terms[ours], recorded["losses"][theirs])
    for name, (term, place, factor) in PARTS.items():
        if name in recorded.get("sub", {}):
            value = factor * parts[term][place]
            yield relative(f"{title}.{name}", value, recorded["sub"][name])
    totals = {"total": module.options.weights, "total_1_0p7_0p5": CONSTRUCTOR}
    for name, weights in totals.items():
        if name in recorded:
            total = weighted_total(terms, weights)
            yield relative(f"{title}.{name}", total, recorded[name])
    for name, share in top_shares(run.image @ run.report.T).items():
        if name in recorded:
            yield relative(f"{title}.{name}", share, recorded[name])
