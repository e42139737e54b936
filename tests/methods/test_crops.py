"""One rule of cropping that methods can be given, as comparisons need it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.methods.cases import BUILDERS
from tests.methods.test_hues import batch_of, study
from vlp_zoo.errors import ConfigError
from vlp_zoo.methods import METHODS
from vlp_zoo.methods.loading import method_class
from vlp_zoo.transforms import random_resized_crop, resize
from vlp_zoo.types import Box

STILL: dict[str, dict[str, Any]] = {
    "clip": {"jitter": 0.0},
    "medclip": {"jitter": 0.0},
    "place": {"jitter": 0.0},
    "mflag": {"rotation": [0.0, 0.0], "perspective": 0.0, "autocontrast": 0.0},
    "imitate": {
        "horizontal_flip": 0.0,
        "vertical_flip": 0.0,
        "rotation": 0.0,
        "perspective": 0.0,
        "autocontrast": 0.0,
    },
}
"""Options that leave the crop alone as what chance does to an image."""

rng = np.random.default_rng(0)
NOISE = rng.integers(0, 256, (72, 72), dtype=np.uint8)
NOISE[0, 0], NOISE[-1, -1] = 0, 255  # of the whole range, so that nothing is stretched
NOISE[0, 1:], NOISE[-1, :-1], NOISE[1:, 0], NOISE[:-1, -1] = 9, 9, 9, 9


@pytest.mark.parametrize("method", METHODS)
def test_the_whole_image_is_a_crop_of_every_method(method: str) -> None:
    module = BUILDERS[method](crop_scale=1.0, **STILL.get(method, {}))
    for train in (True, False):
        seen = batch_of(module, [NOISE], train)
        for view in (name for name in seen if name.startswith("image")):
            (pixels,) = seen[view][0].numpy()
            # A square of another ratio than 1 is not inside a square: all is left.
            assert np.array_equal(pixels, resize(NOISE, len(pixels))), view


@pytest.mark.parametrize("method", ["asg", "imitate", "mflag", "mgca"])
def test_crops_of_any_size_are_drawn_like_those_of_the_others(method: str) -> None:
    module = BUILDERS[method](crop_scale=0.3, **STILL.get(method, {}))
    example = module.make_transform(True)(study(0, NOISE), np.random.default_rng(5))
    wanted, _ = random_resized_crop(
        NOISE,
        np.random.default_rng(5),
        module.options.image_size,
        scale=(0.3, 1.0),
    )
    assert np.array_equal(example["image"][0], wanted)


def test_regions_move_with_a_crop_of_any_size() -> None:
    transform = BUILDERS["asg"](crop_scale=0.3).make_transform(True)
    _, place = transform.crop(NOISE, np.random.default_rng(5))
    side = transform.image_px
    corner = (place.left + place.width / 2, place.top + place.height / 2)
    end = (place.left + place.width, place.top + place.height)
    moved = place.apply(Box("region", (*corner, *end)))
    assert moved is not None
    assert moved.xyxy == pytest.approx((side / 2, side / 2, side, side))
    outside = Box("region", (end[0], end[1], end[0] + 5, end[1] + 5))
    assert place.apply(outside) is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_that_cannot_be_is_refused(method: str, share: float) -> None:
    with pytest.raises(ConfigError, match="crop_scale"):
        method_class(METHODS[method])(crop_scale=share)


@pytest.mark.parametrize("other", [{"resize": 64}, {"antialias": False}])
def test_asg_crops_in_one_way(other: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="crop_scale"):
        method_class(METHODS["asg"])(crop_scale=0.5, **other)
