"""A small transformer that writes a report while it looks at the tokens of an image.

Three layers of width 512 by default, the size of R2Gen's decoder (Chen et al., EMNLP
2020, arXiv 2010.16056) without its relational memory: an encoder is judged by what an
ordinary reader gets out of it. Layers normalise first, which needs no warm-up.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.evaluation.reports.pieces import BEGIN, END, PAD
from vlp_zoo.modules import split_heads

__all__ = ["ReportDecoder"]

Keys = tuple[Tensor, Tensor]
"""Keys and values, each (B, heads, S, width / heads)."""


class ReportDecoder(nn.Module):
    """Image tokens and the words so far to the next word.

    Args:
        features: Width D of the image tokens.
        patches: Their number P; each gets a position of its own, since the tokens of a
            CNN hardly know theirs, and reports name sides.
        vocabulary: Number V of pieces.
        length: Most pieces L of a report, its end included.
        width: W.
        heads: Attention heads.
        layers: How many.
        feedforward: Width inside the layers.
        dropout: Rate, everywhere.
    """

    def __init__(
        self,
        features: int,
        patches: int,
        vocabulary: int,
        length: int,
        *,
        width: int = 512,
        heads: int = 8,
        layers: int = 3,
        feedforward: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.length = length
        # Encoders differ in scale; that is not what they are compared for.
        self.seen = nn.LayerNorm(features)
        self.project = nn.Linear(features, width)
        self.places = nn.Parameter(torch.zeros(1, patches, width))
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(1, length, width))
        self.layers = nn.ModuleList(
            _Layer(width, heads, feedforward, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.dropout = nn.Dropout(dropout)
        for table in (self.places, self.positions, self.words.weight):
            nn.init.trunc_normal_(table, std=0.02)

    def memory(self, tokens: Tensor) -> Tensor:
        """Image tokens (B, P, D) to (B, P, W)."""
        projected: Tensor = self.dropout(self.project(self.seen(tokens)) + self.places)
        return projected

    def forward(self, memory: Tensor, ids: Tensor) -> Tensor:
        """What comes after each piece of texts that are known (teacher forcing).

        Args:
            memory: (B, P, W) of `memory`.
            ids: (B, T) int64, `BEGIN` first.

        Returns:
            Logits (B, T, V).
        """
        hidden = self._embed(ids, 0)
        layers: list[Any] = list(self.layers)
        for layer in layers:
            hidden, _ = layer(hidden, layer.remember(memory), None)
        return self._logits(hidden)

    @torch.no_grad()
    def generate(self, memory: Tensor, beams: int = 1, penalty: float = 1.0) -> Tensor:
        """Write the likeliest report found; nothing is drawn.

        A beam that has ended keeps its place and its score, so a case ends the same
        whatever it shares a batch with. Padding and `BEGIN` are never written.

        Args:
            memory: (B, P, W) of `memory`.
            beams: Texts kept at every step; 1 is greedy.
            penalty: Texts are ranked by their log-likelihood over their length to this
                power: 1 is the mean over pieces, 0 the sum, which favours short texts.

        Returns:
            (B, L) int64, `PAD` after `END`.
        """
        with torch.autocast(memory.device.type, enabled=False):
            # Whole precision, or cases that are nearly tied hang on the batch.
            return self._search(memory.float(), beams, penalty)

    def _search(self, memory: Tensor, beams: int, penalty: float) -> Tensor:
        cases, device = len(memory), memory.device
        wide = memory.repeat_interleave(beams, 0)
        layers: list[Any] = list(self.layers)
        image = [layer.remember(wide) for layer in layers]
        own: list[Keys | None] = [None] * len(layers)
        ids = torch.full((cases, beams, self.length), PAD, device=device)
        # At first all beams are equal: only one of them may go on.
        sums = torch.full((cases, beams), -math.inf, device=device)
        sums[:, 0] = 0.0
        sizes = torch.zeros((cases, beams), device=device)
        ended = torch.zeros((cases, beams), dtype=torch.bool, device=device)
        last = torch.full((cases * beams, 1), BEGIN, device=device)
        first = torch.arange(cases, device=device)[:, None] * beams
        for step in range(self.length):
            hidden = self._embed(last, step)
            for i, layer in enumerate(layers):
                hidden, own[i] = layer(hidden, image[i], own[i])
            logits = self._logits(hidden)[:, 0]
            logits[:, [PAD, BEGIN]] = -math.inf
            chances = logits.log_softmax(-1).view(cases, beams, -1)
            chances = chances.masked_fill(ended[..., None], -math.inf)
            chances[..., PAD] = torch.where(ended, 0.0, -math.inf)
            totals = sums[..., None] + chances
            longer = sizes + ~ended
            ranks = (totals / longer[..., None] ** penalty).flatten(1)
            chosen = ranks.topk(beams).indices
            source = chosen.div(chances.shape[-1], rounding_mode="floor")
            piece = chosen % chances.shape[-1]
            sums = totals.flatten(1).gather(1, chosen)
            sizes = longer.gather(1, source)
            ids = ids.gather(1, source[..., None].expand_as(ids))
            ids[..., step] = piece
            ended = ended.gather(1, source) | (piece == END)
            if bool(ended.all()):
                break
            if beams > 1:
                rows = (first + source).flatten()
                own = [(k[rows], v[rows]) for k, v in own]  # type: ignore[misc]
            last = piece.view(-1, 1)
        return ids[:, 0]

    def _embed(self, ids: Tensor, start: int) -> Tensor:
        positions = self.positions[:, start : start + ids.shape[1]]
        # The table is small, since it also gives the logits.
        scaled = self.words(ids) * math.sqrt(self.words.embedding_dim)
        embedded: Tensor = self.dropout(scaled + positions)
        return embedded

    def _logits(self, hidden: Tensor) -> Tensor:
        return functional.linear(self.norm(hidden), self.words.weight, self.bias)


class _Layer(nn.Module):
    """Attention to the words before, to the image, and a network of two layers."""

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.ask = nn.Linear(width, width)
        self.image = nn.Linear(width, 2 * width)
        self.image_out = nn.Linear(width, width)
        self.inner = nn.Sequential(
            nn.Linear(width, feedforward),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward, width),
        )
        self.dropout = nn.Dropout(dropout)

    def remember(self, memory: Tensor) -> Keys:
        """Keys and values of the image (B, P, W)."""
        key, value = self.image(memory).chunk(2, -1)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def forward(
        self, hidden: Tensor, image: Keys, past: Keys | None
    ) -> tuple[Tensor, Keys]:
        """One layer.

        Args:
            hidden: (B, T, W); with a past T is 1.
            image: Keys and values of the image, from `remember`.
            past: Keys and values of the words before.

        Returns:
            (B, T, W), and keys and values of all words so far.
        """
        query, key, value = (
            split_heads(part, self.heads)
            for part in self.own(self.norms[0](hidden)).chunk(3, -1)
        )
        causal = past is None and hidden.shape[1] > 1
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        looked = self._attend(query, key, value, causal)
        hidden = hidden + self.dropout(self.own_out(looked))
        query = split_heads(self.ask(self.norms[1](hidden)), self.heads)
        looked = self._attend(query, *image, False)
        hidden = hidden + self.dropout(self.image_out(looked))
        hidden = hidden + self.dropout(self.inner(self.norms[2](hidden)))
        return hidden, (key, value)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, causal: bool
    ) -> Tensor:
        rate = self.dropout.p if self.training else 0.0
        attended = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=rate, is_causal=causal
        )
        return attended.transpose(1, 2).flatten(2)
