"""What servers do, right and wrong: each behaviour is a context or a counted reject."""

from __future__ import annotations

import json
import logging
import random
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vlp_zoo.cli.annotate import annotate_reports, rejects_file
from vlp_zoo.reports.contexts.endpoint import API_KEY_VARIABLE, EndpointContext

pytestmark = pytest.mark.slow

KEY = "sk-0123456789abcdef/+="
GOOD = "There is edema. There is no mass."
REJECT = None
SEED = 0
TIMEOUT = 5.0  # seconds of one request

Play = Callable[[socket.socket], object]


@dataclass(frozen=True)
class Behaviour:
    """What a server does with one request, and the context that comes of it."""

    name: str
    play: bytes | Play
    context: str | None = REJECT


def body_of(content: object = GOOD, **message: object) -> bytes:
    return json.dumps(
        {"choices": [{"message": {"content": content, **message}}]}
    ).encode()


def http(
    body: bytes, status: str = "200 OK", *headers: str, length: bool = True
) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + end


def endless(start: bytes, piece: bytes, pause: float = 0.0) -> Play:
    def play(peer: socket.socket) -> None:
        peer.sendall(start)
        for _ in range(1 << 16):
            peer.sendall(piece)
            time.sleep(pause)

    return play


def silent(first: bytes = b"") -> Play:
    def play(peer: socket.socket) -> None:
        peer.sendall(first)
        # Until the client has had enough.
        with suppress(TimeoutError):
            peer.settimeout(TIMEOUT * 4)
            peer.recv(1)

    return play


def reset(first: bytes = b"") -> Play:
    def play(peer: socket.socket) -> None:
        peer.sendall(first)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return play


def raw_message(content: bytes) -> bytes:
    return http(b'{"choices": [{"message": {"content": ' + content + b"}}]}")


