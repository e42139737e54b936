"""Augmentation: one geometry for all, seeded by the case, lazily imported."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from vlp_zoo.augment import PIPELINES, Augment
from vlp_zoo.errors import ConfigError
from vlp_zoo.types import Box, Report, Study


def square(height: int = 60, width: int = 80) -> Study:
    """A bright square with its mask and its box."""
    image = np.full((height, width), 40, np.uint8)
    mask = np.zeros((height, width), np.bool_)
    mask[20:40, 30:50] = True
    image[mask] = 200
    box = Box("lesion", (30, 20, 50, 40), "lesion")
    return Study("u", "p", "s", image, Report(""), boxes=(box,), masks={"m": mask})


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("resize", ["pad", "squash", "short"])
def test_mask_and_box_follow_the_image(name: str, resize: str) -> None:
    augment = Augment(name, 64, resize=resize)
    for seed in range(8):
        made = augment(square(), np.random.default_rng(seed))
        assert made.image.shape == made.masks["m"].shape == (64, 64)
        if not made.masks["m"].any():
            continue
        inside = float(made.image[made.masks["m"]].mean())
        assert inside > float(made.image[~made.masks["m"]].mean()) + 60
        if made.boxes:
            x1, y1, x2, y2 = made.boxes[0].xyxy
            rows, columns = np.nonzero(made.masks["m"])
            # A rotated box encloses the rotated square, so it may be larger.
            assert x1 - 2 <= columns.min()
            assert columns.max() <= x2 + 2
            assert y1 - 2 <= rows.min()
            assert rows.max() <= y2 + 2


def test_the_case_decides_and_pickling_changes_nothing() -> None:
    augment = Augment("finetune", 32)
    first = augment(square(), np.random.default_rng(5)).image
    _ = augment(square(), np.random.default_rng(6))
    again = pickle.loads(pickle.dumps(augment))  # what workers do
    assert np.array_equal(again(square(), np.random.default_rng(5)).image, first)
    other = augment(square(), np.random.default_rng(7)).image
    assert not np.array_equal(other, first)


def test_nothing_is_mirrored_unless_asked() -> None:
    for seed in range(20):
        made = Augment("none", 80)(square(80, 80), np.random.default_rng(seed))
        assert np.array_equal(made.image, square(80, 80).image)
    made = Augment("none", 80, flip=1.0)(square(80, 80), np.random.default_rng(0))
    assert np.array_equal(made.image, square(80, 80).image[:, ::-1])


def test_a_black_surround_is_cut_with_masks_and_boxes() -> None:
    study = square(60, 60)
    image = np.zeros((100, 120), np.uint8)
    image[20:80, 40:100] = study.image
    mask = np.zeros((100, 120), np.bool_)
    mask[20:80, 40:100] = study.masks["m"]
    framed = Study(
        *("u", "p", "s", image, Report("")),
        boxes=(Box("lesion", (70, 40, 90, 60)),),
        masks={"m": mask},
    )
    made = Augment("none", 60, crop_content=True)(framed, np.random.default_rng(0))
    assert np.array_equal(made.image, study.image)
    assert np.array_equal(made.masks["m"], study.masks["m"])
    assert made.boxes[0].xyxy == pytest.approx((30, 20, 50, 40))


def test_colour_stays_colour_and_no_boxes_are_no_problem() -> None:
    study = Study("u", "p", "s", np.zeros((30, 40, 3), np.uint8), Report(""))
    made = Augment("dense", 32)(study, np.random.default_rng(0))
    assert made.image.shape == (32, 32, 3)
    assert made.boxes == ()
    assert made.masks == {}


def test_a_wrong_name_is_one_message() -> None:
    with pytest.raises(ConfigError, match="none, finetune, dense"):
        Augment("strong", 32)


def test_importing_the_module_does_not_import_albumentations() -> None:
    code = "import sys, vlp_zoo.augment; assert 'albumentations' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_crop_of_what_was_fitted_to_more_than_is_seen() -> None:
    study = square(80, 80)
    middle = Augment("none", 70, fit=80)(study, np.random.default_rng(0)).image
    assert np.array_equal(middle, study.image[5:75, 5:75])
    seen = {
        Augment("crop", 70, fit=80)(study, np.random.default_rng(i)).image.tobytes()
        for i in range(12)
    }
    assert len(seen) > 6
    # The short side decides, and the middle of the long one is seen.
    made = Augment("none", 60, resize="short")(square(60, 80), np.random.default_rng(0))
    assert np.array_equal(made.image, square(60, 80).image[:, 10:70])
    with pytest.raises(ConfigError, match="fitted to no less"):
        Augment("crop", 70, fit=60)
