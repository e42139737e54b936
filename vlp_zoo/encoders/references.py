"""``monai:NAME``: networks for masks that start from random weights on every task.

They are no encoders: nothing was pre-trained, and there are no features to read. They
stand beside encoders on tasks of masks, trained as a whole with the same images, steps
and loss, and say what such a network reaches without any pre-training. How wide and deep
they are is what MONAI takes without being told, except for what it must be told, which
stands in `REFERENCES`.
"""

from __future__ import annotations

import hashlib
from typing import Any, NoReturn

from torch import Tensor, nn

from vlp_zoo.errors import ConfigError, unknown_name
from vlp_zoo.monai import load_monai

__all__ = ["REFERENCES", "ReferenceNetwork"]

REFERENCES: dict[str, dict[str, Any]] = {
    "FlexibleUNet": {"backbone": "resnet34", "pretrained": False},
    "SegResNet": {"init_filters": 16},
    "SwinUNETR": {},
    "UNETR": {},
}
"""Class of `monai.networks.nets` to its settings; FlexibleUNet is a U-Net on a ResNet."""

UNIT = 32
"""What all of them can halve an image by."""


class ReferenceNetwork(nn.Module):
    """A network by name, to be made for a task.

    Args:
        name: One of `REFERENCES`.

    Attributes:
        name: Which network it is.
        preprocessing: What an encoder's card says of it; the task decides on size and
            channels.
        sha256: Who it is in stored results.

    Raises:
        UnknownNameError: If there is no such network.
        DependencyNotFoundError: If MONAI is not installed.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in REFERENCES:
            raise unknown_name(
                "network of monai:", name, REFERENCES, "check the spelling"
            )
        load_monai(f"the network monai:{name}")
        self.name = name
        # The size is for callers that ask for features, whom `forward` refuses.
        card = {"image_size": 224, "mean": [0.5], "std": [0.25]}
        self.preprocessing: dict[str, Any] = card
        told = f"vlp-zoo reference {name} {sorted(REFERENCES[name].items())}"
        self.sha256 = hashlib.sha256(told.encode()).hexdigest()

    def side(self, wanted: int) -> int:
        """The nearest side that it can take, in pixels; less than 64 leaves no map."""
        return max(2, round(wanted / UNIT)) * UNIT

    def make(self, channels: int, structures: int, side: int) -> nn.Module:
        """The network with new weights, drawn from torch's global generator.

        Args:
            channels: 1 or 3.
            structures: K channels of the output.
            side: Side S of the input, returned by `side`.

        Returns:
            Float (B, channels, S, S) to logits (B, K, S, S).
        """
        settings = {"spatial_dims": 2, **REFERENCES[self.name]}
        if self.name == "UNETR":
            settings["img_size"] = side
        nets = load_monai(f"the network monai:{self.name}").networks.nets
        made: nn.Module = getattr(nets, self.name)(
            in_channels=channels, out_channels=structures, **settings
        )
        return made

    def forward(self, images: Tensor) -> NoReturn:
        """Refused: there are no features.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "an encoder that gives features",
            f"monai:{self.name}, a network for masks that is trained on each task",
            "take it to tasks of masks: vlpzoo bench --preset vlp-seg",
        )
