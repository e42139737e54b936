"""Losses as pure functions of tensors, each with its equation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.gather import gather_rows, mean_over_processes, row_offset

__all__ = [
    "contrast",
    "info_nce",
    "masked_mse",
    "multi_positive_targets",
    "rank_mean",
    "sigmoid_contrast",
    "soft_cross_entropy",
    "weighted_token_ce",
]


def masked_mse(
    prediction: Tensor, target: Tensor, mask: Tensor, over: str = "masked"
) -> Tensor:
    r"""Squared error on selected patches.

    .. math:: L = \frac{1}{N} \sum_i m_i (y_i - x_i)^2

    with N the number of selected values (``over="masked"``, as MAE's paper has it) or
    of all values (``over="all"``, as ECAMP's released code has it).

    Args:
        prediction: (B, P, ...) float.
        target: Broadcastable to the prediction; one grey channel serves for three.
        mask: (B, P), True or 1 = counts.
        over: What the mean runs over.

    Returns:
        Scalar in float32 or better; 0 where nothing is selected.

    Raises:
        ValueError: If ``over`` is unknown.

    Example:
        >>> x, mask = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[True, False]])
        >>> masked_mse(x, torch.zeros(1, 2, 1), mask)
        tensor(1.)
        >>> masked_mse(x, torch.zeros(1, 2, 1), mask, over="all")
        tensor(0.5000)
    """
    if over not in ("masked", "all"):
        raise ValueError(f"over is 'masked' or 'all', got {over!r}")
    wide = torch.promote_types(prediction.dtype, torch.float32)
    error = (prediction.to(wide) - target.to(wide)).square().flatten(2).mean(2)
    selected = mask.to(wide)
    total = (error * selected).sum()
    if over == "all":
        return total / selected.numel()
    return total / selected.sum().clamp(min=1)


def rank_mean(count: int | Tensor, like: Tensor) -> Tensor:
    """A count averaged over the processes of a training run.

    Dividing each process's sum by it makes the average of their gradients equal the
    gradient of one process on the whole batch, where processes count differently
    (reports differ in length). Without gradients, as in validation, processes may run
    different numbers of batches, so nothing is exchanged.

    Args:
        count: This process's count.
        like: Gives device and dtype.

    Returns:
        Scalar.
    """
    if isinstance(count, Tensor):
        value = count.detach().to(like.dtype, copy=True)
    else:
        value = torch.full((), float(count), dtype=like.dtype, device=like.device)
    return mean_over_processes(value) if torch.is_grad_enabled() else value


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Weighted sum of cross-entropies; gradients are made chunk by chunk in forward.

    The sum is a scalar, so backward only scales what forward stored: neither the
    logits (N, V) nor their gradient are ever alive as a whole, and nothing is
    computed twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        token_weights: Tensor,
        chunk: int,
    ) -> Tensor:
        device = hidden.device.type
        dtype = hidden.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        wide = torch.promote_types(dtype, torch.float32)
        needs = any(ctx.needs_input_grad[:3])
        total = hidden.new_zeros((), dtype=wide)
        with torch.autocast(device, enabled=False):
            matrix = weight.detach().to(dtype)
            offset = bias.detach().to(wide)
            grad_hidden = torch.empty_like(hidden) if needs else None
            # Written by the first chunk, so not cleared; zero where there is none.
            create = torch.empty_like if len(hidden) else torch.zeros_like
            grad_weight = create(weight, dtype=wide) if needs else None
            grad_bias = torch.zeros_like(bias, dtype=wide) if needs else None
            # One buffer for all chunks: fresh memory of this size costs page faults.
            rows = min(chunk, len(hidden))
            buffer = torch.empty((rows, len(weight)), dtype=wide, device=hidden.device)
            for start in range(0, len(hidden), chunk):
                part = slice(start, start + chunk)
                inputs, index = hidden[part].detach().to(dtype), targets[part, None]
                scale = token_weights[part, None].to(wide)
                logits = buffer[: len(inputs)]
                if dtype == wide:
                    torch.mm(inputs, matrix.T, out=logits)
                else:
                    logits.copy_(inputs @ matrix.T)
                logits += offset
                logits -= logits.amax(1, keepdim=True)
                chosen = logits.gather(1, index)
                partition = logits.exp_().sum(1, keepdim=True)
                total += ((partition.log() - chosen) * scale).sum()
                if grad_hidden is None or grad_weight is None or grad_bias is None:
                    continue
                # d/dlogits of w * CE is w * (softmax - one-hot).
                error = logits.mul_(scale / partition)
                error.scatter_add_(1, index, -scale)
                grad_bias += error.sum(0)
                if dtype == wide:
                    torch.mm(error, matrix, out=grad_hidden[part])
                    grad_weight.addmm_(error.T, inputs, beta=float(start > 0))
                    continue
                narrow = error.to(dtype)
                grad_hidden[part] = narrow @ matrix
                product = narrow.T @ inputs
                if start:
                    grad_weight += product
                else:
                    grad_weight.copy_(product)
        if grad_hidden is not None and grad_weight is not None:
            ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        scale = grad_outputs[0]
        return (
            (grad_hidden * scale).to(grad_hidden.dtype),
            grad_weight * scale,
            grad_bias * scale,
            None,
            None,
            None,
        )


def weighted_token_ce(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    token_weights: Tensor,
    valid_mask: Tensor | None = None,
    chunk: int = 256,
) -> Tensor:
    r"""Weighted cross-entropy over a large vocabulary, projection included.

    .. math:: L = \frac{1}{N} \sum_i w_i \left(-\log \mathrm{softmax}(W h_i + b)_{t_i}
        \right)

    over the N valid tokens. Invalid ones are left out before the projection, and the
    projection runs in chunks of tokens, so memory does not grow with N times V.
    Differentiable once.

    Args:
        hidden: (..., D) token features.
        weight: (V, D) output matrix.
        bias: (V,).
        targets: (...) int64 ids in 0..V-1.
        token_weights: (...) weights, any sign; no gradient flows into them.
        valid_mask: (...) bool, True = counts; None = all.
        chunk: Tokens projected at a time.

    Returns:
        Scalar, at least float32, computed under autocast as well; 0 with zero
        gradient where nothing is valid.

    Example:
        >>> h, w, b = torch.zeros(1, 2, 4), torch.zeros(8, 4), torch.zeros(8)
        >>> ids = torch.tensor([[1, 2]])
        >>> weighted_token_ce(h, w, b, ids, torch.ones(1, 2))
        tensor(2.0794)
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    ids, scale = targets.reshape(-1), token_weights.detach().reshape(-1)
    if valid_mask is not None:
        # Places, not the mask: a mask would be counted anew by each look-up.
        valid = valid_mask.reshape(-1).nonzero()[:, 0]
        flat, ids, scale = (each.index_select(0, valid) for each in (flat, ids, scale))
    total = _ChunkedCrossEntropy.apply(flat, weight, bias, ids, scale, chunk)
    loss: Tensor = total / rank_mean(len(flat), total).clamp(min=1)
    return loss


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Cross-entropy against target distributions.

    .. math:: L = -\frac{1}{R} \sum_r \sum_c t_{rc} \log \mathrm{softmax}(z_r)_c

    Args:
        logits: (R, C); -inf leaves an entry out, where its target is 0.
        targets: (R, C), rows summing to 1 for a proper cross-entropy.

    Returns:
        Scalar in float32 or better; 0 for no rows.

    Example:
        >>> soft_cross_entropy(torch.zeros(1, 4), torch.full((1, 4), 0.25))
        tensor(1.3863)
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    likelihood = logits.to(wide).log_softmax(1)
    weights = targets.to(wide)
    # 0 * -inf is not a number; an impossible entry with target 0 costs nothing.
    likelihood = likelihood.masked_fill(weights == 0, 0.0)
    return -(weights * likelihood).sum() / max(len(logits), 1)


