"""Findings, their status, place and severity in sentences of the usual kinds."""

from __future__ import annotations

import numpy as np
import pytest

from vlp_zoo.errors import UnknownNameError
from vlp_zoo.reports.annotate import annotate, canonical_finding, label_vector
from vlp_zoo.reports.words.anatomy import REGIONS
from vlp_zoo.reports.words.lexicon import CHEXPERT, FINDINGS


def statuses(text: str) -> dict[str, str]:
    return {e.finding: e.status for e in annotate(text) if not e.implied}


PRESENT, ABSENT, UNCERTAIN = "present", "absent", "uncertain"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Moderate cardiomegaly.", {"cardiomegaly": PRESENT}),
        ("Heart is again mildly enlarged.", {"cardiomegaly": PRESENT}),
        ("The heart is not enlarged.", {"cardiomegaly": ABSENT}),
        ("Heart size is top normal.", {"cardiomegaly": UNCERTAIN}),
        ("Heart size is within normal limits.", {"cardiomegaly": ABSENT}),
        ("Normal heart size and mediastinal contours.",
         {"cardiomegaly": ABSENT, "enlarged mediastinum": ABSENT}),
        ("The cardiomediastinal silhouette is enlarged.",
         {"cardiomegaly": PRESENT, "enlarged mediastinum": PRESENT}),
        ("There is no evidence of pneumothorax.", {"pneumothorax": ABSENT}),
        ("No focal consolidation, effusion, or pneumothorax is seen.",
         {"consolidation": ABSENT, "pleural effusion": ABSENT, "pneumothorax": ABSENT}),
        ("Neither effusion nor pneumothorax is identified.",
         {"pleural effusion": ABSENT, "pneumothorax": ABSENT}),
        ("The right pneumothorax has resolved.", {"pneumothorax": ABSENT}),
        ("Resolved pneumothorax.", {"pneumothorax": ABSENT}),
        ("Effusion is no longer seen.", {"pleural effusion": ABSENT}),
        ("Negative for fracture.", {"fracture": ABSENT}),
        ("Pneumothorax cannot be excluded.", {"pneumothorax": UNCERTAIN}),
        ("Cannot exclude pneumonia.", {"pneumonia": UNCERTAIN}),
        ("Rule out pneumonia.", {"pneumonia": UNCERTAIN}),
        ("Opacity may represent atelectasis or pneumonia.",
         {"lung opacity": PRESENT, "atelectasis": UNCERTAIN, "pneumonia": UNCERTAIN}),
        ("Scarring versus atelectasis.",
         {"fibrosis or scar": UNCERTAIN, "atelectasis": UNCERTAIN}),
        ("Edema is another consideration.", {"edema": UNCERTAIN}),
        ("No opacity to suggest pneumonia.",
         {"lung opacity": ABSENT, "pneumonia": ABSENT}),
        ("No change in small effusion.", {"pleural effusion": PRESENT}),
        ("No significant interval increase in edema.", {"edema": PRESENT}),
        ("Unchanged effusion.", {"pleural effusion": PRESENT}),
        ("No pneumothorax, mild cardiomegaly.",
         {"pneumothorax": ABSENT, "cardiomegaly": PRESENT}),
        ("No pneumothorax, but a small effusion is present.",
         {"pneumothorax": ABSENT, "pleural effusion": PRESENT}),
        ("Congestion without edema.", {"pulmonary congestion": PRESENT, "edema": ABSENT}),
        ("There is no edema, consolidation, small effusion or mass.",
         {"edema": ABSENT, "consolidation": ABSENT, "pleural effusion": ABSENT,
          "lung lesion": ABSENT}),
        ("History of pneumonia.", {}),
        ("Pericardial effusion. Subcutaneous emphysema.", {}),
        ("Interval removal of the endotracheal tube.", {"support devices": ABSENT}),
        ("Catheter tip in the mid SVC.", {"support devices": PRESENT}),
        ("Hydropneumothorax.", {"pneumothorax": PRESENT, "pleural effusion": PRESENT}),
        ("There is no pleural effusion or\n pneumothorax.",
         {"pleural effusion": ABSENT, "pneumothorax": ABSENT}),
    ],
)  # fmt: skip
def test_status(text: str, expected: dict[str, str]) -> None:
    assert statuses(text) == expected


@pytest.mark.parametrize(
    "name_and_text",
    [
        ("pleural effusion", "pleural effusions"),
        ("pneumothorax", "pneumothoraces"),
        ("atelectasis", "atelectatic changes"),
        ("consolidation", "airspace consolidations"),
        ("edema", "pulmonary oedema"),
        ("pneumonia", "bronchopneumonia"),
        ("lung opacity", "infiltrates"),
        ("lung lesion", "pulmonary nodules"),
        ("emphysema", "COPD"),
        ("hyperinflation", "hyperexpanded lungs"),
        ("fibrosis or scar", "apical scarring"),
        ("granuloma", "calcified granulomata"),
        ("pulmonary congestion", "pulmonary vascular engorgement"),
        ("pleural thickening", "apical pleural thickening"),
        ("hernia", "hiatal hernia"),
        ("fracture", "rib fractures"),
        ("spine degenerative", "degenerative changes of the thoracic spine"),
        ("support devices", "pacemaker leads"),
        ("low lung volume", "low lung volumes"),
        ("aortic abnormality", "tortuous and calcified thoracic aorta"),
        ("enlarged mediastinum", "widened mediastinum"),
        ("cardiomegaly", "enlarged cardiac silhouette"),
    ],
)
def test_each_finding_has_its_words(name_and_text: tuple[str, str]) -> None:
    name, text = name_and_text
    assert label_vector(f"There is {text}.", [name]) == {name: 1}
    assert label_vector(f"There is no {text}.", [name]) == {name: 0}
    assert label_vector(f"Possible {text}.", [name]) == {name: -1}


