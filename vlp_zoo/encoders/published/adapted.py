"""AdaptedEncoder: an image network of another library behind the common output type.

Subclasses say in `AdaptedEncoder.look` what their network makes of normalised images;
sizes are measured on one blank image, so a network that does not fit its preprocessing
is refused when it is loaded and not in the middle of an evaluation.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.hub import one_line
from vlp_zoo.encoders.identity import state_sha256
from vlp_zoo.encoders.image import EncoderOutput
from vlp_zoo.encoders.preprocessing import ReadsPixels, from_pixels
from vlp_zoo.errors import EncoderLoadError

__all__ = ["AdaptedEncoder", "AdaptedJoint", "Look", "square"]


@dataclass(frozen=True)
class Look:
    """What a network makes of images.

    Attributes:
        pooled: (B, D), or (B, D, 1, 1).
        tokens: (B, any, D) with class and other tokens in front of those of the patches,
            or a map (B, D, h, w).
        depths: Outputs of successive depths, each like ``tokens``; empty for none.
    """

    pooled: Tensor
    tokens: Tensor
    depths: tuple[Tensor, ...] = ()


class AdaptedEncoder(ReadsPixels, nn.Module):
    """Base of encoders around networks of other libraries.

    Args:
        network: What is loaded.
        preprocessing: ``image_size``, ``mean``, ``std``, ``channels``, ``resize`` and
            ``interpolation``, as the weights were trained with.
        origin: Where the network comes from, for messages.

    Attributes:
        network: The loaded network; its weights are the encoder's.
        preprocessing: How images are prepared, by the keys above.
        width: D of the output.
        grid: Rows and columns of the patches.

    Raises:
        EncoderLoadError: If the network cannot read an image of its preprocessing.
    """

    hierarchical = False
    """Whether depths have different scales, as those of a CNN."""

    def __init__(
        self, network: nn.Module, preprocessing: Mapping[str, Any], origin: str
    ) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = dict(preprocessing)
        self.image_size = int(preprocessing["image_size"])
        self.mean = [float(value) for value in preprocessing["mean"]]
        self.std = [float(value) for value in preprocessing["std"]]
        self.eval()
        side = self.image_size
        try:
            with torch.no_grad():
                output = self(torch.zeros(1, 3, side, side))
                levels = self.pyramid(torch.zeros(1, 3, side, side)).levels
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise EncoderLoadError(
                f"a network that reads {side} x {side} images in {origin}",
                one_line(error),
                "check that the preprocessing belongs to the network",
            ) from error
        self.width = int(output.pooled.shape[1])
        self.grid = output.grid
        self._channels = [int(level.shape[1]) for level in levels]

    @abstractmethod
    def look(self, images: Tensor, deep: bool) -> Look:
        """What the network makes of normalised images (B, 3, S, S).

        Args:
            images: Normalised.
            deep: Whether the outputs of all depths are wanted.
        """

    @abstractmethod
    def fresh(self) -> nn.Module:
        """The same network with new weights, drawn from the global generator."""

    def random_copy(self, seed: int) -> Self:
        """The same architecture and preprocessing with new weights.

        Args:
            seed: Seed of the weights; the global generator is left alone.
        """
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            twin.network = self.fresh()
        return twin.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> EncoderOutput:
        """Encode normalised images (B, 3, S, S)."""
        found = self.look(images, deep=self.hierarchical)
        tokens, grid = square(found.tokens)
        maps = tuple(_as_map(depth) for depth in found.depths)
        last = tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
        levels = maps if self.hierarchical and maps else (last,)
        return EncoderOutput(found.pooled.flatten(1), tokens, grid, levels)

    def pyramid(self, images: Tensor, count: int = 4) -> EncoderOutput:
        """What `forward` gives, with the outputs of ``count`` depths as ``levels``.

        Those of a CNN are its last stages, those of a transformer come from evenly
        spaced layers, the last one included.
        """
        output: EncoderOutput = self(images)
        if self.hierarchical:
            return replace(output, levels=output.levels[-count:])
        depths = self.look(images, deep=True).depths
        if not depths:
            return output
        count = min(count, len(depths))
        chosen = [math.ceil(len(depths) * (i + 1) / count) - 1 for i in range(count)]
        return replace(output, levels=tuple(_as_map(depths[i]) for i in chosen))

    def level_channels(self, count: int = 4) -> list[int]:
        """Channels of each level of `pyramid`, at most four."""
        return self._channels[-count:]


class AdaptedJoint(nn.Module):
    """Base of spaces that images and texts share, as evaluation sees them.

    Args:
        model: Both towers.
        preprocessing: How images are prepared, see `AdaptedEncoder`.
        vocabulary: What the tokenizer does, in any words that change when it does.
    """

    def __init__(
        self, model: nn.Module, preprocessing: Mapping[str, Any], vocabulary: str
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = dict(preprocessing)
        self._vocabulary = vocabulary
        self.eval().requires_grad_(False)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all weights and the vocabulary."""
        start = f"{type(self).__qualname__} {self._vocabulary}\n"
        return state_sha256(self.model.state_dict(), start)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def embed_images(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, S, S) to (B, E) of unit length."""
        # First three channels, then their means, which differ.
        recipe = self.preprocessing
        pixels = from_pixels(
            images.expand(-1, 3, -1, -1), recipe["mean"], recipe["std"]
        )
        return functional.normalize(self.project_images(pixels).float(), dim=-1)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """B texts to (B, E) of unit length."""
        return functional.normalize(self.project_texts(list(texts)).float(), dim=-1)

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """None: only whole images were compared with texts in training."""
        return None

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of phrases, those of `embed_texts`: there is one space."""
        return self.embed_texts(texts)

    @abstractmethod
    def project_images(self, images: Tensor) -> Tensor:
        """Normalised (B, 3, S, S) to (B, E)."""

    @abstractmethod
    def project_texts(self, texts: list[str]) -> Tensor:
        """B texts to (B, E)."""


def square(tokens: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Tokens of the patches alone, and their grid.

    Args:
        tokens: (B, more + h * h, D), those of the patches last, or a map (B, D, h, w).

    Returns:
        (B, P, D), and rows and columns with product P.

    Raises:
        EncoderLoadError: If there is no patch.

    Example:
        >>> square(torch.zeros(2, 1 + 4 + 49, 8))[0].shape
        torch.Size([2, 49, 8])
    """
    if tokens.ndim == 4:
        rows, columns = int(tokens.shape[2]), int(tokens.shape[3])
        return tokens.flatten(2).transpose(1, 2), (rows, columns)
    # A few tokens stand before a square of patches: the largest square is theirs.
    side = math.isqrt(tokens.shape[1])
    if not side:
        raise EncoderLoadError(
            "tokens of patches", "a network that yields none", "use another model"
        )
    return tokens[:, -side * side :], (side, side)


def _as_map(tokens: Tensor) -> Tensor:
    if tokens.ndim == 4:
        return tokens
    patches, grid = square(tokens)
    return patches.transpose(1, 2).reshape(len(tokens), -1, *grid)
