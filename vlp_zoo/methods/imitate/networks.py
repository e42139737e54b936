"""IMITATE's two image branches: the findings read many levels, the impression the top.

In the findings branch *channels* are tokens: a channel's map, pooled to a small grid,
is the token's vector. A few channels of every level are drawn at random, a class token
attends to them, and its output meets the findings in the joint space.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.paired.frozen_text import joint_projection
from vlp_zoo.modules import in_full_precision
from vlp_zoo.noise import sample_noise

__all__ = ["FindingsBranch", "draw_channels"]


def draw_channels(
    keys: Tensor, channels: Sequence[int], counts: Sequence[int], stream: int
) -> list[Tensor]:
    """Channels that a sample shows at each level, drawn with replacement.

    Args:
        keys: (B,) int64 noise keys.
        channels: Channels C_i of each level.
        counts: How many n_i to draw of them.
        stream: Distinguishes the draws of one sample.

    Returns:
        Per level (B, n_i) int64 in 0..C_i-1.
    """
    noise = sample_noise(keys, sum(counts), stream)
    parts = torch.split(noise, list(counts), dim=1)
    # Float32 noise is below 1, but times C it may round up to C.
    return [
        (part * size).long().clamp(max=size - 1)
        for part, size in zip(parts, channels, strict=True)
    ]


def pool_channels(level: Tensor, drawn: Tensor, side: int) -> Tensor:
    """Maps of the drawn channels as vectors.

    Args:
        level: (B, C, H, W).
        drawn: (n,) for all samples alike, or (B, n), int64.
        side: Maps are averaged (small ones repeated) to side x side.

    Returns:
        (B, n, side * side).
    """
    batch, channels, height, width = level.shape
    # Channels last is how convolutions are fastest, and tokens of a ViT lie anyway.
    cells = level.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
    index = drawn.expand(batch, -1)[:, None].expand(-1, height * width, -1)
    maps = cells.gather(2, index).view(batch, height, width, -1).permute(0, 3, 1, 2)
    return functional.adaptive_avg_pool2d(maps, side).flatten(2)


class FindingsBranch(nn.Module):
    """Class-token attention over drawn channels of several levels.

    Args:
        tokens: Slots K for channels; free slots hold their position vector alone and
            are attended to, as in the released code.
        side: Side of the pooled maps; the width of a token is its square.
        heads: Attention heads.
        joint: Joint width E.

    Raises:
        ConfigError: If the heads do not divide the width.
    """

    def __init__(
        self, tokens: int = 512, side: int = 16, heads: int = 4, joint: int = 512
    ) -> None:
        super().__init__()
        width = side * side
        if width % heads:
            raise ConfigError(
                f"attention heads that divide the {width} cells of a pooled map",
                f"{heads} heads",
                "change --model.pool_side or --model.attention_heads",
            )
        self.tokens, self.side = tokens, side
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + tokens, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.project = joint_projection(width, width, joint)

    def sequence(self, levels: Sequence[Tensor], drawn: Sequence[Tensor]) -> Tensor:
        """Tokens for the attention.

        Args:
            levels: Feature maps (B, C_i, H_i, W_i).
            drawn: Per level the channels, (n_i,) or (B, n_i).

        Returns:
            (B, K + 1, side * side), the class token last.
        """
        # The class token stands last, yet owns the first position vector.
        slots, last = self.positions[:, 1:], self.class_token + self.positions[:, :1]
        maps = [
            pool_channels(level, index, self.side)
            for level, index in zip(levels, drawn, strict=True)
            if index.shape[-1]
        ]
        shown = torch.cat(maps, dim=1)
        shown = functional.pad(shown, (0, 0, 0, self.tokens - shown.shape[1]))
        return torch.cat([shown + slots, last.expand(len(shown), -1, -1)], dim=1)

    def attend(self, sequence: Tensor) -> Tensor:
        """The class token's output, (B, side * side), without the residual.

        Only its own query is computed, since no other row is read.
        """
        last = sequence[:, -1:]
        found, _ = self.attention(last, sequence, sequence, need_weights=False)
        row: Tensor = found[:, 0]
        return row

    def forward(self, levels: Sequence[Tensor], drawn: Sequence[Tensor]) -> Tensor:
        """Embeddings (B, E) of what `sequence` takes."""
        sequence = self.sequence(levels, drawn)
        return in_full_precision(self.project, self.attend(sequence) + sequence[:, -1])
