"""Damaged tables, by every reader: the rows of the whole table, or a named refusal.

Every kind of damage meets the tables of many data sets, written in their official
layouts. What is read must be, cell for cell, what the undamaged table gives; anything
else must be refused by name, without a traceback and in time.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import random
import re
import shutil
import signal
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.aptos import write_aptos
from tests.fakes.chexpert import write_chexpert
from tests.fakes.eyepacs import write_eyepacs
from tests.fakes.messidor2 import write_messidor2
from tests.fakes.mimic_cxr import write_mimic_cxr
from tests.fakes.mured import write_mured
from tests.fakes.nih14 import write_nih14
from tests.fakes.odir import write_odir
from tests.fakes.openi import write_openi_kaggle
from tests.fakes.padchest import write_padchest
from tests.fakes.pairs import write_pairs
from tests.fakes.rsna import write_rsna
from tests.fakes.vindr import write_vindr
from vlp_zoo.data.catalogue import card_of, load
from vlp_zoo.data.pairs import read_pairs, splits_of
from vlp_zoo.data.precheck import find_rejected
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.errors import VLPZooError

SECONDS = 20
"""For one table of a few rows; anything longer hangs."""

Rows = list[list[str]]


def _pairs(root: Path) -> tuple[FileStudies, list[str]]:
    studies, released = read_pairs(root / "pairs.csv")
    return studies, splits_of(root / "pairs.csv", studies, released)


def _official(name: str) -> Callable[[Path], tuple[FileStudies, list[str]]]:
    return lambda root: load(card_of(name), root)


@dataclass(frozen=True)
class Reader:
    """A data set in small, its table, and a column whose cells are labels or ids."""

    write: Callable[[Path], Any]
    table: str
    read: Callable[[Path], tuple[FileStudies, list[str]]]
    key: str
    label: str = ""
    joined: bool = True
    """Whether the ids are looked up elsewhere: nobody knows how patients are called."""
    optional: str = ""
    """What is said where the table is not there and the others are read without it."""


READERS = {
    "pairs": Reader(
        write_pairs,
        "pairs.csv",
        _pairs,
        "patient_id",
        "label_effusion",
        joined=False,
    ),
    "mimic metadata": Reader(
        lambda root: write_mimic_cxr(root, faults=False),
        "mimic-cxr-2.0.0-metadata.csv.gz",
        _official("mimic_cxr"),
        "subject_id",
    ),
    "mimic split": Reader(
        lambda root: write_mimic_cxr(root, faults=False),
        "mimic-cxr-2.0.0-split.csv.gz",
        _official("mimic_cxr"),
        "dicom_id",
        "split",
    ),
    "mimic labels": Reader(
        lambda root: write_mimic_cxr(root, faults=False),
        "mimic-cxr-2.0.0-chexpert.csv.gz",
        _official("mimic_cxr"),
        "study_id",
        "Edema",
        optional="all labels are unknown",
    ),
    "openi reports": Reader(
        write_openi_kaggle, "indiana_reports.csv", _official("openi"), "uid"
    ),
    "openi images": Reader(
        write_openi_kaggle, "indiana_projections.csv", _official("openi"), "uid"
    ),
    "chexpert": Reader(
        write_chexpert, "train.csv", _official("chexpert"), "Path", "Edema"
    ),
    "nih14": Reader(
        write_nih14,
        "Data_Entry_2017_v2020.csv",
        _official("nih14"),
        "Patient ID",
        "Finding Labels",
        joined=False,
    ),
    "padchest": Reader(
        write_padchest,
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        _official("padchest"),
        "StudyID",
        "Labels",
        joined=False,
    ),
    "vindr": Reader(
        write_vindr,
        "annotations/image_labels_train.csv",
        _official("vindr"),
        "image_id",
        "Cardiomegaly",
        optional="no image_labels_train.csv",
    ),
    "rsna": Reader(
        write_rsna, "stage_2_train_labels.csv", _official("rsna"), "patientId", "Target"
    ),
    "aptos": Reader(
        write_aptos, "train.csv", _official("aptos"), "id_code", "diagnosis"
    ),
    "eyepacs": Reader(
        write_eyepacs, "trainLabels.csv", _official("eyepacs"), "image", "level"
    ),
    "mured": Reader(write_mured, "train_data.csv", _official("mured"), "ID", "DR"),
    "odir": Reader(write_odir, "full_df.csv", _official("odir"), "ID", joined=False),
    "messidor2": Reader(
        write_messidor2,
        "messidor_data.csv",
        _official("messidor2"),
        "image_id",
        "adjudicated_dr_grade",
    ),
}


# Damage: content of the unpacked table to content, or to what lies in its place. -----


def _parsed(content: bytes) -> Rows:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def _written(rows: Rows, **options: Any) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n", **options).writerows(rows)
    return stream.getvalue().encode()


def _each(content: bytes, change: Callable[[list[str]], list[str]]) -> bytes:
    head, *rest = _parsed(content)
    return _written([head, *map(change, rest)])


def _in_column(
    content: bytes, column: str, change: Callable[[str], str], only: int | None = None
) -> bytes:
    head, *rest = _parsed(content)
    place = [name.strip() for name in head].index(column)
    for i, row in enumerate(rest):
        if only is None or i == only % len(rest):
            row[place] = change(row[place])
    return _written([head, *rest])


def _as_float(cell: str) -> str:
    return f"{cell}.0" if cell.isdecimal() and not cell.startswith("0") else cell


def _ragged_cut(content: bytes, rng: random.Random) -> bytes:
    """Cut in a row, so that cells are missing: nobody can see a cut between two rows."""
    rows = _parsed(content)
    row = rng.randrange(1, len(rows))
    cells = rng.randrange(0, len(rows[row]) - 1)
    return _written(rows[:row]) + _written([rows[row][: cells + 1]])[:-1]


def _at(content: bytes, rng: random.Random, piece: bytes) -> bytes:
    place = rng.randrange(content.index(b"\n") + 1, len(content))
    return content[:place] + piece + content[place:]


def _zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", content)
    return stream.getvalue()


def _shortened(packed: bytes, rng: random.Random) -> bytes:
    return packed[: rng.randrange(12, len(packed) - 1)]


def _twice(content: bytes) -> bytes:
    rows = _parsed(content)
    return _written([[*row, row[0]] for row in rows])


Damage = Callable[[bytes, random.Random, Reader], bytes]

SAME: dict[str, Damage] = {
    "whole": lambda c, r, k: c,
    "mark": lambda c, r, k: b"\xef\xbb\xbf" + c,
    "crlf": lambda c, r, k: re.sub(rb"\r?\n", b"\r\n", c),
    "no last line end": lambda c, r, k: c.rstrip(b"\n"),
    "blank lines": lambda c, r, k: b"\n" + c + b"\n\n",
    "blank rows": lambda c, r, k: c + b"," * (len(_parsed(c)[0]) - 1) + b"\n",
    "trailing commas": lambda c, r, k: _written([[*row, "", ""] for row in _parsed(c)]),
    "trailing commas in rows": lambda c, r, k: _each(c, lambda row: [*row, ""]),
    "all quoted": lambda c, r, k: _written(_parsed(c), quoting=csv.QUOTE_ALL),
    "blanks in headings": lambda c, r, k: _written(
        [[f" {name} " for name in _parsed(c)[0]], *_parsed(c)[1:]]
    ),
    "semicolons": lambda c, r, k: _written(_parsed(c), delimiter=";"),
    "tabs": lambda c, r, k: _written(_parsed(c), delimiter="\t"),
    "utf-16": lambda c, r, k: c.decode().encode("utf-16"),
    "gzip": lambda c, r, k: gzip.compress(c),
    "xz": lambda c, r, k: lzma.compress(c),
    "bzip2": lambda c, r, k: bz2.compress(c),
    "zip": lambda c, r, k: _zipped(c),
    "ids as floats": lambda c, r, k: _in_column(c, k.key, _as_float),
    "blanks around ids": lambda c, r, k: _in_column(c, k.key, lambda v: f" {v} "),
    "one more column": lambda c, r, k: _written(
        [[*row, "new" if i == 0 else "x"] for i, row in enumerate(_parsed(c))]
    ),
}
"""What leaves the meaning alone: the same rows, or a refusal."""

CUT: dict[str, Damage] = {
    "cut in a row": lambda c, r, k: _ragged_cut(c, r),
    "cut gzip": lambda c, r, k: _shortened(gzip.compress(c), r),
    "cut xz": lambda c, r, k: _shortened(lzma.compress(c), r),
    "cut bzip2": lambda c, r, k: _shortened(bz2.compress(c), r),
    "cut zip": lambda c, r, k: _shortened(_zipped(c), r),
    "a cell less": lambda c, r, k: _written(
        [*_parsed(c)[:1], _parsed(c)[1][:-1], *_parsed(c)[2:]]
    ),
    "a cell more": lambda c, r, k: _written(
        [*_parsed(c)[:1], [*_parsed(c)[1], "x"], *_parsed(c)[2:]]
    ),
    "a quote is open": lambda c, r, k: _written([*_parsed(c), ["@"]]).replace(
        b"@", b'"open'
    ),
    "NUL": lambda c, r, k: _at(c, r, b"\0"),
    "utf-16 without mark": lambda c, r, k: c.decode().encode("utf-16-le"),
    "another script": lambda c, r, k: (
        _in_column(c, k.key, lambda v: "患者编号" + v).decode().encode("gbk", "replace")
    ),
    "a damaged character": lambda c, r, k: (
        _in_column(c, k.key, lambda v: "ü" + v) + b"\xfc"
    ),
    "headings twice": lambda c, r, k: _twice(c),
    "no headings": lambda c, r, k: c.split(b"\n", 1)[1],
    "headings alone": lambda c, r, k: c.split(b"\n", 1)[0] + b"\n",
    "empty": lambda c, r, k: b"",
    "a web page": lambda c, r, k: b"<!DOCTYPE html>\n<html><p>Sign in, please</p>\n",
    "an image": lambda c, r, k: b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "noise": lambda c, r, k: r.randbytes(2000),
    "rounded ids": lambda c, r, k: _in_column(c, k.key, lambda v: "2.05E+37"),
    "other ids": lambda c, r, k: (
        _in_column(c, k.key, lambda v: f"other{v}") if k.joined else b""
    ),
    "a label in words": lambda c, r, k: (
        _in_column(c, k.label, lambda v: "perhaps", only=1) if k.label else b""
    ),
    "a label out of range": lambda c, r, k: (
        _in_column(c, k.label, lambda v: "77", only=1) if k.label else b""
    ),
}
"""What must not pass: other rows than those of the whole table are silent damage."""

PLACES = ("a device", "a pipe", "a folder", "nothing")
HUGE = {"two million columns": b"a," * 2_000_000 + b"b\n1\n"}


# Verdicts -----------------------------------------------------------------------------


@contextmanager
def _in_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Seen:
    """What came of a table: every row as text, its split, and which rows are usable."""

    rows: list[str]
    splits: list[str]
    usable: list[int]


def _seen(found: tuple[FileStudies, list[str]], root: Path) -> Seen:
    studies, splits = found
    rejected = {
        (item.row, item.uid)
        for item in find_rejected(studies, need_report=False, progress=False)
    }
    pairs = list(zip(studies.rows, studies.uids, strict=True))
    usable = [i for i, pair in enumerate(pairs) if pair not in rejected]
    return Seen(_snapshot(studies, root), splits, usable)


def _snapshot(studies: FileStudies, root: Path) -> list[str]:
    return [
        repr(
            (
                studies.uids[i],
                studies.patient_ids[i],
                studies.study_ids[i],
                studies.images[i],
                studies.texts[i],
                studies.views[i],
                np.nan_to_num(studies.labels[i], nan=-9).tolist(),
                studies.boxes[i],
                studies.masks[i],
            )
        ).replace(str(root), "ROOT")
        for i in range(len(studies))
    ]


def _put(path: Path, place: str) -> None:
    path.unlink()
    if place == "a device":
        path.symlink_to("/dev/zero")
    elif place == "a pipe":
        os.mkfifo(path)
    elif place == "a folder":
        path.mkdir()


def _verdict(reader: Reader, root: Path, expected: Seen) -> str:
    try:
        with _in_time():
            found = _seen(reader.read(root), root)
    except VLPZooError:
        return "refused"
    except TimeoutError:
        return "hang"
    except Exception as error:  # noqa: BLE001  # what is counted here
        return f"traceback {type(error).__name__}: {error}"
    if found == expected:
        return "right"
    # Rows that are rejected by name are counted; those that are used must be right.
    good = {expected.rows[i] for i in expected.usable}
    used = {found.rows[i] for i in found.usable}
    whole = len(found.rows) == len(expected.rows) and len(found.usable) < len(good)
    return "rejected" if whole and used <= good else "silent"


@pytest.mark.slow  # some hundreds of small data sets
def test_damaged_tables_are_right_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(13)
    counts: Counter[str] = Counter()
    faults = []
    for name, reader in READERS.items():
        whole = tmp_path / name / "whole"
        whole.mkdir(parents=True)
        reader.write(whole)
        expected = _seen(reader.read(whole), whole)
        assert expected.usable
        packed = reader.table.endswith(".gz")
        content = (whole / reader.table).read_bytes()
        content = gzip.decompress(content) if packed else content
        root = tmp_path / name / "damaged"
        shutil.copytree(whole, root)
        path = root / reader.table
        for kind in (*SAME, *CUT, *PLACES, *HUGE):
            if kind in PLACES:
                _put(path, kind)
            else:
                damage = SAME.get(kind) or CUT.get(kind)
                changed = damage(content, rng, reader) if damage else HUGE[kind]
                # A table that is packed on PhysioNet is packed here, damage inside.
                inside = packed and not changed.startswith((b"\x1f\x8b", b"PK", b"BZh"))
                path.write_bytes(gzip.compress(changed) if inside else changed)
            caplog.clear()
            verdict = _verdict(reader, root, expected)
            if kind == "nothing" and reader.optional in caplog.text:
                verdict = "said" if reader.optional else verdict
            counts[verdict.split()[0]] += 1
            if verdict not in ("right", "refused", "rejected", "said") or (
                kind == "whole" and verdict != "right"
            ):
                faults.append(f"{name}, {kind}: {verdict}")
            if path.is_dir():
                path.rmdir()
            elif path.is_symlink() or path.exists():
                path.unlink()
            shutil.copy(whole / reader.table, path)
    print(f"{counts.total()} tables: {dict(counts)}")
    assert not faults, "\n".join(faults)
    assert counts.total() >= 200
    assert counts["right"] >= 300
    assert counts["refused"] >= 300
