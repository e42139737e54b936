"""Contexts from an OpenAI-compatible chat endpoint, cached, retried, side by side.

Any server that answers ``POST .../chat/completions`` will do: a hosted service, or
one of your own on the machine. Reports leave this process: whether a data set's
licence allows that is for you to check (MIMIC-CXR's does not, for most services).

A server is not trusted: redirects are not followed, time and size of an answer are
bounded, and the key stands in nothing that is stored or shown.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import logging
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vlp_zoo.errors import ConfigError, ReportSourceError
from vlp_zoo.files import write_whole
from vlp_zoo.reports.contexts.chat import (
    LARGEST_ANSWER,
    UNUSABLE,
    Refused,
    completion_text,
    context_fault,
    retry_after,
)
from vlp_zoo.reports.contexts.prompt import PROMPT

__all__ = ["API_KEY_VARIABLE", "EndpointContext"]

API_KEY_VARIABLE = "VLPZOO_API_KEY"
LONGEST_WAIT = 60.0
"""Seconds before a further try, whatever the server asks for."""

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_ENDING = "/chat/completions"
_LONGEST_REASON = 300  # characters
_SHORTEST_SECRET = 6  # characters: "none" or "EMPTY" as a key are words of reports too

logger = logging.getLogger(__name__)


class EndpointContext:
    """Ask a chat endpoint for the context of each report.

    Args:
        url: Base URL ("http://127.0.0.1:8000/v1") or the full path that ends with
            ``/chat/completions``; a query is kept, and never shown.
        model: Model name to ask for.
        cache: Folder of answers, keyed by SHA-256 of model, prompt and report: what
            was answered once is never asked again. None keeps no cache.
        workers: Requests in flight.
        timeout: Seconds until one request is given up, from the first to the last
            byte.
        retries: Further tries after a refusal that may pass (429, 5xx, no answer).
        backoff: Seconds before the first retry; doubles each time. A
            ``Retry-After`` of the server takes precedence, up to `LONGEST_WAIT`.
        key_variable: Environment variable with the API key; no key is sent without.
        prompt: Text with ``{report}``.
        sleep: Called with the seconds to wait; by default a wait that an
            interruption ends.

    Raises:
        ConfigError: For a URL that is not http(s) or holds a password, a key that no
            header can carry, times that are not positive, or a prompt without
            ``{report}``.
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
        import httpx2

        if "{report}" not in prompt:
            raise ConfigError(
                "the place {report} in the prompt", "none", "add {report} to the prompt"
            )
        if not (timeout > 0 and math.isfinite(timeout)) or retries < 0:
            raise ConfigError(
                "a time-out above 0 s and 0 or more retries",
                f"{timeout} s and {retries}",
                "correct --timeout and --retries",
            )
        self._address = _address(url)
        self._key = _key(key_variable)
        shown = self._address.copy_with(query=None, fragment=None)
        self.name = self.url = str(shown)
        self.model = model
        self.workers, self.timeout = max(1, workers), timeout
        self.retries, self.backoff = retries, backoff
        self.batch_size = 4 * self.workers
        self._cache, self._prompt = cache, prompt
        self._stop = threading.Event()
        self._sleep = sleep
        secrets = [self._key, *self._address.params.values()]
        forms = {
            form
            for secret in secrets
            if secret
            for form in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1])
        }
        self._secrets = sorted(forms, key=len, reverse=True)
        for library in (httpx2.__name__, "httpcore2"):
            # Its notes of each request would show the query and a server's headers.
            logging.getLogger(library).setLevel(logging.WARNING)

    def contexts(
        self, uids: Sequence[str], reports: Sequence[str]
    ) -> list[str | ReportSourceError]:
        """See `vlp_zoo.reports.contexts.context.ContextSource.contexts`."""
        self._stop.clear()
        # A thread with an event loop of its own: notebooks have one running already.
        with ThreadPoolExecutor(1) as thread:
            answers = thread.submit(asyncio.run, self._all(reports))
            try:
                # In one long wait a Ctrl-C that another thread received is not noticed.
                while not wait([answers], timeout=0.5).done:
                    pass
                return answers.result()
            finally:
                # On Ctrl-C what has not started is dropped, waits and retries end, and
                # the answers that are in flight still reach the cache.
                self._stop.set()

    def cache_file(self, report: str) -> Path | None:
        """Where the answer for a report is kept; None without a cache."""
        if self._cache is None:
            return None
        parts = json.dumps([self.model, self._prompt, report]).encode()
        digest = hashlib.sha256(parts).hexdigest()
        return self._cache / digest[:2] / f"{digest}.json"

    async def _all(self, reports: Sequence[str]) -> list[str | ReportSourceError]:
        import httpx2

        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        # One connection per request: what a server sends beyond an answer can never
        # be read as the answer to another report. The time-out is over the whole.
        client = httpx2.AsyncClient(
            headers=headers,
            timeout=None,
            follow_redirects=False,
            verify=_certificates(),
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        gate = asyncio.Semaphore(self.workers)
        async with client:
            return await asyncio.gather(
                *(self._one(client, gate, report) for report in reports)
            )

    async def _one(
        self, client: Any, gate: asyncio.Semaphore, report: str
    ) -> str | ReportSourceError:
        path = self.cache_file(report)
        if path is not None and (known := _kept(path)) is not None:
            return known
        try:
            async with gate:
                answer = await self._ask_patiently(client, report)
        except Refused as refused:
            reason = refused.reason
        except Exception as error:  # noqa: BLE001
            # One odd answer must not cost the others theirs.
            reason = f"no answer: {type(error).__name__}: {error}"
        else:
            if path is not None:
                _keep(path, answer)
            return answer
        return ReportSourceError(
            f"a chat completion of {self.model} at {self.url}",
            # Hidden before it is cut, so that no half of a key stays.
            self._hidden(reason)[:_LONGEST_REASON],
            "check URL, model name and key, then run again: what is done is kept",
        )

    async def _ask_patiently(self, client: Any, report: str) -> str:
        import tenacity

        patient = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._may_pass),
            stop=tenacity.stop_after_attempt(self.retries + 1),
            wait=self._wait,
            sleep=self._pause,
            reraise=True,
        )
        answer: str = await patient(self._ask, client, report)
        return answer

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, Refused) and error.again and not self._stop.is_set()

    def _wait(self, state: Any) -> float:
        own: float = self.backoff * 2.0 ** min(state.attempt_number - 1, 30)
        asked: float | None = state.outcome.exception().wait
        return min(own if asked is None else asked, LONGEST_WAIT)

    async def _pause(self, seconds: float) -> None:
        if self._sleep is not None:
            self._sleep(seconds)
            return
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0:
            if self._stop.is_set():
                return
            await asyncio.sleep(min(left, 0.1))

    async def _ask(self, client: Any, report: str) -> str:
        import httpx2

        if self._stop.is_set():
            raise Refused("interrupted before it was asked", again=False)
        content = self._prompt.replace("{report}", report)
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
        }
        request = client.build_request(
            "POST", self._address, content=json.dumps(body).encode()
        )
        try:
            async with asyncio.timeout(self.timeout):
                answer = await client.send(request, stream=True)
                try:
                    raw = await _start(answer)
                finally:
                    await answer.aclose()
        except TimeoutError as error:
            raise Refused(
                f"no answer: not whole within {self.timeout:g} s", again=True
            ) from error
        except (httpx2.HTTPError, httpx2.StreamError, OSError, ValueError) as error:
            # Broken connections, chunks and status lines.
            said = str(error) or type(error).__name__
            raise Refused(f"no answer: {said}", again=True) from error
        return self._read(answer, raw)

    def _read(self, answer: Any, raw: bytes) -> str:
        status, headers = answer.status_code, answer.headers
        if 300 <= status < 400:
            raise Refused(
                f"HTTP {status}: a redirect, which is not followed; give the address"
                " that answers itself",
                again=False,
            )
        if status != 200:
            raise self._no_success(answer, raw)
        encoding = headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            reason = f"an answer in the encoding {encoding!r}, which was not asked for"
            raise Refused(reason, again=False)
        if len(raw) > LARGEST_ANSWER:
            raise Refused(f"an answer of more than {LARGEST_ANSWER} bytes", again=False)
        text = completion_text(raw)
        for secret in self._secrets:
            if len(secret) >= _SHORTEST_SECRET and secret in text:
                raise Refused("an answer that repeats the API key", again=False)
        return text

    def _no_success(self, answer: Any, raw: bytes) -> Refused:
        detail = self._hidden(raw.decode(errors="replace")).strip()[:_LONGEST_REASON]
        status = f"HTTP {answer.status_code} {answer.reason_phrase}"
        reason = f"{status}: {detail}".rstrip(": ")
        wait = retry_after(answer.headers.get("Retry-After"))
        if wait is not None and wait > LONGEST_WAIT:
            longest = f"{LONGEST_WAIT:.0f} s is the longest"
            reason += f" (asked to wait {wait:.0f} s; {longest})"
        return Refused(reason, again=answer.status_code in _RETRIED, wait=wait)

    def _hidden(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text


@functools.cache
def _certificates() -> Any:
    """What TLS is checked against; reading it takes a third of a second."""
    import httpx2

    return httpx2.create_ssl_context()


async def _start(answer: Any) -> bytes:
    """The body, as sent; of an endless one no more than shows that it is too long."""
    found = bytearray()
    async for part in answer.aiter_raw(1 << 16):
        found += part
        if len(found) > LARGEST_ANSWER:
            break
    return bytes(found)


def _address(url: str) -> Any:
    """The URL that is asked."""
    import httpx2

    # A password must not reach the message either.
    shown = url.partition("?")[0].rpartition("@")[2]
    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        address = httpx2.URL("")
    if address.scheme not in ("http", "https") or not address.host:
        raise ConfigError("an http(s) URL of a chat endpoint", shown, "check --source")
    if address.userinfo:
        raise ConfigError(
            f"a URL of a chat endpoint without a password: {shown}",
            "a name or password before the host",
            f"put the key into the environment variable {API_KEY_VARIABLE}",
        )
    path = address.path.rstrip("/")
    return address.copy_with(path=path if path.endswith(_ENDING) else path + _ENDING)


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and (key.isprintable() or not key)):
        raise ConfigError(
            f"an API key in {variable}",
            "characters that no HTTP header can carry",
            "set it to the key alone, on one line",
        )
    return key


def _kept(path: Path) -> str | None:
    """An answer of before; None if there is none, or what is there is damaged."""
    old = path.with_suffix(".txt")  # answers kept before they had a checksum
    try:
        if path.is_file():
            row = json.loads(path.read_bytes())
            text = row["context"]
            if row["sha256"] != _sha256(text):
                raise ValueError("another checksum")
        elif old.is_file():
            text = old.read_text(encoding="utf-8")
        else:
            return None
        if fault := context_fault(text):
            raise ValueError(fault)
    except (OSError, *UNUSABLE) as error:
        logger.warning(
            "the kept answer %s is damaged (%s): asking again", path, error or "empty"
        )
        return None
    return str(text)


def _keep(path: Path, answer: str) -> None:
    """Keep an answer; a folder that cannot be written costs a warning only."""
    row = {"context": answer, "sha256": _sha256(answer)}
    try:
        write_whole(path, json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        logger.warning("the answer is not kept in %s: %s", path, error)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
