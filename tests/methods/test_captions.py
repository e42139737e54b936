"""Captions and squares that ASG, MGCA and GLoRIA share."""

from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.methods.paired.captions import caption, official_sentences
from vlp_zoo.methods.paired.square import fit_square, square_crop


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Clear.\nNo edema\nor fluid.", ["no edema or fluid"]),
        ("1. Small mass.\n2. New tube.", ["small mass", "new tube"]),
        ("Mass of 4.5 cm is seen", ["mass of", "5 cm is seen"]),
        ("\ufffd\ufffdtwo\ufffd\ufffdmarks", ["two marks"]),
        ("Na\u00efve heart_size ___", ["nave heart_size ___"]),
        ("\u03b1 \u03b2. Lungs clear", ["", "lungs clear"]),
        ("\u03b1 clear", ["clear"]),
        (" . . 3. ", []),
    ],
)
def test_sentences_are_cut_as_in_the_released_code(
    text: str, expected: list[str]
) -> None:
    assert official_sentences(text) == expected


def test_our_sentences_keep_decimals_together() -> None:
    assert caption("Mass of 4.5 cm. Clear.") == ["mass of 4 5 cm", "clear"]


def test_the_shorter_side_is_rounded_or_cut() -> None:
    image = np.full((50, 33), 200, np.uint8)
    heights = {}
    for official in (False, True):
        square, _ = fit_square(image.T, 36, antialias=True, official=official)
        assert square.shape == (36, 36)
        heights[official] = int((square.max(1) > 0).sum())
    assert heights == {False: 24, True: 23}


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("shape", [(49, 49), (10, 400), (7, 5)])
def test_every_image_fills_the_longer_side(
    shape: tuple[int, int], official: bool
) -> None:
    image = np.full(shape, 90, np.uint8)
    square, placement = fit_square(image, 24, antialias=True, official=official)
    assert square.any(1).all() or square.any(0).all()
    assert placement.size == 24


def test_crops_are_centred_without_training() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    rng = np.random.default_rng(0)
    crop, placement = square_crop(image, rng, 4, 8, train=False)
    assert np.array_equal(crop, image[2:6, 2:6])
    assert (placement.left, placement.top) == (-2, -2)
    places = {square_crop(image, rng, 4, 8, train=True)[1].left for _ in range(60)}
    assert places == {0, -1, -2, -3, -4}
