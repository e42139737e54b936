"""The fundus world: reproducible, plausible, without shortcuts, true to the pixel."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vlp_zoo.data.phantom.fundus.anatomy import REGIONS
from vlp_zoo.data.phantom.fundus.camera import CAMERAS, measured_camera
from vlp_zoo.data.phantom.fundus.facts import (
    KINDS,
    LABELS,
    LESION_LABELS,
    QUADRANTS,
    EyeFacts,
)
from vlp_zoo.data.phantom.fundus.source import (
    PhantomFundusGrades,
    PhantomFundusSource,
)
from vlp_zoo.errors import ConfigError, UnknownNameError
from vlp_zoo.types import Study


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    source = PhantomFundusSource("train", 70, seed=1, image_size=96, eyes="both")
    return [source[index] for index in range(len(source))]


@pytest.fixture(scope="module")
def crowd() -> PhantomFundusSource:
    return PhantomFundusSource("train", 2000, image_size=64)


def _all_facts(source: PhantomFundusSource, count: int) -> list[EyeFacts]:
    return [source.eye_facts(index) for index in range(count)]


def test_an_image_is_of_a_visit_and_an_eye() -> None:
    source = PhantomFundusSource("test", 20, image_size=48, eyes="both")
    for index in range(len(source)):
        study = source[index]
        assert study.study_id == source.study_ids[index]
        assert study.facts["eye"] == source.eyes[index]
    assert len(source) == 40
    assert len(set(source.study_ids)) == 20


def test_one_eye_is_among_both() -> None:
    one = PhantomFundusSource("train", 8, image_size=48)
    both = PhantomFundusSource("train", 8, image_size=48, eyes="both")
    assert set(one.eyes) == {"left", "right"}
    for index, uid in enumerate(one.uids):
        same = both[both.uids.index(uid)]
        np.testing.assert_array_equal(one[index].image, same.image)
        assert one[index].report == same.report


@pytest.mark.slow
def test_prevalence_and_co_occurrence(crowd: PhantomFundusSource) -> None:
    labels = dict(zip(LABELS, crowd.labels.T, strict=True))
    share = {name: float(np.nanmean(column)) for name, column in labels.items()}
    assert 0.3 < share["normal"] < 0.5
    assert 0.25 < share["diabetic retinopathy"] < 0.45
    assert 0.18 < share["referable diabetic retinopathy"] < 0.35
    for name in set(LABELS) - {"normal", "geographic atrophy", "laser scars"}:
        assert 0.04 < share[name] < 0.45, name
    for name in ("geographic atrophy", "laser scars"):
        assert 0.02 < share[name] < 0.1, name
    ill = labels["diabetic retinopathy"] == 1
    assert np.nanmean(labels["hemorrhages"][ill]) > 2 * share["hemorrhages"]
    assert 0.05 < np.isnan(crowd.labels).any(1).mean() < 0.25


@pytest.mark.slow
def test_eyes_of_a_patient_resemble_each_other() -> None:
    source = PhantomFundusSource("train", 400, eyes="both")
    facts = _all_facts(source, len(source))
    grades = np.array([f.dr_grade for f in facts]).reshape(-1, 2)
    cups = np.array([f.cup for f in facts]).reshape(-1, 2)
    assert np.corrcoef(grades.T)[0, 1] > 0.8
    assert 0.4 < np.corrcoef(cups.T)[0, 1] < 0.98
    assert (grades[:, 0] != grades[:, 1]).any()


@pytest.mark.slow
def test_normal_means_no_disease(crowd: PhantomFundusSource) -> None:
    labels = dict(zip(LABELS, crowd.labels.T, strict=True))
    well = labels["normal"] == 1
    for name in set(LABELS) - {"normal"}:
        assert not labels[name][well].any(), name
    healthy = [f for f in _all_facts(crowd, 300) if not f.lesions and not f.glaucoma]
    assert all(f.cup < 0.55 and f.dr_grade == 0 and not f.amd for f in healthy)


@pytest.mark.slow
def test_grades_follow_the_international_scale(crowd: PhantomFundusSource) -> None:
    seen = set()
    for facts in _all_facts(crowd, 800):
        places = {lesion.kind: set(lesion.places) for lesion in facts.lesions}
        diabetic = set(places) - {
            "drusen",
            "geographic atrophy",
            "subretinal hemorrhage",
            "disc hemorrhage",
            "laser scars",
        }
        fresh = {kind for kind in diabetic if "neovasc" in kind or "preret" in kind}
        match facts.dr_grade:
            case 0:
                assert not diabetic
            case 1:
                assert diabetic == {"microaneurysms"}
            case 2:
                assert len(diabetic) > 1
                assert not fresh
                assert set(QUADRANTS) - places.get("blot hemorrhages", set())
            case 3:
                assert not fresh
                assert places["blot hemorrhages"] == set(QUADRANTS)
            case 4:
                assert fresh
        seen.add(facts.dr_grade)
    assert seen == {0, 1, 2, 3, 4}


def test_grades_label_the_same_photographs() -> None:
    found = PhantomFundusSource("val", 40, image_size=64)
    graded = PhantomFundusGrades("val", 40, image_size=64)
    grades = [facts.dr_grade for facts in _all_facts(found, 40)]
    assert len(set(grades)) > 2
    assert graded.labels.shape == (40, len(graded.label_names)) == (40, 5)
    assert graded.labels.argmax(1).tolist() == grades
    assert (graded.labels.sum(1) == 1).all()
    assert graded.fingerprint == found.fingerprint
    study = graded[3]
    assert np.array_equal(study.image, found[3].image)
    assert np.array_equal(study.labels, graded.labels[3])


def test_cup_tells_glaucoma(crowd: PhantomFundusSource) -> None:
    for facts in _all_facts(crowd, 400):
        low, high = {0: (0.1, 0.55), 1: (0.65, 0.95), -1: (0.55, 0.66)}[facts.glaucoma]
        assert low < facts.cup < high
        assert not facts.notch or facts.glaucoma == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [240, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_camera_gives_nothing_away(count: int) -> None:
    """No label is read from colour, contrast, noise, field, make, haze or eye.

    Under chance the AUROC of n1 positives and n0 negatives has a standard error of
    sqrt((n0 + n1 + 1) / (12 n0 n1)); 4.5 of those leave the 15 x 15 looks a chance of
    one in 650 of failing on a world without shortcuts.
    """
    crowd = PhantomFundusSource("train", count, image_size=128)
    measured = np.stack([measured_camera(crowd[i].image) for i in range(count)])
    cameras = [crowd.camera(i) for i in range(count)]
    settings = [
        [camera.model == name for name in CAMERAS] + [camera.haze, camera.blur]
        for camera in cameras
    ]
    right = [[eye == "right"] for eye in crowd.eyes[:count]]
    features = np.column_stack([measured, settings, right])
    for place, name in enumerate(LABELS):
        truth = crowd.labels[:count, place]
        known = ~np.isnan(truth)
        positives = int(truth[known].sum())
        negatives = int(known.sum()) - positives
        error = np.sqrt((positives + negatives + 1) / (12 * positives * negatives))
        for column in range(features.shape[1]):
            area = roc_auc_score(truth[known], features[known, column])
            assert abs(area - 0.5) < 4.5 * error, (name, column, area)


def test_pictures_look_like_photographs(studies: list[Study]) -> None:
    for study in studies:
        assert study.image.dtype == np.uint8
        assert study.image.shape == (96, 96, 3)
        corners = study.image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.max() == 0
        inside = study.image[30:66, 30:66].reshape(-1, 3).mean(0)
        assert inside[0] > inside[1] > inside[2], study.uid
        green, disc = study.image[..., 1], study.masks["optic disc"]
        ring = cv2.dilate(disc.astype(np.uint8), np.ones((7, 7))) > disc
        bare = ~study.masks["vessels"] & (study.image.max(2) > 20)
        assert green[disc & bare].mean() > 1.03 * green[ring & bare].mean(), study.uid


def test_regions_are_where_anatomy_puts_them(studies: list[Study]) -> None:
    for study in studies:
        box = {b.name: b.xyxy for b in study.boxes if b.kind == "region"}
        assert tuple(box) == REGIONS
        for x1, y1, x2, y2 in box.values():
            assert 0 <= x1 < x2 <= 96
            assert 0 <= y1 < y2 <= 96
        centre = {n: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for n, b in box.items()}
        # The disc lies towards the nose: to the right in a photograph of a right eye.
        nasal = 1 if study.facts["eye"] == "right" else -1
        assert nasal * (centre["optic disc"][0] - centre["macula"][0]) > 20
        for half in ("supero", "infero"):
            one, two = (
                centre[f"{half}nasal quadrant"],
                centre[f"{half}temporal quadrant"],
            )
            assert nasal * (one[0] - two[0]) > 0
        upper, lower = (centre[f"{h}temporal arcade"][1] for h in ("supero", "infero"))
        assert upper < centre["macula"][1] < lower
        cup, disc = study.masks["optic cup"], study.masks["optic disc"]
        assert (cup & ~disc).sum() <= 0.1 * cup.sum()


def test_the_mask_of_the_cup_measures_the_ratio() -> None:
    source = PhantomFundusSource("train", 60, image_size=256)
    errors = []
    for index in range(0, 60, 4):
        if source.eye_facts(index).notch:
            continue
        study = source[index]
        high = {n: study.masks[n].any(1).sum() for n in ("optic cup", "optic disc")}
        ratio = high["optic cup"] / high["optic disc"]
        errors.append(abs(ratio - study.facts["cup_disc_ratio"]))
    assert max(errors) < 0.06


def test_lesions_lie_in_their_boxes_and_places(studies: list[Study]) -> None:
    seen = set()
    for study in studies:
        regions = {b.name: b.xyxy for b in study.boxes if b.kind == "region"}
        boxes = [b for b in study.boxes if b.kind == "lesion"]
        lesions = study.facts["lesions"]
        assert [b.xyxy for b in boxes] == [lesion["box"] for lesion in lesions]
        for name, mask in study.masks.items():
            assert mask.shape == study.image.shape[:2]
            assert mask.any(), (study.uid, name)
            if name not in LESION_LABELS:
                continue
            covered = np.zeros_like(mask)
            for box in boxes:
                if box.name == name:
                    x1, y1, x2, y2 = (int(v) for v in box.xyxy)
                    covered[y1:y2, x1:x2] = True
            assert not (mask & ~covered).any()
            # Everything is inside the field of view.
            assert study.image.max(2)[mask].min() > 0, (study.uid, name)
        for lesion in lesions:
            place = lesion["place"]
            name = place if place in regions else f"{place} quadrant"
            a1, b1, a2, b2 = regions[name]
            x1, y1, x2, y2 = lesion["box"]
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            assert a1 - 3 <= x <= a2 + 3, (study.uid, lesion)
            assert b1 - 3 <= y <= b2 + 3, (study.uid, lesion)
            seen.add(lesion["kind"])
    assert len(seen) >= 9


def test_labels_agree_with_masks(studies: list[Study]) -> None:
    for study in studies:
        for name, value in zip(LABELS, study.labels, strict=True):
            if name in LESION_LABELS:
                assert (name in study.masks) == (value != 0), (study.uid, name)
        assert {"optic disc", "optic cup", "vessels"} <= set(study.masks)


def test_every_kind_can_be_drawn_in_every_eye() -> None:
    """Positions are found by rejection: none may run out of room."""
    source = PhantomFundusSource("train", 60, image_size=40)
    kinds = set()
    for index in range(60):
        facts = source.eye_facts(index)
        for kind in ("hard exudates", "laser scars", "peripheral neovascularization"):
            lesion = next(iter(facts.lesions), None)
            if lesion is None:
                continue
            forced = replace(
                facts,
                lesions=(replace(lesion, kind=kind, places=QUADRANTS, amount=1.0),),
            )
            source.__dict__["_facts"] = lambda _, f=forced: f
            assert source[index].masks[KINDS[kind]].any()
            del source.__dict__["_facts"]
            kinds.add(kind)
    assert len(kinds) == 3


def test_a_lesion_changes_its_place_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same photograph without lesions differs inside the mask, not outside."""
    source = PhantomFundusSource("train", 300, image_size=128)
    checked: set[str] = set()
    for index in range(300):
        facts = source.eye_facts(index)
        kinds = {lesion.kind for lesion in facts.lesions}
        if len(kinds) != 1 or kinds <= checked or not facts.lesions[0].certain:
            continue
        ill = source[index]
        healthy = PhantomFundusSource("train", 300, image_size=128)
        monkeypatch.setattr(
            healthy, "_facts", lambda _, f=facts: replace(f, lesions=())
        )
        change = np.abs(ill.image.astype(float) - healthy[index].image).mean(2)
        mask = ill.masks[facts.lesions[0].label]
        assert change[mask].mean() > 2.0 * change[~mask].mean(), kinds
        checked |= kinds
    assert len(checked) >= 3