def behaviours(elsewhere: str) -> Iterator[Behaviour]:
    def right(name: str, play: bytes | Play, context: str = GOOD) -> Behaviour:
        return Behaviour(name, play, context)

    whole = http(body_of())
    yield right("whole", whole)
    yield right("chunked", chunked(body_of()[:9], body_of()[9:]))
    yield right("until the end of the connection", http(body_of(), length=False))
    yield right("as plain text", http(body_of(), "200 OK", "Content-Type: text/plain"))
    yield right("list marks", http(body_of("- There is edema.\n* There is no mass.\n")))
    yield right("byte order mark", http(b"\xef\xbb\xbf" + body_of()))
    yield right("UTF-16", http(body_of().decode().encode("utf-16")))
    yield right("HTTP/1.0", b"HTTP/1.0 200 OK\r\n\r\n" + body_of())
    yield right("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + whole)
    yield right("two answers at once", whole + http(body_of("There is fracture.")))
    yield right("thoughts first", http(body_of(f"<think>Hm.</think>\n{GOOD}")))
    yield right("umlauts", http(body_of("There is Ödem.")), "There is Ödem.")
    yield right("emoji", http(body_of("There is \U0001f600.")), "There is \U0001f600.")
    yield right(
        "long", http(body_of("There is a. " * 500)), ("There is a. " * 500)[:-1]
    )
    yield right("refusal null", http(body_of(refusal=None)))
    yield right("two choices", http(
        json.dumps({"choices": [{"message": {"content": GOOD}}] * 2}).encode()
    ))  # fmt: skip

    for code in (300, 301, 302, 303, 304, 307, 308):
        where = f"Location: {elsewhere}?key={KEY}"
        yield Behaviour(f"redirect {code}", http(whole, f"{code} Elsewhere", where))
    for code in (201, 204, 206, 400, 401, 402, 403, 404, 405, 410, 413, 422, 451):
        yield Behaviour(f"status {code}", http(body_of(), f"{code} Word"))
    for code in (408, 409, 425, 429, 500, 502, 503, 504, 529, 599):
        yield Behaviour(f"status {code}", http(b"busy", f"{code} Word"))
    for value in (
        "1e400",
        "nan",
        "-5",
        "99999999999",
        "soon",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "",
    ):
        asks = f"Retry-After: {value}"
        yield Behaviour(f"429, {asks}", http(b"slow", "429 Slow", asks))

    echo = KEY.encode()
    yield Behaviour("key in a refusal", http(b"bad key " + echo, "401 No"))
    yield Behaviour("key at the cut", http(b"x" * 190 + echo, "401 No"))
    yield Behaviour("key in the reason", http(b"", f"401 {KEY}"))
    yield Behaviour("key as the body", http(echo))
    yield Behaviour("key across the start", http(b"y" * 70 + echo))
    yield Behaviour("key in the context", http(body_of(f"There is {KEY}.")))
    yield Behaviour("key in the model's refusal", http(body_of(None, refusal=KEY)))
    yield Behaviour("key in a header line", b"HTTP/1.1 200 OK\r\n" + echo + b"\r\n\r\n")
    yield Behaviour("key in the status line", b"HTTP/9 " + echo + b"\r\n\r\n")
    yield Behaviour(
        "key in the encoding", http(b"", "200 OK", f"Content-Encoding: {KEY}")
    )

    yield Behaviour("nothing", b"")
    yield Behaviour("reset", reset())
    yield Behaviour("reset in the body", reset(whole[:-9]))
    yield Behaviour("silence", silent())
    yield Behaviour("silence after the head", silent(whole[: whole.index(b"{")]))
    yield Behaviour("silence before the last byte", silent(whole[:-1]))
    yield Behaviour("head by drips", endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.3))
    body = b"HTTP/1.1 200 OK\r\n\r\n"
    yield Behaviour("body by drips", endless(body, b" ", 0.3))
    yield Behaviour("endless body", endless(body, b"[" * 65536))
    yield Behaviour("endless error", endless(b"HTTP/1.1 500 No\r\n\r\n", b"x" * 65536))
    yield Behaviour("endless head", endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 999))
    yield Behaviour(
        "endless header line", endless(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 9999)
    )
    yield Behaviour("endless 100s", endless(b"", b"HTTP/1.1 100 Go\r\n\r\n", 0.01))
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield Behaviour("endless chunks", endless(start, b"1\r\n \r\n" * 9999))
    yield Behaviour(
        "length too large", http(body_of()).replace(b"Length: ", b"Length: 9")
    )
    yield Behaviour(
        "length too small", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + body_of()
    )
    yield Behaviour("length negative", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
    yield Behaviour("length a word", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    yield Behaviour("two lengths", http(body_of(), "200 OK", "Content-Length: 3"))
    yield Behaviour("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n")
    yield Behaviour("TLS", b"\x15\x03\x01\x00\x02\x02\x46")
    yield Behaviour("status a word", b"HTTP/1.1 OK 200\r\n\r\n" + body_of())
    yield Behaviour("status of 4 digits", b"HTTP/1.1 2000 OK\r\n\r\n" + body_of())
    yield Behaviour("NUL in the head", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n" + body_of())
    yield Behaviour("chunk size a word", start + b"zz\r\n" + body_of())
    yield Behaviour("chunk size huge", start + b"f" * 30 + b"\r\n" + body_of())
    yield Behaviour("chunks without end", chunked(body_of(), end=b""))
    yield Behaviour("chunk cut", chunked(body_of())[:-20])
    yield Behaviour("gzip", http(b"\x1f\x8b junk", "200 OK", "Content-Encoding: gzip"))

    for name, text in {
        "empty": b"",
        "HTML": b"<html>Log in</html>",
        "null": b"null",
        "a number": b"7",
        "a list": b"[]",
        "a text": b'"There is edema."',
        "no choices": b"{}",
        "choices null": b'{"choices": null}',
        "choices empty": b'{"choices": []}',
        "choices a mapping": b'{"choices": {"0": 1}}',
        "choice null": b'{"choices": [null]}',
        "no message": b'{"choices": [{"text": "There is edema."}]}',
        "message a text": b'{"choices": [{"message": "There is edema."}]}',
        "no content": b'{"choices": [{"message": {}}]}',
        "an error": b'{"error": {"message": "model not found"}}',
        "two objects": body_of() * 2,
        "an event stream": b"data: " + body_of() + b"\n\n",
        "deep lists": b"[" * 100_000,
        "deep mappings": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "a huge number": b'{"choices": ' + b"9" * 10_000 + b"}",
        "bad UTF-8": body_of().replace(b"edema", b"\xff\xfe"),
        "NUL bytes": b"\0" * 100,
        "2 MB of blanks": b" " * (2 << 20) + body_of(),
    }.items():
        yield Behaviour(f"body: {name}", http(text))
    for name, content in {
        "null": None,
        "blank": " \n\t ",
        "no-break spaces": "\u00a0\u2003",
        "list marks alone": "- \n* \n",
        "a number": 5,
        "parts": [{"type": "text", "text": GOOD}],
        "a mapping": {"text": GOOD},
        "NUL": "There is\0 edema.",
        "escape codes": "There is \x1b[31medema.",
        "a lone surrogate": "There is \ud800.",
        "20,000 characters": "There is edema. " * 1_250,
        "thoughts without end": "<think>There is",
        "a refusal": "I'm sorry, but I can't help with that.",
        "a curly refusal": "I can\u2019t assist with medical reports.",
        "a machine's refusal": "As an AI language model, I have no opinion.",
    }.items():
        yield Behaviour(f"content: {name}", http(body_of(content)))
    yield Behaviour("content: invalid escape", raw_message(b'"\\x41"'))
    yield Behaviour("content: NaN", raw_message(b"NaN"))
    yield Behaviour("refusal of the model", http(body_of(None, refusal="No.")))
    yield Behaviour("refusal beside a text", http(body_of(GOOD, refusal="No.")))
    for finish in ("length", "content_filter"):
        choice = {"message": {"content": "There is"}, "finish_reason": finish}
        yield Behaviour(
            f"finish {finish}", http(json.dumps({"choices": [choice]}).encode())
        )

    draw = random.Random(SEED)
    for cut in sorted(draw.sample(range(1, len(whole)), 24)):
        yield Behaviour(f"cut at byte {cut}", whole[:cut])
    for cut in sorted(draw.sample(range(1, len(body_of())), 8)):
        yield Behaviour(f"body cut at byte {cut}", http(body_of()[:cut]))


@contextmanager
def server(plays: Callable[[str], bytes | Play]) -> Iterator[tuple[str, list[str]]]:
    """A server that plays what ``plays`` says for the text of a request."""
    asked: list[str] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            peer: socket.socket = self.request
            with suppress(OSError), peer.makefile("rb") as file:
                length = 0
                while (line := file.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                content = json.loads(file.read(length))["messages"][0]["content"]
                asked.append(content)
                play = plays(content)
                if callable(play):
                    play(peer)
                else:
                    peer.sendall(play)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 64

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A request that was no request is the test's own failure elsewhere."""

    with Server(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{found.server_address[1]}/v1", asked
        finally:
            found.shutdown()
            thread.join()


def test_every_behaviour_is_a_context_or_a_counted_reject(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    caplog.set_level(logging.DEBUG)
    with server(lambda _: http(body_of("stolen"))) as (elsewhere, stolen):
        every = list(behaviours(elsewhere))
        assert len({each.name for each in every}) == len(every) >= 90

        def plays(content: str) -> bytes | Play:
            return every[int(content)].play

        out = tmp_path / "contexts.jsonl"
        reports = [(each.name, str(i)) for i, each in enumerate(every)]
        with server(plays) as (url, asked):
            source = EndpointContext(
                url,
                "model",
                cache=tmp_path / "cache",
                workers=8,
                timeout=TIMEOUT,
                retries=0,
                prompt="{report}",
            )
            counts = annotate_reports(source, reports, out, quiet=True)
            assert Counter(asked) == Counter(text for _, text in reports)
            # What was answered is not asked again, not even for another file.
            again = [each for each in reports if every[int(each[1])].context]
            annotate_reports(source, again, tmp_path / "again.jsonl", quiet=True)
            assert len(asked) == len(reports)
        assert stolen == []

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    written = {row["uid"]: row["context"] for row in rows}
    expected = {each.name: each.context for each in every if each.context}
    assert written == expected
    rejects = [json.loads(line) for line in rejects_file(out).read_text().splitlines()]
    assert {row["uid"] for row in rejects} == {e.name for e in every if not e.context}
    assert all(row["reason"] for row in rejects)
    assert counts["failed"] == len(rejects)

    shown = "".join(capfd.readouterr()) + caplog.text
    stored = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    for half in (KEY, KEY[:10]):
        found = [
            t[max(0, t.find(half) - 200) :][:300] for t in (shown, *stored) if half in t
        ]
        assert not found, half
    assert "Traceback" not in shown
    print(
        f"\n{len(every)} behaviours (seed {SEED}): {len(written)} contexts, "
        f"{len(rejects)} named rejects, 0 silent, 0 tracebacks, 0 hangs"
    )
