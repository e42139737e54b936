"""Pairing visual with textual observations, and the losses over pairs.

Our implementation from the paper's abstract; see `vlp_zoo.methods.place`. Letters: I
images, J reports, Q pathology queries, S sentences, E joint width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlp_zoo.gather import exchanging, gather_rows, row_offset
from vlp_zoo.methods.options import check_choice
from vlp_zoo.methods.place.assignment import assign

__all__ = [
    "LOSSES",
    "MATCHES",
    "Alignment",
    "Sentences",
    "diversity",
    "off_diagonal_cosine",
    "sinkhorn",
    "usage_entropy",
]

MATCHES = ("soft", "hungarian", "sinkhorn", "maxsim")
LOSSES = ("obs_infonce", "set_infonce", "sentence_infonce", "cosine")


class Sentences(NamedTuple):
    """Textual observations of a batch."""

    vectors: Tensor  # (B, S, E) unit length
    mask: Tensor  # (B, S) bool
    key: Tensor  # (B, S) int64, equal for equal sentences
    weight: Tensor  # (B, S), 0 where the mask is False
    report: Tensor  # (B,) int64, equal for equal reports

    def everyone(self) -> Sentences:
        """Those of all processes; gradients flow back."""
        mask = gather_rows(self.mask.to(torch.uint8)).bool()
        vectors, key, weight, report = (
            gather_rows(x) for x in (self.vectors, self.key, self.weight, self.report)
        )
        return Sentences(vectors, mask, key, weight, report)


def sinkhorn(
    cosines: Tensor, weight: Tensor, epsilon: float = 0.05, steps: int = 5
) -> Tensor:
    """Transport plan between queries (uniform) and sentences (by weight).

    Cuturi, Sinkhorn distances, NeurIPS 2013; in logarithms, without gradient.

    Args:
        cosines: (..., Q, S).
        weight: (..., S), at least 0; normalised here.
        epsilon: Entropic regularisation.
        steps: Iterations; the sentences' marginal is exact after each.

    Returns:
        (..., Q, S), columns of weight 0 are zero.
    """
    with torch.no_grad():
        share = weight / weight.sum(-1, keepdim=True).clamp(min=1e-12)
        used = share > 0
        columns = share.clamp(min=1e-30).log()
        plan = (cosines.float() / epsilon).masked_fill(~used[..., None, :], -1e9)
        rows = -float(np.log(cosines.shape[-2]))
        for _ in range(steps):
            plan = plan - plan.logsumexp(-1, keepdim=True) + rows
            plan = plan - plan.logsumexp(-2, keepdim=True) + columns[..., None, :]
        return plan.exp() * used[..., None, :]


def diversity(vectors: Tensor, margin: float = 0.3) -> Tensor:
    """Mean of ``relu(cosine - margin)^2`` over pairs of different queries.

    Args:
        vectors: (B, Q, E) unit length.
        margin: Cosine that costs nothing.
    """
    excess = _pairs(vectors).sub(margin).relu().square()
    return excess.mean()


def off_diagonal_cosine(vectors: Tensor) -> Tensor:
    """Mean cosine of different queries' observations: 1 when they have collapsed."""
    return _pairs(vectors).mean()


def _pairs(vectors: Tensor) -> Tensor:
    queries = vectors.shape[1]
    with torch.autocast(vectors.device.type, enabled=False):
        cosines = vectors.float() @ vectors.float().transpose(1, 2)
    rows, columns = torch.triu_indices(queries, queries, 1, device=vectors.device)
    return cosines[:, rows, columns]


def usage_entropy(pairing: Tensor, mask: Tensor) -> Tensor:
    """Entropy of how often queries are paired, over its maximum log Q.

    Args:
        pairing: (B, Q, S), columns summing to 1.
        mask: (B, S) bool.

    Returns:
        Scalar in 0..1; 0 if one query serves all, or nothing is valid.
    """
    usage = (pairing.float() * mask[:, None]).sum((0, 2))
    share = usage / usage.sum().clamp(min=1e-12)
    entropy = -(share * share.clamp(min=1e-12).log()).sum()
    return entropy / max(float(np.log(pairing.shape[1])), 1e-12)


