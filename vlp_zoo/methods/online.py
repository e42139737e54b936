"""How well images and texts find each other while a method trains.

Numbers to watch a run by, not to report: the benchmark ranks whole test splits and gives
intervals. What is held is bounded, and is put together from all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric, Metric
from torchmetrics.utilities import dim_zero_cat

from vlp_zoo.methods.text_keys import exact_key, text_key

__all__ = [
    "PairRecall",
    "PairsSeen",
    "embedding_std",
    "partner_gains",
    "right_within",
]

POOL = 1000
"""Pairs that recall is computed over at most."""

AT = (1, 5, 10)
"""The k of recall@k."""


def embedding_std(embeddings: Tensor) -> Tensor:
    """How far unit-length embeddings (B, D) spread: 1 at most, 0 when collapsed."""
    unit = functional.normalize(embeddings.float(), dim=-1)
    spread: Tensor = unit.std(dim=0, correction=0).mean() * unit.shape[-1] ** 0.5
    return spread


def partner_gains(
    losses: Callable[[dict[str, Any]], Mapping[str, Tensor]],
    batch: Mapping[str, Any],
    terms: Mapping[str, Tensor],
    kinds: Mapping[str, str],
    image_fields: Sequence[str],
) -> dict[str, Tensor]:
    """What the image of the study before adds to each term of image and text.

    About 0 where a loss does not look at the other modality.

    Args:
        losses: Those of the method.
        batch: B studies.
        terms: What ``losses`` says of them as they are.
        kinds: Terms of image and text, to the name of what is added.
        image_fields: Fields that show images.

    Returns:
        ``image_gain/TERM`` or ``text_gain/TERM``, a scalar in the units of the weighted
        term; nothing of a batch of one study.
    """
    paired = {name: kind for name, kind in kinds.items() if name in terms}
    if not paired or len(batch["uid"]) < 2:
        return {}
    shown = batch.keys() & set(image_fields)
    others = losses({**batch, **{name: batch[name].roll(1, 0) for name in shown}})
    return {
        f"{kind}/{name}": (others[name] - terms[name]).detach()
        for name, kind in paired.items()
    }


def right_within(scores: Tensor, keys: Tensor, at: Sequence[int]) -> Tensor:
    """Whether the first k candidates of each query hold a right one.

    Args:
        scores: (N, N), larger is better.
        keys: (N,) int64; candidates of the query's key are right.
        at: The k.

    Returns:
        (len(at), N) float32.

    Example:
        >>> scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.2, 0.1], [0.0, 0.0, 1.0]])
        >>> right_within(scores, torch.tensor([7, 8, 9]), (1, 2))
        tensor([[0., 0., 1.],
                [0., 1., 1.]])
    """
    first = scores.topk(min(max(at), len(keys)), dim=1).indices
    right = keys[:, None] == keys[first]
    return torch.stack([right[:, :k].any(1) for k in at]).float()


class PairRecall(Metric):
    """Recall@k of reports for images and of images for reports, in one pool.

    The pool is the split, or of a larger one the pairs with the smallest hashed names:
    the same ones for any number of processes and any batch size. A pair that two
    processes saw counts once. Reports of equal words are all right.

    Args:
        pool: Pairs at most, which bounds memory.
        at: The k.
    """

    full_state_update = False
    names: list[Tensor]
    keys: list[Tensor]
    images: list[Tensor]
    texts: list[Tensor]

    def __init__(self, pool: int = POOL, at: Sequence[int] = AT) -> None:
        super().__init__()
        self.pool, self.at = pool, tuple(at)
        for state in ("names", "keys", "images", "texts"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(
        self, names: Tensor, keys: Tensor, images: Tensor, texts: Tensor
    ) -> None:
        """Take the pairs of a batch.

        Args:
            names: (B,) int64, hashed names of the studies.
            keys: (B,) int64, equal for equal reports.
            images: (B, E) of unit length.
            texts: (B, E) of unit length.
        """
        self.names.append(names)
        self.keys.append(keys)
        self.images.append(images)
        self.texts.append(texts)
        self.names, self.keys, self.images, self.texts = (
            [rows] for rows in self._chosen()
        )

    def compute(self) -> dict[str, Tensor]:
        """``i2t_recall@k`` and ``t2i_recall@k``; nothing without a pair."""
        _, keys, images, texts = self._chosen()
        if not len(keys):
            return {}
        scores = images @ texts.T
        return {
            f"{way}_recall@{k}": hits.mean()
            for way, seen in (("i2t", scores), ("t2i", scores.T))
            for k, hits in zip(self.at, right_within(seen, keys, self.at), strict=True)
        }

    def _chosen(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Names, keys, images and texts of the pool, each pair once."""
        names, keys, images, texts = (
            dim_zero_cat(rows)
            for rows in (self.names, self.keys, self.images, self.texts)
        )
        order = names.argsort(stable=True)
        ranked = names[order]
        again = ranked[1:] == ranked[:-1]
        order = order[functional.pad(~again, (1, 0), value=True)[: len(order)]]
        order = order[: self.pool]
        return names[order], keys[order], images[order], texts[order]


