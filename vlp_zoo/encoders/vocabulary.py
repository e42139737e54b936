"""WordPiece vocabularies: the normalising rules, training, and the cache's files."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, trainers

from vlp_zoo.errors import TokenizerError

__all__ = [
    "PREFIX",
    "SPECIALS",
    "train_word_piece",
    "word_piece",
]

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[MASK]", "[SEP]")
"""Special tokens, in the order of their ids in vocabularies trained here."""

PREFIX = "##"
"""What pieces that continue a word start with."""

LONGEST_WORD = 100
"""Characters; longer words are ``[UNK]`` as a whole, so nothing is learnt from them."""


def word_piece(vocabulary: dict[str, int]) -> dict[str, Any]:
    """A ``tokenizer.json``: lower case, NFKD, no accents, split at digits too.

    Args:
        vocabulary: Token to id; may be empty, for a tokenizer to be trained.
    """
    flags = {"special": True, "single_word": False, "normalized": False}
    strip = {"lstrip": False, "rstrip": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": vocabulary[token], "content": token, **flags, **strip}
            for token in SPECIALS
            if token in vocabulary
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Lowercase"},
                {"type": "NFKD"},
                {"type": "StripAccents"},
            ],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Whitespace"},
                {"type": "Digits", "individual_digits": False},
            ],
        },
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": PREFIX,
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": vocabulary,
        },
    }


def train_word_piece(corpus: Iterable[str], vocab_size: int) -> dict[str, Any]:
    """Train a vocabulary; the same reports in any order give the same ids.

    Args:
        corpus: Reports.
        vocab_size: Upper bound on the tokens, special ones included.

    Returns:
        A ``tokenizer.json`` as a dict.

    Raises:
        TokenizerError: If the corpus holds no text.
    """
    texts = list(corpus)
    if not any(text.strip() for text in texts):
        raise TokenizerError(
            "reports to train a vocabulary on",
            f"{len(texts)} reports without text",
            "check the data set, or give a tokenizer file",
        )
    trained = Tokenizer.from_str(json.dumps(word_piece({})))
    # Merging the pieces of a word takes time that grows with its length squared.
    too_long = f"{LONGEST_WORD + 1},"
    runs = "|".join(f"{kind}{{{too_long}}}" for kind in (r"[^\W\d]", r"\d", r"[^\w\s]"))
    alphabet = set(string.ascii_lowercase + string.digits)
    for text in texts:
        alphabet.update(trained.normalizer.normalize_str(text))
    trained.normalizer = normalizers.Sequence(
        [trained.normalizer, normalizers.Replace(Regex(runs), " ")]
    )
    characters = sorted(c for c in alphabet if not c.isspace())
    # The trainer numbers continuation characters by hash order, which differs
    # between processes; naming them up front leaves it nothing to decide.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIALS, *(PREFIX + c for c in characters)],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    trained.train_from_iterator(texts, trainer)
    return word_piece(trained.get_vocab())
