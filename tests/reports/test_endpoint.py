"""The chat endpoint source against a scripted server on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.reports.stub_endpoint import Reply, StubEndpoint, completion, serve
from vlp_zoo.errors import ConfigError, ReportSourceError
from vlp_zoo.reports.contexts.context import ContextSource
from vlp_zoo.reports.contexts.endpoint import API_KEY_VARIABLE, EndpointContext


@pytest.fixture
def stub() -> Iterator[StubEndpoint]:
    with serve() as endpoint:
        yield endpoint


def source(
    stub: StubEndpoint, waits: list[float] | None = None, **options: Any
) -> EndpointContext:
    recorded: list[float] = [] if waits is None else waits
    options = {"workers": 1, "timeout": 5.0, "sleep": recorded.append, **options}
    return EndpointContext(stub.url, "stub-model", **options)


def ask(endpoint: EndpointContext, *reports: str) -> list[str | ReportSourceError]:
    return endpoint.contexts([str(i) for i in range(len(reports))], reports)


def reason(answer: str | ReportSourceError) -> str:
    assert isinstance(answer, ReportSourceError)
    return answer.found


def test_success_sends_model_prompt_and_key(
    stub: StubEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "secret")
    stub.script.append(completion("- There is edema.\n- There is no mass.\n"))
    endpoint = source(stub)
    assert isinstance(endpoint, ContextSource)
    assert ask(endpoint, "Edema {x}.") == ["There is edema. There is no mass."]
    assert stub.paths == ["/v1/chat/completions"]
    assert stub.headers[0]["Authorization"] == "Bearer secret"
    request = stub.requests[0]
    assert request["model"] == "stub-model"
    assert request["temperature"] == 0
    assert "Edema {x}." in request["messages"][0]["content"]


def test_no_key_no_authorization(
    stub: StubEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    ask(source(stub), "Edema.")
    assert "Authorization" not in stub.headers[0]


def test_429_waits_as_long_as_the_server_says(stub: StubEndpoint) -> None:
    stub.script.extend([(429, {"Retry-After": "7"}, b"slow down")] * 2)
    waits: list[float] = []
    assert ask(source(stub, waits), "Edema.") == ["There is no edema."]
    assert waits == [7.0, 7.0]
    assert len(stub.requests) == 3


def test_retry_after_may_be_a_date_and_has_a_limit(stub: StubEndpoint) -> None:
    stub.script.append((503, {"Retry-After": formatdate(time.time() + 9999)}, b""))
    waits: list[float] = []
    ask(source(stub, waits), "Edema.")
    assert waits == [60.0]


def test_500s_back_off_and_then_give_up(stub: StubEndpoint) -> None:
    stub.otherwise = (500, {}, b"broken")
    waits: list[float] = []
    (answer,) = ask(source(stub, waits, retries=3, backoff=0.5), "Edema.")
    assert reason(answer).startswith("HTTP 500")
    assert "broken" in reason(answer)
    assert waits == [0.5, 1.0, 2.0]
    assert len(stub.requests) == 4


def test_a_wrong_key_is_not_retried(stub: StubEndpoint) -> None:
    stub.otherwise = (401, {}, b"who are you")
    (answer,) = ask(source(stub), "Edema.")
    assert reason(answer).startswith("HTTP 401")
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'{"choices": []}', b'{"choices": [{"message": {}}]}', b"\xff"],
)
def test_malformed_answers_are_retried_then_reported(
    stub: StubEndpoint, body: bytes
) -> None:
    stub.script.append((200, {}, body))
    assert ask(source(stub), "Edema.") == ["There is no edema."]
    stub.otherwise = (200, {}, body)
    (answer,) = ask(source(stub, retries=1), "Effusion.")
    assert reason(answer).startswith("no chat completion")


def test_empty_answer_is_a_failure(stub: StubEndpoint) -> None:
    stub.otherwise = completion("  ")
    (answer,) = ask(source(stub, retries=0), "Edema.")
    assert reason(answer) == "an empty answer"


def test_no_server_is_reported() -> None:
    with serve() as gone:
        url = gone.url
    endpoint = EndpointContext(url, "m", retries=0, timeout=2.0)
    assert reason(ask(endpoint, "Edema.")[0]).startswith("no answer")


def test_one_failure_leaves_the_others_in_order(stub: StubEndpoint) -> None:
    stub.script.extend([completion("There is a."), (400, {}, b"no"), completion("x.")])
    first, second, third = ask(source(stub), "a", "b", "c")
    assert (first, third) == ("There is a.", "x.")
    assert reason(second).startswith("HTTP 400")


def test_cached_answers_are_not_asked_again(stub: StubEndpoint, tmp_path: Path) -> None:
    assert ask(source(stub, cache=tmp_path), "a", "b") == ["There is no edema."] * 2
    assert len(stub.requests) == 2
    assert ask(source(stub, cache=tmp_path), "b", "a", "c") == (
        ["There is no edema."] * 3
    )
    assert len(stub.requests) == 3
    other = EndpointContext(stub.url, "other-model", cache=tmp_path)
    changed = source(stub, cache=tmp_path, prompt="Say {report}")
    ask(other, "a")
    ask(changed, "a")
    assert len(stub.requests) == 5
    assert not list(tmp_path.rglob("*.part"))


def test_failures_are_not_cached(stub: StubEndpoint, tmp_path: Path) -> None:
    stub.script.append((400, {}, b"no"))
    endpoint = source(stub, cache=tmp_path)
    assert isinstance(ask(endpoint, "a")[0], ReportSourceError)
    assert ask(endpoint, "a") == ["There is no edema."]


def test_requests_run_in_parallel(stub: StubEndpoint) -> None:
    reports = [f"Report {i}." for i in range(12)]
    assert len(ask(source(stub, workers=4), *reports)) == 12
    asked = sorted(r["messages"][0]["content"] for r in stub.requests)
    assert all(any(report in text for text in asked) for report in reports)


def test_full_path_is_kept(stub: StubEndpoint) -> None:
    url = f"{stub.url}/chat/completions"
    ask(EndpointContext(url, "m"), "a")
    assert stub.paths == ["/v1/chat/completions"]


def test_bad_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="http"):
        EndpointContext("ftp://host", "m")
    with pytest.raises(ConfigError, match="report"):
        EndpointContext("http://host", "m", prompt="Say it")


@pytest.mark.parametrize(
    "url", ["http://", "http:///v1", "http://host:port", "http://[::1"]
)
def test_addresses_that_cannot_be_asked_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="URL"):
        EndpointContext(url, "m")


def test_a_password_in_the_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="password") as caught:
        EndpointContext("http://me:hunter2@host/v1", "m")
    assert "hunter2" not in str(caught.value)


def test_a_query_is_sent_and_never_shown(stub: StubEndpoint) -> None:
    stub.otherwise = (401, {}, b"no such key: 12345678")
    endpoint = EndpointContext(f"{stub.url}?api-key=12345678", "m")
    (answer,) = ask(endpoint, "a")
    assert stub.paths == ["/v1/chat/completions?api-key=12345678"]
    assert "12345678" not in f"{answer}{endpoint.name}"


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    with pytest.raises(ConfigError, match=API_KEY_VARIABLE) as caught:
        EndpointContext("http://host", "m")
    assert key not in str(caught.value)


def test_a_redirect_is_not_followed(
    stub: StubEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "secret")
    with serve() as other:
        stub.otherwise = (302, {"Location": f"{other.url}/chat/completions"}, b"")
        (answer,) = ask(source(stub), "a")
    assert "redirect" in reason(answer)
    assert other.requests == []
    assert len(stub.requests) == 1


def test_a_key_is_nowhere_in_what_is_said(
    stub: StubEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sk-123/456")
    stub.script.append((401, {}, b"wrong: sk-123/456, sk-123%2F456"))
    stub.script.append((401, {}, b"x" * 295 + b"sk-123/456"))
    stub.script.append(completion("There is sk-123/456."))
    answers = ask(source(stub), *"abc")
    assert "sk-1" not in " ".join(map(str, answers))
    assert "repeats the API key" in reason(answers[2])


def test_a_wait_of_days_is_cut_and_said(stub: StubEndpoint) -> None:
    stub.otherwise = (429, {"Retry-After": "99999"}, b"slow down")
    waits: list[float] = []
    (answer,) = ask(source(stub, waits, retries=2), "a")
    assert waits == [60.0, 60.0]
    assert "asked to wait 99999 s" in reason(answer)


def test_a_models_refusal_is_no_context(stub: StubEndpoint) -> None:
    stub.otherwise = completion("I'm sorry, but I can't help with that.")
    assert "refused" in reason(ask(source(stub), "a")[0])
    assert len(stub.requests) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(b"edema", b"enema"),
        lambda whole: b"\0" * len(whole),
        lambda whole: b"[]",
        lambda whole: b'{"context": " ", "sha256": ""}',
    ],
    ids=["empty", "cut", "changed", "zeros", "foreign", "blank"],
)
def test_a_damaged_answer_is_asked_for_again_and_replaced(
    stub: StubEndpoint,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    endpoint = source(stub, cache=tmp_path)
    ask(endpoint, "a")
    file = endpoint.cache_file("a")
    assert file is not None
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert ask(endpoint, "a") == ["There is no edema."]
    assert "damaged" in caplog.text
    assert file.read_bytes() == whole
    ask(endpoint, "a")
    assert len(stub.requests) == 2


def test_an_answer_without_checksum_of_an_earlier_version_is_read(
    stub: StubEndpoint, tmp_path: Path
) -> None:
    endpoint = source(stub, cache=tmp_path)
    file = endpoint.cache_file("a")
    assert file is not None
    file.parent.mkdir(parents=True)
    file.with_suffix(".txt").write_text("There is edema.")
    assert ask(endpoint, "a") == ["There is edema."]
    file.with_suffix(".txt").write_text("")
    assert ask(endpoint, "a") == ["There is no edema."]


def test_a_cache_that_cannot_be_written_costs_a_warning(
    stub: StubEndpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert ask(source(stub, cache=tmp_path / "file"), "a") == ["There is no edema."]
    assert "not kept" in caplog.text


def test_an_interruption_keeps_what_is_in_flight(
    stub: StubEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, noticed = stub.reply, threading.Event()

    def reply(path: str, headers: dict[str, str], body: bytes) -> Reply:
        answer = plain(path, headers, body)
        if len(stub.requests) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            # A busy machine may come to it after many more answers.
            noticed.wait(60)
        return answer

    def notice(number: int, frame: FrameType | None) -> None:
        noticed.set()
        signal.default_int_handler(number, frame)

    monkeypatch.setattr(stub, "reply", reply)
    endpoint = source(stub, cache=tmp_path, timeout=90.0)
    before = signal.signal(signal.SIGINT, notice)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(endpoint, *"abcdefghijklmnopqrst")
    finally:
        signal.signal(signal.SIGINT, before)
    kept = len(list(tmp_path.rglob("*.json")))
    assert 3 <= kept == len(stub.requests) < 20
    # The stop holds for that call alone.
    assert ask(endpoint, "a") == ["There is no edema."]
