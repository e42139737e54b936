"""What both worlds are: sources of studies, reproducible, with patients of one split."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlp_zoo.data.phantom.chest.source import SPLITS, PhantomChestSource
from vlp_zoo.data.phantom.fundus.source import PhantomFundusSource
from vlp_zoo.types import StudySource

World = type[PhantomChestSource] | type[PhantomFundusSource]
ALL_IMAGES: dict[World, dict[str, Any]] = {
    PhantomChestSource: {"views": "all"},
    PhantomFundusSource: {"eyes": "both"},
}
worlds = pytest.mark.parametrize("world", list(ALL_IMAGES))

DIGESTS = f"""
import hashlib
from {__name__} import ALL_IMAGES
for world, every in ALL_IMAGES.items():
    source = world("test", 9, seed=3, image_size=64, **every)
    seen = hashlib.sha256()
    for index in (7, 0, 3):
        study = source[index]
        seen.update(study.image.tobytes() + study.report.text.encode())
        seen.update(study.uid.encode() + study.labels.tobytes())
        for name in sorted(study.masks):
            seen.update(name.encode() + study.masks[name].tobytes())
    print(seen.hexdigest())
"""


@pytest.mark.slow
def test_two_processes_draw_the_same_bytes() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            capture_output=True,
            check=True,
            text=True,
            cwd=Path(__file__).parents[3],
        ).stdout
        for _ in range(2)
    }
    assert len(printed) == 1
    digests = printed.pop().split()
    assert len(set(digests)) == 2
    assert all(len(each) == 64 for each in digests)


@pytest.mark.slow
@worlds
def test_is_a_study_source(world: World) -> None:
    source = world("train", 2000, image_size=64)
    assert isinstance(source, StudySource)
    assert len(source) == len(source.uids) == len(source.patient_ids) == 2000
    assert source.labels.shape == (2000, len(source.label_names))
    assert source.labels.dtype == np.float32
    assert len(set(source.uids)) == 2000


@worlds
def test_order_of_access_does_not_matter(world: World) -> None:
    forward = world("val", 6, image_size=64)
    images = [forward[index].image for index in range(6)]
    copy = pickle.loads(pickle.dumps(forward))
    assert copy.fingerprint == forward.fingerprint
    for index in (5, 2, 0):
        np.testing.assert_array_equal(copy[index].image, images[index])


@worlds
@pytest.mark.parametrize("all_images", [False, True])
def test_a_longer_source_starts_as_a_shorter_one(
    world: World, all_images: bool
) -> None:
    more = ALL_IMAGES[world] if all_images else {}
    short, long = (world("train", n, image_size=64, **more) for n in (40, 90))
    assert long.uids[: len(short)] == short.uids
    np.testing.assert_array_equal(long.labels[: len(short)], short.labels)
    assert all(a == b for a, b in zip(short.reports(), long.reports(), strict=False))
    assert short.fingerprint != long.fingerprint


@worlds
def test_columns_agree_with_what_is_drawn(world: World) -> None:
    source = world("test", 25, image_size=48, **ALL_IMAGES[world])
    reports = list(source.reports())
    for index in range(len(source)):
        study = source[index]
        assert study.report == reports[index]
        np.testing.assert_array_equal(study.labels, source.labels[index])
        assert (study.uid, study.patient_id) == (
            source.uids[index],
            source.patient_ids[index],
        )
    assert 25 < len(source) <= 50


@worlds
def test_seed_and_split_change_the_picture(world: World) -> None:
    base = world("train", 3, image_size=64)[0].image
    for split, seed in (("train", 1), ("test", 0)):
        other = world(split, 3, seed, 64)[0].image
        assert (other != base).mean() > 0.5


@worlds
def test_patients_of_splits_are_different_people(world: World) -> None:
    people = [set(world(split, 500).patient_ids) for split in SPLITS]
    assert not people[0] & people[1]
    assert not people[0] & people[2]
    assert not people[1] & people[2]
    assert 200 < len(people[0]) < 450


@worlds
def test_fingerprint_is_a_sha256_of_what_was_chosen(world: World) -> None:
    prints = {
        world("train", 10).fingerprint,
        world("train", 10, image_size=112).fingerprint,
        world("train", 10, seed=1).fingerprint,
        world("train", 10, **ALL_IMAGES[world]).fingerprint,
    }
    assert len(prints) == 4
    assert all(len(each) == len(hashlib.sha256().hexdigest()) for each in prints)
