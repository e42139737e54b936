"""One run: its folder, its commands as child processes, and the record at the end.

``command.json`` is written first and never changed, ``log.txt`` grows, ``done.json``
says how many commands are through, and ``result.json`` comes last: a run has ended well
if and only if it is there, and its training came to its own end. A killed training goes on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vlp_zoo.errors import ConfigError, DatasetNotFoundError, VLPZooError
from vlp_zoo.files import FINISHED, write_whole
from vlp_zoo.sweeps.objective import Measure, Objective
from vlp_zoo.sweeps.plan import ENCODER, FOLDER, Order, Run

__all__ = [
    "Launcher",
    "Outcome",
    "Record",
    "execute",
    "held",
    "last_lines",
    "prepare",
    "read_record",
    "state_of",
]

T = TypeVar("T")
PATIENCE = 20.0
"""Seconds that a child gets to end after Ctrl-C; SIGTERM and SIGKILL follow."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: ``"finished"``, ``"failed"``, ``"busy"`` (another process is at it) or
            ``"stopped"``.
        code: Exit code of the command that failed.
        note: What else there is to say.
        seconds: Wall time of this attempt.
    """

    status: str
    code: int | None = None
    note: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Record:
    """What ``result.json`` says.

    Attributes:
        measures: Numbers of the objective.
        objective: The objective, as it was.
        encoder: File relative to the run's folder; None for bench.
        seconds: Wall time over all attempts that ended.
    """

    measures: list[Measure]
    objective: dict[str, Any]
    encoder: str | None = None
    seconds: float = 0.0

    @property
    def value(self) -> float:
        """Mean over the measures: what a search optimises."""
        return sum(each.value for each in self.measures) / len(self.measures)

    def to_json(self) -> str:
        """Text that `from_json` reads; ``value`` is there for people."""
        return json.dumps({"value": self.value, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The inverse of `to_json`.

        Raises:
            ValueError: If the text is not a record.
        """
        loaded = json.loads(text)
        try:
            del loaded["value"]
            measures = [Measure(**each) for each in loaded.pop("measures")]
            return cls(measures, **loaded)
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error


@dataclass
class Launcher:
    """Starts child processes, and ends all of them when asked to."""

    children: set[subprocess.Popen[bytes]] = field(default_factory=set)
    stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def launch(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str],
        inherited: Sequence[int] = (),
    ) -> int:
        """Run a command to its end.

        Args:
            command: Words.
            log: File that its output is appended to.
            environment: All of it.
            inherited: File descriptors the child keeps open.

        Returns:
            The exit code; minus the signal's number if one ended it.
        """
        with log.open("ab") as output, self._lock:
            if self.stopped:
                return -signal.SIGINT
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                pass_fds=inherited,
                # Ctrl-C reaches the sweep alone, which passes it on once.
                start_new_session=True,
            )
            self.children.add(child)
        try:
            return child.wait()
        except BaseException:
            _end([child])
            raise
        finally:
            self.children.discard(child)
            # Processes of other devices, should they have outlived the first.
            _send(child, signal.SIGKILL)

    def stop(self) -> None:
        """End all children, with their own, and start no more."""
        with self._lock:
            self.stopped = True
            children = list(self.children)
        _end(children)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    try:
        steps = (signal.SIGINT, PATIENCE), (signal.SIGTERM, PATIENCE / 4)
        for number, patience in steps:
            for child in children:
                if child.poll() is None:
                    _send(child, number)
            until = time.monotonic() + patience
            while time.monotonic() < until and any(c.poll() is None for c in children):
                time.sleep(0.05)
    finally:
        for child in children:
            _send(child, signal.SIGKILL)