@dataclass(frozen=True)
class _Pairs:
    """What a method handed over of a batch."""

    images: Tensor
    texts: Tensor
    said: Tensor | Sequence[str]
    present: Tensor | None


class PairsSeen(nn.Module):
    """Top-1 inside the batches, and `PairRecall`, of the pairs that a method makes.

    Nothing is done in training steps: these would wait for it.
    """

    def __init__(self) -> None:
        super().__init__()
        # Each is the mean over all pairs of all processes.
        self.top1 = nn.ModuleDict({way: MeanMetric() for way in ("i2t", "t2i")})
        self.recall = PairRecall()
        self._handed: _Pairs | None = None

    def hand(
        self,
        images: Tensor,
        texts: Tensor,
        said: Tensor | Sequence[str],
        present: Tensor | None = None,
    ) -> None:
        """Take the joint embeddings of a batch, from ``losses``; none in training.

        Args:
            images: (B, E), of any length.
            texts: (B, E), of any length.
            said: (B,) int64, equal for equal texts; or the texts.
            present: (B,) bool, which studies have a text; None = all.
        """
        if not self.training:
            self._handed = _Pairs(images.detach(), texts.detach(), said, present)

    def drop(self) -> None:
        """Forget what was handed over: it was not the batch as it is."""
        self._handed = None

    def log(self, module: pl.LightningModule, stage: str, uids: Sequence[str]) -> None:
        """Count the pairs that were handed over, if there were any.

        Args:
            module: What logs.
            stage: ``"val"`` or ``"test"``.
            uids: Names of the studies.
        """
        handed, self._handed = self._handed, None
        if handed is None:
            return
        names = _keys([exact_key(uid) for uid in uids], handed.images)
        said = handed.said
        keys = (
            said
            if isinstance(said, Tensor)
            else _keys([text_key(text) for text in said], handed.images)
        )
        images, texts = (
            functional.normalize(rows.float(), dim=1)
            for rows in (handed.images, handed.texts)
        )
        if handed.present is not None:
            here = handed.present
            names, keys, images, texts = (
                rows[here] for rows in (names, keys, images, texts)
            )
        self.recall.update(names, keys, images, texts)
        with torch.autocast(images.device.type, enabled=False):
            scores = images @ texts.T
        for way, seen in (("i2t", scores), ("t2i", scores.T)):
            metric: Any = self.top1[way]
            if len(keys) > 1:  # a single pair finds itself
                metric.update(right_within(seen, keys, (1,))[0])
            module.log(f"{stage}/{way}_top1", metric, batch_size=len(uids))

    def log_recall(self, module: pl.LightningModule, stage: str) -> None:
        """Log the recall over the pairs of all processes, and begin anew."""
        if self.recall.update_called:
            values: Mapping[str, Tensor] = self.recall.compute()
            # Torchmetrics has put the processes together: all have the same value.
            module.log_dict(
                {f"{stage}/{name}": value for name, value in values.items()},
                sync_dist=True,
            )
        self.recall.reset()


def _keys(numbers: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64, device=like.device)
