"""MedKLIP's image encoder: a ResNet-50 without its last stage.

No timm model has this shape, so it can be evaluated but not exported as one. Parts and
their order are those of MediaBrain-SJTU/MedKLIP @ adc2eb8, models/model_MedKLIP.py:
``res_features`` counts the children of torchvision's ResNet, stage 3 being number 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from vlp_zoo.encoders.published.adapted import AdaptedEncoder, Look
from vlp_zoo.encoders.published.official import layout_of
from vlp_zoo.encoders.weight_files import check_keys, read_checkpoint
from vlp_zoo.errors import EncoderLoadError

__all__ = ["MedKLIPEncoder", "load_medklip"]

LAYOUT = "medklip"
FIRST_STAGE = 4


class MedKLIPEncoder(AdaptedEncoder):
    """Three stages of a ResNet; images are pooled by the mean of the last map.

    Args:
        network: Stem and stages in order.
        depths: Blocks of each stage.
        preprocessing: How images are prepared, see `AdaptedEncoder`.
        origin: For messages.
    """

    hierarchical = True

    def __init__(
        self,
        network: nn.Sequential,
        depths: tuple[int, ...],
        preprocessing: Mapping[str, Any],
        origin: str,
    ) -> None:
        self._depths = depths
        super().__init__(network, preprocessing, origin)

    def look(self, images: Tensor, deep: bool) -> Look:
        """See `AdaptedEncoder.look`."""
        maps = []
        found = images
        network: Any = self.network
        for number, part in enumerate(network):
            found = part(found)
            if number >= FIRST_STAGE:
                maps.append(found)
        return Look(found.mean((2, 3)), found, tuple(maps))

    def fresh(self) -> nn.Module:
        """See `AdaptedEncoder.fresh`."""
        return _stages(self._depths)


def load_medklip(path: Path) -> MedKLIPEncoder:
    """The image encoder of a released checkpoint.

    Args:
        path: File with ``model``, keys under ``module.res_features.`` and others.

    Raises:
        EncoderLoadError: If it cannot be read, or its weights do not fit exactly.
    """
    known = layout_of(LAYOUT)
    origin = f"{path} ({known.line})"
    state: dict[str, Tensor] = {}
    for key, tensor in read_checkpoint(path).items():
        if not key.startswith(known.dropped):
            state[key.removeprefix(known.prefix)] = tensor
    depths = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"{stage}.")})
        for stage in range(FIRST_STAGE, FIRST_STAGE + 3)
    )
    if not all(depths):
        raise EncoderLoadError(
            f"three stages of a ResNet under {known.prefix!r} in {origin}",
            f"{len(state)} tensors such as {', '.join(list(state)[:5])}",
            "name the checkpoint's own layout; vlpzoo info encoders lists them",
        )
    network = _stages(depths)
    check_keys(network.state_dict(), state, origin)
    network.load_state_dict({key: value.float() for key, value in state.items()})
    recipe = {
        "image_size": known.image_size,
        "mean": list(known.mean),
        "std": list(known.std),
        "channels": 3,
        # Its own test transform resizes both sides to 224.
        "resize": "squash",
        "interpolation": "bilinear",
    }
    return MedKLIPEncoder(network, depths, recipe, origin)


def _stages(depths: tuple[int, ...]) -> nn.Sequential:
    # The fourth stage is made, at its shortest, and left behind.
    whole: Any = timm.create_model("resnet50", layers=[*depths, 1], num_classes=0)
    stem = [whole.conv1, whole.bn1, whole.act1, whole.maxpool]
    kept = nn.Sequential(*stem, whole.layer1, whole.layer2, whole.layer3)
    return kept.to(memory_format=torch.channels_last)
