"""Pixels and random weights beside the rows of a sweep, paired like the others."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_sweep import row_of
from vlp_zoo.evaluation.results import Cases, ResultStore
from vlp_zoo.evaluation.statistics.intervals import paired_difference
from vlp_zoo.sweeps.objective import Objective
from vlp_zoo.sweeps.plan import Axis, Sweep
from vlp_zoo.sweeps.runs import Record
from vlp_zoo.sweeps.summary import as_csv, as_markdown, summarise

AXIS = {name: Axis(name, name, {"config": name}) for name in ("clip", "mae")}
SWEEP = Sweep(
    "toy",
    grid={"method": AXIS},
    seeds=(0, 1),
    baseline="clip",
    evaluate={"task": "t"},
    objective=Objective(split="test"),
)
NOISE = {
    "encoder": 1.0,
    "random init of ENCODER": 3.0,
    "pixels": 2.0,
    "prevalence": 9.0,
}


@pytest.fixture
def scores(tmp_path: Path) -> dict[str, list[Cases]]:
    """Finished runs; what each row of them says of each patient, by row and seed."""
    rng = np.random.default_rng(0)
    uids = [f"u{i}" for i in range(60)]
    labels = rng.integers(0, 2, (60, 2)).astype(np.float32)
    found: dict[str, list[Cases]] = {}
    for run in SWEEP.runs(tmp_path):
        store = ResultStore(run.folder / "bench")
        for name, much in NOISE.items():
            made = labels + much * rng.normal(size=(60, 2))
            cases = Cases(uids, uids, ("a", "b"), labels, made)
            found.setdefault(f"{run.order.variant} {name}", []).append(cases)
            called = name.replace("ENCODER", str(run.folder))
            row = replace(row_of(cases, 0, 0.5 + 0.1 * much, called), fraction=1.0)
            store.add([replace(row, role="encoder" if name == "encoder" else "floor")])
        record = Record(SWEEP.objective.measure(run.folder), asdict(SWEEP.objective))
        (run.folder / "result.json").write_text(record.to_json())
    return found


def test_baselines_stand_below_the_variants(
    scores: dict[str, list[Cases]], tmp_path: Path
) -> None:
    lines = summarise(SWEEP, tmp_path)
    # The random weights of both seeds' encoders are one row; a prevalence says nothing.
    assert [line.variant for line in lines] == ["clip", "mae", "random init", "pixels"]
    assert [len(line.values) for line in lines] == [2, 2, 2, 2]
    clip, mae, random, pixels = lines
    assert clip.difference is None
    for line, name in ((mae, "mae encoder"), (pixels, "clip pixels")):
        mine, theirs = scores[name], scores["clip encoder"]
        wanted = paired_difference(
            "macro_auroc",
            np.hstack([cases.labels for cases in mine]),
            np.hstack([cases.scores for cases in mine]),
            np.hstack([cases.scores for cases in theirs]),
            mine[0].patient_ids,
            replicates=200,
        )
        assert line.difference is not None
        assert line.difference.value == pytest.approx(wanted.value)
        assert line.difference.low == pytest.approx(wanted.low)
    assert random.mean == pytest.approx(0.8)
    text = as_markdown(SWEEP, lines)
    assert "| pixels | 2 | 0.700 ± 0.000 | -" in text
    assert "pixels,pixels" in as_csv(lines, "clip", "test")
    # Their minutes are no training's.
    (row,) = (line for line in text.splitlines() if line.startswith("| pixels"))
    assert row.endswith("|  |")


def test_draws_of_random_weights_are_one_row(
    scores: dict[str, list[Cases]], tmp_path: Path
) -> None:
    for run in SWEEP.runs(tmp_path):
        store = ResultStore(run.folder / "bench")
        first = next(row for row in store.read() if row.encoder.startswith("random"))
        more = {
            "key": f"{first.key}1",
            "encoder": f"{first.encoder} (draw 1)",
            "encoder_sha256": "another",
            "value": 0.9,
            "details": {"random_weights": {"draw": 1, "first": first.encoder_sha256}},
            "cases": store.cases(first),
            "predictions": None,
        }
        store.add([replace(first, **more)])  # type: ignore[arg-type]
    lines = summarise(SWEEP, tmp_path)
    assert [line.variant for line in lines] == ["clip", "mae", "random init", "pixels"]
    random = lines[2]
    assert random.mean == pytest.approx((0.8 + 0.9) / 2)
    assert random.difference is not None
    assert random.difference.low is not None


def test_logged_numbers_have_no_baselines(
    scores: dict[str, list[Cases]], tmp_path: Path
) -> None:
    logged = replace(SWEEP, objective=Objective(logged="val/loss"))
    for run in SWEEP.runs(tmp_path):
        path = run.folder / "result.json"
        record = replace(
            Record.from_json(path.read_text()), objective=asdict(logged.objective)
        )
        path.write_text(record.to_json())
    assert [line.variant for line in summarise(logged, tmp_path)] == ["clip", "mae"]