def _send(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """A signal for the child and all that it started; they may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def prepare(run: Run) -> None:
    """Make the folder and write ``command.json``; refuse a folder of other commands.

    Raises:
        ConfigError: If the folder belongs to a run with other commands.
    """
    if state_of(run) == "new":
        write_whole(run.folder / "command.json", run.order.to_json())


def state_of(run: Run) -> str:
    """``"new"``, ``"started"`` or ``"finished"``.

    Raises:
        ConfigError: If the folder belongs to a run with other commands.
    """
    before = run.folder / "command.json"
    if not before.is_file():
        return "new"
    theirs = _read(before, Order.from_json, "the command of a run", run.folder)
    if theirs != run.order:
        raise ConfigError(
            f"the same commands as before for {run.name!r}",
            _changes(theirs, run.order),
            f"choose another name: or --out, or remove {run.folder}",
        )
    ended = (run.folder / "result.json").is_file()
    return "finished" if ended and not _fell_short(run.folder, theirs) else "started"


def _read(path: Path, parse: Callable[[str], T], what: str, removed: Path) -> T:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        wanted = f"{what} in {path}"
        raise ConfigError(wanted, str(error), f"remove {removed}") from error


def _changes(before: Order, now: Order) -> str:
    old, new = ([w for c in o.commands for w in c] for o in (before, now))
    gone = [word for word in old if word not in new]
    come = [word for word in new if word not in old]
    if not gone and not come:
        return f"another order, seed or program: {before.program} to {now.program}"
    said = [f"then {' '.join(gone)}"] if gone else []
    return "; ".join(said + ([f"now {' '.join(come)}"] if come else []))


def read_record(run: Run, objective: Objective) -> Record | None:
    """The record of a finished run, measured anew if the objective has changed.

    Raises:
        ConfigError: If ``result.json`` is not a record.
        DatasetNotFoundError: If a new objective's numbers are not there.
    """
    path = run.folder / "result.json"
    if not path.is_file():
        return None
    record = _read(path, Record.from_json, "the result of a run", path)
    if record.objective == asdict(objective):
        return record
    return Record(
        objective.measure(run.folder), asdict(objective), record.encoder, record.seconds
    )


def last_lines(folder: Path, count: int = 8) -> str:
    """The end of a run's log."""
    log = folder / "log.txt"
    if not log.is_file():
        return "(no log)"
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 16384))
        text = file.read().decode("utf-8", "replace")
    # A progress bar redraws its line: what counts is how it looked last.
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return "\n".join([line for line in lines if line][-count:]) or "(an empty log)"


def execute(
    folder: Path,
    objective: Objective,
    environment: Mapping[str, str] | None = None,
    launcher: Launcher | None = None,
) -> Outcome:
    """Carry out the order in a folder, or go on with it.

    Args:
        folder: Folder of a run that `prepare` made.
        objective: What to read at the end.
        environment: Variables beside those of this process.
        launcher: Starts the commands; its own by default.

    Returns:
        How it ended. A command that fails is an outcome, not an error.
    """
    launcher = launcher or Launcher()
    started = time.monotonic()

    def outcome(status: str, code: int | None = None, note: str = "") -> Outcome:
        return Outcome(status, code, note, round(time.monotonic() - started, 1))

    log = folder / "log.txt"
    with held(folder) as handle:
        if handle is None:
            holder = (folder / "lock").read_text(encoding="utf-8").strip()
            return outcome("busy", None, f"process {holder or '?'} is still at it")
        order = Order.from_json((folder / "command.json").read_text(encoding="utf-8"))
        program = order.program or [sys.executable, "-m", "vlp_zoo"]
        done, before = _progress(folder)
        if _fell_short(folder, order):
            # Older versions took a terminated training for a finished one.
            done = min(done, [words[0] for words in order.commands].index("fit"))
            (folder / "result.json").unlink(missing_ok=True)
        for number, words in enumerate(order.commands[done:], done):
            try:
                command = [*program, *_ready(words, folder)]
                _write_line(log, f"$ {' '.join(command)}")
                code = launcher.launch(
                    command, log, {**os.environ, **(environment or {})}, [handle]
                )
            except (OSError, VLPZooError) as error:
                _write_line(log, str(error))
                return outcome("failed", None, type(error).__name__)
            if code:
                return outcome("stopped" if launcher.stopped else "failed", code)
            if words[0] == "fit" and _fell_short(folder, order):
                note = "the training did not come to its own end"
                return outcome("stopped" if launcher.stopped else "failed", 0, note)
            spent = before + time.monotonic() - started
            state = {"commands": number + 1, "seconds": round(spent, 1)}
            write_whole(folder / "done.json", json.dumps(state) + "\n")
        try:
            measures = objective.measure(folder)
        except VLPZooError as error:
            _write_line(log, str(error))
            return outcome("failed", None, "its number was not found")
        encoder = _encoder(folder)
        place = None if encoder is None else str(encoder.relative_to(folder))
        seconds = round(before + time.monotonic() - started, 1)
        record = Record(measures, asdict(objective), place, seconds)
        write_whole(folder / "result.json", record.to_json())
    return outcome("finished", 0, f"{record.value:.4g}")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[int | None]:
    """Hold a folder's lock, and give its file descriptor; None if it is taken.

    The commands inherit it: a training whose sweep was killed is not joined by a
    second one in its folder.

    Args:
        folder: It has to exist.
    """
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        file.truncate(0)
        file.write(f"{os.getpid()} or a child of it\n")
        file.flush()
        yield file.fileno()


