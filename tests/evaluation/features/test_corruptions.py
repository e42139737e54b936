"""Corruptions: the same for everybody, stronger by severity, at every size of image."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.evaluation.stubs import BlockSource, StubEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    Corrupted,
    corrupt,
)
from vlp_zoo.evaluation.features.extraction import Extraction

Pixels = npt.NDArray[np.uint8]


def picture(side: int, colour: bool = False) -> Pixels:
    """Smooth structures with an edge, the same scene at every size."""
    y, x = np.mgrid[0:side, 0 : side + side // 4] / side
    light = 110 + 60 * np.sin(9 * x) * np.cos(7 * y) + 40 * (x + y > 1)
    if colour:
        light = np.stack([light, light * 0.7, 200 - light / 2], 2)
    return np.asarray(np.clip(light, 0, 255), np.uint8)


def distance(one: Pixels, two: Pixels) -> float:
    return float(np.abs(one.astype(float) - two).mean())


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_grows_and_nothing_hangs_on_chance(name: str, colour: bool) -> None:
    clean = picture(160, colour)
    made = [corrupt(clean, name, severity, "a") for severity in SEVERITIES]
    assert all(m.shape == clean.shape and m.dtype == np.uint8 for m in made)
    gaps = [distance(clean, each) for each in made]
    assert gaps == sorted(gaps)
    assert 0 < gaps[0] < gaps[-1]
    np.testing.assert_array_equal(made[2], corrupt(clean, name, 3, "a"))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_strength_looks_alike_at_every_stored_size(name: str) -> None:
    gaps = []
    for side in (224, 896):
        clean = picture(side)
        seen = [
            cv2.resize(each, (128, 102), interpolation=cv2.INTER_AREA)
            for each in (clean, corrupt(clean, name, 4, "a"))
        ]
        gaps.append(distance(*(np.asarray(each, np.uint8) for each in seen)))
    assert gaps[1] == pytest.approx(gaps[0], rel=0.35)


def test_colours_stay_what_they_are() -> None:
    clean = picture(224, colour=True)
    coded = corrupt(clean, "jpeg", 1, "a")
    # A swap of channels would move their means by tens of levels.
    before, after = (each.reshape(-1, 3).mean(0) for each in (clean, coded))
    np.testing.assert_allclose(after, before, atol=2)


def test_what_is_drawn_belongs_to_the_image() -> None:
    clean = picture(64)
    one, other = (corrupt(clean, "noise", 3, uid) for uid in "ab")
    assert distance(one, other) > 10
    stops = {
        corrupt(clean, "exposure", 3, f"{i}").mean() > clean.mean() for i in range(9)
    }
    assert stops == {True, False}
    # The same grains at every strength.
    weak, strong = (
        corrupt(clean, "noise", s, "a").astype(float).ravel() - clean.ravel()
        for s in (1, 2)
    )
    assert np.corrcoef(weak, strong)[0, 1] > 0.95


def test_a_corrupted_source_is_another_source_and_the_clean_one_is_not_touched() -> (
    None
):
    source, conditions = BlockSource("test", 6), [("noise", 3), ("blur", 5)]
    worse = pickle.loads(pickle.dumps(Corrupted(source, conditions)))
    assert len(worse) == len(set(worse.uids)) == 12
    np.testing.assert_array_equal(worse.labels, np.repeat(source.labels, 2, 0))
    assert worse.patient_ids[::2] == worse.patient_ids[1::2] == source.patient_ids
    for i in (4, 5, 3):
        clean, uid = source.images[i // 2], source.uids[i // 2]
        expected = corrupt(clean, *conditions[i % 2], uid)
        np.testing.assert_array_equal(worse[i].image, expected)
    prints = {
        Corrupted(source, [(n, s)]).fingerprint for n in CORRUPTIONS for s in (1, 5)
    }
    assert len(prints) == 10
    assert source.fingerprint not in prints
    how = Extraction(progress=False, cache=FeatureCache(None))
    clean_features = how.get(StubEncoder(), source).copy()
    read = source.read
    found = how.get(StubEncoder(), Corrupted(source, conditions))
    assert source.read == read + 6
    assert np.abs(found[::2] - clean_features).max() > 0.01
    np.testing.assert_array_equal(how.get(StubEncoder(), source), clean_features)


@pytest.mark.parametrize(("name", "severity"), [("fog", 1), ("noise", 0), ("noise", 6)])
def test_what_is_not_known_is_refused(name: str, severity: int) -> None:
    with pytest.raises(ConfigError, match="severity of 1 to 5"):
        corrupt(picture(16), name, severity, "a")
