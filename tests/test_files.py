"""A file is whole, or it is the older one."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
from pathlib import Path

import pytest

from vlp_zoo.errors import FileWriteError
from vlp_zoo.files import clear_leftovers, require_writable, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_full_disk_keeps_the_older_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    write_whole(path, b"older")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vlp_zoo.files.os.fsync", full)
    with pytest.raises(FileWriteError, match="the older file is as it was") as error:
        write_whole(path, b"newer")
    assert "make room" in error.value.do_this
    assert path.read_bytes() == b"older"
    assert names(tmp_path) == ["last.ckpt"]


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    write_whole(path, "older")
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            write_whole(path, b"0" * 1000)
        except FileWriteError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert path.read_text() == "older"
    assert names(tmp_path) == ["encoder.safetensors"]


def test_a_folder_that_is_a_file_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(FileWriteError, match="nothing was written"):
        write_whole(tmp_path / "runs" / "config.yaml", "seed: 0\n")


def test_leftovers_go_but_not_what_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "encoder.json"
    (tmp_path / ".encoder.json.dead").write_text("half")
    (tmp_path / ".encoder.json.alive").write_text("half")
    (tmp_path / ".encoder.safetensors.dead").write_text("another file's")
    with (tmp_path / ".encoder.json.alive").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        clear_leftovers(path)
    assert names(tmp_path) == [
        ".encoder.json.alive",
        ".encoder.safetensors.dead",
    ]


def test_the_file_reaches_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(handle: int) -> None:
        happened.append("sync")
        sync(handle)

    def renamed(aside: Path, target: Path) -> Path:
        happened.append("rename")
        assert aside.parent == target.parent
        return rename(aside, target)

    monkeypatch.setattr("vlp_zoo.files.os.fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "a", "text")
    assert happened == ["sync", "rename", "sync"]


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    require_writable(tmp_path / "runs" / "new")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(
            FileWriteError, match="file is a file; nothing was computed"
        ):
            require_writable(folder)
    with pytest.raises(FileWriteError, match="/proc/runs"):
        require_writable(Path("/proc/runs"))
    assert (tmp_path / "file").read_text() == "mine"

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileWriteError, match="make room on that disk"):
        require_writable(tmp_path / "runs")
    assert names(tmp_path) == ["file"]