def _progress(folder: Path) -> tuple[int, float]:
    """How many commands are through, and the seconds they took."""
    file = folder / "done.json"
    if not file.is_file():
        return 0, 0.0
    state = json.loads(file.read_text(encoding="utf-8"))
    return int(state["commands"]), float(state["seconds"])


def _fell_short(folder: Path, order: Order) -> bool:
    """Whether the training of a run is there, but not to its own end.

    ``vlpzoo fit`` marks that end. Trainings of versions that made no mark count by the
    epochs or steps of the card beside their encoder, against the plan in their config.
    """
    config = _newest(folder, "config.yaml")
    if order.program is not None or config is None:
        return False
    if not any(words[0] == "fit" for words in order.commands):
        return False
    run = config.parent
    if (run / FINISHED).is_file():
        return False
    card = run / "encoder.json"
    if not card.is_file():
        return True
    done = json.loads(card.read_text(encoding="utf-8"))
    plan = yaml.safe_load(config.read_text(encoding="utf-8"))["trainer"]
    epochs, steps = plan.get("max_epochs"), plan.get("max_steps") or -1
    return not (
        (epochs is not None and 0 <= epochs <= done["epochs"])
        or 0 <= steps <= done["steps"]
    )


def _ready(words: Sequence[str], folder: Path) -> list[str]:
    """A command with its places filled in, continuing what was begun."""
    if words[0] == "fit":
        checkpoint = _newest(folder, "checkpoints/last.ckpt")
        if checkpoint and (checkpoint.parents[1] / "config.yaml").is_file():
            # The run's own config holds every flag; its evaluation is ours.
            resume = [f"--ckpt_path={checkpoint}", f"--out={folder / 'fit'}"]
            return ["fit", *resume]
    filled = [word.replace(FOLDER, str(folder)) for word in words]
    if any(ENCODER in word for word in filled):
        encoder = _encoder(folder)
        if encoder is None:
            raise DatasetNotFoundError(
                f"encoder.safetensors below {folder / 'fit'}",
                "no such file",
                "see log.txt there: the training ended before its first epoch did",
            )
        filled = [word.replace(ENCODER, str(encoder)) for word in filled]
    return filled


def _encoder(folder: Path) -> Path | None:
    return _newest(folder, "encoder.safetensors")


def _newest(folder: Path, name: str) -> Path | None:
    found = list((folder / "fit").glob(f"*/version_*/{name}"))
    return max(found, key=lambda file: file.stat().st_mtime, default=None)


def _write_line(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
