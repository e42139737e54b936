"""One tolerance for every table: the right cells, or a message that names the place."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fakes.photographs import write_sheet
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reading import files, plain_id, read_table, tables

ROWS = [
    {"image": "1.png", "text": 'Heart, "large".\nNo effusion; none.'},
    {"image": "2.png", "text": "NA"},
]
CSV = b'image,text\n1.png,"Heart, ""large"".\nNo effusion; none."\n2.png,NA\n'


def zipped(content: bytes, names: tuple[str, ...] = ("t.csv",)) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return stream.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zip": zipped,
}


def cells(path: Path, content: bytes, **options: Any) -> list[dict[Any, Any]]:
    path.write_bytes(content)
    return read_table(path, **options).to_dict("records")


def refused(path: Path, content: bytes) -> ConfigError:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=path.name) as caught:
        read_table(path)
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        CSV,
        b"\xef\xbb\xbf" + CSV,
        CSV.replace(b"\n", b"\r\n").replace(b".\r\nNo", b".\nNo"),
        CSV.decode().encode("utf-16"),
        CSV.replace(b"image,text", b" image , text "),
        CSV.replace(b"image,text", b"image,text,,").replace(b"NA", b"NA,,,"),
        b"\n" + CSV + b"\n,\n",
        CSV[:-1],
    ],
    ids=["plain", "mark", "crlf", "utf16", "blanks", "commas", "blank rows", "no end"],
)
def test_what_is_taken_in_silence(tmp_path: Path, content: bytes) -> None:
    assert cells(tmp_path / "t.csv", content) == ROWS


@pytest.mark.parametrize("suffix", PACKERS)
def test_packed_tables_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    packed = PACKERS[suffix](CSV)
    assert cells(tmp_path / f"t.csv{suffix}", packed) == ROWS
    # A browser may have unpacked it already, or kept it packed under the bare name.
    assert cells(tmp_path / "bare.csv", packed) == ROWS
    assert cells(tmp_path / f"open.csv{suffix}", CSV) == ROWS


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_archives_are_named(tmp_path: Path, suffix: str, share: float) -> None:
    packed = PACKERS[suffix](b"".join(b"%d.png,%d\n" % (i, i * i) for i in range(999)))
    error = refused(tmp_path / f"t.csv{suffix}", packed[: int(len(packed) * share)])
    assert "download the file again" in error.do_this


def test_archives_that_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(tmp_path / "two.zip", zipped(CSV, ("a.csv", "b.csv")))
    assert error.found == "2: a.csv, b.csv"
    monkeypatch.setattr(files, "ALWAYS", 2**20)
    bomb = gzip.compress(b"0" * 2**22)
    assert "unpacks to at most" in refused(tmp_path / "bomb.gz", bomb).looked_for


@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_read_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, separator: str, word: str
) -> None:
    content = CSV.replace(b"image,", b"image" + separator.encode())
    content = content.replace(b"png,", b"png" + separator.encode())
    assert cells(tmp_path / "t.csv", content) == ROWS
    assert f"separated by {word}" in caplog.text
    caplog.clear()
    assert cells(tmp_path / "t.tsv.gz", gzip.compress(CSV)) == ROWS
    assert "separated by commas" in caplog.text


def test_quotes_with_backslashes(tmp_path: Path) -> None:
    escaped = CSV.replace(b'""', b'\\"')
    assert cells(tmp_path / "t.csv", escaped) == ROWS
    # Everywhere else a backslash is itself.
    table = cells(tmp_path / "t.csv", b'a,b\nC:\\x\\1.png,"D:\\"\n')
    assert table == [{"a": "C:\\x\\1.png", "b": "D:\\"}]
    error = refused(tmp_path / "t.csv", b'a,b\nC:\\x,"so \\"it, is\\""\n')
    assert error.found.startswith("line 2: ")


def test_western_text_is_read_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = cells(tmp_path / "t.csv", "a\nHerzgröße – „gut“\n".encode("cp1252"))
    assert found == [{"a": "Herzgröße – „gut“"}]
    assert "byte 0xf6 in line 2" in caplog.text
    assert "Windows-1252" in caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\nHerz\n".encode("utf-16-le"), "NUL byte in line 1"),
        ("a\nHerzgröße\n".encode("utf-16-be"), "NUL byte in line 1"),
        ("a\nсердце\n".encode("cp1251"), "another script"),  # noqa: RUF001
        ("a\n心脏正常\n".encode("gbk"), "another script"),
        ("a\nGröße\n".encode() + b"Gr\xf6\xdfe\n", "damaged or cut character"),
        ("a\nGröße\nGrö".encode()[:-1], "damaged or cut character"),
        (b"a\n\x81\n", "neither UTF-8 nor Windows-1252"),
        (b"a,b\n1,2\n3,\x004\n", "NUL byte in line 3"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "NUL byte"),
    ],
)
def test_other_encodings_are_never_guessed(
    tmp_path: Path, content: bytes, said: str
) -> None:
    assert said in refused(tmp_path / "t.csv", content).found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b" \r\n\n", "an empty file"),
        (b",,\n", "no headings"),
        (b"a,b\n1,2\n3\n", "line 3 has 1 cells"),
        (b"a,b\n1,2,3\n", "line 2 has 3 cells"),
        (b'a,b\n"x\ny",2\n3\n', "line 4 has 1 cells"),
        (b'a,b\n1,"2\n3,4\n', "line 2: unexpected end"),
        (b'a,b\n1,2\n"x" y,4\n', "line 3: "),
        (b"a, a ,b\n1,2,3\n", "more than once: a"),
        (b"a," * 20_000 + b"b\n", "20001 columns"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refused(tmp_path / "t.csv", content).found


def test_long_cells_are_read_and_endless_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = "x" * 1_000_000
    assert cells(tmp_path / "t.csv", f"a\n{report}\n".encode()) == [{"a": report}]
    monkeypatch.setattr(tables, "CELL", 1000)
    error = refused(tmp_path / "t.csv", f"a\nb\n{report}\n".encode())
    assert "more than 1000 characters from line 3" in error.found


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    odd = {
        Path("/dev/zero"): "a device or a pipe",
        tmp_path / "pipe.csv": "a device or a pipe",
        tmp_path: "a folder",
        tmp_path / "none.csv": "no such file; there: pipe.csv",
        tmp_path / "pipe.csv" / "x": "no such file",
        tmp_path / "a\0b.csv": "null byte",
    }
    for path, said in odd.items():
        with pytest.raises(DatasetNotFoundError) as caught:
            read_table(path)
        assert said in caught.value.found


def test_headings_alone_are_a_table_where_they_may_be(tmp_path: Path) -> None:
    assert "headings alone" in refused(tmp_path / "t.csv", b"a,b\n").found
    assert cells(tmp_path / "t.csv", b"a,b\n", empty=True) == []
    with pytest.raises(DatasetNotFoundError, match="columns c in"):
        cells(tmp_path / "t.csv", b"a,b\n", columns=["a", "c"])


def test_ids_are_joined_as_they_were_meant(tmp_path: Path) -> None:
    content = b"id,x\n10000032.0,1.0\n007,2\n 8 ,3\nv1.0,4\n"
    table = read_table_of(tmp_path / "t.csv", content)
    assert list(table["id"]) == ["10000032", "007", "8", "v1.0"]
    assert list(table["x"]) == ["1.0", "2", "3", "4"]
    with pytest.raises(ConfigError, match=r"2\.05E\+37 in the column id"):
        read_table_of(tmp_path / "t.csv", b"id,x\n2.05E+37,1\n")
    # The names of images may well be hexadecimal digits.
    assert plain_id("5e4738290123") == "5e4738290123"


def read_table_of(path: Path, content: bytes) -> pd.DataFrame:
    path.write_bytes(content)
    return read_table(path, ids=["id", "not there"])


def test_parquet_gives_the_cells_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame(
        {
            "id": pd.array([7, None], "Int64"),
            "text": [b"gro\xc3\x9f", None],
            "boxes": [[[1, 2, 3, 4]], None],
            "label": [0.0, float("nan")],
        }
    )
    frame.to_parquet(path)
    assert read_table(path).to_dict("records") == [
        {"id": "7", "text": "groß", "boxes": "[[1, 2, 3, 4]]", "label": "0.0"},
        {"id": "", "text": "", "boxes": "", "label": ""},
    ]
    whole = path.read_bytes()
    for size in (0, 8, len(whole) // 2, len(whole) - 4):
        assert refused(path, whole[:size]).looked_for.startswith("a table in")
    pd.DataFrame({"a": ["x\0y"]}).to_parquet(path)
    assert "NUL" in refused(path, path.read_bytes()).found


def test_spreadsheets_are_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    write_sheet(path, [{"ID ": 7, "x": 1.5, "word": "NA"}, {"ID ": 8, "word": None}])
    assert read_table(path, ["ID", "x"]).to_dict("records") == [
        {"ID": "7", "x": "1.5", "word": "NA"},
        {"ID": "8", "x": "", "word": ""},
    ]
    with pytest.raises(DatasetNotFoundError, match="columns y"):
        read_table(path, ["ID", "y"])
    whole = path.read_bytes()
    for content in (whole[:-400], whole[:40], b"a page that says 404", b""):
        assert "download the file again" in refused(path, content).do_this
    with pytest.raises(DatasetNotFoundError, match=r"spreadsheet .*b\.xlsx"):
        read_table(tmp_path / "b.xlsx")
