"""Runs that a signal meets while they write: resumed, they end as if it had not."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from vlp_zoo.methods import METHODS

pytestmark = pytest.mark.slow

FILES = ("last.ckpt", "best.ckpt", "encoder.safetensors", "encoder.json")
POINTS = tuple(
    f"{name} {state}" for name in FILES for state in ("begun", "written", "renamed")
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TINY = [
    *("--data.train_studies", "6", "--data.val_studies", "2"),
    *("--data.image_size", "64", "--data.batch_size", "2", "--data.num_workers", "0"),
    *("--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_model_summary", "false", "--trainer.logger", "false"),
    *("--last.every_n_steps", "2", "--evaluate", "[]"),
]

SERVER = multiprocessing.get_context("forkserver")
"""Imports torch once and forks a process for each run."""
SERVER.set_forkserver_preload(["vlp_zoo.cli.lightning_cli", "vlp_zoo.data.phantom"])


@dataclass(frozen=True)
class Kill:
    """A signal that a run sends to itself, the n-th time that it is at a point."""

    point: str
    nth: int
    number: signal.Signals


def process(words: list[str], record: Path, kill: Kill | None, temporary: str) -> None:
    """One run of the command, which notes the points that it passes."""
    tempfile.tempdir = temporary
    passed: Counter[str] = Counter()

    def at(name: str, state: str) -> None:
        point = f"{name} {state}"
        passed[point] += 1
        with record.open("a") as file:
            file.write(f"{point}\n")
        if kill is not None and (kill.point, kill.nth) == (point, passed[point]):
            os.kill(os.getpid(), kill.number)

    mkstemp, replace = tempfile.mkstemp, os.replace

    def begun(*args: Any, **kwargs: Any) -> tuple[int, str]:
        made = mkstemp(*args, **kwargs)
        at(str(kwargs.get("prefix", "")).strip("."), "begun")
        return made

    def renamed(source: Any, target: Any) -> None:
        at(Path(target).name, "written")
        replace(source, target)
        at(Path(target).name, "renamed")

    tempfile.mkstemp, os.replace = begun, renamed  # type: ignore[assignment]
    torch.set_num_threads(1)
    with record.with_suffix(".log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    from vlp_zoo.cli import main

    sys.exit(main(words))


def start(
    words: list[str], record: Path, kill: Kill | None = None, temporary: str = "/tmp"
) -> int:
    run = SERVER.Process(target=process, args=(words, record, kill, temporary))
    run.start()
    run.join(300)
    assert run.exitcode is not None, f"{words} takes more than 300 s"
    return run.exitcode


def command(method: str, out: Path) -> list[str]:
    return ["fit", "--config", f"demo/{method}", *TINY, "--out", str(out)]


def state(folder: Path) -> dict[str, Any]:
    """What a run left behind, but for times."""
    found: dict[str, Any] = {}
    for name in ("last", "best"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        stored = torch.load(path, weights_only=True)
        found[name] = {
            key: stored[key]
            for key in ("state_dict", "optimizer_states", "epoch", "global_step")
        }
        for key, values in stored["callbacks"].items():
            if key.startswith("BestCheckpoint"):
                found[f"{name}'s best score"] = values["best_model_score"]
    found["encoder"] = (folder / "encoder.safetensors").read_bytes()
    card = json.loads((folder / "encoder.json").read_text())
    del card["compute"], card["made"]
    found["card"] = card
    return found


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two nested values are not the same, bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs: Any = ((key, one[key], other[key]) for key in one)
    elif isinstance(one, list | tuple) and len(one) == len(other):
        pairs = zip(range(len(one)), one, other, strict=True)
    elif isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [place]
    else:
        return [] if one == other else [place]
    return [
        found for key, a, b in pairs for found in differences(a, b, f"{place}/{key}")
    ]


@pytest.fixture(scope="module", params=sorted(METHODS))
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Counter[str], dict[str, Any]]:
    """A method, how often a run passes each point, and what a run leaves behind."""
    method: str = request.param
    folder = tmp_path_factory.mktemp(method)
    record = folder / "points"
    assert start(command(method, folder), record) == 0, log_of(record)
    passed = Counter(record.read_text().splitlines())
    assert set(POINTS) <= passed.keys()
    return method, passed, state(folder / method / "version_0")


def log_of(record: Path) -> str:
    return record.with_suffix(".log").read_text()[-3000:]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_resumed_run_ends_like_one_that_was_let_be(
    whole: tuple[str, Counter[str], dict[str, Any]],
    elsewhere: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    method, passed, expected = whole
    temporary = str(tmp_path)
    if elsewhere:
        temporary = "/dev/shm"
        if not os.access(temporary, os.W_OK):
            pytest.skip("needs /dev/shm, which is not there")
        if Path(temporary).stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("/dev/shm is on the disk of the run")
    shift = sorted(METHODS).index(method)
    counts: Counter[str] = Counter()
    for index, point in enumerate(POINTS):
        if (index + shift) % 2 != elsewhere:
            continue
        # Over the methods each point meets each signal, early and late.
        number = SIGNALS[(index + index // 3 + shift) % 3]
        late = (index // 2 + shift // 2) % 2
        kill = Kill(point, passed[point] if late else 1, number)
        out = tmp_path / str(index)
        out.mkdir()
        record = out / "points"
        code = start(command(method, out), record, kill, temporary)
        killed = number == signal.SIGKILL
        assert code == (-number if killed else 128 + number), (kill, log_of(record))
        last = out / method / "version_0" / "checkpoints" / "last.ckpt"
        resumes = last.exists()
        words = ["fit", "--ckpt_path", str(last)] if resumes else command(method, out)
        record = out / "points_after"
        assert start(words, record, None, temporary) == 0, (kill, log_of(record))
        folder = out / method / ("version_0" if resumes else "version_1")
        assert differences(state(folder), expected) == [], kill
        assert not list(folder.rglob(".*")), kill
        assert (folder / "finished.json").exists(), kill
        counts.update([number.name, "resumed" if resumes else "begun anew"])
    with capsys.disabled():
        place = "/dev/shm" if elsewhere else "the run's disk"
        total = sum(counts[number.name] for number in SIGNALS)
        print(f"\n{method}, TMPDIR on {place}: {total} kills, {dict(counts)}")
