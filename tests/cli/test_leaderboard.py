from __future__ import annotations

import csv
import itertools
import shutil
import sys
from pathlib import Path

import pytest

from tests.leaderboard.board_results import HOSTILE, stub_results
from vlp_zoo.cli import main
from vlp_zoo.leaderboard.reported import by_source, read_reported
from vlp_zoo.leaderboard.text import csv_text, number

ROOT = Path(__file__).parents[2]
FILES = ("LEADERBOARD.md", "leaderboard.csv", "leaderboard.html")
COLUMNS = "source,method,backbone,task,dataset,fraction,metric,value,sd,note\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLPZOO_CACHE", str(root / "cache"))
        stub_results(root / "bench", n=40)
    return root / "bench"


@pytest.fixture
def reported(tmp_path: Path) -> Path:
    path = tmp_path / "reported.csv"
    path.write_text(
        COLUMNS
        + "Paper A,MGCA,ViT,probe,NIH,1%,AUROC,78.9,0.1,a | note\n"
        + "Paper A,MGCA,ViT,probe,NIH,100%,AUROC,83.5,,\n"
        + "Paper B,MGCA,ViT,probe,NIH,1%,AUROC,77.7,,\n"
    )
    return path


def _written(results: Path, out: Path, *more: str) -> dict[str, bytes]:
    command = ["leaderboard", "--results", str(results), "--out", str(out)]
    assert main([*command, "--bootstrap", "20", *more]) == 0
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_a_second_run_gives_the_same_bytes(
    results: Path,
    reported: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = ("--reported", str(reported))
    first = _written(results, tmp_path / "a", *more)
    assert tuple(first) == FILES
    assert [line.rsplit("/", 1)[-1] for line in capsys.readouterr().out.split()] == [
        *FILES
    ]
    assert _written(results, tmp_path / "b", *more) == first
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "another"))
    assert _written(results, tmp_path / "d", *more) == first
    twice = _written(results, tmp_path / "c", *more, "--results", str(results))
    assert twice == first


def test_a_terminal_shows_which_board_is_made_and_a_log_nothing_so_soon(
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _written(results, tmp_path / "a", "--no-html")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "another"))
    _written(results, tmp_path / "b", "--no-html")
    shown = capsys.readouterr()
    assert "4/4" in shown.err
    assert "curves and page" in shown.err
    assert "4/4" not in shown.out


