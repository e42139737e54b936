"""One encoder against another, from results that an older state stored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from vlp_zoo.cli import main
from vlp_zoo.errors import ConfigError, UnknownNameError
from vlp_zoo.evaluation.statistics.significance import delong_paired, holm
from vlp_zoo.leaderboard.compare import compare
from vlp_zoo.leaderboard.runs import Run, read_runs

RESULTS = Path(__file__).parents[1] / "golden" / "before" / "results"


def run_of(runs: list[Run], encoder: str, task: str, protocol: str) -> Run:
    (found,) = (
        run
        for run in runs
        if (run.head.encoder, run.head.task, run.head.protocol)
        == (encoder, task, protocol)
    )
    return found


def changed(
    folder: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> list[Run]:
    """The results with other rows."""
    shutil.copytree(RESULTS, folder)
    path = folder / "results.jsonl"
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row))
    return read_runs([folder])


def test_a_floor_is_compared_as_bench_compared_it() -> None:
    runs = read_runs([RESULTS])
    found, reasons = compare(runs, "ecamp", "pixels", replicates=50)
    (only,) = found
    mine = run_of(runs, "ecamp", "phantom_fundus_grades", "vlp-knn")
    pixels = run_of(runs, "pixels", "phantom_fundus_grades", "vlp-knn")
    stored = mine.gaps[pixels.head.encoder_sha256]
    assert only.estimate.value == pytest.approx(stored.value)
    assert only.estimate.low == pytest.approx(stored.low)
    assert only.estimate.high == pytest.approx(stored.high)
    assert only.values == pytest.approx((mine.head.value, pixels.head.value))
    assert reasons == ["phantom_chest, vlp-knn: ecamp alone"]


def test_exclusive_classes_get_mcnemars_test() -> None:
    runs = read_runs([RESULTS])
    ((only,), _) = compare(runs, "acquisition", "ecamp", replicates=20)
    right = []
    for name in ("acquisition", "ecamp"):
        cases = run_of(runs, name, "phantom_fundus_grades", "vlp-knn").cases()
        assert cases is not None
        right.append(cases.columns["predicted"] == cases.columns["class"])
    gained = int((right[0] & ~right[1]).sum())
    lost = int((right[1] & ~right[0]).sum())
    assert gained + lost > 0
    assert only.exact_p == pytest.approx(binomtest(gained, gained + lost).pvalue)
    assert not only.labels
    assert not only.independent


def test_labels_get_delongs_test_with_holms_correction() -> None:
    runs = read_runs([RESULTS])
    found, reasons = compare(runs, "ecamp", "clip", replicates=20)
    (only,) = found
    assert only.exact_p is None
    one, two = (
        run_of(runs, name, "phantom_chest", "vlp-knn") for name in ("ecamp", "clip")
    )
    mine, other = one.cases(), two.cases()
    assert mine is not None
    assert other is not None
    counted = [n for n in mine.label_names if n not in one.head.undefined]
    assert list(only.labels) == counted
    places = [mine.label_names.index(n) for n in counted]
    plain = [
        delong_paired(mine.labels[:, k] > 0.5, mine.scores[:, k], other.scores[:, k])
        for k in places
    ]
    adjusted = holm(np.array([test.p_value for test in plain]))
    assert [t.value for t in only.labels.values()] == [t.value for t in plain]
    assert [t.p_value for t in only.labels.values()] == pytest.approx(adjusted)
    assert np.mean([t.value for t in plain]) == pytest.approx(only.estimate.value)
    assert "phantom_chest, vlp-retrieval: clip alone" in reasons


def test_another_split_is_refused_by_what_differs(tmp_path: Path) -> None:
    def other_split(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "split_sha256": "0" * 64} if row["encoder"] == "clip" else row

    runs = changed(tmp_path / "results", other_split)
    with pytest.raises(ConfigError, match="measured otherwise") as caught:
        compare(runs, "ecamp", "clip")
    assert "split 0000000" in str(caught.value)
    assert "split df221b0" in str(caught.value)


def test_without_predictions_nothing_is_compared(tmp_path: Path) -> None:
    runs = changed(tmp_path / "results", lambda row: {**row, "predictions": None})
    with pytest.raises(ConfigError, match="no predictions"):
        compare(runs, "ecamp", "clip")


def test_names_that_mean_nothing_or_several_things_are_refused(tmp_path: Path) -> None:
    def renamed(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "encoder": "mine"} if row["role"] == "encoder" else row

    runs = changed(tmp_path / "results", renamed)
    with pytest.raises(ConfigError, match=r"mine \(weights \w{8}\); mine \(weights"):
        compare(runs, "mine", "pixels")
    whole = next(
        f"mine (weights {run.head.encoder_sha256[:8]})"
        for run in runs
        if run.head.encoder == "mine" and "grades" in run.head.task
    )
    assert compare(runs, whole, "pixels", replicates=5)[0]
    with pytest.raises(UnknownNameError, match="nobody"):
        compare(runs, "nobody", "pixels")
    with pytest.raises(ConfigError, match="twice"):
        compare(runs, "pixels", "pixels")


def test_the_command_prints_plain_tables(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "ecamp", "clip", "--results", str(RESULTS), "--bootstrap", "20"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "phantom_chest: vlp-knn, 100% of the labels" in printed.out
    assert "+0.318" in printed.out
    assert "24 images of 15 patients" in printed.out
    assert "not compared: phantom_fundus_grades" in printed.err
    assert main([*words[:4], str(RESULTS.parent)]) == 1
    assert "results.jsonl" in capsys.readouterr().err
