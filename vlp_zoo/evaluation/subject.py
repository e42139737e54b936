"""Who is evaluated: the identity of an encoder or a baseline under given settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from vlp_zoo.evaluation.features.extraction import Extraction, weights_sha256

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True)
class Subject:
    """Who is probed: an encoder or a baseline.

    Attributes:
        name: Name in tables and stored results.
        sha256: SHA-256 of the weights.
        role: ``"encoder"`` or ``"floor"``.
        preprocessing: The encoder's preprocessing; None where no image is encoded.
        pooling: How features are pooled: ``"global"`` or ``"mean"``.
        precision: Precision of the forward pass: ``"32"`` or ``"bf16"``.
        device: Where it ran; with ``x N`` behind it where N processes shared the work.
        own_pooling: How the encoder itself makes one vector of its places, if it says.
        draw: Which draw of its weights a random init is; 0 for others.
        family: SHA-256 of the first draw of the weights of a random init; else empty.
    """

    name: str
    sha256: str
    role: str = "encoder"
    preprocessing: Mapping[str, Any] | None = None
    pooling: str = "global"
    precision: str = "32"
    device: str = "cpu"
    own_pooling: str = ""
    draw: int = 0
    family: str = ""

    @property
    def identity(self) -> str:
        """Weights and preprocessing: the same weights may see images differently."""
        return f"{self.sha256} {json.dumps(self.preprocessing, sort_keys=True)}"


def subject_of(
    encoder: nn.Module, name: str, role: str, extraction: Extraction
) -> Subject:
    """Identity of an encoder under the settings of an extraction."""
    several = f" x {extraction.devices}" if extraction.devices > 1 else ""
    return Subject(
        name,
        weights_sha256(encoder),
        role,
        dict(getattr(encoder, "preprocessing")),  # noqa: B009
        extraction.pooling,
        extraction.precision,
        f"{extraction.torch_device}{several}",
        str(getattr(encoder, "pooling", "")),
    )
