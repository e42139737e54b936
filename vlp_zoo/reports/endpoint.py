"""Contexts from an OpenAI-compatible chat endpoint, cached, retried, in threads.

Any server that answers ``POST .../chat/completions`` will do: a hosted service, or
one of your own on the machine. Reports leave this process: whether a data set's
licence allows that is for you to check (MIMIC-CXR's does not, for most services).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError, ReportSourceError
from vlp_zoo.reports.context import PROMPT, tidy

__all__ = ["API_KEY_VARIABLE", "EndpointContext"]

API_KEY_VARIABLE = "VLPZOO_API_KEY"
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 60.0  # seconds


class _Refused(Exception):
    """An answer that is no context, and how long to wait before asking again."""

    def __init__(self, reason: str, again: bool, wait: float | None = None) -> None:
        self.reason, self.again, self.wait = reason, again, wait
        super().__init__(reason)


class EndpointContext:
    """Ask a chat endpoint for the context of each report.

    Args:
        url: Base URL ("http://127.0.0.1:8000/v1") or the full path that ends with
            ``/chat/completions``.
        model: Model name to ask for.
        cache: Folder of answers, keyed by SHA-256 of model, prompt and report: what
            was answered once is never asked again. None keeps no cache.
        workers: Requests in flight.
        timeout: Seconds until one request is given up.
        retries: Further tries after a refusal that may pass (429, 5xx, no answer).
        backoff: Seconds before the first retry; doubles each time. A
            ``Retry-After`` of the server takes precedence.
        key_variable: Environment variable with the API key; no key is sent without.
        prompt: Text with ``{report}``.
        sleep: Called with the seconds to wait; by default a wait that an
            interruption ends.

    Raises:
        ConfigError: For a URL that is not http(s), or a prompt without ``{report}``.
    """

    def __init__(
        self,
        url: str,
        model: str,
        cache: Path | None = None,
        workers: int = 4,
        timeout: float = 120.0,
        retries: int = 5,
        backoff: float = 1.0,
        key_variable: str = API_KEY_VARIABLE,
        prompt: str = PROMPT,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                "an http(s) URL of a chat endpoint", url, "check --source"
            )
        if "{report}" not in prompt:
            raise ConfigError(
                "the place {report} in the prompt", "none", "add {report} to the prompt"
            )
        base = url.rstrip("/")
        ending = "/chat/completions"
        self.url = base if base.endswith(ending) else base + ending
        self.name, self.model = url, model
        self.workers, self.timeout = max(1, workers), timeout
        self.retries, self.backoff = retries, backoff
        self.batch_size = 4 * self.workers
        self._cache, self._prompt = cache, prompt
        self._stop = threading.Event()
        self._sleep = sleep or self._stop.wait
        self._key = os.environ.get(key_variable, "")

    def contexts(
        self, uids: Sequence[str], reports: Sequence[str]
    ) -> list[str | ReportSourceError]:
        """See `vlp_zoo.reports.context.ContextSource.contexts`."""
        pool = ThreadPoolExecutor(self.workers)
        self._stop.clear()
        try:
            return list(pool.map(self._one, reports))
        finally:
            # On Ctrl-C what has not started is dropped, waits and retries end, and
            # the answers that were in flight still reach the cache.
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def cache_file(self, report: str) -> Path | None:
        """Where the answer for a report is kept; None without a cache."""
        if self._cache is None:
            return None
        parts = json.dumps([self.model, self._prompt, report]).encode()
        digest = hashlib.sha256(parts).hexdigest()
        return self._cache / digest[:2] / f"{digest}.txt"

    def _one(self, report: str) -> str | ReportSourceError:
        kept = self.cache_file(report)
        if kept is not None and kept.is_file():
            return kept.read_text(encoding="utf-8")
        try:
            answer = self._ask_patiently(report)
        except _Refused as refused:
            return ReportSourceError(
                f"a chat completion of {self.model} at {self.url}",
                refused.reason,
                "check URL, model name and key, then run again: what is done is kept",
            )
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Written aside and moved, so that an interruption leaves no half file.
            part = kept.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}.part")
            part.write_text(answer, encoding="utf-8")
            part.replace(kept)
        return answer

    def _ask_patiently(self, report: str) -> str:
        wait = self.backoff
        for attempt in range(self.retries + 1):
            try:
                return self._ask(report)
            except _Refused as refused:
                if not refused.again or attempt == self.retries or self._stop.is_set():
                    raise
                given = refused.wait
                self._sleep(min(wait if given is None else given, _LONGEST_WAIT))
                wait *= 2
        raise _Refused("no attempt was made", again=False)

    def _ask(self, report: str) -> str:
        body = {
            "model": self.model,
            "messages": [
                {"role": "user", "content": self._prompt.replace("{report}", report)}
            ],
            "temperature": 0,
        }
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(
            self.url, json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                raw = answer.read()
        except urllib.error.HTTPError as error:
            detail = error.read(200).decode(errors="replace").strip()
            raise _Refused(
                f"HTTP {error.code} {error.reason}: {detail}".rstrip(": "),
                again=error.code in _RETRIED,
                wait=_retry_after(error.headers.get("Retry-After")),
            ) from error
        except (OSError, ValueError) as error:
            # URLError, time-outs, broken connections; ValueError: a bad URL.
            raise _Refused(f"no answer: {error}", again=True) from error
        return _content(raw)


def _content(raw: bytes) -> str:
    """The text of a chat completion."""
    try:
        found: Any = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        start = raw[:80].decode(errors="replace")
        raise _Refused(f"no chat completion: {start!r}", again=True) from error
    if not isinstance(found, str) or not found.strip():
        raise _Refused("an empty answer", again=True)
    return tidy(found)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header, given as a number or as a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
