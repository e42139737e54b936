"""What a person sees: lists, help, how far a command is, and tables of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vlp_zoo.bench.pace import Pace
from vlp_zoo.bench.presets import preset_names
from vlp_zoo.cli import main
from vlp_zoo.cli.info import main as info
from vlp_zoo.cli.names import help_of_named
from vlp_zoo.data import DATASETS


@pytest.mark.parametrize("columns", ["", "40", "80", "200"])
def test_names_are_whole_and_stand_apart(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for topic, names in (("presets", preset_names()), ("datasets", DATASETS)):
        assert info([topic]) == 0
        out = capsys.readouterr().out
        words = [line.split() for line in out.splitlines()]
        # The first word of a line is the whole name, whatever stands behind it.
        assert set(names) <= {line[0] for line in words if line}
        if columns:
            # Titles may name a folder; what is listed keeps to the width.
            listed = [line for line in out.splitlines() if line.startswith(" ")]
            assert max(map(len, listed)) <= int(columns)


def test_help_lists_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--model", "clip", "--data=pairs", "--help"]
    assert help_of_named(words) == ["--model.help=clip", "--data.help=pairs"]
    assert help_of_named(["fit", "--help"]) == []
    assert main(words) == 0
    out = capsys.readouterr().out
    places = [
        out.index(flag)
        for flag in ("--model.temperature", "--data.report_column", "--trainer.devices")
    ]
    assert places == sorted(places)


def test_a_log_says_how_long_the_rest_takes() -> None:
    now = [0.0]
    pace = Pace(print, clock=lambda: now[0])
    assert pace.line() == "getting ready for 0 s"
    pace.told("chest", 2, 10)
    now[0] = 60.0
    assert "2 of 10 runs after 1 min, too early" in pace.line()
    pace.told("chest", 4, 10)
    now[0] = 240.0
    # Two runs in four minutes; the two that were found took none of them.
    assert pace.line() == "chest: 4 of 10 runs after 4 min, about 12 min left"
    pace.told("fundus", 0, 3)
    now[0] = 260.0
    assert "fundus: 0 of 3 runs after 20 s" in pace.line()
    boards = Pace(print, "boards", clock=lambda: now[0])
    boards.told("leaderboard", 1, 4)
    assert "leaderboard: 1 of 4 boards after 0 s" in boards.line()


def test_the_lines_come_by_themselves_and_end() -> None:
    said: list[str] = []
    pace = Pace(said.append, every=0.01)
    with pace:
        pace.told("chest", 1, 2)
        while not said:
            pass
    count = len(said)
    assert said[0].startswith(("chest: 1 of 2", "getting ready"))
    assert not pace._thread.is_alive()
    assert len(said) == count


def test_annotate_reads_the_table_that_fit_reads(tmp_path: Path) -> None:
    table = tmp_path / "my.csv"
    table.write_text(
        "image,patient_id,findings\na.png,p,Edema.\nb.png,q,Clear lungs.\n"
    )
    out = tmp_path / "contexts.jsonl"
    assert main(["annotate", "--reports", str(table), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    # The ids by which ``--data.context`` is joined to the table.
    assert [row["uid"] for row in rows] == ["a.png", "b.png"]