def test_a_history_hangs_together() -> None:
    source = PhantomFundusSource("train", 150, image_size=64, eyes="both")
    follow_ups = 0
    for index in range(len(source)):
        now = source.eye_facts(index)
        if now.number == 0:
            assert not any(lesion.change for lesion in now.lesions)
            assert not now.resolved
            assert not now.change
            continue
        before = source.eye_facts(index - 2)
        assert (before.patient, before.number + 1) == (now.patient, now.number)
        assert before.eye == now.eye
        old = {lesion.kind: lesion for lesion in before.lesions}
        for lesion in now.lesions:
            assert (lesion.change == "new") == (lesion.kind not in old)
            if lesion.kind in old:
                assert lesion.seed == old[lesion.kind].seed
            follow_ups += lesion.change != "new"
        kinds = {lesion.kind for lesion in now.lesions}
        assert set(now.resolved) == set(old) - kinds
        assert now.age == before.age + 1
        assert (now.glaucoma, now.sex) == (before.glaucoma, before.sex)
    assert follow_ups > 20


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"split": "training"}, UnknownNameError),
        ({"eyes": "left"}, UnknownNameError),
        ({"studies": 0}, ConfigError),
        ({"image_size": 8}, ConfigError),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        PhantomFundusSource(**arguments)  # type: ignore[arg-type]
