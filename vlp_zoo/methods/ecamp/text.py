"""ECAMP's text side: from a study's report to the arrays that the model reads.

The distilled context ("There is effusion. There is no edema.") is written into the
report at a random place, the text is tokenised, and entities, their descriptors and
stock phrases are marked. What is masked is drawn later, on the device
(`select_masked`), as are the weights of the tokens (`token_weights`).

Reference: Wang et al., "ECAMP: Entity-centered context-aware medical vision-language
pre-training", Medical Image Analysis 105 (2025), arXiv 2312.13316.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.ecamp.text_marks import Marks, TokenTables, mark_tokens
from vlp_zoo.methods.ecamp.text_rules import (
    CORRECTED,
    OFFICIAL,
    TextRules,
    select_masked,
    token_weights,
)
from vlp_zoo.reports.contexts.context import distil
from vlp_zoo.reports.sections import sentence_spans
from vlp_zoo.types import Study

__all__ = [
    "CORRECTED",
    "OFFICIAL",
    "Marks",
    "ReportTransform",
    "TextRules",
    "TokenTables",
    "assemble",
    "insertion_points",
    "mark_tokens",
    "render_masked",
    "select_masked",
    "token_weights",
]

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def insertion_points(report: str, *, at_periods: bool = True) -> int:
    """The largest ``insert_at`` that `assemble` takes: the number of pieces.

    Example:
        >>> insertion_points("Size 3.5 cm. Clear.")
        4
        >>> insertion_points("Size 3.5 cm. Clear.", at_periods=False)
        2
    """
    return report.count(".") + 1 if at_periods else len(_sentences(report))


def assemble(
    report: str, context: str, insert_at: int | None, *, at_periods: bool = True
) -> str:
    """Write the distilled context into the report.

    At periods, every piece gets its full stop back, the last one too even if it is
    empty, and ".." becomes "." once over the whole string. Between sentences, nothing
    is added or taken away but the blanks around the context.

    Args:
        report: Text of the report.
        context: Distilled sentences, written verbatim.
        insert_at: Number of pieces (sentences) before the context, 0 to
            `insertion_points` inclusive; None leaves the context out.
        at_periods: Split at every period, decimals included, as the authors do; else
            between sentences.

    Returns:
        The text without special tokens.

    Example:
        >>> assemble("Clear lungs. No edema.", "There is no edema.", 1)
        'Clear lungs.There is no edema. No edema.'
        >>> assemble("3.5 cm. Clear.", "No edema.", 1, at_periods=False)
        '3.5 cm. No edema. Clear.'
    """
    if not at_periods:
        if insert_at is None:
            return report
        sentences = _sentences(report)
        sentences.insert(insert_at, context)
        return " ".join(part for part in sentences if part)
    if insert_at is not None:
        pieces = [piece + "." for piece in report.split(".")]
        pieces.insert(insert_at, context)
        report = "".join(pieces)
    return report.replace("..", ".")


@dataclass(frozen=True)
class ReportTransform:
    """Study to text fields: ``transform(study, rng)``.

    Two numbers are drawn: whether the context is inserted, and if so where. A study
    without a context gets one by rule (`vlp_zoo.reports.contexts.context.distil`).

    Args:
        tokenizer: Vocabulary of the text encoder.
        max_length: T; longer texts are cut, shorter ones padded.
        rules: `OFFICIAL` or `CORRECTED`, or a mixture.

    Example:
        >>> tokenizer = ReportTokenizer.train(["There is no effusion."] * 9, 128)
        >>> fields = ReportTransform(tokenizer, 16).encode("There is no effusion.")
        >>> [tokenizer.tokens[i] for i in fields["input_ids"][fields["entity_mask"]]]
        ['effusion']
    """

    tokenizer: ReportTokenizer
    max_length: int = 256
    rules: TextRules = OFFICIAL
    tables: TokenTables = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "tables", TokenTables.build(self.tokenizer, self.rules)
        )

    def __call__(self, study: Study, rng: np.random.Generator) -> dict[str, Any]:
        """Fields of one example.

        Returns:
            ``input_ids`` int64 (T,), unmasked; ``attention_mask``, ``entity_mask``,
            ``descriptor_mask``, ``template_mask``, ``continuation_mask`` bool (T,);
            ``report_text``, the report itself.
        """
        report = study.report.body
        at_periods = self.rules.split_at_periods
        insert_at, context = None, ""
        if rng.random() < self.rules.insert_probability:
            points = insertion_points(report, at_periods=at_periods)
            insert_at = int(rng.integers(0, points, endpoint=True))
            stored = study.report.context
            context = stored if stored is not None else _distilled(report)
        text = assemble(report, context, insert_at, at_periods=at_periods)
        return {**self.encode(text), "report_text": report}

    def encode(self, text: str) -> dict[str, Any]:
        """The arrays of a text as it stands: tokenised, padded and marked."""
        ids, mask = self.tokenizer.encode_padded(text, self.max_length)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            **mark_tokens(ids, self.tables),
        }


def render_masked(
    tokens: Sequence[str],
    masked: Sequence[bool] | Mask,
    entity: Sequence[bool] | Mask | None = None,
    *,
    form: Literal["html", "markdown"] = "html",
) -> str:
    """A report with its hidden words coloured and its entities in bold.

    Args:
        tokens: (T,) tokens of the unmasked text; ``##`` pieces join their word,
            padding is left out.
        masked: (T,) True where hidden.
        entity: (T,) True where an entity; None for no bold.
        form: ``"html"`` for pages; ``"markdown"`` for TensorBoard, which strips
            colours, so hidden words are set as code there.

    Returns:
        One line; everything from the report is escaped.

    Example:
        >>> render_masked(["[CLS]", "no", "ed", "##ema"], [0, 0, 1, 1], form="markdown")
        'no `ed``ema`'
    """
    bold = np.zeros(len(tokens), np.bool_) if entity is None else entity
    parts: list[str] = []
    for token, hidden, strong in zip(tokens, masked, bold, strict=True):
        if token in {"[PAD]", "[CLS]", "[SEP]"}:
            continue
        piece = token.removeprefix("##")
        if parts and piece == token:
            parts.append(" ")
        parts.append(_styled(piece, bool(hidden), bool(strong), form))
    return "".join(parts)


def _styled(piece: str, hidden: bool, strong: bool, form: str) -> str:
    if form == "markdown":
        if hidden:
            text = "`" + piece.replace("`", "'") + "`"
        else:
            text = re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&])", r"\\\1", piece)
        return f"**{text}**" if strong else text
    text = html.escape(piece)
    if hidden:
        text = f'<span style="background:#fdd;color:#a00">{text}</span>'
    return f"<b>{text}</b>" if strong else text


@lru_cache(maxsize=2**16)
def _distilled(report: str) -> str:
    return distil(report)


def _sentences(report: str) -> list[str]:
    """The report cut behind each sentence, numbering and all."""
    ends = [end for _, end in sentence_spans(report)]
    parts = [report[a:b].strip() for a, b in pairwise([0, *ends, len(report)])]
    return [part for part in parts if part]
