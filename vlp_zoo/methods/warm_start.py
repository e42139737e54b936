"""Weights of an earlier encoder at the start of a run, and the look of their pixels."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.image import ImageEncoder

__all__ = ["normalisation", "restore_normalisation", "start_from"]

logger = logging.getLogger(__name__)


def start_from(
    encoder: ImageEncoder, spec: str, keep_normalisation: bool, tell: bool = True
) -> None:
    """Take over the weights of another encoder, and say where its pixels looked otherwise.

    Args:
        encoder: The method's image encoder; its weights are replaced.
        spec: A spec that `vlp_zoo.encoders.checkpoint.load_encoder` takes.
        keep_normalisation: Take over mean and deviation too.
        tell: Whether this process writes the line.

    Raises:
        EncoderLoadError: If the weights cannot be loaded or do not fit.
    """
    source = load_encoder(spec)
    encoder.load_weights(source.timm.state_dict(), spec)
    theirs, ours = (*source.mean, *source.std), (*encoder.mean, *encoder.std)
    if all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(theirs, ours, strict=True)):
        return
    if keep_normalisation:
        encoder.use_normalisation(source.mean, source.std)
    if tell:
        words = (
            "taken over"
            if keep_normalisation
            else ("not taken over: --model.keep_normalisation true does so")
        )
        logger.warning(
            "the weights of %s expect pixels of mean %s and deviation %s, this method's "
            "are %s and %s; theirs are %s",
            *(spec, _short(source.mean), _short(source.std)),
            *(_short(ours[:3]), _short(ours[3:]), words),
        )


def normalisation(encoder: ImageEncoder | None) -> dict[str, list[float]]:
    """What a checkpoint keeps: mean and deviation, which no tensor holds."""
    return {} if encoder is None else {"mean": encoder.mean, "std": encoder.std}


def restore_normalisation(
    encoder: ImageEncoder | None, checkpoint: Mapping[str, Any]
) -> None:
    """Set what `normalisation` kept; checkpoints of older releases have nothing."""
    stored = checkpoint.get("normalisation")
    if encoder is not None and stored:
        encoder.use_normalisation(stored["mean"], stored["std"])


def _short(values: Any) -> str:
    return str([round(float(value), 4) for value in values])
