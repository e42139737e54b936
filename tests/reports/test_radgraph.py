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


@pytest.mark.parametrize(
    "content",
    [[], {"s1": {"entities": {}}}, {"s1": {"text": "A .", "entities": {"1": {}}}}],
)
def test_another_file_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(DatasetNotFoundError, match="RadGraph"):
        read_radgraph(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        read_radgraph(tmp_path / "none.json")
