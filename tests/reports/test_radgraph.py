from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.reports.radgraph import read_radgraph
from vlp_zoo.reports.triplets import align, statements, tag_vector

TEXT = (
    "Small left pleural effusion . No pneumothorax . The lungs are clear . "
    "Opacity in the right lower lobe may be pneumonia ."
)


def entity(tokens: str, label: str, start: int, *relations: list[str]) -> Any:
    end = start + len(tokens.split()) - 1
    return {
        "tokens": tokens,
        "label": label,
        "start_ix": start,
        "end_ix": end,
        "relations": list(relations),
    }


ENTITIES = {
    "1": entity("Small", "OBS-DP", 0, ["modify", "4"]),
    "2": entity("left", "ANAT-DP", 1, ["modify", "3"]),
    "3": entity("pleural", "ANAT-DP", 2),
    "4": entity("effusion", "OBS-DP", 3, ["located_at", "3"]),
    "5": entity("pneumothorax", "OBS-DA", 6),
    "6": entity("lungs", "ANAT-DP", 9),
    "7": entity("clear", "OBS-DP", 11, ["located_at", "6"]),
    "8": entity("Opacity", "OBS-DP", 13, ["located_at", "11"], ["suggestive_of", "12"]),
    "9": entity("right", "ANAT-DP", 16, ["modify", "11"]),
    "10": entity("lower", "ANAT-DP", 17, ["modify", "11"]),
    "11": entity("lobe", "ANAT-DP", 18),
    "12": entity("pneumonia", "OBS-U", 21),
}
SENTENCES = [
    "Small left pleural effusion.",
    "No pneumothorax.",
    "The lungs are clear.",
    "Opacity in the right lower lobe may be pneumonia.",
]


def write(folder: Path, content: Any) -> Path:
    path = folder / "radgraph.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("below", [None, "labeler_1"])
def test_observations_become_statements(tmp_path: Path, below: str | None) -> None:
    report: dict[str, Any] = {"entities": ENTITIES}
    report = {"text": TEXT, **({below: report} if below else report)}
    read = read_radgraph(write(tmp_path, {"p1/s1.txt": report}))
    effusion, pneumothorax, clear, opacity = (read(s) for s in SENTENCES)
    assert [(s.tag, s.existence, s.regions) for s in effusion] == [
        ("pleural effusion", "present", ("left costophrenic angle",))
    ]
    assert [(s.tag, s.existence) for s in pneumothorax] == [("pneumothorax", "absent")]
    assert clear
    assert {s.existence for s in clear} == {"absent"}
    assert [(s.tag, s.existence) for s in opacity] == [
        ("opacity", "present"),
        ("pneumonia", "uncertain"),
    ]
    assert opacity[0].regions == ("right lower lung zone",)
    assert align(SENTENCES, read)["left costophrenic angle"] == (0,)
    values = tag_vector(SENTENCES, read)
    assert (values["pleural effusion"], values["pneumonia"]) == (1, -1)
    assert pickle.loads(pickle.dumps(read))(SENTENCES[1]) == pneumothorax


def test_what_it_says_outranks_the_rules(tmp_path: Path) -> None:
    said = {"1": entity("effusion", "OBS-U", 1)}
    report = {"text": "Moderate effusion .", "entities": said}
    read = read_radgraph(write(tmp_path, {"s1": report}))
    assert [s.existence for s in read("Moderate effusion.")] == ["uncertain"]
    assert [s.existence for s in statements("Moderate effusion.")] == ["present"]


def test_sentences_it_does_not_hold_are_read_by_rule(tmp_path: Path) -> None:
    read = read_radgraph(write(tmp_path, {"s1": {"text": TEXT, "entities": ENTITIES}}))
    other = "There is cardiomegaly."
    assert read(other) == statements(other) != ()


def test_a_sentence_without_observations_states_nothing(tmp_path: Path) -> None:
    report = {"text": "There is cardiomegaly .", "entities": {}}
    assert (
        read_radgraph(write(tmp_path, {"s1": report}))("There is cardiomegaly.") == ()
    )


XL = {
    "ANAT-DP": "Anatomy::definitely present",
    "OBS-DP": "Observation::definitely present",
    "OBS-DA": "Observation::definitely absent",
    "OBS-U": "Observation::uncertain",
}


def by_tokens() -> dict[str, Any]:
    """The report as RadGraph-XL publishes it."""
    spans = {name: (e["start_ix"], e["end_ix"]) for name, e in ENTITIES.items()}
    ner = [[*spans[name], XL[e["label"]]] for name, e in ENTITIES.items()]
    relations = [
        [*spans[name], *spans[other], kind]
        for name, entity in ENTITIES.items()
        for kind, other in entity["relations"]
    ]
    words = TEXT.split()
    halves = [words[:5], words[5:]]
    return {"doc_key": "a", "sentences": halves, "ner": [ner], "relations": [relations]}


@pytest.mark.parametrize("form", ["names", "list", "one line", "lines"])
def test_the_forms_of_radgraph_xl_say_the_same(tmp_path: Path, form: str) -> None:
    old = {"text": TEXT, "entities": ENTITIES}
    path = write(tmp_path, {"s1": old})
    read = read_radgraph(path)
    expected = [read(sentence) for sentence in SENTENCES]
    new = {n: {**e, "label": XL[e["label"]]} for n, e in ENTITIES.items()}
    if form == "names":
        write(tmp_path, {"s1": {"text": TEXT, "entities": new}})
    elif form == "list":
        write(tmp_path, [old])
    else:
        line = json.dumps(by_tokens()) + "\n"
        path.write_text(line * (1 if form == "one line" else 2))
    again = read_radgraph(path)
    assert [again(sentence) for sentence in SENTENCES] == expected
    assert all(expected)


def test_measurements_state_nothing_by_themselves(tmp_path: Path) -> None:
    entities = {
        "1": entity("3 cm", "Observation::measurement::definitely present", 0),
        "2": entity("nodule", XL["OBS-DP"], 2),
    }
    entities["1"]["relations"] = [["modify", "2"]]
    read = read_radgraph(
        write(tmp_path, {"s": {"text": "3 cm nodule .", "entities": entities}})
    )
    assert [(s.tag, s.existence) for s in read("3 cm nodule.")] == [
        ("nodule", "present")
    ]


def test_unknown_names_are_refused_with_the_file(tmp_path: Path) -> None:
    said = {"1": entity("effusion", "OBS-DP", 1), "2": entity("new", "CHAN-CON-AP", 0)}
    path = write(tmp_path, {"s1": {"text": "New effusion .", "entities": said}})
    with pytest.raises(DatasetNotFoundError, match=r"CHAN-CON-AP") as refused:
        read_radgraph(path)
    assert str(path) in str(refused.value)
    assert "OBS-DP" in str(refused.value)


def test_observations_that_no_table_knows_are_left_to_the_rules(tmp_path: Path) -> None:
    said = {"1": entity("There", "OBS-DP", 0)}
    report = {"text": "There is cardiomegaly .", "entities": said}
    read = read_radgraph(write(tmp_path, {"s1": report}))
    assert read("There is cardiomegaly.") == statements("There is cardiomegaly.") != ()


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        [{"sentences": [["a b"]], "ner": [[]]}],
        {"s1": {"entities": {}}},
        {"s1": {"text": "A .", "entities": {"1": {}}}},
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DatasetNotFoundError, match="RadGraph"):
        read_radgraph(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        read_radgraph(tmp_path / "none.json")
