"""A training on two processes of which one dies: the other ends, soon."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen

import pytest

pytestmark = pytest.mark.slow

TINY = [
    *("fit", "--config", "demo/mae", "--evaluate", "[]"),
    *("--data.train_studies", "24", "--data.val_studies", "8"),
    *("--data.batch_size", "2", "--data.num_workers", "0"),
    *("--trainer.max_epochs", "999", "--trainer.accelerator", "cpu"),
    *("--trainer.devices", "2", "--trainer.strategy", "ddp"),
]


def start(out: Path, program: Sequence[str] = ("-m", "vlp_zoo")) -> Popen[bytes]:
    return Popen(
        [sys.executable, *program, *TINY, "--out", str(out)],
        stdout=(out.parent / "log.txt").open("wb"),
        stderr=subprocess.STDOUT,
        env={**os.environ, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"},
        start_new_session=True,
    )


def others(main: int) -> list[int]:
    """The live processes of a session, its leader left out."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, session = fields[0], int(fields[3])
        if session == main and int(folder.name) != main and state != "Z":
            found.append(int(folder.name))
    return found


def end(run: Popen[bytes]) -> None:
    for process in [run.pid, *others(run.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    run.wait()


def ranks(main: int) -> list[int]:
    """The other ranks: processes that have a rank in their environment."""
    found = []
    for process in others(main):
        try:
            content = Path(f"/proc/{process}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"LOCAL_RANK=1" in content:
            found.append(process)
    return found


def wait_for(condition: object, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("when", ["starting", "training"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_all(tmp_path: Path, rank: int, when: str) -> None:
    out = tmp_path / "out"
    run = start(out)
    last = out / "mae" / "version_0" / "checkpoints" / "last.ckpt"
    try:
        assert wait_for(lambda: ranks(run.pid), 120)
        if when == "training":
            assert wait_for(last.exists, 240), (tmp_path / "log.txt").read_text()
        else:
            time.sleep(3)  # the second one imports, and joins no group yet
        os.kill(run.pid if rank == 0 else ranks(run.pid)[0], signal.SIGKILL)
        run.wait(60)
        assert run.returncode != 0
        assert wait_for(lambda: not others(run.pid), 60)
    finally:
        end(run)


DIES = """
import os, pkgutil, signal, sys
from vlp_zoo.cli import main

def die(*args, **kwargs):
    if os.environ.get("LOCAL_RANK", "0") == "{rank}":
        os.kill(os.getpid(), signal.SIGKILL)
    return before(*args, **kwargs)

owner, name = pkgutil.resolve_name("{owner}"), "{name}"
before = getattr(owner, name)
setattr(owner, name, die)
sys.exit(main())
"""
"""A program whose process of one rank dies where a method is called."""


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("vlp_zoo.data.datamodules:PhantomChest", "setup"),
        ("vlp_zoo.methods.base:VLPModule", "validation_step"),
        ("vlp_zoo.callbacks:ExportEncoder", "on_train_epoch_end"),
    ],
)
def test_a_rank_that_dies_at_other_work_ends_all(
    tmp_path: Path, owner: str, name: str, rank: int
) -> None:
    out = tmp_path / "out"
    script = tmp_path / "dies.py"
    script.write_text(DIES.format(rank=rank, owner=owner, name=name))
    run = start(out, [str(script)])
    try:
        # Most of this is the way to that work; the one that dies says nothing.
        run.wait(240)
        # Ended by the launcher, or by the error of an exchange, whichever is first.
        assert run.returncode != 0, (tmp_path / "log.txt").read_text()
        assert wait_for(lambda: not others(run.pid), 60)
    finally:
        end(run)


def test_a_terminated_training_on_two_processes_saves_and_says_so(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    run = start(out)
    last = out / "mae" / "version_0" / "checkpoints" / "last.ckpt"
    try:
        assert wait_for(last.exists, 300), (tmp_path / "log.txt").read_text()
        run.send_signal(signal.SIGTERM)
        assert run.wait(120) == 143, (tmp_path / "log.txt").read_text()
        assert wait_for(lambda: not others(run.pid), 30)
    finally:
        end(run)
    text = (tmp_path / "log.txt").read_text()
    assert f"--ckpt_path {last}" in text
    assert "Traceback" not in text