def test_the_list_above_is_complete() -> None:
    assert len(FINDINGS) == 22


@pytest.mark.parametrize(
    ("text", "finding", "side", "anatomy"),
    [
        ("Small left pleural effusion.", "pleural effusion", "left",
         ("left costophrenic angle",)),
        ("Right upper lobe consolidation.", "consolidation", "right",
         ("right upper lung zone",)),
        ("Bibasilar atelectasis.", "atelectasis", "bilateral",
         ("right lower lung zone", "left lower lung zone")),
        ("Effusion and consolidation in the left lower lobe.", "pleural effusion",
         "left", ("left lower lung zone",)),
        ("Atelectasis at the right base and small bilateral effusions.", "atelectasis",
         "right", ("right lower lung zone",)),
        ("Left basilar opacity likely representing atelectasis.", "atelectasis", "left",
         ("left lower lung zone",)),
        ("Cardiomegaly.", "cardiomegaly", "", ("cardiac silhouette",)),
        ("Pneumothorax.", "pneumothorax", "", ()),
        ("Left-sided pacemaker with lead in the right atrium.", "support devices",
         "left", ("right atrium",)),
        ("Right hilar mass.", "lung lesion", "right", ("right hilar structures",)),
    ],
)  # fmt: skip
def test_place(text: str, finding: str, side: str, anatomy: tuple[str, ...]) -> None:
    entity = next(e for e in annotate(text) if e.finding == finding)
    assert (entity.side, entity.anatomy) == (side, anatomy)


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ("Small to moderate right pleural effusion.", "small to moderate"),
        ("The heart is mildly enlarged.", "mild"),
        ("Severe cardiomegaly.", "severe"),
        ("Mild scoliosis and effusion.", ""),
        ("Effusion.", ""),
    ],
)
def test_severity(text: str, severity: str) -> None:
    assert annotate(text)[0].severity == severity


def test_a_blanket_statement_denies_more_by_implication() -> None:
    entities = annotate("Lungs are clear.")
    assert [e.finding for e in entities if not e.implied] == ["lung opacity"]
    assert {"consolidation", "edema"} <= {e.finding for e in entities if e.implied}
    assert all(e.status == "absent" and e.present is False for e in entities)
    assert annotate("The right lung is clear.") == []


def test_report_level_labels_rank_present_over_uncertain_over_absent() -> None:
    text = "No edema. Possible edema."
    assert label_vector(text, ["edema"]) == {"edema": -1}
    assert label_vector(f"{text} Mild edema. No edema.", ["Edema"]) == {"Edema": 1}
    assert label_vector(annotate(text), ["edema", "hernia"]) == {
        "edema": -1,
        "hernia": None,
    }


def test_no_finding_forgives_devices_only() -> None:
    name = "No Finding"
    assert label_vector("No acute cardiopulmonary process.", [name]) == {name: 1}
    assert label_vector("Clear lungs. PICC line.", [name]) == {name: 1}
    assert label_vector("Clear lungs. Possible nodule.", [name]) == {name: 0}
    assert label_vector("", [name]) == {name: None}


def test_names_of_other_data_sets() -> None:
    assert set(map(canonical_finding, CHEXPERT)) <= {*FINDINGS, "no finding"}
    assert canonical_finding("label_fibrosis_or_scar") == "fibrosis or scar"
    with pytest.raises(UnknownNameError, match="the known ones are"):
        canonical_finding("sprained ankle")


def test_empty_text_has_no_entities() -> None:
    assert annotate("") == []
    assert set(label_vector("").values()) == {None}


def test_spans_index_the_text_and_regions_are_known() -> None:
    rng = np.random.default_rng(1)
    words = [
        "no",
        "there",
        "is",
        "small",
        "left",
        "İstanbul",
        "right",
        "effusion",
        "pneumothorax",
        ",",
        ".",
        "or",
        "and",
        "\n",
        "3.5",
        "cm",
        "may",
        "represent",
        "clear",
        "lungs",
        "are",
        "normal",
        "heart",
        "size",
        "the",
        "enlarged",
        "but",
        "without",
        "1.",
        "2.",
        "base",
        "mass",
        ";",
        "with",
        "opacity",
        "not",
        "seen",
        "aorta",
        "is",
        "tortuous",
    ]
    for _ in range(300):
        text = " ".join(rng.choice(words, 40))
        for entity in annotate(text):
            assert text[entity.start : entity.end] == entity.text != ""
            assert entity.finding in FINDINGS or entity.finding == "no finding"
            assert set(entity.anatomy) <= set(REGIONS)
            assert entity.status in (PRESENT, ABSENT, UNCERTAIN)


def test_a_report_reads_as_its_sentences_do() -> None:
    first, second = "Small left effusion.", "No pneumothorax."
    joined = annotate(f"{first}\n\n{second}")
    assert [e.sentence for e in joined] == [0, 1]
    alone = [annotate(first)[0], annotate(second)[0]]
    assert [(e.finding, e.status) for e in joined] == [
        (e.finding, e.status) for e in alone
    ]


def test_there_are_29_regions() -> None:
    assert len(REGIONS) == len(set(REGIONS)) == 29
