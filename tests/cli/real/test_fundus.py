"""Real photographs of the eye from training to evaluation, above their baselines.

Bounds are the baselines themselves: an interval of a paired difference above 0, or of a
value above chance. Where the encoder is not shown to be above its untrained network,
only what is true is asked for.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sets import eyes, masks

from tests.cli.real.runs import MASKS, evaluated, trained
from tests.conftest import require_shared

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def photographs(folder: Path) -> Path:
    return eyes(require_shared("realdata", "fundus_cls"), folder / "eyes.csv")


@pytest.fixture(scope="module")
def fundus(folder: Path, photographs: Path) -> Path:
    return trained(
        *(folder, "fundus", photographs, 20),
        *("--data.report_column=report", "--data.colour=true"),
    )


def test_diseases_of_the_eye_are_told_apart(
    folder: Path, fundus: Path, photographs: Path
) -> None:
    presets = ["vlp-linear", "vlp-knn"]
    found = evaluated(folder, fundus, "fundus labels", photographs, presets)
    for rows in found.values():
        assert (rows["mine"].low or 0) > 0.6
        # Minutes on a few hundred photographs: not shown to be above its untrained
        # network, which knows colours too.
        assert (rows["minus pixels"].low or -1) > 0


def test_the_optic_disc_is_marked(folder: Path, fundus: Path) -> None:
    pack, table = require_shared("realdata", "fundus_seg"), folder / "discs.csv"
    masks(pack, "optic_disc", table, source="IDRiD")
    (rows,) = evaluated(folder, fundus, "fundus disc", table, MASKS).values()
    assert rows["prevalence"].value == 0
    assert (rows["minus random init of mine"].low or -1) > 0
    assert (rows["minus pixels"].low or -1) > 0
