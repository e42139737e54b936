"""ECAMP's own networks, in the order of the paper; `vlp_zoo.methods.ecamp` joins them.

Wang et al., arXiv 2312.13316; official code ToniChopp/ECAMP @ d02d16d (MIT).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.modules import (
    MultiHeadAttention,
    PatchMask,
    ResidualNorm,
    attention_map,
)

__all__ = [
    "FUSIONS",
    "ContextFusion",
    "Pass",
    "SuperResolution",
]

FUSIONS = ("both", "fine", "coarse")
"""Scales at which words read the image."""


class Pass(NamedTuple):
    """One forward pass, up to the losses."""

    low: Tensor  # (B, C, S, S)
    mask: PatchMask
    latent: Tensor  # (B, 1 + V, D)
    pixels: Tensor  # (B, P, p*p*3)
    attention: Tensor  # (B, T, V), no gradient
    text: Tensor  # (B, T, text_width)


class SuperResolution(nn.Module):
    """Doubles an image by a residual of two convolutions; any window of the result.

    Cropping, bilinear doubling and the black outside are one matrix per axis, so only
    the window and a halo of two pixels are ever computed.

    Args:
        final_relu: End with a ReLU, as the official code does.
    """

    def __init__(self, final_relu: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.final_relu = final_relu

    def forward(self, image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Rows and columns of the doubled image.

        Args:
            image: (B, 3, S, S).
            rows: (B, R) consecutive row numbers in the doubled image; those outside
                give values without meaning.
            columns: (B, C) as above.

        Returns:
            (B, 3, R, C).
        """
        down, row_inside = _doubling(rows, image.shape[2], image.dtype)
        across, column_inside = _doubling(columns, image.shape[3], image.dtype)
        doubled = down[:, None] @ image @ across[:, None].transpose(-1, -2)
        # Valid convolutions on the halo; what lies outside the image must stay 0.
        inside = row_inside[:, None, 1:-1, None] * column_inside[:, None, None, 1:-1]
        hidden = functional.conv2d(doubled, self.conv1.weight, self.conv1.bias)
        hidden = hidden.relu() * inside
        residual = functional.conv2d(hidden, self.conv2.weight, self.conv2.bias)
        sharp = residual + doubled[:, :, 2:-2, 2:-2]
        return sharp.relu() if self.final_relu else sharp


def _doubling(places: Tensor, side: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bilinear doubling (align_corners false) as a matrix (B, R + 4, side).

    Two more places on either end are the halo. The second result, (B, R + 4), is 1
    inside the doubled image.
    """
    halo = torch.arange(-2, places.shape[1] + 2, device=places.device)
    wide = places[:, :1] + halo
    source = ((wide + 0.5) / 2 - 0.5).clamp(0, side - 1)
    pixels = torch.arange(side, device=places.device)
    weights = (1 - (source[..., None] - pixels).abs()).clamp(min=0)
    inside = ((wide >= 0) & (wide < 2 * side)).to(dtype)
    return weights.to(dtype) * inside[..., None], inside


class ContextFusion(nn.Module):
    """Multi-scale context fusion: words attend to words, then to visible patches.

    The fine scale is cross-attention, the coarse scale the mean of the patches.

    Args:
        width: Width D of the text encoder.
        heads: Attention heads.
        ffn: Inner width of the feed-forward part.
        dropout: Rate.
        scales: One of `FUSIONS`. What is left out is multiplied by 0, not removed: all
            parameters have gradients, as training on several devices needs.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        ffn: int,
        dropout: float = 0.1,
        scales: str = "both",
    ) -> None:
        super().__init__()
        self.scales = scales
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.self_output = ResidualNorm(width, width, dropout)
        self.cross_attention = MultiHeadAttention(width, heads, dropout)
        self.coarse = nn.Linear(width, width)
        self.cross_output = ResidualNorm(width, width, dropout)
        self.ffn = nn.Linear(width, ffn)
        self.ffn_output = ResidualNorm(ffn, width, dropout)

    def forward(
        self, words: Tensor, attention_mask: Tensor, patches: Tensor, keys: int
    ) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            words: (B, T, D) embeddings.
            attention_mask: (B, T) bool.
            patches: (B, V, D) visible patches in the text's width.
            keys: Longest report of the batch; what lies beyond is never attended to.

        Returns:
            (B, T, D), and the cross-attention (B, T, V) without gradient.
        """
        attended = self.self_attention(words, words[:, :keys], attention_mask[:, :keys])
        attended = self.self_output(attended, words)
        query, key, value = self.cross_attention.project(attended, patches)
        fine = self.cross_attention.attend(query, key, value)
        coarse = self.coarse(patches.mean(dim=1, keepdim=True))
        if self.scales == "fine":
            coarse = 0 * coarse
        elif self.scales == "coarse":
            fine = 0 * fine
        fused = self.cross_output(fine + coarse, attended)
        fused = self.ffn_output(functional.gelu(self.ffn(fused)), fused)
        return fused, attention_map(query, key)
