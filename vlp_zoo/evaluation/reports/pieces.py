"""Sub-words that reports are written in, trained on the training reports of a run.

Byte pairs over the bytes of lower-case text: every text comes back as it went in, with
its decimals, hyphens and brackets, and there is no unknown word. A vocabulary of whole
words has to spell rare ones ``<unk>``, in reports and, worse, in references.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from vlp_zoo.errors import ConfigError, TokenizerError

__all__ = ["BEGIN", "END", "PAD", "ReportPieces", "plain"]

Ids = npt.NDArray[np.int64]

PAD, BEGIN, END = 0, 1, 2
"""Ids that no text yields."""
SPECIALS = ["[PAD]", "[BEGIN]", "[END]"]
SMALLEST = 256 + len(SPECIALS)


def plain(text: str) -> str:
    """A report as it is learnt: lower case, one space between words."""
    return " ".join(text.lower().split())


class ReportPieces:
    """Text to ids and back; picklable.

    Args:
        spec: What `to_json` gave.

    Example:
        >>> pieces = ReportPieces.train(["No effusion. 1.5 cm nodule."] * 2, 300)
        >>> pieces.decode(pieces.encode("No 1.5 cm effusion.", 32))
        'no 1.5 cm effusion.'
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec

    @cached_property
    def _tokenizer(self) -> Any:
        return Tokenizer.from_str(self.spec)

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> ReportPieces:
        """Train a vocabulary; the same texts give the same ids.

        Args:
            texts: Reports.
            size: Upper bound on the pieces; few reports yield fewer.

        Raises:
            ConfigError: If the size leaves no room for pieces longer than a byte.
            TokenizerError: If there is no text.
        """
        if size <= SMALLEST:
            raise ConfigError(
                f"a vocabulary of more than {SMALLEST} pieces",
                str(size),
                "raise vocabulary in the preset",
            )
        corpus = [plain(text) for text in texts]
        if not any(corpus):
            raise TokenizerError(
                "reports to train a vocabulary on",
                f"{len(corpus)} reports without text",
                "check the data set, or choose another section",
            )
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            # Once is no pattern, and a word seen once can be spelt.
            min_frequency=2,
            special_tokens=SPECIALS,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(corpus, trainer)
        spec = json.loads(tokenizer.to_str())
        # A special token written out in a report is text like any other.
        spec["added_tokens"] = []
        return cls(json.dumps(spec, sort_keys=True))

    def encode(self, text: str, length: int) -> Ids:
        """Ids of a text, `END` last, padded.

        Args:
            text: One report.
            length: L; a longer text is cut and then has no end to be learnt.

        Returns:
            (L,) int64.
        """
        found = [*self._tokenizer.encode(plain(text)).ids, END][:length]
        ids = np.full(length, PAD, np.int64)
        ids[: len(found)] = found
        return ids

    def lengths(self, texts: Iterable[str]) -> Ids:
        """How many ids each text has, its end included: (N,) int64."""
        encoded = self._tokenizer.encode_batch([plain(text) for text in texts])
        return np.array([len(one.ids) + 1 for one in encoded], np.int64)

    def decode(self, ids: Sequence[int] | Ids) -> str:
        """The text of ids up to `END`."""
        kept: list[int] = []
        for index in map(int, ids):
            if index == END:
                break
            if index not in (PAD, BEGIN):
                kept.append(index)
        return plain(str(self._tokenizer.decode(kept)))

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def __reduce__(self) -> tuple[type[ReportPieces], tuple[str]]:
        return type(self), (self.spec,)
