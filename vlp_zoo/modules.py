"""Network parts that several methods use or that were published on their own."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.recomputing import in_its_way

__all__ = [
    "MAEDecoder",
    "MLMHead",
    "MultiHeadAttention",
    "PatchMask",
    "ResidualNorm",
    "as_on_gpus",
    "attend",
    "attention_map",
    "bert_layers",
    "dropout",
    "in_full_precision",
    "mask_patches",
    "split_heads",
    "word_starts",
    "xavier_linears",
]


class PatchMask(NamedTuple):
    """Which patches are hidden.

    Attributes:
        keep_ids: (B, V) int64, visible patches in the order of their noise.
        restore_ids: (B, P) int64, place of each patch in "visible, then hidden".
        hidden: (B, P) bool, True = hidden.
    """

    keep_ids: Tensor
    restore_ids: Tensor
    hidden: Tensor


def mask_patches(noise: Tensor, ratio: float) -> PatchMask:
    """Keep the patches of smallest noise (MAE's random masking).

    Args:
        noise: (B, P) uniform draws.
        ratio: Share to hide; ``int(P * (1 - ratio))`` patches stay visible.

    Example:
        >>> mask_patches(torch.tensor([[0.9, 0.1, 0.5, 0.2]]), 0.75).keep_ids
        tensor([[1]])
    """
    patches = noise.shape[1]
    # The small addend undoes rounding such as 100 * (1 - 0.9) = 9.999...
    visible = max(int(patches * (1 - ratio) + 1e-9), 1)
    order = noise.argsort(dim=1)
    restore_ids = order.argsort(dim=1)
    return PatchMask(order[:, :visible], restore_ids, restore_ids >= visible)


def xavier_linears(module: nn.Module) -> None:
    """Initialise every Linear inside as MAE does: Xavier uniform, zero bias."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class MAEDecoder(nn.Module):
    """Light transformer that predicts the pixels of all patches from the visible ones.

    He et al., Masked autoencoders are scalable vision learners, arXiv 2111.06377.

    Args:
        encoder_width: Width of the visible tokens.
        patch_size: Pixels per patch side.
        positions: (1, 1 + P, W) fixed position table; W is the decoder's width.
        depth: Transformer blocks.
        heads: Attention heads.
        upscale: Side of the predicted image over that of the encoded one.
    """

    positions: Tensor

    def __init__(
        self,
        encoder_width: int,
        patch_size: int,
        positions: Tensor,
        depth: int = 4,
        heads: int = 16,
        upscale: int = 1,
    ) -> None:
        super().__init__()
        width = positions.shape[-1]
        self.patch_size = upscale * patch_size
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02))
        self.register_buffer("positions", positions)
        self.blocks = nn.Sequential(
            *[Block(width, heads, qkv_bias=True) for _ in range(depth)]
        )
        # timm's blocks use the same eps.
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, self.patch_size**2 * 3)

    def forward(self, latent: Tensor, restore_ids: Tensor) -> Tensor:
        """Predict pixels.

        Args:
            latent: (B, 1 + V, D) class token and visible patches.
            restore_ids: (B, P) from `mask_patches`.

        Returns:
            (B, P, p*p*3), inner order row, column, channel; p is the side of the
            predicted patches.
        """
        hidden = self.embed(latent)
        first, visible = hidden[:, :1], hidden[:, 1:]
        batch, patches = restore_ids.shape
        blanks = self.mask_token.expand(batch, patches - visible.shape[1], -1)
        shuffled = torch.cat([visible, blanks.to(visible.dtype)], dim=1)
        index = restore_ids[..., None].expand(-1, -1, hidden.shape[-1])
        whole = torch.cat([first, shuffled.gather(1, index)], dim=1)
        decoded = self.blocks(whole + self.positions)
        # Only patches are predicted, so the class token can go before the norm.
        pixels: Tensor = self.predict(self.norm(decoded[:, 1:]))
        return pixels

    def image(self, pixels: Tensor) -> Tensor:
        """Predicted patches (B, P, p*p*3) of a square grid as images (B, 3, S, S)."""
        p, side = self.patch_size, math.isqrt(pixels.shape[1])
        blocks = pixels.view(-1, side, side, p, p, 3).permute(0, 5, 1, 3, 2, 4)
        return blocks.reshape(-1, 3, side * p, side * p)


