"""``vlpzoo annotate``: inputs, resuming, failures, exit codes."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.reports.stub_endpoint import StubEndpoint, completion, serve
from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.cli.annotate import annotate_reports, main, read_reports, rejects_file
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, ReportSourceError
from vlp_zoo.reports.contexts.context import RuleContext, read_contexts

ROWS = [
    ("a", "Small left effusion.", "No pneumothorax."),
    ("b", "", "Cardiomegaly."),
    ("c", "", ""),
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    pd.DataFrame(ROWS, columns=["uid", "findings", "impression"]).to_csv(
        path, index=False
    )
    return path


@pytest.fixture
def stub() -> Iterator[StubEndpoint]:
    with serve() as endpoint:
        yield endpoint


def test_rules_from_a_table(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "contexts.jsonl"
    assert main(["--reports", str(table), "--out", str(out)]) == 0
    assert read_contexts(out) == {
        "a": "There is small left pleural effusion. There is no pneumothorax.",
        "b": "There is cardiomegaly.",
        "c": "",
    }
    assert (
        "3 written (1 empty), 0 kept from before, 0 failed" in capsys.readouterr().out
    )
    assert not rejects_file(out).exists()


def test_a_second_run_keeps_what_is_there(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.jsonl"
    arguments = ["--reports", str(table), "--out", str(out)]
    assert main([*arguments, "--limit", "1"]) == 0
    first = out.read_text()
    assert main(arguments) == 0
    assert out.read_text().startswith(first)
    assert "2 written (1 empty), 1 kept" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [3, 20])
def test_a_half_last_line_is_repaired(table: Path, tmp_path: Path, cut: int) -> None:
    out = tmp_path / "c.jsonl"
    arguments = ["--reports", str(table), "--out", str(out)]
    main(arguments)
    whole = out.read_bytes()
    out.write_bytes(whole[:-cut])
    assert main(arguments) == 0
    assert out.read_bytes() == whole


def test_a_missing_line_end_is_added(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    out.write_text('{"uid": "a", "context": "kept"}')
    main(["--reports", str(table), "--out", str(out)])
    assert read_contexts(out)["a"] == "kept"
    assert len(out.read_text().splitlines()) == 3


def test_another_kind_of_file_is_not_appended_to(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    out.write_text("uid,context\na,b\n")
    with pytest.raises(ReportSourceError, match="line 1"):
        main(["--reports", str(table), "--out", str(out)])
    assert out.read_text() == "uid,context\na,b\n"


def test_parquet_text_folder_and_chosen_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2], "report": ["Edema.", None]})
    frame.to_parquet(tmp_path / "r.parquet")
    assert read_reports(tmp_path / "r.parquet", id_column="n") == [
        ("1", "Edema."),
        ("2", ""),
    ]
    folder = tmp_path / "files" / "p10"
    folder.mkdir(parents=True)
    (folder / "s5.txt").write_text(" INDICATION: Edema?\n FINDINGS: Clear.\n")
    assert read_reports(tmp_path / "files") == [("p10/s5", "Clear.")]


def test_ids_that_look_like_numbers_stay_as_written(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("uid,text\n007,NA seen\n")
    assert read_reports(path) == [("007", "NA seen")]


def test_bad_inputs_are_named(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such path"):
        read_reports(tmp_path / "none.csv")
    with pytest.raises(DatasetNotFoundError, match="--id-column"):
        read_reports(table, id_column="key")
    with pytest.raises(DatasetNotFoundError, match="the column"):
        read_reports(table, ["text"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetNotFoundError, match="txt"):
        read_reports(tmp_path / "empty")
    (tmp_path / "x.docx").write_text("")
    with pytest.raises(DatasetNotFoundError, match="xlsx"):
        read_reports(tmp_path / "x.docx")
    twice = tmp_path / "twice.csv"
    twice.write_text("uid,text\na,x\na,y\n")
    with pytest.raises(ConfigError, match="1 empty or repeated"):
        read_reports(twice)


def test_failures_are_listed_and_retried(
    table: Path, tmp_path: Path, stub: StubEndpoint
) -> None:
    out = tmp_path / "c.jsonl"
    stub.script.extend([completion("There is x."), (400, {}, b"too long")])
    arguments = [
        "--reports", str(table), "--out", str(out), "--source", stub.url,
        "--model", "m", "--workers", "1",
    ]  # fmt: skip
    assert vlpzoo(["annotate", *arguments]) == 1
    assert read_contexts(out) == {"a": "There is x.", "c": ""}
    (reject,) = map(json.loads, rejects_file(out).read_text().splitlines())
    assert reject["uid"] == "b"
    assert reject["reason"].startswith("HTTP 400")
    assert vlpzoo(["annotate", *arguments]) == 0
    assert set(read_contexts(out)) == {"a", "b", "c"}
    assert not rejects_file(out).exists()
    # The empty report is never sent, "a" and "c" are not asked for again.
    assert len(stub.requests) == 3


class Interrupted(RuleContext):
    """Rules that are stopped in the second call."""

    batch_size = 1
    calls = 0

    def contexts(
        self, uids: Sequence[str], reports: Sequence[str]
    ) -> list[str | ReportSourceError]:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().contexts(uids, reports)


def test_ctrl_c_keeps_what_was_written(tmp_path: Path) -> None:
    out = tmp_path / "c.jsonl"
    reports = [(str(i), "Edema.") for i in range(4)]
    with pytest.raises(KeyboardInterrupt):
        annotate_reports(Interrupted(), reports, out, quiet=True)
    assert read_contexts(out) == {"0": "There is edema."}
    counts = annotate_reports(RuleContext(), reports, out, quiet=True)
    assert (counts["kept"], counts["written"]) == (1, 3)
    assert list(read_contexts(out)) == ["0", "1", "2", "3"]


def test_an_interrupted_endpoint_run_asks_only_for_the_rest(
    tmp_path: Path, stub: StubEndpoint, table: Path
) -> None:
    out = tmp_path / "c.jsonl"
    arguments = [
        "--reports", str(table), "--out", str(out), "--source", stub.url, "--model", "m"
    ]  # fmt: skip
    assert main(arguments) == 0
    # As if killed after the answers came and before the lines were written.
    out.unlink()
    assert main(arguments) == 0
    assert len(stub.requests) == 2
    assert set(read_contexts(out)) == {"a", "b", "c"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom vlp_zoo.cli.annotate import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--source" in done.stdout


def test_two_runs_do_not_write_one_file(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "contexts.jsonl"
    with out.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another run"):
            main(["--reports", str(table), "--out", str(out)])
    assert main(["--reports", str(table), "--out", str(out)]) == 0


@pytest.mark.parametrize(
    "junk",
    [
        b"[1]",
        b"7",
        b'{"uid": "a"}',
        b'{"uid": "a", "context": null}',
        b"\xff",
        b"[" * 9999,
        b"\0",
    ],
)
def test_a_junk_line_is_refused_by_its_number(
    table: Path, tmp_path: Path, junk: bytes
) -> None:
    out = tmp_path / "contexts.jsonl"
    content = b'{"uid": "x", "context": ""}\n' + junk + b"\n"
    out.write_bytes(content)
    with pytest.raises(ReportSourceError, match="line 2"):
        main(["--reports", str(table), "--out", str(out)])
    assert out.read_bytes() == content


def test_somebody_elses_last_line_is_not_cut_off(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("Remember the milk")
    with pytest.raises(ReportSourceError, match="line 1"):
        main(["--reports", str(table), "--out", str(out)])
    assert out.read_text() == "Remember the milk"


def test_a_name_that_is_no_utf8_comes_back_equal(tmp_path: Path) -> None:
    out = tmp_path / "contexts.jsonl"
    annotate_reports(RuleContext(), [("a\udcff", "Edema.")], out, quiet=True)
    assert read_contexts(out) == {"a\udcff": "There is edema."}


def test_a_context_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    for junk in (b'"context": null', b'"context": "\\ud800"'):
        file.write_bytes(b'{"uid": "a", ' + junk + b"}\n")
        with pytest.raises(ReportSourceError, match="line 1"):
            read_contexts(file)
