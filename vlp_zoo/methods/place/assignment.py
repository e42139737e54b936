"""Which query is paired with which sentence, where each may be taken once.

Kuhn, The Hungarian method (1955), in the form of Jonker and Volgenant (1987): sentences
are placed one by one, each along a shortest augmenting path. SciPy does so one problem
after the other, which is faster on a CPU; on a GPU it would make every
step wait for the host, so there all problems are solved at once, as exactly.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["assign", "assign_together"]


def assign(cosines: Tensor, mask: Tensor) -> Tensor:
    """One query to each sentence, all different, of the largest sum of cosines.

    Sentences beyond the number of queries take the query nearest to them. Which of
    several equally good solutions is found depends on the device.

    Args:
        cosines: (..., Q, S), no gradient is used.
        mask: (..., S) bool.

    Returns:
        (..., Q, S) of 0 and 1; one 1 in each valid column.
    """
    if cosines.device.type == "cuda":
        return assign_together(cosines, mask)
    from scipy.optimize import linear_sum_assignment

    # What is no number would be refused here; the alarm for losses names it later.
    values = cosines.detach().nan_to_num().cpu().reshape(-1, *cosines.shape[-2:])
    valid = mask.expand(*cosines.shape[:-2], -1).cpu().reshape(len(values), -1)
    found = _nearest(values) & valid[:, None]
    costs, sentences, pairs = -values.numpy(), valid.numpy(), found.numpy()
    # Where no two sentences have the same nearest query, there is nothing to solve.
    crowded = (pairs.sum(2) > 1).any(1)
    for index in np.flatnonzero(crowded):
        columns = sentences[index].nonzero()[0]
        queries, places = linear_sum_assignment(costs[index][:, columns])
        pairs[index][:, columns[places]] = False
        pairs[index, queries, columns[places]] = True
    return found.view(cosines.shape).to(cosines)


def assign_together(cosines: Tensor, mask: Tensor) -> Tensor:
    """What `assign` finds, of all problems at once and on any device.

    A path among s placed sentences takes s + 1 steps at most, so all problems take as
    many; the steps of one that has arrived change nothing.

    Args:
        cosines: (..., Q, S), of size 1 at most.
        mask: (..., S) bool.
    """
    queries, sentences = cosines.shape[-2:]
    costs = -cosines.detach().double().reshape(-1, queries, sentences).transpose(1, 2)
    valid = mask.expand(*cosines.shape[:-2], -1).reshape(-1, sentences)
    # Places so bad that every exchange among the queries is better than taking one.
    spare, worst = max(sentences - queries, 0), 4.0 * (queries + sentences)
    holder = _holders(functional.pad(costs, (0, spare), value=worst), valid)
    order = torch.arange(sentences, device=costs.device)
    pairs = holder[:, :queries, None] == order
    alone = valid & ~pairs.any(1)
    pairs |= _nearest(-costs.transpose(1, 2)) & alone[:, None]
    return pairs.view(cosines.shape).to(cosines.dtype)


def _nearest(values: Tensor) -> Tensor:
    """(N, Q, S) bool: the query nearest to each sentence."""
    queries = torch.arange(values.shape[1], device=values.device)
    return values.argmax(1, keepdim=True) == queries[:, None]


def _holders(costs: Tensor, valid: Tensor) -> Tensor:
    """The sentence that holds each place at the least cost, -1 where none does.

    Args:
        costs: (N, S, K), S at most K.
        valid: (N, S) bool, sentences to be placed.

    Returns:
        (N, K) int64.
    """
    count, sentences, places = costs.shape
    prices = costs.new_zeros(count, places)
    holder = torch.full_like(prices, -1, dtype=torch.long)
    for sentence in range(sentences):
        distance = costs[:, sentence] - prices
        before = torch.full_like(holder, -1)
        passed = torch.zeros_like(holder, dtype=torch.bool)
        for _ in range(sentence):
            far, place = distance.masked_fill(passed, torch.inf).min(1, keepdim=True)
            held_by = holder.gather(1, place)
            # At a free place the path has arrived: it is the nearest from now on.
            held = held_by >= 0
            passed = passed.scatter(1, place, held)
            row = held_by.clamp(min=0)[:, :, None].expand(-1, -1, places)
            onward = costs.gather(1, row)[:, 0] - prices
            onward = far + onward - onward.gather(1, place)
            shorter = (onward < distance) & ~passed & held
            distance = torch.where(shorter, onward, distance)
            before = torch.where(shorter, place, before)
        far, place = distance.masked_fill(passed, torch.inf).min(1, keepdim=True)
        placed = valid[:, sentence, None]
        rise = (distance - far).masked_fill(~passed | ~placed, 0.0)
        prices = prices + rise
        moved = holder
        for _ in range(sentence + 1):
            last = before.gather(1, place)
            first = last < 0
            new = moved.gather(1, last.clamp(min=0)).masked_fill(first, sentence)
            moved = moved.scatter(1, place, new)
            place = torch.where(first, place, last)
        holder = torch.where(placed, moved, holder)
    return holder