@dataclass(frozen=True)
class Alignment:
    """Pathology-level cross-modal alignment.

    Args:
        loss: ``"obs_infonce"`` contrasts each sentence with the observation paired
            with it, which queries alone can satisfy; ``"set_infonce"`` contrasts reports by the mean over their
            sentences; ``"sentence_infonce"`` contrasts each sentence with whole
            images; ``"cosine"`` only pulls pairs together.
        match: How queries and sentences pair: ``"soft"`` (attention), ``"maxsim"``,
            ``"sinkhorn"``, or ``"hungarian"`` (one query to each sentence). Images pair
            with reports of others as they do with their own.
        pair_temperature: Softness of ``"soft"``.
        temperature: What similarities are divided by.
        false_negatives: ``"mask"`` leaves out entries of other studies with an equal
            or nearly equal sentence, ``"soft"`` makes them targets by their
            likeness, ``"none"`` lets them be negatives.
        threshold: Cosine of sentences above which they count as equal.
        aggregation: ``"vector"`` compares a sentence with the mean of its queries'
            vectors, ``"score"`` averages the cosines.
        epsilon: Entropic regularisation of ``"sinkhorn"``.
        steps: Iterations of ``"sinkhorn"``.
    """

    loss: str = "obs_infonce"
    match: str = "soft"
    pair_temperature: float = 0.1
    temperature: float = 0.07
    false_negatives: str = "mask"
    threshold: float = 0.9
    aggregation: str = "vector"
    epsilon: float = 0.05
    steps: int = 5

    def __post_init__(self) -> None:
        check_choice("pcma_loss", self.loss, LOSSES)
        check_choice("match", self.match, MATCHES)
        check_choice("false_negatives", self.false_negatives, ("mask", "soft", "none"))
        check_choice("aggregation", self.aggregation, ("vector", "score"))

    def pairing(self, cosines: Tensor, weight: Tensor) -> Tensor:
        """Share of each query in what is compared with a sentence.

        Args:
            cosines: (..., Q, S).
            weight: (..., S), 0 where there is no sentence.

        Returns:
            (..., Q, S), columns summing to 1 (to 0 where there is no sentence).
        """
        mask = weight > 0
        if self.match == "soft":
            found = (cosines / self.pair_temperature).softmax(-2)
        elif self.match == "sinkhorn":
            found = sinkhorn(cosines, weight, self.epsilon, self.steps)
            found = found / found.sum(-2, keepdim=True).clamp(min=1e-12)
        elif self.match == "hungarian":
            return assign(cosines, mask)
        else:
            best = cosines.argmax(-2, keepdim=True)
            found = torch.zeros_like(cosines).scatter(-2, best, 1.0)
        return found * mask[..., None, :]

    def __call__(self, visual: Tensor, text: Sentences) -> tuple[Tensor, Tensor]:
        """The loss, and the pairing (B, Q, S) of own pairs.

        Args:
            visual: (B, Q, E) unit length.
            text: The reports' sentences, row by row.

        Returns:
            Scalar, the mean over both directions; 0 where there is no sentence.
        """
        visual, vectors = visual.float(), text.vectors.float()
        text = text._replace(vectors=vectors, weight=text.weight.float())
        pairing = self.pairing(visual @ vectors.transpose(1, 2), text.weight)
        if self.loss == "obs_infonce":
            return self._observations(visual, text, pairing), pairing
        if self.loss == "cosine":
            return self._cosine(visual, text, pairing), pairing
        return self._sets(visual, text), pairing

    def _cosine(self, visual: Tensor, text: Sentences, pairing: Tensor) -> Tensor:
        scores = self._scores(visual, text.vectors, pairing)
        total = (text.weight * (1 - scores)).sum()
        return total / _share(gather_rows(text.weight), text.weight)

    def _observations(self, visual: Tensor, text: Sentences, pairing: Tensor) -> Tensor:
        paired = functional.normalize(pairing.transpose(1, 2) @ visual, dim=2)
        everyone = text.everyone()
        all_paired = gather_rows(paired).flatten(0, 1)
        sentences, all_sentences = text.vectors.flatten(0, 1), everyone.vectors
        all_sentences = all_sentences.flatten(0, 1)
        count = len(sentences)
        partner = torch.arange(count, device=visual.device) + row_offset(count)
        own = functional.one_hot(partner, len(all_sentences)).bool()
        likeness = (sentences @ all_sentences.T).detach()
        usable = everyone.mask.flatten()[None].expand(count, -1) | own
        targets = own.float()
        if self.false_negatives == "mask":
            usable = usable & ~self._twins(text, everyone, likeness) | own
        elif self.false_negatives == "soft":
            targets = (likeness / 0.05).masked_fill(~usable, -torch.inf).softmax(1)
        weight = text.weight.flatten()
        total = _share(everyone.weight, weight)
        forth = sentences @ all_paired.T / self.temperature
        back = paired.flatten(0, 1) @ all_sentences.T / self.temperature
        losses = [_rows(logits, targets, usable, weight) for logits in (forth, back)]
        return (losses[0] + losses[1]) / (2 * total)

    def _twins(self, text: Sentences, everyone: Sentences, likeness: Tensor) -> Tensor:
        """Entries (B*S, W*B*S) of other studies whose sentence says the same."""
        equal = text.key.flatten()[:, None] == everyone.key.flatten()[None]
        sentences = text.mask.shape[1]
        report, reports = (
            x.report.repeat_interleave(sentences) for x in (text, everyone)
        )
        # Within a study sentences differ; its other images repeat all of them.
        images = torch.arange(len(everyone.report), device=likeness.device)
        mine = images[: len(text.report)] + row_offset(len(text.report))
        image, all_images = (x.repeat_interleave(sentences) for x in (mine, images))
        alike = (likeness >= self.threshold) & (report[:, None] != reports[None])
        return (equal | alike) & (image[:, None] != all_images[None])

    def _sets(self, visual: Tensor, text: Sentences) -> Tensor:
        everyone = text.everyone()
        all_visual = gather_rows(visual)
        # (I, J, S): local images with all reports; all images with local reports.
        rows = self._between(visual, everyone)
        columns = self._between(all_visual, text) if exchanging() else rows
        same = (text.report[:, None] == everyone.report[None]).float()
        if self.loss == "sentence_infonce":
            return self._by_sentence(rows, columns, text, everyone, same)
        weight, all_weight = _unit(text.weight), _unit(everyone.weight)
        present, all_present = weight.sum(1), all_weight.sum(1)
        targets = same / same.sum(1, keepdim=True)
        forth = (rows * all_weight).sum(2) / self.temperature
        back = (columns * weight).sum(2).T / self.temperature
        # Reports without sentence are no candidates; images always are.
        usable = (all_present > 0)[None] | (same > 0)
        total = 2 * _share(all_present, present)
        one = _rows(forth, targets, usable, present)
        two = _rows(back, targets, torch.ones_like(usable), present)
        return (one + two) / total

    def _by_sentence(
        self,
        rows: Tensor,
        columns: Tensor,
        text: Sentences,
        everyone: Sentences,
        same: Tensor,
    ) -> Tensor:
        """Each sentence finds its images, each image its sentences."""
        sentences = text.mask.shape[1]
        # (B, S, W*B): local sentences against all images.
        logits = columns.permute(1, 2, 0).flatten(0, 1) / self.temperature
        own = same.repeat_interleave(sentences, 0)
        usable = torch.ones_like(own, dtype=torch.bool)
        if self.false_negatives != "none":
            said = text.key.flatten()[:, None, None] == everyone.key[None]
            said = (said & everyone.mask[None]).any(2)
            usable = ~said | (own > 0)
        weight = text.weight.flatten()
        one = _rows(logits, own / own.sum(1, keepdim=True), usable, weight)
        one = one / _share(everyone.weight, weight)
        # (B, W*B*S): local images against all sentences.
        share = (same[:, :, None] * everyone.weight[None]).flatten(1)
        present = (text.weight.sum(1) > 0).float()
        usable = everyone.mask.flatten()[None].expand(len(rows), -1)
        if self.false_negatives != "none":
            heard = everyone.key.flatten()[None, :, None] == text.key[:, None]
            heard = (heard & text.mask[:, None]).any(2)
            usable = usable & (~heard | (share > 0))
        targets = share / share.sum(1, keepdim=True).clamp(min=1e-12)
        two = _rows(rows.flatten(1) / self.temperature, targets, usable, present)
        two = two / _share((everyone.weight.sum(1) > 0).float(), present)
        return (one + two) / 2

    def _between(self, visual: Tensor, text: Sentences) -> Tensor:
        """How well each image shows each sentence of each report: (I, J, S)."""
        cosines = torch.einsum("ike,jme->ijkm", visual, text.vectors)
        weight = text.weight[None].expand(len(visual), -1, -1)
        between = self.pairing(cosines, weight)
        scores = (between * cosines).sum(2)
        if self.aggregation == "score":
            return scores
        gram = visual @ visual.transpose(1, 2)
        size = torch.einsum("ijkm,ikl,ijlm->ijm", between, gram, between)
        return scores / size.clamp(min=1e-6).sqrt()

    def _scores(self, visual: Tensor, vectors: Tensor, pairing: Tensor) -> Tensor:
        """(B, S) similarity of each sentence with what its own image shows of it."""
        paired = pairing.transpose(1, 2) @ visual
        if self.aggregation == "vector":
            paired = functional.normalize(paired, dim=2, eps=1e-6)
        return (paired * vectors).sum(2)


def _unit(weight: Tensor) -> Tensor:
    """Weights of each report's sentences, summing to 1, or to 0 without sentence."""
    total = weight.sum(1, keepdim=True)
    return torch.where(total > 0, weight / total.clamp(min=1e-12), 0.0)


def _share(everyone: Tensor, local: Tensor) -> Tensor:
    """The processes' mean total weight: dividing by it undoes DDP's averaging."""
    return (everyone.sum() * (local.numel() / everyone.numel())).clamp(min=1e-6)


def _rows(logits: Tensor, targets: Tensor, usable: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of the rows' cross-entropies over usable entries."""
    # Rows of weight 0 may have no usable entry; a finite number keeps gradients clean.
    likelihood = logits.masked_fill(~usable, -1e4).log_softmax(1)
    each = -(targets * likelihood.masked_fill(targets == 0, 0.0)).sum(1)
    return (each * weight).sum()
