"""The chest world: reproducible, plausible, without shortcuts, true to its report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vlp_zoo.data.phantom.chest.acquisition import measured_exposure
from vlp_zoo.data.phantom.chest.anatomy import REGIONS
from vlp_zoo.data.phantom.chest.facts import LABELS
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.errors import ConfigError, UnknownNameError
from vlp_zoo.types import Study


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    source = PhantomChestSource("train", 60, seed=1, image_size=96)
    return [source[index] for index in range(len(source))]


@pytest.fixture(scope="module")
def crowd() -> PhantomChestSource:
    return PhantomChestSource("train", 2000, image_size=64)


def test_an_image_has_the_names_of_mimic_cxr() -> None:
    source = PhantomChestSource("train", 25, image_size=48, views="all")
    assert "LATERAL" in source.views
    assert all(len(n) == 8 and n.startswith("1") for n in source.patient_ids)


def test_prevalence_and_co_occurrence(crowd: PhantomChestSource) -> None:
    labels = dict(zip(LABELS, crowd.labels.T, strict=True))
    share = {name: float(np.nanmean(column)) for name, column in labels.items()}
    assert 0.25 < share["No Finding"] < 0.45
    assert 0.25 < share["Support Devices"] < 0.40
    for name in ("Cardiomegaly", "Pleural Effusion", "Lung Opacity"):
        assert 0.14 < share[name] < 0.30, name
    for name in set(LABELS) - {
        "No Finding",
        "Support Devices",
        "Cardiomegaly",
        "Pleural Effusion",
        "Lung Opacity",
    }:
        assert 0.03 < share[name] < 0.18, name
    wet = labels["Edema"] == 1
    for name in ("Cardiomegaly", "Pleural Effusion"):
        assert np.nanmean(labels[name][wet]) > 1.8 * share[name]
    assert 0.05 < np.isnan(crowd.labels).any(1).mean() < 0.25


def test_no_finding_means_none(crowd: PhantomChestSource) -> None:
    labels = dict(zip(LABELS, crowd.labels.T, strict=True))
    well = labels["No Finding"] == 1
    for name in set(LABELS) - {"No Finding", "Support Devices"}:
        assert not labels[name][well].any(), name
    for name in ("Consolidation", "Pneumonia"):
        assert (labels["Lung Opacity"][labels[name] == 1] == 1).all()


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_exposure_gives_nothing_away(crowd: PhantomChestSource, count: int) -> None:
    """No finding is read from mean grey, contrast, noise or view.

    Under chance the AUROC of n1 positives and n0 negatives has a standard error of
    sqrt((n0 + n1 + 1) / (12 n0 n1)); 4.5 of those leave the 13 x 4 looks a chance of
    one in 2,800 of failing on a world without shortcuts.
    """
    exposures = [measured_exposure(crowd[index].image) for index in range(count)]
    is_pa = np.array([view == "PA" for view in crowd.views[:count]])
    features = np.column_stack([np.stack(exposures), is_pa])
    for place, name in enumerate(LABELS):
        truth = crowd.labels[:count, place]
        known = ~np.isnan(truth)
        positives = int(truth[known].sum())
        negatives = int(known.sum()) - positives
        error = np.sqrt((positives + negatives + 1) / (12 * positives * negatives))
        for column, feature in enumerate(("mean", "contrast", "noise", "view")):
            area = roc_auc_score(truth[known], features[known, column])
            assert abs(area - 0.5) < 4.5 * error, (name, feature, area)


def test_pictures_use_the_grey_scale(studies: list[Study]) -> None:
    for study in studies:
        assert study.image.dtype == np.uint8
        assert study.image.shape == (96, 96)
        low, high = np.percentile(study.image, (2, 98))
        assert high - low > 110
        assert study.view in ("PA", "AP")


def test_the_29_regions_are_where_anatomy_puts_them(studies: list[Study]) -> None:
    assert len(REGIONS) == 29
    for study in studies:
        box = {b.name: b.xyxy for b in study.boxes if b.kind == "region"}
        assert set(box) == set(REGIONS)
        for x1, y1, x2, y2 in box.values():
            assert 0 <= x1 < x2 <= 96
            assert 0 <= y1 < y2 <= 96
        centre = {n: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for n, b in box.items()}
        # The patient's right is on the image's left.
        for part in ("lung", "hilar structures", "clavicle", "costophrenic angle"):
            assert centre[f"right {part}"][0] < centre[f"left {part}"][0]
        zones = [
            centre[f"left {zone} lung zone"][1] for zone in ("upper", "mid", "lower")
        ]
        assert zones == sorted(zones)
        assert centre["cardiac silhouette"][0] > centre["right atrium"][0]
        assert centre["trachea"][1] < centre["carina"][1] < centre["abdomen"][1]


def test_lesions_lie_in_their_boxes_and_regions(studies: list[Study]) -> None:
    seen = set()
    for study in studies:
        regions = {b.name: b.xyxy for b in study.boxes if b.kind == "region"}
        lesions = study.facts["lesions"]
        boxes = [b for b in study.boxes if b.kind == "lesion"]
        assert [b.xyxy for b in boxes] == [lesion["box"] for lesion in lesions]
        for name, mask in study.masks.items():
            assert mask.shape == study.image.shape
            covered = np.zeros_like(mask)
            for box in boxes:
                if box.name == name:
                    x1, y1, x2, y2 = (int(v) for v in box.xyxy)
                    covered[y1:y2, x1:x2] = True
                    assert mask[y1:y2, x1:x2].any()
            assert mask.any()
            assert not (mask & ~covered).any()
        for lesion in lesions:
            mask = study.masks[lesion["finding"].lower()]
            x1, y1, x2, y2 = lesion["box"]
            own = np.zeros_like(mask)
            own[int(y1) : int(y2), int(x1) : int(x2)] = True
            for region in lesion["regions"]:
                a1, b1, a2, b2 = regions[region]
                touched = (mask & own)[int(b1) : int(b2) + 1, int(a1) : int(a2) + 1]
                assert touched.any(), (study.uid, lesion, region)
            if lesion["finding"] != "Support Devices" and lesion["side"] in (
                "left",
                "right",
            ):
                spine = regions["spine"]
                middle = 0.5 * (spine[0] + spine[2])
                is_right = 0.5 * (x1 + x2) < middle
                assert is_right == (lesion["side"] == "right"), (study.uid, lesion)
            seen.add(lesion["finding"])
    assert len(seen) >= 10


def test_every_certain_finding_has_a_mask(studies: list[Study]) -> None:
    for study in studies:
        for finding in study.facts["findings"]:
            assert finding["label"].lower() in study.masks, (study.uid, finding)


def test_a_finding_changes_its_place_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same exposure without the finding differs inside the mask, not outside."""
    source = PhantomChestSource("train", 300, image_size=96)
    checked = 0
    for index in range(300):
        facts = source.study_facts(index)
        names = {f.label for f in facts.findings}
        wanted = ("Consolidation", "Pleural Effusion", "Lung Lesion", "Pneumothorax")
        if len(facts.findings) != 1 or not names & set(wanted):
            continue
        if not facts.findings[0].certain:
            continue
        ill = source[index]
        healthy = PhantomChestSource("train", 300, image_size=96)
        monkeypatch.setattr(
            healthy, "_facts", lambda _, f=facts: replace(f, findings=())
        )
        well = healthy[index]
        change = np.abs(ill.image.astype(float) - well.image.astype(float))
        mask = next(iter(ill.masks.values()))
        assert change[mask].mean() > 2.0 * change[~mask].mean(), names
        checked += 1
        if checked == 6:
            break
    assert checked >= 4


def test_a_history_hangs_together() -> None:
    source = PhantomChestSource("train", 80, image_size=64)
    one = max(set(source.patient_ids), key=source.patient_ids.count)
    visits = [i for i, p in enumerate(source.patient_ids) if p == one]
    assert len(visits) >= 3
    ages = {source[i].facts["age"] for i in visits}
    assert len(ages) == 1
    assert any(
        finding["change"] for i in visits[1:] for finding in source[i].facts["findings"]
    ) or all(source.study_facts(i).resolved or True for i in visits)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"split": "training"}, UnknownNameError),
        ({"views": "lateral"}, UnknownNameError),
        ({"studies": 0}, ConfigError),
        ({"image_size": 8}, ConfigError),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        PhantomChestSource(**arguments)  # type: ignore[arg-type]


def test_people_are_known_without_a_drawing() -> None:
    source = PhantomChestSource("test", 12, image_size=32, views="all")
    assert len(source.facts) == len(source) > 12
    for index in (0, 7, len(source) - 1):
        drawn = source[index].facts
        assert source.facts[index] == {"sex": drawn["sex"], "age": drawn["age"]}
