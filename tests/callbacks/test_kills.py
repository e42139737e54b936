"""Runs that a signal meets while they write: resumed, they end as if it had not."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from vlp_zoo.methods import METHODS

pytestmark = pytest.mark.slow

FILES = ("last.ckpt", "best.ckpt", "encoder.safetensors", "encoder.json")
STATES = ("begun", "half written", "not synced", "synced", "renamed")
POINTS = tuple(f"{name} {state}" for name in FILES for state in STATES)
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
    elsewhere: bool
    """Whether TMPDIR is on another disk than the run."""

    @property
    def before_any_checkpoint(self) -> bool:
        """Whether it leaves nothing to resume."""
        early = self.number == signal.SIGKILL and self.nth == 1
        return early and self.point in POINTS[: STATES.index("renamed")]


def kills(method: str, passed: Mapping[str, int]) -> list[Kill]:
    """The kills of a method, one at each point.

    Over the methods each point meets each signal, the first and the last time that a
    run is there, and each signal with either place of TMPDIR.
    """
    shift = sorted(METHODS).index(method)
    planned = []
    for index, point in enumerate(POINTS):
        turn = index + index // len(STATES) + shift
        nth = passed[point] if turn % 2 else 1
        elsewhere = bool((index + shift // len(SIGNALS)) % 2)
        planned.append(Kill(point, nth, SIGNALS[turn % len(SIGNALS)], elsewhere))
    return planned


def test_the_kills_cover_each_point_with_each_signal() -> None:
    passed = dict.fromkeys(POINTS, 9)
    planned = [kill for method in METHODS for kill in kills(method, passed)]
    assert len(planned) == len(METHODS) * len(POINTS)
    assert {(k.point, k.nth, k.number) for k in planned} == set(
        itertools.product(POINTS, (1, 9), SIGNALS)
    )
    assert {(k.point, k.number, k.elsewhere) for k in planned} == set(
        itertools.product(POINTS, SIGNALS, (False, True))
    )
    # Nearly all of them leave something to resume, and some do not.
    assert 0 < sum(kill.before_any_checkpoint for kill in planned) < len(METHODS)


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

    mkstemp, fsync, replace = tempfile.mkstemp, os.fsync, os.replace

    def target_of(aside: Path) -> str:
        return aside.name.strip(".").rpartition(".")[0]

    def begun(*args: Any, **kwargs: Any) -> tuple[int, str]:
        made = mkstemp(*args, **kwargs)
        at(str(kwargs.get("prefix", "")).strip("."), "begun")
        return made

    def half_written(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            done = file.write(content[: len(content) // 2])
            file.flush()
            at(target_of(self), "half written")
            return done + file.write(content[done:])

    def synced(handle: int) -> None:
        open_one = Path(f"/proc/self/fd/{handle}").readlink()
        if open_one.is_file():
            at(target_of(open_one), "not synced")
        fsync(handle)

    def renamed(source: Any, target: Any) -> None:
        at(Path(target).name, "synced")
        replace(source, target)
        at(Path(target).name, "renamed")

    tempfile.mkstemp, os.fsync, os.replace = begun, synced, renamed  # type: ignore[assignment]
    Path.write_bytes = half_written  # type: ignore[assignment,method-assign]
    # A shell starts what it runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
    planned = [kill for kill in kills(method, passed) if kill.elsewhere == elsewhere]
    counts: Counter[str] = Counter()
    for index, kill in enumerate(planned):
        out = tmp_path / str(index)
        out.mkdir()
        record = out / "points"
        code = start(command(method, out), record, kill, temporary)
        killed = kill.number == signal.SIGKILL
        assert code == (-kill.number if killed else 128 + kill.number), (
            kill,
            log_of(record),
        )
        last = out / method / "version_0" / "checkpoints" / "last.ckpt"
        resumes = last.exists()
        assert resumes != kill.before_any_checkpoint, kill
        words = ["fit", "--ckpt_path", str(last)] if resumes else command(method, out)
        record = out / "points_after"
        assert start(words, record, None, temporary) == 0, (kill, log_of(record))
        folder = out / method / ("version_0" if resumes else "version_1")
        assert differences(state(folder), expected) == [], kill
        assert not list(folder.rglob(".*")), kill
        assert (folder / "finished.json").exists(), kill
        counts.update([kill.number.name, "resumed" if resumes else "begun anew"])
    with capsys.disabled():
        place = "/dev/shm" if elsewhere else "the run's disk"
        print(f"\n{method}, TMPDIR on {place}: {len(planned)} kills, {dict(counts)}")
