"""What a sweep refuses before its first training, and what its objective finds."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.evaluation.rows import BLANK
from vlp_zoo.cli import main
from vlp_zoo.errors import DatasetNotFoundError
from vlp_zoo.sweeps.objective import Objective


@pytest.mark.parametrize(
    ("evaluate", "words"),
    [
        ({"task": "phantm_chest"}, "did you mean"),
        ({"task": "pairs:t.csv", "studies": [8, 4, 4]}, "--studies"),
        ({"task": "phantom_chest", "split": "official"}, "--split"),
        ({"task": "phantom_chest", "preset": "vlp-liner"}, "vlp-linear"),
        ({"task": "phantom_chest", "boot-strap": 10}, "did you mean --bootstrap"),
        ({"task": "phantom_chest", "fractions": [2.0]}, "fraction"),
        ({"suite": "phantm"}, "did you mean"),
        ({"bootstrap": 10}, "one --task or --suite"),
    ],
    ids=str,
)
def test_a_slip_in_the_evaluation_is_refused_before_any_training(
    evaluate: dict[str, Any],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "toy.yaml"
    content = {"options": {"config": "demo/clip"}, "evaluate": evaluate}
    path.write_text(yaml.safe_dump(content))
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_what_is_swept_over_bench_is_checked_for_each_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "toy.yaml"
    options = {"encoder": "random:micro", "task": "phantom_chest"}
    grid = {"preset": ["vlp-linear", "vlp-lienar"]}
    path.write_text(
        yaml.safe_dump({"command": "bench", "options": options, "grid": grid})
    )
    assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "vlp-lienar" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fit_refuses_a_task_that_it_could_not_evaluate_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--config", "demo/clip", "--evaluate", "[phantm_chest]"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "did you mean 'phantom_chest'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def rows(folder: Path, *values: float | None) -> None:
    lines = [
        json.dumps(json.loads(BLANK.to_json()) | {"metric": f"m{i}", "value": value})
        for i, value in enumerate(values)
    ]
    (folder / "bench").mkdir()
    text = "\n".join([*lines, "{broken"]) + "\n"
    (folder / "bench" / "results.jsonl").write_text(text)


def test_a_metric_that_is_not_there_is_said_beside_those_that_are(
    tmp_path: Path,
) -> None:
    rows(tmp_path, 0.0, 0.5, None)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(DatasetNotFoundError) as caught:
            Objective(metric="absent").measure(tmp_path)
    assert caught.value.found == "rows of m0, m1"
    # The broken line is told of once, with the count of such lines.
    assert sum("left out (" in str(each.message) for each in warned) == 1


def test_a_value_of_zero_is_a_value(tmp_path: Path) -> None:
    rows(tmp_path, 0.0)
    with pytest.warns(UserWarning, match="left out"):
        (measure,) = Objective(metric="m0", split="test").measure(tmp_path)
    assert measure.value == 0
