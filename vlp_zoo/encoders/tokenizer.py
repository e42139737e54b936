"""ReportTokenizer: WordPiece over reports, from a file, a hub name or the corpus.

Text is lower-cased, decomposed (NFKD), stripped of accents, and split at white space,
at punctuation and at runs of digits before WordPiece looks at it; this is what the
published ECAMP tokenizer does, whose file is read as it is. A tokenizer travels
inside checkpoints as JSON, so a trained text encoder never meets foreign ids.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from vlp_zoo.encoders.drafts import vocabulary_like
from vlp_zoo.encoders.vocabulary import (
    PREFIX,
    SPECIALS,
    train_word_piece,
    word_piece,
)
from vlp_zoo.encoders.wheels import wheel_path
from vlp_zoo.errors import TokenizerError
from vlp_zoo.files import cache_folder, made_once, write_whole

__all__ = ["MIN_VOCABULARY", "ReportTokenizer"]

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MIN_VOCABULARY = 40
"""Fewer tokens than this mean that a vocabulary file was not read at all."""

PARTS = ("pad", "unk", "cls", "mask", "sep")
"""What the special tokens are for, in the order of `SPECIALS`."""

ROLES = "special_tokens"
"""Entry beside those of a ``tokenizer.json``: which tokens play these parts."""

CACHE_FORMAT = 1
logger = logging.getLogger(__name__)


class ReportTokenizer:
    """Text to token ids, with the tables that masking needs.

    Special tokens written out inside a report are ordinary text to it, so no report
    can smuggle in a padding or mask token.

    Args:
        spec: A ``tokenizer.json`` as a dict. Truncation, padding and post-processing
            are dropped: `encode` does them, the same way for every vocabulary. A
            vocabulary that is no WordPiece, or whose special tokens have other names,
            says under `ROLES` which tokens play their parts.
        origin: Where the vocabulary comes from, for error messages.

    Attributes:
        tokens: (V,) strings by id.
        continuation: (V,) bool, True for pieces that continue a word (``##``).
        fingerprint: SHA-256 of the vocabulary and its rules.

    Raises:
        TokenizerError: If it is no WordPiece vocabulary, lacks a special token or is
            implausibly small.

    Example:
        >>> tokenizer = ReportTokenizer.train(["No effusion. No edema."], 128)
        >>> tokenizer.decode(tokenizer.encode("No EDEMA.", 16))
        '[CLS] no edema .'
    """

    def __init__(self, spec: dict[str, Any], *, origin: str = "a dict") -> None:
        kind = spec.get("model", {}).get("type")
        roles = spec.get(ROLES)
        if kind != "WordPiece" and roles is None:
            raise TokenizerError(
                f"a WordPiece vocabulary in {origin}",
                f"a {kind or 'missing'} model",
                "use a BERT-style tokenizer, or leave it out to train one",
            )
        spec = {**spec, "truncation": None, "padding": None, "post_processor": None}
        spec.pop(ROLES, None)
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(spec))
        except Exception as error:  # the Rust side raises bare Exception
            raise TokenizerError(
                f"a tokenizer in {origin}",
                f"what the tokenizers library refuses: {error}",
                "check that the file is a complete tokenizer.json",
            ) from error
        self._tokenizer.encode_special_tokens = True
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        names = tuple(roles or SPECIALS)
        _check(vocabulary, names, origin)
        self._roles = None if names == SPECIALS and kind == "WordPiece" else names
        self.word_piece = kind == "WordPiece"
        self.tokens: list[str] = [""] * (max(vocabulary.values()) + 1)
        for token, index in vocabulary.items():
            self.tokens[index] = token
        self.vocab_size = len(self.tokens)
        self.pad_id, self.unk_id, self.cls_id, self.mask_id, self.sep_id = (
            vocabulary[token] for token in names
        )
        prefix = spec["model"].get("continuing_subword_prefix") or PREFIX
        self.continuation: Mask = np.array([t.startswith(prefix) for t in self.tokens])
        self._prefix = prefix
        self._vocabulary = vocabulary

    @classmethod
    def load(cls, name: str | Path, any_kind: bool = False) -> Self:
        """`from_file` for a file, `from_pretrained` for a folder or a hub name.

        Args:
            name: The file, folder or hub name.
            any_kind: Take other vocabularies than BERT's too, for a folder or a hub
                name.

        Raises:
            TokenizerError: If there is no vocabulary, or none of a kind that is wanted.
        """
        path = Path(name)
        named_as_file = path.suffix in {".json", ".txt"} and not path.is_dir()
        if path.is_file() or named_as_file:
            return cls.from_file(path)
        drafted = vocabulary_like(str(name))
        if drafted is not None:
            return cls(drafted, origin=str(name))
        return cls.from_pretrained(name, any_kind)

    @classmethod
    def from_json(cls, text: str, *, origin: str = "stored text") -> Self:
        """A tokenizer from what `to_json` wrote.

        Raises:
            TokenizerError: If the text is not a tokenizer.
        """
        try:
            spec = json.loads(text)
        except ValueError as error:
            raise TokenizerError(
                f"a tokenizer as JSON in {origin}",
                f"text that is not JSON ({error})",
                "restore the file, or leave it out to train a vocabulary",
            ) from error
        if not isinstance(spec, dict):
            raise TokenizerError(
                f"a tokenizer as a JSON object in {origin}",
                f"a {type(spec).__name__}",
                "pass a tokenizer.json or a vocab.txt",
            )
        return cls(spec, origin=origin)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """A tokenizer from ``tokenizer.json`` or from ``vocab.txt`` (one token a line).

        Args:
            path: Any ``*.json`` written by the tokenizers library, or a ``*.txt``.

        Raises:
            TokenizerError: If there is no such file or it is not a vocabulary.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TokenizerError(
                f"a vocabulary file {path}",
                f"{type(error).__name__}: {error}",
                "give the path of a tokenizer.json or vocab.txt",
            ) from error
        if path.suffix != ".txt":
            return cls.from_json(text, origin=str(path))
        lines = [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
        vocabulary = {token: index for index, token in enumerate(lines)}
        if len(vocabulary) != len(lines):
            raise TokenizerError(
                f"one token a line in {path}",
                f"{len(lines) - len(vocabulary)} repeated lines",
                "restore the original vocab.txt",
            )
        return cls(word_piece(vocabulary), origin=str(path))

    @classmethod
    def from_pretrained(cls, name: str | Path, any_kind: bool = False) -> Self:
        """The tokenizer of a pretrained text encoder.

        Args:
            name: A folder with tokenizer files, or a hub name (cached or on line).
            any_kind: Take vocabularies other than BERT's too (RoBERTa's byte pairs,
                MPNet's special tokens, ...), which a text encoder of that kind reads.

        Raises:
            TokenizerError: If nothing can be loaded, it is not of a kind that is
                wanted, or it lacks a special token.
        """
        from transformers import AutoTokenizer

        try:
            loaded = AutoTokenizer.from_pretrained(wheel_path(str(name), text=True))
            spec = json.loads(loaded.backend_tokenizer.to_str())
            found = tuple(getattr(loaded, f"{role}_token") for role in PARTS)
        except (OSError, ValueError, KeyError, AttributeError, ImportError) as error:
            raise TokenizerError(
                f"a tokenizer at {name}",
                f"{type(error).__name__}: {str(error).splitlines()[0]}",
                "give a folder with tokenizer.json, or a hub name while on line",
            ) from error
        lacking = [role for role, token in zip(PARTS, found, strict=True) if not token]
        if any_kind and lacking:
            raise TokenizerError(
                f"a tokenizer with special tokens {', '.join(PARTS)} at {name}",
                f"none for {', '.join(lacking)}",
                "choose a text encoder such as a BERT, RoBERTa, MPNet or ModernBERT",
            )
        plain = spec.get("model", {}).get("type") == "WordPiece" and found == SPECIALS
        if any_kind and not plain:
            spec[ROLES] = list(found)
        return cls(spec, origin=str(name))

    @classmethod
    def train(cls, corpus: Iterable[str], vocab_size: int = 30_000) -> Self:
        """Train a vocabulary on a corpus; the same corpus gives the same ids.

        Args:
            corpus: Reports. Their order does not matter.
            vocab_size: Upper bound; a small corpus yields fewer tokens. Letters,
                digits and the characters of the corpus are always in.

        Raises:
            TokenizerError: If the corpus holds no text.
        """
        return cls(train_word_piece(corpus, vocab_size), origin="the corpus")

    @classmethod
    def for_corpus(
        cls,
        corpus: Callable[[], Iterable[str]],
        fingerprint: str,
        vocab_size: int = 30_000,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """The corpus's own vocabulary, trained once and then read from a cache.

        Processes that ask at the same time get the one that the first of them trains:
        each would read every report. An unreadable cache file is trained anew.

        Args:
            corpus: Gives the reports; called only when training is needed.
            fingerprint: Names the corpus; a changed corpus must change it.
            vocab_size: Size of the vocabulary at most.
            cache_dir: Folder; default ``$VLPZOO_CACHE/tokenizers``, else
                ``~/.cache/vlpzoo/tokenizers``.
        """
        key = hashlib.sha256(
            f"{CACHE_FORMAT} {vocab_size} {fingerprint}".encode()
        ).hexdigest()
        root = (
            Path(cache_dir) if cache_dir is not None else cache_folder() / "tokenizers"
        )
        path = root / f"{key[:32]}.json"
        with made_once(path):
            if path.exists():
                try:
                    return cls.from_file(path)
                except TokenizerError as error:
                    logger.warning("training the vocabulary anew: %s", error.found)
            tokenizer = cls.train(corpus(), vocab_size)
            try:
                write_whole(path, tokenizer.to_json())
            except OSError as error:
                logger.warning("vocabulary not cached: %s", error)
        return tokenizer

    def to_json(self) -> str:
        """Everything needed to rebuild this tokenizer with `from_json`."""
        text = self._tokenizer.to_str()
        if self._roles is None:
            return text
        return json.dumps({**json.loads(text), ROLES: list(self._roles)})

    def with_marks(self, max_length: int, *, sep: bool = False) -> str:
        """A ``tokenizer.json`` that does by itself what `encode_batch` does.

        Args:
            max_length: Cut to this many tokens, special ones included.
            sep: Whether [SEP] ends the ids.
        """
        alone = Tokenizer.from_str(self._tokenizer.to_str())
        cls, last = self.tokens[self.cls_id], self.tokens[self.sep_id]
        alone.post_processor = TemplateProcessing(
            single=f"{cls} $A {last}" if sep else f"{cls} $A",
            special_tokens=[(cls, self.cls_id), (last, self.sep_id)],
        )
        alone.enable_truncation(max_length)
        alone.enable_padding(pad_id=self.pad_id, pad_token=self.tokens[self.pad_id])
        return str(alone.to_str())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the vocabulary and its rules."""
        canonical = json.dumps(json.loads(self.to_json()), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def token_id(self, token: str) -> int | None:
        """The id of a token written exactly so, None where there is none."""
        return self._vocabulary.get(token)

    def pieces(self, text: str) -> list[int]:
        """Ids of a text without special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode(
        self, text: str, max_length: int | None = None, *, sep: bool = False
    ) -> Ids:
        """Ids of a text, [CLS] first.

        Args:
            text: One report.
            max_length: Cut to this many tokens, special ones included.
            sep: Whether [SEP] ends the ids (kept when the text is cut).

        Returns:
            (n,) int64, not padded.
        """
        ids = [self.cls_id, *self.pieces(text)]
        if max_length is not None:
            ids = ids[: max_length - sep]
        if sep:
            ids.append(self.sep_id)
        return np.array(ids, np.int64)

    def encode_padded(
        self, text: str, max_length: int, *, sep: bool = False
    ) -> tuple[Ids, Mask]:
        """What `encode` gives, padded to ``max_length`` = T.

        Returns:
            ids (T,) int64 and mask (T,) bool, True for tokens.
        """
        short = self.encode(text, max_length, sep=sep)
        ids = np.full(max_length, self.pad_id, np.int64)
        ids[: len(short)] = short
        return ids, np.arange(max_length) < len(short)

    def encode_batch(
        self, texts: Sequence[str], max_length: int, *, sep: bool = False
    ) -> tuple[Ids, Mask]:
        """Several texts padded to the longest of them.

        Returns:
            ids (B, T) int64 and mask (B, T) bool, with T <= ``max_length``.
        """
        rows = [self.encode(text, max_length, sep=sep) for text in texts]
        longest = max((len(row) for row in rows), default=0)
        ids = np.full((len(rows), longest), self.pad_id, np.int64)
        mask = np.zeros(ids.shape, np.bool_)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = True
        return ids, mask

    def decode(self, ids: Iterable[int]) -> str:
        """Words of the ids, pieces joined, padding left out."""
        if not self.word_piece:
            kept = [int(i) for i in ids if int(i) != self.pad_id]
            return str(self._tokenizer.decode(kept, skip_special_tokens=False))
        words: list[str] = []
        for index in map(int, ids):
            if index == self.pad_id:
                continue
            token = self.tokens[index]
            if self.continuation[index] and words:
                words[-1] += token[len(self._prefix) :]
            else:
                words.append(token)
        return " ".join(words)

    def __len__(self) -> int:
        return self.vocab_size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReportTokenizer):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"ReportTokenizer({self.vocab_size} tokens, {self.fingerprint[:12]})"

    def __reduce__(self) -> tuple[Callable[[str], ReportTokenizer], tuple[str]]:
        return type(self).from_json, (self.to_json(),)


def _check(vocabulary: dict[str, int], names: Sequence[str], origin: str) -> None:
    missing = [token for token in names if token not in vocabulary]
    if missing:
        raise TokenizerError(
            f"the special tokens {', '.join(names)} in {origin}",
            f"a vocabulary of {len(vocabulary)} without {', '.join(missing)}",
            "use a BERT-style vocabulary, or leave it out to train one",
        )
    if len(vocabulary) < MIN_VOCABULARY:
        raise TokenizerError(
            f"a vocabulary of at least {MIN_VOCABULARY} tokens in {origin}",
            f"{len(vocabulary)} tokens: {', '.join(sorted(vocabulary)[:5])} ...",
            "check that the vocabulary file is the one you meant",
        )
