"""The chat endpoint source against a scripted server on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.reports.stub_endpoint import StubEndpoint, completion, serve
from vlp_zoo.errors import ConfigError, ReportSourceError
from vlp_zoo.reports.context import ContextSource
from vlp_zoo.reports.endpoint import API_KEY_VARIABLE, EndpointContext


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
