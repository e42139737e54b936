"""Boxes from cells, and the one rule for those that round over an edge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.pairs import write_pairs, write_table
from vlp_zoo.data.boxes import box_fault, inside, parse_boxes
from vlp_zoo.data.datamodules import Pairs
from vlp_zoo.data.pairs import read_pairs
from vlp_zoo.errors import DataRejectedError
from vlp_zoo.types import Box


@pytest.mark.parametrize(
    ("xyxy", "kept", "fault"),
    [
        ((0, 0, 32, 24), (0, 0, 32, 24), None),
        ((-0.5, -0.25, 32.5, 24.25), (0, 0, 32, 24), None),
        ((5, 2, 32.6, 4), (5, 2, 32.6, 4), "outside_box"),
        ((-0.51, 2, 6, 4), (-0.51, 2, 6, 4), "outside_box"),
        ((-0.4, 2, -0.1, 4), (0, 2, 0, 4), "inverted_box"),
        ((32.1, 2, 32.4, 4), (32, 2, 32, 4), "inverted_box"),
    ],
)
def test_half_a_pixel_is_rounding(
    xyxy: tuple[float, float, float, float],
    kept: tuple[float, float, float, float],
    fault: str | None,
) -> None:
    (box,) = inside([Box("heart", xyxy)], 24, 32)
    assert box.xyxy == kept
    assert box_fault([Box("heart", xyxy)], 24, 32) == fault


def test_studies_give_clipped_boxes_and_refuse_others(tmp_path: Path) -> None:
    _, rows = write_pairs(tmp_path, 4)
    rows[0]["boxes"] = "[[-0.3, 2, 10, 24.4]]"
    rows[1]["boxes"] = "[[0, 0, 32.7, 5]]"
    table = write_table(tmp_path / "t.csv", rows)
    studies, _ = read_pairs(table)
    assert studies[0].boxes == (Box("", (0, 2, 10, 24)),)
    with pytest.raises(DataRejectedError, match="outside_box 1"):
        Pairs(str(table), val_fraction=0, test_fraction=0).setup()


@pytest.mark.parametrize(
    "cell",
    [
        "[" * 100_000,
        '["1234"]',
        '{"1234": 0}',
        '{"xyxy": [1, 2, 3, 4]}',
        "[[1, 2, 3, 4, 5]]",
        '[{"xyxy": "1234"}]',
        "7",
    ],
)
def test_what_is_no_list_of_boxes_is_a_named_reject(tmp_path: Path, cell: str) -> None:
    _, rows = write_pairs(tmp_path, 4)
    rows[0]["boxes"] = cell
    table = write_table(tmp_path / "t.csv", rows)
    with pytest.raises(DataRejectedError, match="bad_boxes 1"):
        Pairs(str(table), val_fraction=0, test_fraction=0).setup()
    with pytest.raises(DataRejectedError, match="bad_boxes"):
        read_pairs(table)[0][0]


def test_numbers_beyond_all_are_faults() -> None:
    huge = parse_boxes("[[1, 2, 1" + "0" * 400 + ", 4]]")
    assert box_fault(huge, 24, 32) == "nan_box"
    assert box_fault(parse_boxes("[[1, 2, NaN, 4]]"), 24, 32) == "nan_box"
