"""Questions about images: a table, VQA-RAD's file and SLAKE's folder, in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlp_zoo.bench.tasks import build_task
from vlp_zoo.data.questions import read_questions
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, PatientLeakError


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list(path.name.encode())
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 12), np.uint8)
    Image.fromarray(pixels).save(path)


def table(folder: Path, text: str) -> Path:
    path = folder / "questions.csv"
    path.write_text(text)
    for name in "abc":
        draw(folder / f"{name}.png")
    return path


HEAD = "image,question,answer,patient_id,split,question_type,answer_type\n"
ROWS = (
    "a.png,Is it big?,Yes,p1,train,SIZE,CLOSED \n"
    "a.png,What is it?,A lung,p1,train,,OPEN\n"
    "b.png,Is it big?,no,p2,val,SIZE,\n"
    "c.png,Which side?,left,p3,test,POS,closed\n"
)


def test_a_table_has_one_study_for_each_image(tmp_path: Path) -> None:
    found = read_questions(table(tmp_path, HEAD + ROWS)).sources
    assert {split: source.uids for split, source in found.items()} == {
        "train": ["a.png"],
        "val": ["b.png"],
        "test": ["c.png"],
    }
    first, second = found["train"][0].facts["questions"]
    assert (first.text, first.answer, first.closed) == ("Is it big?", "Yes", True)
    assert (second.closed, second.kind) == (False, "")
    # Without a word on it, yes and no are closed.
    assert found["val"].facts[0]["questions"][0].closed
    assert found["test"].patient_ids == ["p3"]
    other = ROWS.replace("A lung", "A heart")
    again = read_questions(table(tmp_path, HEAD + other)).sources
    assert again["train"].fingerprint != found["train"].fingerprint
    assert again["val"].fingerprint == found["val"].fingerprint


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (ROWS.replace("p2,val", "p1,val"), PatientLeakError, "1 patients in several"),
        (ROWS.replace("b.png", "a.png"), PatientLeakError, "1 patients in several"),
        (ROWS.replace("test", "tset"), ConfigError, "in the column split"),
        (ROWS.replace("OPEN", "ajar"), ConfigError, "open or closed"),
        (ROWS.replace("p2,val", "p2,train"), DatasetNotFoundError, "questions for val"),
    ],
)
def test_a_table_that_says_something_else_is_refused(
    tmp_path: Path, rows: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_questions(table(tmp_path, HEAD + rows))


def test_blank_answers_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_questions(table(tmp_path, HEAD + ROWS + "c.png,Why?,,p3,test,,\n"))
    assert "1 questions without text or answer" in caplog.text


def rad(folder: Path) -> Path:
    """VQA-RAD's file: 30 images, each asked about in training and in test."""
    for i in range(30):
        draw(folder / "VQA_RAD Image Folder" / f"synpic{i}.jpg")
    entries = [
        {
            "qid": 2 * i + (phrase != "freeform"),
            "phrase_type": phrase,
            "image_name": f"synpic{i}.jpg",
            "image_organ": "CHEST",
            "question": "is there an effusion?",
            "question_type": "PLANE",
            "answer": "Yes",
            "answer_type": "CLOSED ",
        }
        for i in range(30)
        for phrase in ("freeform", "test_para")
    ]
    path = folder / "VQA_RAD Dataset Public.json"
    path.write_text(json.dumps(entries))
    return path


def test_vqa_rad_is_split_by_image_unless_its_own_split_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = rad(tmp_path)
    plain = build_task(f"vqa:{path}", val_fraction=0.2, test_fraction=0.2)
    sides = [set(plain.splits[s].uids) for s in ("train", "val", "test")]
    assert sum(map(len, sides)) == 30
    assert plain.gives == {"questions"}
    study = plain.splits["train"][0]
    assert study.image.shape == (16, 12)
    assert [q.kind for q in study.facts["questions"]] == ["PLANE", "PLANE"]
    own = build_task(f"vqa:{path}", split="official", val_fraction=0.2)
    assert len(own.splits["test"]) == 30
    assert "patients in both" in caplog.text
    assert own.legacy
    asked = own.splits["test"].facts[0]["questions"]  # type: ignore[attr-defined]
    assert [q.uid for q in asked] == ["1"]
    with pytest.raises(ConfigError, match="canonical, official"):
        build_task(f"vqa:{path}", split="random")
    (tmp_path / "VQA_RAD Image Folder").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetNotFoundError, match="the images of"):
        read_questions(path)


def test_slake_is_read_in_english_as_it_was_released(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number, name in enumerate(("train", "validate", "test")):
        image = f"xmlab{number}/source.jpg"
        draw(tmp_path / "imgs" / image)
        entry = {
            "img_id": number,
            "img_name": image,
            "question": "What modality is used?",
            "answer": "MRI",
            "q_lang": "en",
            "modality": "MRI",
            "answer_type": "OPEN",
            "content_type": "Modality",
            "qid": number,
        }
        chinese = {**entry, "q_lang": "zh", "qid": 10 + number}
        (tmp_path / f"{name}.json").write_text(json.dumps([entry, chinese]))
    found = read_questions(tmp_path)
    assert found.pretraining_sources == ("slake",)
    assert found.sources["val"].uids == ["xmlab1/source.jpg"]
    (question,) = found.sources["val"][0].facts["questions"]
    assert (question.kind, question.closed) == ("Modality", False)
    assert "3 questions not in English left out" in caplog.text
    (tmp_path / "test.json").write_text('[{"question": "x"}]')
    with pytest.raises(ConfigError, match="no img_name, answer, q_lang"):
        read_questions(tmp_path)
    with pytest.raises(ConfigError, match="--split among canonical"):
        read_questions(tmp_path, split="official")