def in_full_precision(head: nn.Module, features: Tensor) -> Tensor:
    """What a head makes of features, in float32 or better under autocast too.

    For heads with batch norm, which divides by how much the rows of a batch differ, and
    for those of vectors that are scaled to unit length: where rows differ little, half
    precision is off by several per cent of the loss.

    Args:
        head: Rows to rows.
        features: (B, D).
    """
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    with torch.autocast(features.device.type, enabled=False):
        found: Tensor = head(wide)
    return found


_AS_ON_GPUS: ContextVar[bool] = ContextVar("as_on_gpus", default=False)


@contextlib.contextmanager
def as_on_gpus() -> Iterator[None]:
    """Leave out what is written for CPUs: for counting what a step costs on a GPU."""
    token = _AS_ON_GPUS.set(True)
    try:
        yield
    finally:
        _AS_ON_GPUS.reset(token)


def _for_cpus(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not _AS_ON_GPUS.get()


def word_starts(continuation_mask: Tensor) -> Tensor:
    """Place of the first token of the word that each token belongs to.

    Args:
        continuation_mask: (B, T) bool, True for pieces that continue a word.

    Returns:
        (B, T) int64.

    Example:
        >>> word_starts(torch.tensor([[False, False, True, True, False]]))
        tensor([[0, 1, 1, 1, 4]])
    """
    places = torch.arange(continuation_mask.shape[1], device=continuation_mask.device)
    return torch.where(continuation_mask, 0, places).cummax(dim=1).values


def dropout(inputs: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout that draws 16 bits a value on CPUs, where torch draws slowly.

    Elsewhere it is torch's own, and so it is in compiled code. The rate is met to within 1e-5.

    Args:
        inputs: Any shape.
        rate: Share of values set to 0; the others are scaled up to keep the mean.
        training: False returns the inputs.
    """
    if not training or rate == 0.0:
        return inputs
    if torch.compiler.is_compiling() or not _for_cpus(inputs):
        return functional.dropout(inputs, rate)
    count = inputs.numel()
    words = torch.empty(count // 4 + 1, dtype=torch.int64).random_(-(2**63), None)
    lanes = words.view(torch.int16)[:count].view(inputs.shape)
    dropped = round(rate * 2**16)
    keep = torch.empty(inputs.shape, dtype=inputs.dtype)
    torch.ge(lanes, dropped - 2**15, out=keep)
    return inputs * keep.mul_(2**16 / (2**16 - dropped))


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rate: float
) -> Tensor:
    """Scaled dot-product attention, heads joined.

    torch's kernel has no fast path for dropout on CPUs, so there it is written out.

    Args:
        query: (B, heads, T, d).
        key: (B, heads, S, d).
        value: (B, heads, S, d).
        mask: (B, S) bool, True = attend to; None = all.
        rate: Dropout on the probabilities.

    Returns:
        (B, T, heads * d).
    """
    if rate == 0.0 or not _for_cpus(query):
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask[:, None, None],
            dropout_p=rate,
        )
        return attended.transpose(1, 2).flatten(2)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill_(~mask[:, None, None], -math.inf)
    probabilities = dropout(scores.softmax(-1), rate, True)
    return (probabilities.to(value.dtype) @ value).transpose(1, 2).flatten(2)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, T, D) to (B, heads, T, D / heads), a view."""
    batch, length, width = tokens.shape
    return tokens.view(batch, length, heads, width // heads).transpose(1, 2)


def bert_layers(
    layers: Iterable[nn.Module], hidden: Tensor, mask: Tensor, keys: int | None = None
) -> Tensor:
    """The layers of a transformers BertModel, without work for padded keys.

    Keys and values are made for the first ``keys`` positions only. Where all valid
    positions are among them, the result is that of the layers themselves: masked keys
    have no weight. Positions beyond still get outputs.

    Args:
        layers: ``BertModel.encoder.layer``, or some of them in a row; read, never changed.
        hidden: (B, T, D).
        mask: (B, T) bool, True = may be attended to.
        keys: At least the longest text of the batch; None = T.

    Returns:
        (B, T, D).
    """
    mask = mask[:, :keys]
    for layer in layers:
        hidden = in_its_way(layer, _bert_layer)(layer, hidden, mask, keys)
    return hidden


def _bert_layer(part: Any, hidden: Tensor, mask: Tensor, keys: int | None) -> Tensor:
    own, out = part.attention.self, part.attention.output
    heads, rate = own.num_attention_heads, out.dropout.p
    attended = attend(
        split_heads(own.query(hidden), heads),
        split_heads(own.key(hidden[:, :keys]), heads),
        split_heads(own.value(hidden[:, :keys]), heads),
        mask,
        own.dropout.p if part.training else 0.0,
    )
    attended = dropout(out.dense(attended), rate, part.training)
    hidden = out.LayerNorm(attended + hidden)
    inner = part.intermediate.intermediate_act_fn(part.intermediate.dense(hidden))
    inner = dropout(part.output.dense(inner), part.output.dropout.p, part.training)
    normal: Tensor = part.output.LayerNorm(inner + hidden)
    return normal


class MultiHeadAttention(nn.Module):
    """BERT's attention up to its heads: no output projection.

    Args:
        width: Width D of queries, keys, values and result.
        heads: Attention heads, a divisor of D.
        dropout: Rate on the attention probabilities.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(
        self, queries: Tensor, context: Tensor, context_mask: Tensor | None = None
    ) -> Tensor:
        """Attend from (B, T, D) to (B, S, D); mask (B, S) bool, True = attend to."""
        return self.attend(*self.project(queries, context), context_mask)

    def project(
        self, queries: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, length, D / heads)."""
        return (
            split_heads(self.query(queries), self.heads),
            split_heads(self.key(context), self.heads),
            split_heads(self.value(context), self.heads),
        )

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attention over projected tensors, heads joined again: (B, T, D)."""
        return attend(query, key, value, mask, self.dropout if self.training else 0.0)


@torch.no_grad()
def attention_map(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention probabilities, the mean over heads, without gradient or dropout.

    Args:
        query: (B, heads, T, d) from `MultiHeadAttention.project`.
        key: (B, heads, S, d).
        mask: (B, S) bool, True = attend to; None = all.

    Returns:
        (B, T, S) float32; rows sum to 1.
    """
    scores = (query @ key.transpose(-1, -2)).float() / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -math.inf)
    probabilities: Tensor = scores.softmax(-1).mean(1)
    return probabilities


class ResidualNorm(nn.Module):
    """``LayerNorm(residual + dropout(dense(x)))``: the end of every BERT sub-layer.

    Args:
        width_in: Width of x.
        width: Width of the residual.
        dropout: Rate.
    """

    def __init__(self, width_in: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = dropout

    def forward(self, inputs: Tensor, residual: Tensor) -> Tensor:
        """(B, T, width_in) and (B, T, width) to (B, T, width)."""
        dropped = dropout(self.dense(inputs), self.dropout, self.training)
        normed: Tensor = self.norm(residual + dropped)
        return normed


class MLMHead(nn.Module):
    """Dense, GELU, LayerNorm, and an output matrix of its own (not tied).

    Args:
        width: Width D of the text encoder.
        vocab_size: V.
    """

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.output = nn.Linear(width, vocab_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D); the output matrix is applied by the loss."""
        normed: Tensor = self.norm(functional.gelu(self.dense(hidden)))
        return normed
