"""Learning rates that fall from the head to the stem, as in BEiT and MAE."""

from __future__ import annotations

from typing import Any

from torch import nn

from vlp_zoo.encoders.image import ImageEncoder

__all__ = ["layer_decay_groups"]


def layer_decay_groups(
    encoder: nn.Module, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Trainable weights of an encoder in groups of their own rates.

    Args:
        encoder: Its blocks are known where it is an `ImageEncoder` around a ViT.
        learning_rate: Learning rate of the layer nearest to the head.
        weight_decay: Weight decay of matrices and kernels; vectors have none.
        layer_decay: Factor from block to block, towards the image.

    Returns:
        Groups with ``lr``, each parameter in exactly one.
    """
    blocks = getattr(getattr(encoder, "timm", None), "blocks", None)
    depth = (
        len(blocks) if isinstance(encoder, ImageEncoder) and blocks is not None else 0
    )
    found: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            layer = _layer(name, depth)
            found.setdefault((layer, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay ** (depth - layer if depth else 0),
            "weight_decay": weight_decay if decayed else 0.0,
        }
        for (layer, decayed), parameters in sorted(found.items(), key=lambda i: i[0])
    ]


def _layer(name: str, depth: int) -> int:
    """0 for the embedding, 1 to ``depth`` for blocks and what follows them."""
    if "blocks." in name:
        return int(name.split("blocks.")[1].split(".")[0]) + 1
    early = ("patch_embed", "pos_embed", "cls_token", "reg_token")
    return 0 if any(word in name for word in early) else depth
