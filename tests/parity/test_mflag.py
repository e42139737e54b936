from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.recordings import copied, recorded, rewrite
from vlp_zoo.errors import ConfigError
from vlp_zoo.parity.mflag.replay import replay_fixture


def test_an_unknown_step_of_the_pipeline_is_refused(tmp_path: Path) -> None:
    source = recorded("mflag", "public_a")
    folder = copied(source, tmp_path / "other", "meta", "pipeline")
    step = {"op": "RandomErasing", "p": 0.5}
    rewrite(
        folder / "pipeline.json", lambda facts: facts["transform_steps"].append(step)
    )
    with pytest.raises(ConfigError, match="RandomErasing"):
        replay_fixture(folder)
