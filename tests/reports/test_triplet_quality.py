"""The benchmark of triplets: its counting, and a floor under its results."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import require_shared
from vlp_zoo.data.phantom.chest.facts import LABELS, Finding
from vlp_zoo.reports.words.tags import TAGS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "triplet_quality.py"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script as a module; it imports its neighbour, as scripts may."""
    spec = importlib.util.spec_from_file_location("triplet_quality_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        spec.loader.exec_module(module)
        yield module


def test_phantom_reports_are_read_rightly(bench: ModuleType) -> None:
    found = bench.phantom(150, seed=11)
    tallies = found.findings.values()
    stated, hits = sum(t.stated for t in tallies), sum(t.found for t in tallies)
    read, right = sum(t.read for t in tallies), sum(t.right for t in tallies)
    assert stated > 200
    assert hits / stated > 0.95
    assert right / read > 0.97
    regions = found.regions.values()
    assert (stated, read) == (
        sum(t.stated for t in regions),
        sum(t.read for t in regions),
    )


def test_a_zone_stands_for_its_lung(bench: ModuleType) -> None:
    finding = Finding(
        "Atelectasis", "atelectasis", "bilateral", "lower", 0.5, True, "", 1
    )
    needed, allowed = bench._places(finding)
    assert needed == ["right lower lung zone", "left lower lung zone"]
    assert "left lung" in allowed


def test_tables_name_known_tags_and_all_findings(bench: ModuleType) -> None:
    tables = (*bench.PHANTOM_TAGS.values(), *bench.MESH_TAGS.values())
    assert {tag for row in tables for tag in row} <= set(TAGS)
    plain = set(LABELS) - {"No Finding", "Support Devices", "Lung Lesion"}
    assert plain <= set(bench.PHANTOM_TAGS)


def test_tally_of_nothing_is_no_number(bench: ModuleType) -> None:
    assert bench.Tally(read=4, right=3).precision == 0.75
    assert bench.Tally().recall != bench.Tally().recall


def test_tags_agree_with_mesh_on_real_reports(bench: ModuleType) -> None:
    path = require_shared("realdata", "reports_text", "reports.csv")
    found = {row[0]: row for row in bench.mesh(bench.read_half(path, "dev"))}
    for column, floor in {
        "label_pleural_effusion": 0.88,
        "label_cardiomegaly": 0.9,
        "label_atelectasis": 0.9,
        "label_lung_opacity": 0.93,
    }.items():
        assert found[column][4] == pytest.approx(1, abs=1 - floor)
