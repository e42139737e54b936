"""The benchmark of the annotator, on invented rows and on the real reports."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import require_shared
from vlp_zoo.reports.words.lexicon import FINDINGS, NO_FINDING

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "annotator_quality.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The script as a module: benchmarks are run by path, not imported."""
    spec = importlib.util.spec_from_file_location("annotator_quality_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def row(findings: str, *coded: str) -> dict[str, str]:
    names = (*FINDINGS, NO_FINDING)
    labels = {f"label_{n.replace(' ', '_')}": str(int(n in coded)) for n in names}
    return {"findings": findings, "impression": "", **labels}


def test_scores_count_as_they_should(bench: ModuleType) -> None:
    rows = [
        *[row("Small effusion.", "pleural effusion")] * 6,
        *[row("No effusion.", "pleural effusion")] * 2,
        *[row("Effusion.")] * 2,
        *[row("Possible effusion.")] * 3,
    ]
    (score,) = bench.scores(rows)
    assert (score.finding, score.positives, score.uncertain) == (
        "pleural effusion",
        8,
        3,
    )
    assert (score.precision, score.recall, score.f1) == (0.75, 0.75, 0.75)
    assert score.f1_uncertain_positive == pytest.approx(2 * 6 / (8 + 11))
    assert score.interval[0] <= score.f1 <= score.interval[1]
    assert bench.markdown([score]).count("\n") == 2


def test_halves_are_fixed_and_even(bench: ModuleType) -> None:
    halves = [bench.half_of(f"IU{number}") for number in range(2000)]
    assert 900 < halves.count("dev") < 1100
    assert halves == [bench.half_of(f"IU{number}") for number in range(2000)]


def test_missing_table_is_wrong_usage(bench: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--reports", str(tmp_path / "none.csv")])


def test_frequent_findings_reach_f1_of_085_on_unseen_real_reports(
    bench: ModuleType,
) -> None:
    path = require_shared("realdata", "reports_text", "reports.csv")
    found = {s.finding: s for s in bench.scores(bench.read_half(path, "test"))}
    for name in (
        "atelectasis",
        "cardiomegaly",
        "fracture",
        "granuloma",
        "hernia",
        "hyperinflation",
        "lung opacity",
        "pleural effusion",
        "support devices",
    ):
        assert found[name].f1 >= 0.85, found[name]