def multi_positive_targets(keys: Tensor, gather: bool = True) -> Tensor:
    """Targets where several rows are right: images that share a report.

    Args:
        keys: (B,) int64; equal keys belong together.
        gather: Compare with the keys of all processes.

    Returns:
        (B, W*B) float32, this process's rows, each summing to 1. The whole matrix is
        symmetric, so the same rows serve both directions of `info_nce`.

    Example:
        >>> multi_positive_targets(torch.tensor([5, 6, 5]))
        tensor([[0.5000, 0.0000, 0.5000],
                [0.0000, 1.0000, 0.0000],
                [0.5000, 0.0000, 0.5000]])
    """
    everyone = gather_rows(keys) if gather else keys
    same = (keys[:, None] == everyone[None, :]).float()
    return same / same.sum(1, keepdim=True)


def info_nce(
    a: Tensor,
    b: Tensor,
    temperature: float | Tensor,
    *,
    targets: Tensor | None = None,
    reverse_targets: Tensor | None = None,
    gather: bool = True,
    normalise: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Contrastive loss of paired embeddings, in both directions.

    .. math:: L_{a \to b} = -\frac{1}{B} \sum_i \sum_j t_{ij} \log
        \frac{\exp(a_i \cdot b_j / \tau)}{\sum_k \exp(a_i \cdot b_k / \tau)}

    (van den Oord et al., arXiv 1807.03748; both directions: Zhang et al., ConVIRT,
    arXiv 2010.00747). Local rows meet the rows of all processes, so memory grows with
    local times global batch. The mean over local rows is right: DDP averages gradients
    over processes, which makes them those of one process on the whole batch.

    Args:
        a: (B, E).
        b: (B, E), row i belonging to row i of ``a``.
        temperature: What similarities are divided by; a tensor may be learnt.
        targets: (B, W*B), this process's rows (W = 1 without ``gather``); None = the
            row's own partner.
        reverse_targets: Targets of the direction b to a, shaped like ``targets``; None
            = the same rows, which is right for symmetric ones.
        gather: Compare with all processes' rows; False keeps to this process's.
        normalise: Scale rows to unit length first.

    Returns:
        Loss a to b, and b to a; scalars in float32 or better, under autocast too.

    Example:
        >>> eye = torch.eye(2)
        >>> info_nce(eye, eye, 1.0)
        (tensor(0.3133), tensor(0.3133))
    """
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    # Similarities over a small temperature need more than half precision.
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.to(wide), b.to(wide)
        if normalise:
            a, b = functional.normalize(a, dim=1), functional.normalize(b, dim=1)
        all_a, all_b = (gather_rows(a), gather_rows(b)) if gather else (a, b)
        return contrast(
            a @ all_b.T / temperature,
            b @ all_a.T / temperature,
            row_offset(len(a)) if gather else 0,
            targets,
            reverse_targets,
        )


def contrast(
    forth: Tensor,
    back: Tensor,
    first: int = 0,
    targets: Tensor | None = None,
    reverse_targets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropies of both directions, from similarities.

    Args:
        forth: (B, N) logits of this process's a against all b.
        back: (B, N) logits of this process's b against all a.
        first: Column of the first row's own partner, see `row_offset`.
        targets: (B, N), rows of sum 1; None = the row's own partner.
        reverse_targets: Those of ``back``; None = the same rows.

    Returns:
        Loss a to b, and b to a.
    """
    if targets is None:
        partner = torch.arange(len(forth), device=forth.device) + first
        return (
            functional.cross_entropy(forth, partner),
            functional.cross_entropy(back, partner),
        )
    reverse = targets if reverse_targets is None else reverse_targets
    return soft_cross_entropy(forth, targets), soft_cross_entropy(back, reverse)


def sigmoid_contrast(
    a: Tensor,
    b: Tensor,
    scale: float | Tensor,
    bias: float | Tensor,
    *,
    targets: Tensor | None = None,
    gather: bool = True,
) -> Tensor:
    r"""Every pair judged by itself: do the two belong together?

    .. math:: L = -\frac{1}{B} \sum_i \sum_j \log \sigma(y_{ij} (s\, a_i \cdot b_j + c))

    with y 1 for partners and -1 for others (Zhai et al., Sigmoid loss for language image
    pre-training, ICCV 2023, arXiv 2303.15343, equation 2). No row is normalised by the
    others, so that further right pairs cost nothing.

    Args:
        a: (B, E).
        b: (B, E), row i belonging to row i of ``a``.
        scale: What cosines are multiplied by.
        bias: What is added to them; far below 0 at first, as most pairs are wrong.
        targets: (B, W*B), this process's rows, above 0 where two belong together (W = 1
            without ``gather``); None = the row's own partner.
        gather: Compare with all processes' rows; False keeps to this process's.

    Returns:
        Scalar in float32 or better, under autocast too.

    Example:
        >>> sigmoid_contrast(torch.eye(2), torch.eye(2), 1.0, 0.0)
        tensor(1.0064)
    """
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    with torch.autocast(a.device.type, enabled=False):
        a, b = (functional.normalize(x.to(wide), dim=1) for x in (a, b))
        others = gather_rows(b) if gather else b
        logits = scale * (a @ others.T) + bias
        if targets is None:
            start = row_offset(len(a)) if gather else 0
            numbers = torch.arange(len(others), device=a.device)
            own = numbers[start : start + len(a), None] == numbers
        else:
            own = targets > 0
        signs = torch.where(own, 1.0, -1.0).to(wide)
        return -functional.logsigmoid(signs * logits).sum() / len(a)
