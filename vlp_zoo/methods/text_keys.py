"""Numbers for texts, the same in every process: equal texts have equal keys."""

from __future__ import annotations

import hashlib
import re

__all__ = ["exact_key", "text_key"]


def text_key(text: str) -> int:
    """A 64-bit number for a text, the same in every process.

    Letters and digits count, case, punctuation and white space do not.

    Example:
        >>> text_key("No edema.") == text_key("no  EDEMA")
        True
    """
    return exact_key(" ".join(re.findall(r"[^\W_]+", text.lower())))


def exact_key(text: str) -> int:
    """A 64-bit number for a text to the letter, the same in every process."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
