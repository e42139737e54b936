"""CheXlocalize: run lengths and polygons of ten findings, renamed, empty and undrawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.readers.rejects import rejected
from tests.fakes.chexlocalize import BROKEN, compressed, write_chexlocalize
from vlp_zoo.data.catalogue import load, split_of
from vlp_zoo.data.chest.chexlocalize import CARD, MASK_NAMES, read
from vlp_zoo.data.masks import decode_coco_rle
from vlp_zoo.errors import ConfigError, DatasetNotFoundError


@pytest.mark.parametrize("inner", [".", "chexlocalize"])
def test_reads_both_halves(tmp_path: Path, inner: str) -> None:
    (tmp_path / inner).mkdir(exist_ok=True)
    write_chexlocalize(tmp_path / inner)
    records = list(read(tmp_path))
    assert len(records) == 8
    assert all(r.image.is_file() for r in records)
    # The names that the data set chexpert has for them: its "val" is "valid" there.
    assert records[0].uid == "valid/patient64541/study1/view1_frontal"
    assert records[0].image.parts[-4] == "val"
    assert split_of(CARD, records, "official") == [*["val"] * 3, *["test"] * 5]
    assert records[2].view == "LATERAL"


def test_masks_are_named_as_labels_and_joined(tmp_path: Path) -> None:
    write_chexlocalize(tmp_path, faults=False)
    studies, _ = load(CARD, tmp_path)
    masks = studies[0].masks
    assert set(masks) == set(MASK_NAMES) <= set(CARD.label_names)
    opacity = np.zeros((40, 48), np.bool_)
    opacity[4:21, 6:19] = True
    opacity[28:35, 30:42] = True
    assert (masks["Lung Opacity"] == opacity).all()
    assert not any(mask.any() for name, mask in masks.items() if name != "Lung Opacity")


def test_polygons_give_the_same_where_there_are_no_run_lengths(tmp_path: Path) -> None:
    write_chexlocalize(tmp_path, faults=False)
    expected = [study.masks for study in (load(CARD, tmp_path)[0][i] for i in range(8))]
    for path in (tmp_path / "CheXlocalize").glob("gt_segmentations_*.json"):
        path.unlink()
    studies, _ = load(CARD, tmp_path)
    for i, masks in enumerate(expected):
        found = studies[i].masks
        assert found.keys() == masks.keys()
        assert all((found[name] == mask).all() for name, mask in masks.items())
    assert len(next(read(tmp_path)).masks) == 11


def test_images_that_are_not_in_the_table_of_masks(tmp_path: Path) -> None:
    write_chexlocalize(tmp_path, faults=False)
    studies, _ = load(CARD, tmp_path)
    # Nothing found, and pneumonia, which is none of the ten: ten empty masks.
    for i in (4, 6):
        assert set(studies[i].masks) == set(MASK_NAMES)
        assert not any(mask.any() for mask in studies[i].masks.values())
    # A finding that nobody drew: unknown.
    assert studies[7].masks == {}


def test_masks_become_smaller_with_the_image(tmp_path: Path) -> None:
    write_chexlocalize(tmp_path, faults=False, size=(20, 24))
    studies, _ = load(CARD, tmp_path)
    mask = studies[1].masks["Cardiomegaly"]
    assert mask.shape == (20, 24)
    rows, columns = np.nonzero(mask)
    assert 2 <= rows.min() <= rows.max() <= 10
    assert 3 <= columns.min() <= columns.max() <= 9


def test_run_lengths_survive_their_encoding() -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 7), (40, 48)):
        for share in (0.0, 0.02, 0.5, 1.0):
            mask = rng.random(shape) < share
            assert (decode_coco_rle(compressed(mask), *shape) == mask).all()
    # An empty mask of the release: one run that is as long as the image is large.
    assert not decode_coco_rle({"size": [2320, 2828], "counts": "PVWX6"}, 1, 1).any()


def test_the_cut_file_is_found(tmp_path: Path) -> None:
    write_chexlocalize(tmp_path)
    assert rejected(CARD, tmp_path) == [(BROKEN, "truncated")]


def test_messages_name_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"CheXpert/test_labels\.csv"):
        list(read(tmp_path))
    write_chexlocalize(tmp_path)
    path = tmp_path / "CheXlocalize" / "gt_segmentations_test.json"
    for text in ('{"patient64741_study1_view1_frontal": {"Edema": {}}}', "[]", "{"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="gt_segmentations_test"):
            list(read(tmp_path))
    for table in (tmp_path / "CheXlocalize").iterdir():
        table.unlink()
    with pytest.raises(DatasetNotFoundError, match="put the folder CheXlocalize"):
        list(read(tmp_path))
