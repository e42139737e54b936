"""The joint space of a trained method, found beside its exported encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vlp_zoo.encoders.identity import encoder_sha256
from vlp_zoo.evaluation.features.extraction import weights_sha256
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.stored import load_method

__all__ = ["MethodJoint", "joint_beside", "method_beside", "same_images"]


class MethodJoint(nn.Module):
    """A method with a text head, as evaluation sees it.

    Args:
        method: Loaded from a checkpoint.
    """

    def __init__(self, method: VLPModule[Any]) -> None:
        super().__init__()
        self.method = method

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Preprocessing of the image encoder."""
        found: Mapping[str, Any] = self.method.image_encoder.preprocessing
        return found

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all weights and the vocabulary."""
        tokenizer = self.method.tokenizer
        words = "" if tokenizer is None else tokenizer.to_json()
        text = f"{type(self.method).__qualname__} {weights_sha256(self.method)} {words}"
        return hashlib.sha256(text.encode()).hexdigest()

    def embed_images(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to (B, E) of unit length."""
        return self.method.embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """B texts to (B, E) of unit length."""
        return self.method.embed_texts(texts)

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """uint8 (B, 1 or 3, S, S) to (B, E, h, w), where the method has places."""
        return self.method.embed_patches(images)

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """B phrases to (B, E) of unit length, in the space of `embed_patches`."""
        return self.method.embed_phrases(texts)


def method_beside(encoder: Path) -> VLPModule[Any] | None:
    """The method of the run that wrote an encoder file.

    Args:
        encoder: ``.../encoder.safetensors`` in the folder of a run, or in its ``best``.

    Returns:
        None where there is no checkpoint.
    """
    folder = encoder.absolute().parent
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if folder.name == "best":
        checkpoint = folder.parent / "checkpoints" / "best.ckpt"
    return load_method(checkpoint) if checkpoint.is_file() else None


def same_images(method: VLPModule[Any], encoder: Path) -> bool:
    """Whether a method's image weights are those of an encoder file.

    They are not if one was written earlier than the other, or the file holds averaged
    weights.
    """
    from vlp_zoo.encoders.checkpoint import load_encoder

    mine = encoder_sha256(method.image_encoder)
    return mine == encoder_sha256(load_encoder(str(encoder)))


def joint_beside(encoder: Path) -> MethodJoint | None:
    """The joint space of the run that wrote an encoder file.

    Args:
        encoder: The file, as `method_beside` takes it.

    Returns:
        None where there is no checkpoint, the method has no text head, or the
        checkpoint holds other image weights than the file.
    """
    method = method_beside(encoder)
    if method is None or not method.has_text_head or not same_images(method, encoder):
        return None
    return MethodJoint(method)
