from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.evaluation.results import Cases, Result, ResultStore, result_key
from vlp_zoo.files import append

RESULT = Result(
    key="k",
    encoder="tiny",
    encoder_sha256="a" * 64,
    role="encoder",
    task="blocks",
    split_sha256="b" * 64,
    data_sha256="c" * 64,
    protocol="vlp-linear",
    settings={"c_grid": [1.0]},
    fraction=1.0,
    seed=0,
    metric="macro_auroc",
    value=0.75,
    low=0.7,
    high=None,
    n=3,
    n_patients=2,
    n_train=5,
    per_label={"edema": 0.75, "mass": None},
    undefined={"mass": "0 positives"},
    details={"c": np.float64(1.0), "values": (1, float("nan"))},
)
CASES = Cases(
    ["u1", "u2", "u3"],
    ["p", "p", "q"],
    ("edema", "mass"),
    np.array([[1, np.nan], [0, 0], [1, 0]], np.float32),
    np.array([[0.9, np.nan], [0.1, np.nan], [0.4, np.nan]]),
)


def test_rows_survive_the_file_and_nan_becomes_null(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "new")
    store.add([RESULT, replace(RESULT, metric="macro_ece", value=float("nan"))])
    first, second = store.read()
    assert (first.value, first.low, first.high) == (0.75, 0.7, None)
    assert first.details == {"c": 1.0, "values": [1, None]}
    assert second.value is None
    assert replace(first, details=RESULT.details) == RESULT
    assert "NaN" not in store.path.read_text()


def test_cases_lie_beside_the_rows(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    (stored,) = store.add([replace(RESULT, cases=CASES)])
    assert stored.predictions == "predictions/k.parquet"
    (read,) = ResultStore(tmp_path).read()
    cases = store.cases(read)
    assert cases is not None
    assert (cases.uids, cases.patient_ids) == (CASES.uids, CASES.patient_ids)
    assert cases.label_names == CASES.label_names
    np.testing.assert_array_equal(cases.labels, CASES.labels)
    np.testing.assert_array_equal(cases.scores, CASES.scores)
    (tmp_path / "predictions" / "k.parquet").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="no predictions"):
        assert store.cases(read) is None


def test_a_run_that_is_made_again_replaces_its_cases(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    (first,) = store.add([replace(RESULT, cases=CASES)])
    other = replace(CASES, scores=CASES.scores / 2)
    again = [replace(RESULT, cases=other), replace(RESULT, metric="m", cases=other)]
    head, _ = store.add(again)
    written = (tmp_path / "predictions" / "k.parquet").stat().st_mtime_ns
    # A difference carries the cases of its run, which are there.
    store.add([replace(head, metric="macro_auroc_difference", baseline="b")])
    assert (tmp_path / "predictions" / "k.parquet").stat().st_mtime_ns == written
    for row in store.read():
        cases = store.cases(row)
        assert cases is not None
        np.testing.assert_array_equal(cases.scores, other.scores)
    assert first.predictions == head.predictions


def test_a_half_written_line_is_skipped_and_not_continued(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add([RESULT])
    with store.path.open("ab") as file:
        file.write(b'{"key": "half')
    store.add([replace(RESULT, key="after")])
    with pytest.warns(UserWarning, match=":2 is broken"):
        rows = store.read()
    assert [row.key for row in rows] == ["k", "after"]


def test_rows_of_a_newer_schema_are_refused(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    record = json.loads(RESULT.to_json())
    store.path.write_text(json.dumps({**record, "schema": 99}) + "\n")
    with pytest.raises(ConfigError, match="schema 99"):
        store.read()
    store.path.write_text(json.dumps({**record, "later_field": 1}) + "\n")
    assert store.read()[0].key == "k"


def test_parallel_writers_do_not_mix_lines(tmp_path: Path) -> None:
    def write(i: int) -> None:
        ResultStore(tmp_path).add([replace(RESULT, key=f"{i}-{j}") for j in range(5)])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(20)))
    keys = [row.key for row in ResultStore(tmp_path).read()]
    assert sorted(keys) == sorted(f"{i}-{j}" for i in range(20) for j in range(5))


def test_find_gives_the_newest_of_each_metric(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add([RESULT, replace(RESULT, metric="macro_ece"), replace(RESULT, key="o")])
    store.add([replace(RESULT, value=0.5)])
    found = {row.metric: row.value for row in store.find("k")}
    assert found == {"macro_auroc": 0.5, "macro_ece": 0.75}
    assert ResultStore(tmp_path / "none").find("k") == []


def test_keys_follow_values_and_not_their_order() -> None:
    assert result_key(a=1, b=(1, 2)) == result_key(b=[1, 2], a=1)
    assert result_key(a=1) != result_key(a=2)


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetNotFoundError, match="--out"):
        ResultStore(tmp_path / "file").add([RESULT])


def test_a_cut_line_is_named_when_rows_follow(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    store.add([RESULT])
    whole = store.path.read_bytes()
    store.path.write_bytes(whole + whole.strip())
    with pytest.warns(UserWarning, match=":2 was cut"):
        store.add([replace(RESULT, key="after")])
    # What was whole but for its end counts.
    assert [row.key for row in store.read()] == ["k", "k", "after"]


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"7",
        b"null",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b"\0\0",
        b"[" * 9999,
        b'{"schema": "new"}',
        RESULT.to_json().replace("0.75", "NaN").encode(),
        RESULT.to_json().replace("0.75", '"high"').encode(),
    ],
    ids=range(11),
)
def test_a_line_that_is_no_row_is_named_and_costs_no_other(
    tmp_path: Path, line: bytes
) -> None:
    store = ResultStore(tmp_path)
    row = RESULT.to_json().encode()
    store.path.write_bytes(b"\n".join([row, line, row, b""]))
    with pytest.warns(UserWarning, match="broken") as said:
        rows = store.read()
    assert [row.key for row in rows] == ["k", "k"]
    assert f"{store.path}:2 is broken" in str(said[0].message)
    assert "1 broken lines left out, 2 rows read" in str(said[-1].message)


class Full(FileIO):
    """A disk with room for ten bytes."""

    def write(self, content: Any) -> int:
        end = self.seek(0, os.SEEK_END)
        return super().write(bytes(content)[: max(0, Full.room - end)])

    room = 10


def test_a_short_write_is_an_error_and_leaves_the_file_as_it_was(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rows"
    with Full(path, "ab+") as file:
        append(file, b"12345\n")
        with pytest.raises(OSError, match="No space"):
            append(file, b"789012345\n")
    assert path.read_bytes() == b"12345\n"


def test_a_full_disk_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path)
    store.add([RESULT])
    before = store.path.read_bytes()
    monkeypatch.setattr(Full, "room", len(before) + 50)
    monkeypatch.setattr(Path, "open", lambda path, mode, **_: Full(path, mode))
    with pytest.raises(DatasetNotFoundError, match="No space"):
        store.add([RESULT])
    assert store.path.read_bytes() == before
