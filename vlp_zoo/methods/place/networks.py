"""PLACE's networks: pathology queries, sentence observations, correlation head.

Our implementation from the paper's abstract; see `vlp_zoo.methods.place`.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.image import (
    EncoderOutput,
    ImageEncoder,
    patchify,
    sincos_table,
)
from vlp_zoo.methods.options import check_choice
from vlp_zoo.modules import MultiHeadAttention, attention_map

__all__ = [
    "CorrelationHead",
    "Exploration",
    "ObservationExtractor",
    "Observations",
    "SteadyEncoder",
    "correlation",
    "joint_head",
    "pixel_patches",
]


class Observations(NamedTuple):
    """Visual observations of a batch, before projection."""

    states: Tensor  # (B, Q, W) one per pathology query
    attention: Tensor  # (B, Q, P) of the last layer, mean over heads, no gradient


def joint_head(width: int, joint: int) -> nn.Module:
    """Linear, LayerNorm, ReLU, linear: into the joint space.

    LayerNorm and not batch norm, because padded sentences must not count.
    """
    return nn.Sequential(
        nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, joint)
    )


class _Attention(nn.Module):
    """Pre-norm attention with its own output projection, added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.output = nn.Linear(width, width)

    def forward(
        self, hidden: Tensor, context: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attend to the context, or to itself; also the attention (B, T, S)."""
        queries = self.norm(hidden)
        query, key, value = self.attention.project(
            queries, queries if context is None else context
        )
        attended = self.output(self.attention.attend(query, key, value, mask))
        return hidden + attended, attention_map(query, key)


class _Layer(nn.Module):
    """Self-attention (optional), attention to a context (optional), feed-forward."""

    def __init__(
        self, width: int, heads: int, own: bool = True, cross: bool = True
    ) -> None:
        super().__init__()
        self.own = _Attention(width, heads) if own else None
        self.cross = _Attention(width, heads) if cross else None
        self.ffn = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(
        self, hidden: Tensor, context: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Hidden states, and the attention to the context (empty without one)."""
        attention = hidden.new_zeros(0)
        if self.own is not None:
            hidden, _ = self.own(hidden, None)
        if self.cross is not None:
            hidden, attention = self.cross(hidden, context, mask)
        return hidden + self.ffn(hidden), attention


class SteadyEncoder(nn.Module):
    """A copy of an image encoder that no gradient moves and that stays in eval mode.

    Args:
        encoder: What is copied.
    """

    def __init__(self, encoder: ImageEncoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncoderOutput:
        """Encode normalised images (B, 3, S, S)."""
        found: EncoderOutput = self.encoder(images)
        return found

    @torch.no_grad()
    def follow(self, encoder: ImageEncoder, decay: float) -> None:
        """Move towards another encoder; ``decay`` 0 becomes its equal."""
        others = encoder.state_dict()
        for name, value in self.encoder.state_dict().items():
            if value.is_floating_point():
                value.lerp_(others[name], 1 - decay)
            else:
                value.copy_(others[name])


class _Patches(nn.Module):
    """Patch tokens in a common width, with fixed positions."""

    positions: Tensor

    def __init__(self, width_in: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.project = nn.Linear(width_in, width)
        # Fixed, so not worth a place in checkpoints.
        table = sincos_table(grid, width)[:, 1:]
        self.register_buffer("positions", table, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        projected: Tensor = self.project(tokens)
        return projected + self.positions


class ObservationExtractor(nn.Module):
    """Visual pathology observation extractor: learnt queries look at the patches.

    Args:
        width_in: Width D of the patch tokens.
        grid: Rows and columns of the patches.
        queries: Pathology queries Q.
        width: Width W of the queries, divisible by 4 and by the heads.
        layers: Decoder layers.
        heads: Attention heads.
        self_attention: Let queries see each other.
        init_std: Spread of the queries at the start. Small values make them alike,
            and with set-level losses they stay so.
    """

    def __init__(
        self,
        width_in: int,
        grid: tuple[int, int],
        queries: int = 16,
        width: int = 256,
        layers: int = 2,
        heads: int = 8,
        self_attention: bool = True,
        init_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, queries, width) * init_std)
        self.patches = _Patches(width_in, width, grid)
        self.layers = nn.ModuleList(
            [_Layer(width, heads, self_attention) for _ in range(layers)]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Observations:
        """Patch tokens (B, P, D) to observations."""
        patches = self.patches(tokens)
        states = self.queries.expand(len(tokens), -1, -1).to(patches.dtype)
        attention = patches.new_zeros(0)
        for layer in self.layers:
            states, attention = layer(states, patches)
        return Observations(self.norm(states), attention)


class CorrelationHead(nn.Module):
    """Predicts how patches vary together, from their tokens and a context.

    Args:
        width_in: Width D of the patch tokens.
        grid: Rows and columns of the patches.
        context_width: Width of what the patches attend to; None attends to nothing.
        width: Inner width, divisible by 4 and by the heads.
        layers: Layers of attention and feed-forward.
        heads: Attention heads.
        rank: Width of the vectors whose products are the prediction.
        unit: Predict cosines (for correlations) instead of products.
    """

    def __init__(
        self,
        width_in: int,
        grid: tuple[int, int],
        context_width: int | None,
        width: int = 256,
        layers: int = 1,
        heads: int = 8,
        rank: int = 128,
        unit: bool = False,
    ) -> None:
        super().__init__()
        self.patches = _Patches(width_in, width, grid)
        self.context = (
            None if context_width is None else nn.Linear(context_width, width)
        )
        cross = context_width is not None
        self.layers = nn.ModuleList(
            [_Layer(width, heads, own=False, cross=cross) for _ in range(layers)]
        )
        self.predict = nn.Linear(width, rank)
        self.unit = unit

    def forward(
        self, tokens: Tensor, context: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        """Predict.

        Args:
            tokens: (B, P, D).
            context: (B, T, C), left out where the head has no context.
            mask: (B, T) bool, True = attend to; at least one per row; None = all.

        Returns:
            (B, P, P), symmetric.
        """
        hidden = self.patches(tokens)
        if self.context is not None and context is not None:
            context = self.context(context)
        for layer in self.layers:
            hidden, _ = layer(hidden, context, mask)
        factors = self.predict(hidden).float()
        if self.unit:
            return _gram(functional.normalize(factors, dim=2))
        return _gram(factors) / math.sqrt(factors.shape[2])


def _gram(vectors: Tensor) -> Tensor:
    """Products of all pairs, in full precision under autocast too."""
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors @ vectors.transpose(1, 2)


def pixel_patches(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pixels of the patches, standardised over the image.

    Each channel loses its mean; all are divided by the mean of their deviations, so
    that a faint channel stays faint. Three equal channels vary together as one does.

    Args:
        images: (B, 1 or 3, S, S) uint8 or float.
        grid: Rows and columns; the image is resized where S is no multiple of them.

    Returns:
        (B, P, q) float32, q the pixels of a patch in all channels.
    """
    pixels = images.float()
    side = math.ceil(images.shape[-1] / grid[0])
    size = (grid[0] * side, grid[1] * side)
    if pixels.shape[-2:] != size:
        pixels = functional.interpolate(
            pixels, size, mode="bilinear", align_corners=False, antialias=True
        )
    deviation, mean = torch.std_mean(pixels, (2, 3), correction=0, keepdim=True)
    pixels = (pixels - mean) / (deviation.mean(1, keepdim=True) + 1e-6)
    patches: Tensor = patchify(pixels, side).flatten(1, 2).flatten(2)
    return patches


@dataclass(frozen=True)
class Exploration:
    """Correlation exploration: what is predicted, and the loss.

    Args:
        target: Whose patches vary together: ``"pixel"``, or the tokens of the encoder
            as it was at the start (``"frozen_init"``) or of its average (``"ema"``).
        statistic: ``"cov"``, or ``"corr"`` with unit diagonal.
        centre: What is subtracted before: ``"token"``, ``"patch"`` or ``"none"``, see
            `correlation`.
        condition: What the patches attend to first: ``"report"``, ``"vpor"`` (the
            queries' states) or ``"none"``.

    Raises:
        ConfigError: If an option is unknown.
    """

    target: str = "pixel"
    statistic: str = "cov"
    centre: str = "token"
    condition: str = "report"

    def __post_init__(self) -> None:
        check_choice("cce_target", self.target, ("pixel", "frozen_init", "ema"))
        check_choice("cce_statistic", self.statistic, ("cov", "corr"))
        check_choice("cce_centre", self.centre, ("token", "patch", "none"))
        check_choice("cce_condition", self.condition, ("report", "vpor", "none"))

    def square(self, vectors: Tensor) -> Tensor:
        """What to predict for patches (B, P, q): (B, P, P).

        Covariances are divided by the spread of those off the diagonal within the
        image, so that the best constant costs 1 in squares whatever the contrast.
        """
        found = correlation(vectors, self.statistic, self.centre)
        if self.statistic == "corr":
            return found
        spread = _upper(found).std(1, correction=0)
        return found / (spread[:, None, None] + 1e-6)

    def loss(self, predicted: Tensor, vectors: Tensor) -> Tensor:
        """Smooth L1 (Huber) error of (B, P, P), mean over pairs n < m."""
        return functional.smooth_l1_loss(
            _upper(predicted), _upper(self.square(vectors))
        )


def _upper(matrices: Tensor) -> Tensor:
    patches = matrices.shape[1]
    rows, columns = torch.triu_indices(patches, patches, 1, device=matrices.device)
    return matrices[:, rows, columns]


@torch.no_grad()
def correlation(
    vectors: Tensor, statistic: str = "cov", centre: str = "token"
) -> Tensor:
    r"""How patches vary together.

    .. math:: C = \tilde X \tilde X^T / q

    Args:
        vectors: (B, P, q), one per patch.
        statistic: ``"cov"``, or ``"corr"`` with unit diagonal.
        centre: ``"token"`` subtracts the mean patch, ``"patch"`` each patch's own
            mean (what is left is texture), ``"none"`` nothing.

    Returns:
        (B, P, P) float32, symmetric and positive semi-definite.

    """
    centred = vectors.float()
    if centre != "none":
        axis = 1 if centre == "token" else 2
        centred = centred - centred.mean(axis, keepdim=True)
    if statistic == "corr":
        centred = functional.normalize(centred, dim=2, eps=1e-6)
        return _gram(centred)
    return _gram(centred) / centred.shape[2]
