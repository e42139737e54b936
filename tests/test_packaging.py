from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_carries_the_configs_and_runs_without_a_checkout(
    tmp_path: Path,
) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "build", "--wheel", "--no-isolation"),
            *("--outdir", str(tmp_path), str(ROOT)),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import vlp_zoo, sys; from vlp_zoo.cli import main;"
        f"assert vlp_zoo.__file__.startswith({str(site)!r}), vlp_zoo.__file__;"
        "sys.exit(main(['info', 'configs']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "demo/ecamp" in done.stdout
    assert "methods/ecamp" in done.stdout
    assert str(site) in done.stdout