def test_what_was_made_is_found_unless_something_changed(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _written(results, tmp_path / "a")

    class MadeAgain(BaseException):
        """No error, so that the command's last guard lets it pass."""

    def never(*_: object, **__: object) -> None:
        raise MadeAgain

    monkeypatch.setattr("vlp_zoo.leaderboard.boards.make_boards", never)
    assert _written(results, tmp_path / "b") == first
    other = tmp_path / "less"
    shutil.copytree(results, other)
    next((other / "predictions").iterdir()).unlink()
    with pytest.raises(MadeAgain):
        _written(other, tmp_path / "c")
    with pytest.raises(MadeAgain):
        _written(results, tmp_path / "d", "--no-html")


def test_what_is_missing_is_never_found(
    results: Path, reported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _written(results, tmp_path / "a")
    (tmp_path / "empty").mkdir()
    for more, words in (
        (("--reported", str(tmp_path / "none.csv")), "no such file"),
        (("--results", str(tmp_path / "none")), "no such folder"),
        (("--results", str(tmp_path / "empty")), "an empty one"),
    ):
        command = ["leaderboard", "--results", str(results), "--bootstrap", "20"]
        assert main([*command, "--out", str(tmp_path / "b"), *more]) == 1
        assert words in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_another_version_makes_its_own_page(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _written(results, tmp_path / "a", "--no-html")
    for module in ("vlp_zoo", "vlp_zoo.leaderboard.runs"):
        monkeypatch.setattr(f"{module}.__version__", "99.0")
    second = _written(results, tmp_path / "b", "--no-html")
    assert b"other version" not in first["LEADERBOARD.md"]
    assert b"other version" in second["LEADERBOARD.md"]


def test_the_table_is_short_and_the_rest_is_folded(
    results: Path, tmp_path: Path
) -> None:
    text = _written(results, tmp_path / "out")[FILES[0]].decode()
    board = text[text.rindex("\n## ") :]
    shown, _, folded = board.partition("<details><summary>All metrics</summary>")
    (head,) = [line for line in shown.splitlines() if line.startswith("| encoder")]
    assert "macro AUPRC" in head
    assert "F1@val" not in head
    assert head.count("|") <= 11
    assert "\n| F1@val |" in folded
    assert folded.count("</details>") == 2
    assert "Paired differences between encoders" in folded


def test_markdown_keeps_names_as_text_and_reports_apart(
    results: Path, reported: Path, tmp_path: Path
) -> None:
    text = _written(results, tmp_path / "out", "--reported", str(reported))[FILES[0]]
    lines = text.decode().splitlines()
    assert "<script" not in text.decode()
    heads = [line for line in lines if line.startswith("## ")]
    assert heads == [
        "## blocks: vlp-knn, 50 % of labels (draws 0, 1)",
        "## blocks: vlp-knn, 100 % of labels",
        "## blocks: vlp-linear, 50 % of labels (draws 0, 1)",
        "## blocks: vlp-linear, 100 % of labels",
        "## Reported elsewhere",
    ]
    ranked = [line for line in lines if line.startswith("| ")]
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            counts = [each.replace(r"\|", "").count("|") for each in (before, line)]
            assert counts[0] == counts[1]
    assert any(
        r"&lt;script&gt;document.title='owned'&lt;/script&gt;\|\`x\`" in line
        for line in ranked
    )
    assert any("*baseline:* pixels" in line for line in ranked)
    apart = lines[lines.index("## Reported elsewhere") :]
    assert "| MGCA, ViT | 78.9 ± 0.1 | 83.5 |" in apart
    assert "| MGCA, ViT | 77.7 |" in apart
    assert r"a \| note" in apart
    assert not any("wide" in line for line in apart)


def test_csv_has_every_number_and_its_board(results: Path, tmp_path: Path) -> None:
    content = _written(results, tmp_path / "out")["leaderboard.csv"].decode()
    rows = list(csv.DictReader(content.splitlines()))
    plain = [row for row in rows if not row["minus"]]
    # 4 boards, 2 encoders and 3 baselines, 12 metrics and the headline on validation.
    assert len(plain) == 260
    assert len({row["board"] for row in rows}) == 4
    pairs = [row for row in rows if row["p"]]
    assert {(row["encoder"], row["minus"]) for row in pairs} <= {
        ("wide", HOSTILE),
        (HOSTILE, "wide"),
    }
    assert len(pairs) == 4
    halves = [row for row in plain if row["fraction"] == "0.5"]
    assert {row["seeds"] for row in halves} == {"0 1"}
    assert all(row["sd"] for row in halves)
    spans = {row["interval_over"] for row in halves if row["metric"] == "macro_auroc"}
    assert spans == {"draws and patients"}


def test_no_folder_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard"]) == 1
    error = capsys.readouterr().err
    assert "results.jsonl in runs/bench" in error
    assert "vlpzoo bench" in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("source,method\n", "no backbone, task"),
        (COLUMNS + "A,M,,t,d,1%,m,high,,\n", "'high'"),
        (COLUMNS + ",M,,t,d,1%,m,1,,\n", "a source"),
        (None, "no such file"),
    ],
)
def test_a_bad_table_of_reports_is_one_message(
    content: str | None,
    words: str,
    results: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content)
    command = ["leaderboard", "--results", str(results), "--reported", str(path)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tables_do_not_need_jinja(
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert tuple(_written(results, tmp_path / "out", "--no-html")) == FILES[:2]
    command = ["leaderboard", "--results", str(results), "--bootstrap", "0"]
    assert main([*command, "--out", str(tmp_path / "none")]) == 1
    assert "vlp-zoo[report]" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_cell_is_no_formula_and_zero_has_no_minus(results: Path) -> None:
    from dataclasses import replace

    from vlp_zoo.leaderboard.boards import make_boards
    from vlp_zoo.leaderboard.runs import read_runs

    (board, *_) = make_boards(read_runs([results]), replicates=0)
    named = replace(board.entries[0], name="=1+1")
    text = csv_text([replace(board, entries=(named,), pairs=())])
    assert {row["encoder"] for row in csv.DictReader(text.splitlines())} == {"'=1+1"}
    assert number(-0.0001) == "0.000"
    assert number(-0.0001, sign=True) == "+0.000"
    assert number(None) == "n/a"


def test_the_reports_that_come_along_name_their_sources() -> None:
    rows = read_reported(ROOT / "benchmarks" / "reported.csv")
    assert {"ASG", "MGCA", "MedKLIP"} <= {row.method for row in rows}
    assert all(0 <= float(row.value) <= 100 for row in rows)
    words = ("arXiv", "NeurIPS", "README")
    assert all(any(word in row.source for word in words) for row in rows)
    tables = [table for held in by_source(rows).values() for table in held]
    assert sum(len(table.rows) for table in tables) <= len(rows)
