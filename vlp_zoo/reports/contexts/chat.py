"""What the answer of a chat endpoint says, or why it is no context.

Whatever a server sends is untrusted: nothing here is stored unless it is text that a
file can hold, whole, and of a size that a context can have.
"""

from __future__ import annotations

import json
import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from vlp_zoo.reports.contexts.prompt import tidy

__all__ = [
    "LARGEST_ANSWER",
    "LONGEST_CONTEXT",
    "UNUSABLE",
    "Refused",
    "completion_text",
    "context_fault",
    "retry_after",
]

LARGEST_ANSWER = 1 << 20
"""Bytes of an answer; no context needs a tenth of it."""

LONGEST_CONTEXT = 10_000
"""Characters; a context says each finding once, in a short sentence."""

UNUSABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What is raised for JSON that is none, or is of another shape."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_REFUSAL = re.compile(
    r"(?:i'm sorry|i am sorry|sorry,|i apologi[sz]e|as an ai\b"
    r"|i (?:can't|cannot|can not|won't|will not|am unable to)\b"
    r"|i'm (?:unable|not able) to\b|unfortunately, i\b)",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class Refused(Exception):
    """An answer that is no context.

    Args:
        reason: What the answer was, uncut: whoever shows it hides the key first.
        again: Whether asking again may help.
        wait: Seconds until then, where the server says so.
    """

    def __init__(self, reason: str, again: bool, wait: float | None = None) -> None:
        self.reason, self.again, self.wait = reason, again, wait
        super().__init__(reason)


def completion_text(raw: bytes) -> str:
    """The context in a chat completion, on one line.

    Args:
        raw: Body of the answer.

    Raises:
        Refused: If the body is no chat completion, or its text no context.
    """
    try:
        choice: Any = json.loads(raw)["choices"][0]
        message: Any = choice["message"]
        refusal = message.get("refusal")
        content = None if refusal else message["content"]
        finish = choice.get("finish_reason")
    except UNUSABLE as error:
        said = raw.decode(errors="replace")
        raise Refused(f"no chat completion: {said!r}", again=True) from error
    if refusal:
        raise Refused(f"the model refused: {str(refusal)!r}", again=False)
    if finish in ("length", "content_filter"):
        why = "cut at its longest" if finish == "length" else "held back by a filter"
        raise Refused(f"an answer {why} (finish_reason {finish})", again=False)
    if not isinstance(content, str) or not content.strip():
        raise Refused("an empty answer", again=True)
    # Servers without a parser for it leave a model's reasoning before its answer.
    text = tidy(_THOUGHT.sub("", content))
    if fault := context_fault(text):
        raise Refused(fault, again=True)
    if _REFUSAL.match(text.replace("\u2019", "'")):
        raise Refused(f"the model refused: {text!r}", again=False)
    return text


def context_fault(text: str) -> str | None:
    """What makes a text unusable as a context; None if nothing does."""
    if not text.strip():
        return "an empty answer"
    if len(text) > LONGEST_CONTEXT:
        return f"an answer of {len(text)} characters, more than {LONGEST_CONTEXT}"
    if _SURROGATE.search(text):
        return "an answer with a lone surrogate, which no file can hold"
    if found := _CONTROL.search(text):
        return f"an answer with the control character {found[0]!r}"
    if "<think>" in text:
        return "reasoning (<think>) without its end"
    return None


def retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, given as a number or as a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)
