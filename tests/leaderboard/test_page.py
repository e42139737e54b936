from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.leaderboard.board_results import HOSTILE
from tests.leaderboard.browser import Browser, chromium
from vlp_zoo.errors import DependencyNotFoundError
from vlp_zoo.evaluation.classification.metrics.calibration import reliability
from vlp_zoo.leaderboard.boards import Board, make_boards
from vlp_zoo.leaderboard.curves import make_curves, pooled_reliability
from vlp_zoo.leaderboard.page import _heat, page
from vlp_zoo.leaderboard.provenance import provenance_of
from vlp_zoo.leaderboard.replicates import Estimate
from vlp_zoo.leaderboard.reported import Reported
from vlp_zoo.leaderboard.runs import read_runs
from vlp_zoo.leaderboard.svg import ForestRow, axis_ticks, forest_figure, series

REPORTED = [
    Reported(
        "Paper, table 1", HOSTILE, "", "probe", "NIH", "1%", "AUROC", "52.1", "", ""
    )
]


@pytest.fixture(scope="module")
def boards(folder: Path) -> list[Board]:
    return make_boards(read_runs([folder]), replicates=40)


@pytest.fixture(scope="module")
def html(boards: list[Board]) -> str:
    return page(boards, REPORTED)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_comes_from_elsewhere_and_names_stay_text(html: str) -> None:
    tags = _Tags()
    tags.feed(html)
    assert [tag for tag, _ in tags.found].count("script") == 1
    assert not {"b-small", "iframe", "img", "link", "object"} & {
        t for t, _ in tags.found
    }
    for _, attributes in tags.found:
        assert not {"src", "onclick", "onload"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?://|@import|url\(", html)
    assert HOSTILE in tags.text
    assert "too <b>small</b>" in tags.text
    assert html.count("<b>small</b>") == 0


def test_the_page_is_the_same_each_time(html: str, folder: Path) -> None:
    assert page(make_boards(read_runs([folder]), replicates=40), REPORTED) == html


def test_reported_numbers_are_in_no_measured_table(html: str) -> None:
    measured, _, reported = html.partition('id="reported"')
    assert "52.1" in reported
    assert "52.1<" not in measured
    assert "Paper, table 1" not in measured


def test_without_jinja_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, boards: list[Board]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(DependencyNotFoundError, match=r"vlp-zoo\[report\]"):
        page(boards)


def test_curves_join_what_differs_in_the_fraction_alone(boards: list[Board]) -> None:
    curves = make_curves(boards)
    assert [c.boards[0].shared.protocol for c in curves] == ["vlp-knn", "vlp-linear"]
    for curve in curves:
        assert not curve.left_out
        baselines = ["acquisition", "pixels", "prevalence"]
        assert sorted(curve.points) == sorted([HOSTILE, "wide", *baselines])
        assert list(curve.points)[:2] == [HOSTILE, "wide"]
        for each in curve.points.values():
            assert [fraction for fraction, _ in each] == [0.5, 1.0]


def test_a_curve_over_boards_of_different_labels_is_made_again(
    boards: list[Board],
) -> None:
    half, whole = boards[2:]
    less = replace(whole, left_out={"finding 0": "why"})
    (curve,) = make_curves([half, less])
    assert curve.left_out == ("finding 0",)
    entry = whole.encoders[0]
    per_label = entry.runs[0].head.per_label
    expected = np.mean([per_label["finding 1"], per_label["finding 2"]])
    assert curve.points[entry.name][1][1].value == pytest.approx(expected)


def test_reliability_is_of_all_counted_labels(boards: list[Board]) -> None:
    entry = boards[3].encoders[0]
    cases = entry.runs[0].cases()
    found = pooled_reliability(entry, ())
    assert cases is not None
    assert found is not None
    expected = reliability(cases.labels.ravel() > 0.5, cases.scores.ravel(), 10)
    assert np.array_equal(found.rate, expected.rate)
    assert found.cases.sum() == cases.labels.size
    fewer = pooled_reliability(entry, ["finding 1"])
    assert fewer is not None
    assert fewer.cases.sum() == cases.labels.size * 2 / 3
    doubtful = replace(entry, flags={"disagrees": "why"})
    assert pooled_reliability(doubtful, ()) is None


def _typed(board: Board, *commands: str | None) -> dict[str, Any]:
    """Provenance of an entry whose draws were asked for like this."""
    entry = board.encoders[0]
    runs = []
    for run, command in zip(entry.runs, commands, strict=True):
        details = run.head.details | ({"command": command} if command else {})
        head = replace(run.head, details=details)
        runs.append(replace(run, rows={**run.rows, head.metric: head}))
    return provenance_of(board, replace(entry, runs=tuple(runs)))


def test_the_command_is_shown_once_or_for_each_draw(boards: list[Board]) -> None:
    shared = _typed(boards[2], *["vlpzoo bench --seeds 0 1"] * 2)
    assert ("command", "vlpzoo bench --seeds 0 1") in shared["facts"]
    for run in shared["runs"]:
        assert not any("vlpzoo bench" in text for _, text in run["facts"])
    apart = _typed(boards[2], "vlpzoo bench --seeds 0", None)
    assert "command" not in dict(apart["facts"])
    assert [dict(run["facts"])["command"] for run in apart["runs"]] == [
        "vlpzoo bench --seeds 0",
        "not stored",
    ]
    assert dict(_typed(boards[3], None)["facts"])["command"] == "not stored"


def test_a_forest_shows_each_row_and_its_side() -> None:
    rows = [
        ForestRow(("a", "b"), Estimate(0.1, 0.05, 0.2), "above"),
        ForestRow(("<c>", "d"), Estimate(-0.1, None, None), ""),
    ]
    svg = forest_figure(rows, "difference")
    assert svg.count('class="bar"') == 1
    assert '<g class="above">' in svg
    assert "&lt;c&gt; minus d" in svg
    assert "<c>" not in svg
    assert series(0) != series(8)


@pytest.mark.parametrize("low", [-3.0, 0.0, 0.4999, 812.0])
@pytest.mark.parametrize("span", [0.0, 1e-4, 0.07, 0.5, 3.1, 1e4])
def test_axes_hold_their_values_in_few_round_steps(low: float, span: float) -> None:
    ticks = axis_ticks(low, low + span)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= low + span - 1e-9
    assert 2 <= len(ticks) <= 8
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


@pytest.fixture(scope="module")
def browser(
    tmp_path_factory: pytest.TempPathFactory, html: str
) -> Iterator[tuple[Browser, Path]]:
    program = chromium()
    if program is None:
        pytest.skip("needs a Chromium to open the page with")
    root = tmp_path_factory.mktemp("browser")
    (root / "page.html").write_text(html, encoding="utf-8")
    with Browser(program, root / "profile") as opened:
        yield opened, root / "page.html"


ORDER = "[...document.querySelectorAll('.board .ranks')].at(-1).tBodies[{body}].rows"


def _order(browser: Browser, body: int = 0) -> list[str]:
    rows = ORDER.format(body=body)
    found: list[str] = browser.run(f"[...{rows}].map(r => r.cells[0].dataset.v)")
    return found


def test_headers_sort_by_click_and_by_keyboard(browser: tuple[Browser, Path]) -> None:
    opened, path = browser
    opened.open(path)
    opened.run(
        "(() => { const t = [...document.querySelectorAll('.board .ranks')].at(-1);"
        "t.id = 'last'; })()"
    )
    head = "#last thead th:nth-child(2)"
    state = f"document.querySelector({head!r}).getAttribute('aria-sort')"
    assert _order(opened) == ["wide", HOSTILE]
    assert opened.run(state) == "descending"
    opened.click(head)
    assert _order(opened) == [HOSTILE, "wide"]
    assert _order(opened, 1) == ["prevalence", "acquisition", "pixels"]
    assert opened.run(state) == "ascending"
    for key in ("Enter", " "):
        before = _order(opened)
        opened.run(f"document.querySelector({head!r}).focus()")
        opened.press(key)
        assert _order(opened) == before[::-1]
    opened.click("#last thead th:first-child")
    assert _order(opened) == [HOSTILE, "wide"]
    assert opened.run(state) is None


def test_metrics_that_explain_others_are_shown_when_asked(
    browser: tuple[Browser, Path], boards: list[Board]
) -> None:
    opened, path = browser
    opened.open(path)
    wide = "[...document.querySelectorAll('.board .{}')].filter(e => e.offsetWidth)"
    first = len(boards[0].entries) + 1
    hidden = len(boards[0].metrics) - 1 - len(boards[0].shown)
    assert hidden > 3
    assert opened.run(f"{wide.format('extra')}.length") == 0
    opened.run("document.querySelector('.every input').focus()")
    opened.press(" ")
    # Those of one board, by the keyboard.
    assert opened.run(f"{wide.format('extra')}.length") == first * hidden
    opened.click(".every")
    assert opened.run(f"{wide.format('extra')}.length") == 0


def test_the_filter_hides_rows_and_empty_boards(browser: tuple[Browser, Path]) -> None:
    opened, path = browser
    opened.open(path)
    shown = "[...document.querySelectorAll('{}')].filter(e => e.offsetParent).length"
    assert opened.run(shown.format(".board")) == 4
    opened.press("/")
    opened.type("wide vlp-linear")
    assert opened.run(shown.format(".board")) == 2
    assert opened.run(shown.format("tr[data-drawer]")) == 2
    assert opened.run("document.getElementById('count').textContent") == "2 of 20 rows"
    opened.press("Escape")
    assert opened.run(shown.format("tr[data-drawer]")) == 20


def test_a_row_opens_its_provenance(
    browser: tuple[Browser, Path], boards: list[Board]
) -> None:
    opened, path = browser
    opened.open(path)
    text = "document.getElementById('inside').textContent"
    is_open = "document.getElementById('drawer').open"
    opened.click("tr[data-drawer] td:nth-child(2)")
    assert opened.run(is_open)
    said = opened.run(text)
    row = boards[0].encoders[0].runs[0].head
    for fact in (row.encoder_sha256, row.split_sha256, row.key, row.date):
        assert fact in said
    opened.press("Escape")
    assert not opened.run(is_open)
    opened.run("document.querySelectorAll('tr[data-drawer] button')[1].focus()")
    opened.press("Enter")
    assert opened.run(is_open)
    assert HOSTILE in opened.run(text)
    assert opened.run("document.title") == "Leaderboard"


@pytest.mark.slow
def test_the_page_fits_a_phone_asks_for_nothing_and_turns_dark(
    browser: tuple[Browser, Path],
) -> None:
    opened, path = browser
    paper = "getComputedStyle(document.body).backgroundColor"
    opened.open(path, width=390)
    assert opened.run("document.documentElement.scrollWidth <= innerWidth")
    light = opened.run(paper)
    opened.click("#theme")
    assert opened.run("document.documentElement.dataset.theme") == "light"
    opened.click("#theme")
    dark = opened.run(paper)
    assert dark != light
    opened.click("#theme")
    opened.open(path, dark=True)
    assert opened.run(paper) == dark
    methods = {event["method"] for event in opened.events}
    asked = [
        event["params"]["request"]["url"]
        for event in opened.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked == [path.as_uri()]
    assert "Runtime.exceptionThrown" not in methods
    assert "Log.entryAdded" not in methods


def test_tints_range_over_encoders_and_baselines(boards: list[Board]) -> None:
    rows = [row for block in _heat(boards)["blocks"] for row in block]
    for column in range(len(boards)):
        cells = [row["cells"][column] for row in rows]
        tints = {c["value"]: float(c["tint"]) for c in cells if c is not None}
        if len(tints) > 1:
            assert (min(tints.values()), max(tints.values())) == (0.0, 1.0)
