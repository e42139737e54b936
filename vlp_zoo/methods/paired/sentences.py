"""Reports read sentence by sentence, with weights and measures beside the losses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.paired.fields import (
    ReportTokens,
    SentenceBatch,
    observations,
    text_key,
)
from vlp_zoo.methods.paired.towers import FrozenTower, PairedTowers, TextOutput
from vlp_zoo.reports.sections import clean

__all__ = ["SentenceTowers", "check_choice", "inverse_frequencies", "sentence_means"]


def inverse_frequencies(corpus: Iterable[str], min_words: int = 2) -> dict[int, float]:
    r"""Weight of each sentence that occurs in more than one report, by `text_key`.

    .. math:: w_s = \log(N / n_s) / \log N

    so that a sentence of one report only, which is left out, would have weight 1.

    Args:
        corpus: N reports.
        min_words: Shorter sentences do not count.
    """
    counts: Counter[int] = Counter()
    reports = 0
    for text in corpus:
        reports += 1
        counts.update(text_key(part) for part in observations(clean(text), min_words))
    scale = math.log(max(reports, 2))
    # Never quite 0: a batch of nothing but stock phrases still has sentences.
    return {
        key: max(math.log(reports / count) / scale, 0.01)
        for key, count in counts.items()
        if count > 1
    }


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse what is not among the choices.

    Raises:
        ConfigError: With the choices.
    """
    if value not in choices:
        raise ConfigError(
            f"--model.{name} among {', '.join(choices)}", f"{value!r}", "pick one"
        )


def sentence_means(tokens: Tensor, span_ids: Tensor, sentences: int) -> Tensor:
    """Mean of the token states of each sentence.

    Args:
        tokens: (B, T, D).
        span_ids: (B, T) int64, sentence of each token, -1 = none.
        sentences: S.

    Returns:
        (B, S, D); zeros where a sentence has no token.

    Example:
        >>> states = torch.tensor([[[1.0], [3.0], [5.0]]])
        >>> sentence_means(states, torch.tensor([[-1, 1, 1]]), 2)
        tensor([[[0.],
                 [4.]]])
    """
    numbers = torch.arange(sentences, device=span_ids.device)
    chosen = (span_ids[:, None] == numbers[:, None]).to(tokens.dtype)
    return (chosen @ tokens) / chosen.sum(2, keepdim=True).clamp(min=1)


class SentenceTowers(PairedTowers[SentenceBatch]):
    """Image and text towers whose text side knows sentences."""

    sentence_idf: dict[int, float] | None = None

    def set_sentences(self, most: int, min_words: int, weight: str) -> None:
        """Remember how sentences are marked; see `ReportTokens`."""
        check_choice("sentence_weight", weight, ("uniform", "idf"))
        self.max_sentences = most
        self.min_words = min_words
        self.weigh_sentences = weight == "idf"
        self.measures: dict[str, Tensor] = {}

    def report_tokens(self) -> ReportTokens:
        """Text to fields; needs the tokenizer."""
        return ReportTokens(
            super().report_tokens().tokenizer,
            self.max_tokens,
            self.max_sentences,
            self.min_words,
            self.sentence_idf,
        )

    def setup(self, stage: str) -> None:
        """Tokenizer and text features; and the sentences' weights."""
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if self.weigh_sentences and self.sentence_idf is None and data is not None:
            self.sentence_idf = inverse_frequencies(data.corpus(), self.min_words)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sentences' weights, which no state dict holds."""
        super().on_save_checkpoint(checkpoint)
        if self.sentence_idf is not None:
            checkpoint["sentence_idf"] = self.sentence_idf

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them."""
        self.sentence_idf = checkpoint.get("sentence_idf")
        super().on_load_checkpoint(checkpoint)

    def read(self, batch: SentenceBatch) -> tuple[TextOutput, Tensor]:
        """Reports through the text tower.

        Returns:
            Its output, and one state per sentence (B, S, D). Fixed features know no
            tokens; there the report and its sentences stand for them.
        """
        tower, texts = self.text_tower, batch["report_text"]
        found: TextOutput = tower(batch["input_ids"], batch["attention_mask"], texts)
        if not isinstance(tower, FrozenTower):
            spans = batch["span_ids"][:, : found.tokens.shape[1]]
            return found, sentence_means(found.tokens, spans, self.max_sentences)
        flat = [sentence for report in batch["sentences"] for sentence in report]
        states = tower.features(flat).view(len(texts), self.max_sentences, -1)
        tokens = torch.cat([found.tokens, states], dim=1)
        mask = torch.cat([found.mask, batch["sentence_mask"]], dim=1)
        return TextOutput(found.pooled, tokens, mask), states

    def _step(self, batch: SentenceBatch, batch_idx: int, stage: str) -> Tensor:
        """Log what ``losses`` measured, beside the losses."""
        loss = super()._step(batch, batch_idx, stage)
        self.log_dict(
            {f"{stage}/{name}": value for name, value in self.measures.items()},
            on_epoch=stage != "train",
            sync_dist=stage != "train",
            batch_size=len(batch["uid"]),
        )
        return loss
