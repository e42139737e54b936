"""A suite killed in the middle, and started anew, ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vlp_zoo.evaluation.results import ResultStore

SUITE = """\
summary: small
tasks:
  - name: drawn
    data: phantom_chest
    options: {image_size: 32, studies: [60, 30, 40], min_positives: 1}
    presets: [vlp-linear, vlp-knn]
    fractions: [0.5, 1.0]
    seeds: [0, 1]
"""


def command(suite: Path, out: Path) -> list[str]:
    words = ["bench", "--encoder", "random:micro", "--suite", str(suite)]
    options = ["--out", str(out), "--bootstrap", "200", "--num-workers", "0"]
    return [sys.executable, "-m", "vlp_zoo", *words, *options]


def numbers(out: Path) -> dict[tuple[str, ...], tuple[float | None, ...]]:
    return {
        (row.key, row.metric, str(row.baseline)): (row.value, row.low, row.high)
        for row in ResultStore(out).read()
    }


@pytest.mark.slow
def test_a_killed_suite_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    suite = tmp_path / "small.yaml"
    suite.write_text(SUITE)
    environment = {**os.environ, "VLPZOO_CACHE": str(tmp_path / "cache")}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run = command(suite, killed)
    process = subprocess.Popen(
        run, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(numbers(killed)) < 20 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    half = numbers(killed)
    subprocess.run(run, env=environment, check=True, capture_output=True)
    fresh = {**environment, "VLPZOO_CACHE": str(tmp_path / "other cache")}
    subprocess.run(command(suite, whole), env=fresh, check=True, capture_output=True)
    assert numbers(killed) == numbers(whole)
    assert len(half) < len(numbers(whole))
    lines = (killed / "results.jsonl").read_bytes()
    subprocess.run(run, env=environment, check=True, capture_output=True)
    assert (killed / "results.jsonl").read_bytes() == lines
