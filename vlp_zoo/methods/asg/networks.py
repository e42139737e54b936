"""ASG's tag decoder, in the manner of Query2Label (Liu et al., arXiv 2107.10834).

The towers beside it are MGCA's: `vlp_zoo.methods.paired.word_towers`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vlp_zoo.encoders.frozen_text import CorpusText, text_for
from vlp_zoo.errors import ConfigError
from vlp_zoo.reports.words.tags import TAGS

__all__ = [
    "Pass",
    "TagDecoder",
    "check_queries",
    "look_up",
    "tag_queries",
]


class Pass(NamedTuple):
    """One forward pass, up to the losses. Joint embeddings have unit length."""

    pooled: Tensor  # (B, D) image features before projection
    patches: Tensor  # (B, P, C) local image features before projection
    image: Tensor  # (B, E)
    report: Tensor  # (B, E)
    patch_embeddings: Tensor | None  # (B, P, E)
    word_embeddings: Tensor | None  # (B, W, E), W = T - 1: without [CLS]
    tag_logits: Tensor | None  # (B, K)


class TagDecoder(nn.Module):
    """Asks the image for each tag: a transformer decoder with tags as queries.

    Args:
        tag_width: Width F of the tag features, which is the decoder's width.
        patch_width: Width C of the local image features; projected where it differs.
        depth: Layers.
        heads: Attention heads, a divisor of F.
        ffn: Inner width of the feed-forward parts.
        dropout: Rate.
    """

    def __init__(
        self,
        tag_width: int,
        patch_width: int,
        depth: int = 4,
        heads: int = 4,
        ffn: int = 1024,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.memory: nn.Module = nn.Identity()
        if patch_width != tag_width:
            self.memory = nn.Linear(patch_width, tag_width)
        layer = nn.TransformerDecoderLayer(
            tag_width, heads, ffn, dropout, batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, depth, nn.LayerNorm(tag_width))
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(tag_width, 1)
        self._initialise()

    def _initialise(self) -> None:
        # As the released code: weights of all matrices, biases as torch has them.
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.02)
            elif isinstance(part, nn.MultiheadAttention):
                nn.init.normal_(part.in_proj_weight, std=0.02)

    def forward(self, tags: Tensor, patches: Tensor) -> Tensor:
        """Tag features (K, F) and patches (B, P, C) to logits (B, K)."""
        last: Any = self.decoder.norm
        decoded: Tensor = last(self._decode(tags, patches)[0])
        logits: Tensor = self.score(self.dropout(decoded))
        return logits.squeeze(2)

    @torch.no_grad()
    def attention(self, tags: Tensor, patches: Tensor) -> Tensor:
        """Where the last layer looks for each tag: (B, K, P), the mean over heads."""
        weights = self._decode(tags, patches)[1]
        return weights.view(len(patches), -1, len(tags), weights.shape[2]).mean(1)

    def _decode(self, tags: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """The layers of the decoder, with `look_up` for their cross-attention."""
        hidden = tags.expand(len(patches), -1, -1)
        memory = self.memory(patches)
        weights = memory.new_empty(0)
        for part in self.decoder.layers:
            layer: Any = part
            normed = layer.norm1(hidden)
            own = layer.self_attn(normed, normed, normed, need_weights=False)[0]
            hidden = hidden + layer.dropout1(own)
            seen, weights = look_up(layer.multihead_attn, layer.norm2(hidden), memory)
            hidden = hidden + layer.dropout2(seen)
            inner = layer.dropout(layer.linear1(layer.norm3(hidden)).relu())
            hidden = hidden + layer.dropout3(layer.linear2(inner))
        return hidden, weights


def look_up(
    attention: nn.MultiheadAttention, queries: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention of few queries over a long memory, without its keys and values.

    ``(q W_q)(m W_k)' = (q W_q W_k') m'``: moving the projections from the memory to the
    queries costs less where there are fewer queries than patches.

    Args:
        attention: Gives the weights; its own forward would give the same result.
        queries: (B, K, F).
        memory: (B, P, F).

    Returns:
        (B, K, F), and the attention weights (B, heads * K, P) before dropout.
    """
    batch, number, full = queries.shape
    heads, width = attention.num_heads, full // attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    w_query, w_key, w_value = weight.chunk(3)
    b_query, b_key, b_value = bias.chunk(3)
    query = nn.functional.linear(queries, w_query, b_query) * width**-0.5
    query = query.view(batch, number, heads, width)
    # Per head: (B, K, h, e) and (h, e, F) to (B, h, K, F).
    wide = torch.einsum("bkhe,hef->bhkf", query, w_key.view(heads, width, full))
    shift = (query * b_key.view(heads, width)).sum(3).transpose(1, 2)
    scores = wide.flatten(1, 2) @ memory.transpose(1, 2) + shift.flatten(1)[..., None]
    weights = scores.softmax(2)
    kept = nn.functional.dropout(weights, attention.dropout, attention.training)
    mixed = (kept @ memory).view(batch, heads, number, full)
    value = torch.einsum("bhkf,hef->bkhe", mixed, w_value.view(heads, width, full))
    # Without dropout the weights of a query sum to 1.
    share = kept.sum(2).view(batch, heads, number).transpose(1, 2)
    value = value + share[..., None] * b_value.view(heads, width)
    result: Tensor = attention.out_proj(value.flatten(2))
    return result, weights


def tag_queries(spec: str, data: Any, width: int) -> Tensor:
    """Features of the 40 tags, computed once.

    A pretrained BERT's are taken as they are, as in the released code. Features learnt
    from a corpus are zero for tags that it never names ("pleural thicken"), so there
    each tag gets a fixed direction of its own as well, and the scale of a BERT's.

    Args:
        spec: ``"corpus"``, or a folder or hub name of a BERT, see `text_for`.
        data: Data module with a corpus, or None.
        width: F.

    Returns:
        (40, F).
    """
    text = text_for(data, spec, width)
    features = text.encode(TAGS)
    if not isinstance(text, CorpusText):
        return check_queries(features, width)
    own = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    both = nn.functional.normalize(features) + nn.functional.normalize(own)
    return both * float(text.width**0.5)


def check_queries(features: Tensor | None, width: int) -> Tensor:
    """A copy of tag features, if there are some of the width that was asked for.

    Raises:
        ConfigError: If there are none, or they do not fit.
    """
    if features is None or features.shape != (len(TAGS), width):
        raise ConfigError(
            f"tag features of shape (40, {width}), the second as --model.tag_width",
            "none yet" if features is None else f"shape {tuple(features.shape)}",
            "call setup() or set module.known_tags before building"
            if features is None
            else f"set --model.tag_width {features.shape[-1]}",
        )
    return features.clone()
