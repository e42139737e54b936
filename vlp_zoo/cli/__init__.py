"""The ``vlpzoo`` command: a dispatcher that imports nothing heavy.

``vlpzoo --help``, ``vlpzoo info`` and ``vlpzoo COMMAND --help`` answer without
importing torch; only a command that needs it pays for it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from vlp_zoo import __version__
from vlp_zoo.errors import ConfigError, VLPZooError, unknown_name

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "fit": ("vlp_zoo.cli.training", "pre-train a method"),
    "validate": ("vlp_zoo.cli.training", "compute a checkpoint's validation losses"),
    "test": ("vlp_zoo.cli.training", "compute a checkpoint's losses on the test split"),
    "predict": ("vlp_zoo.cli.training", "write image embeddings of a split"),
    "plan": ("vlp_zoo.cli.plan", "say what a training needs before it is started"),
    "bench": ("vlp_zoo.cli.bench", "evaluate an encoder, baselines beside it"),
    "show": ("vlp_zoo.cli.encoder.show", "show what an encoder sees in an image"),
    "embed": ("vlp_zoo.cli.encoder.embed", "write the features of a folder of images"),
    "score": ("vlp_zoo.cli.results.score", "score generated reports by other packages"),
    "compare": (
        "vlp_zoo.cli.results.compare",
        "compare two encoders by stored results",
    ),
    "leaderboard": (
        "vlp_zoo.cli.results.leaderboard",
        "publish results as tables and a page",
    ),
    "audit": ("vlp_zoo.cli.audit", "look for leaks, copies and shortcuts in data"),
    "sweep": ("vlp_zoo.cli.sweep", "run many fits or benches: grids, ablations"),
    "prepare": ("vlp_zoo.cli.prepare", "shrink and index a raw data set for training"),
    "synth": ("vlp_zoo.cli.synth", "draw a phantom world to disk or to a picture"),
    "annotate": ("vlp_zoo.cli.annotate", "distil entity contexts for reports"),
    "convert": (
        "vlp_zoo.cli.encoder.convert",
        "turn an official checkpoint into an encoder",
    ),
    "export": (
        "vlp_zoo.cli.encoder.export",
        "write an encoder for timm, with a model card",
    ),
    "parity": ("vlp_zoo.cli.parity", "replay recordings of the official code"),
    "info": ("vlp_zoo.cli.info", "list methods, data sets, configs"),
}
"""Command to (module with ``main(argv) -> int``, one line of help)."""


def usage() -> str:
    """The text of ``vlpzoo --help``."""
    lines = "\n".join(f"  {name:<13}{line}" for name, (_, line) in COMMANDS.items())
    return f"""usage: vlpzoo COMMAND [OPTIONS]

Pre-train, compare and benchmark medical vision-language methods.

commands:
{lines}

first run:   vlpzoo fit --model ecamp
your data:   vlpzoo fit --model ecamp --config demo/ecamp --data pairs --data.path my.csv
help:        vlpzoo COMMAND --help      version: vlpzoo --version
completion:  vlpzoo --print-completion bash, zsh or tcsh
errors:      one message; add --debug for the traceback"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: Arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns:
        0 on success, 1 on an error (one that nobody foresaw leaves its trace in a file
        of the folder for temporary files), 2 on wrong usage, 3 when ``audit`` found
        what it was told to fail on, 130 on Ctrl-C, 143 on SIGTERM.
    """
    _keep_printing()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("VLPZOO_DEBUG") == "1"
    arguments = [argument for argument in arguments if argument != "--debug"]
    name = arguments[0] if arguments else "help"
    training = False
    try:
        if name in ("-h", "--help", "help"):
            print(usage(), flush=True)
            return 0
        if name in ("-V", "--version"):
            print(f"vlpzoo {__version__}", flush=True)
            return 0
        if name == "--print-completion":
            from vlp_zoo.cli import completion

            return completion.main("".join(arguments[1:2]), COMMANDS)
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS, "vlpzoo --help lists them")
        _check_words(arguments)
        # On a CPU, threads that spin while they wait steal the time of the processes
        # that load data; it has to be said before torch is imported.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        module = importlib.import_module(COMMANDS[name][0])
        training = COMMANDS[name][0] == "vlp_zoo.cli.training"
        # Those that a training on several devices launches end with the first one.
        launched = training and os.environ.get("LOCAL_RANK", "0") != "0"
        with contextlib.nullcontext() if launched else _terminable():
            return int(module.main(arguments if training else arguments[1:]) or 0)
    except VLPZooError as error:
        if debug:
            traceback.print_exc()
        print(f"vlpzoo {name}: error\n{error}", file=sys.stderr)
        return 1
    except Terminated:
        go_on = "" if training else ", run the same command to go on"
        print(
            f"\nvlpzoo {name}: terminated; what was measured or saved is kept{go_on}",
            file=sys.stderr,
        )
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        print(f"\nvlpzoo {name}: interrupted; what was saved is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; nothing of ours failed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001
        # The last guard: nobody foresaw this one, so its trace is worth keeping.
        if debug:
            traceback.print_exc()
        print(f"vlpzoo {name}: error\n{_unforeseen(name, error)}", file=sys.stderr)
        return 1


class Terminated(KeyboardInterrupt):
    """SIGTERM, as from a queue's time limit; ends a command as Ctrl-C does."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, in this process and not in those it forks."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() == process:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _keep_printing() -> None:
    """A name that the terminal's encoding lacks is shown escaped, not raised."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_words(words: Sequence[str]) -> None:
    """Refuse names that no table, log or result could hold.

    Raises:
        ConfigError: For a word that is no text.
    """
    for word in words:
        try:
            usable = "\0" not in word and bool(word.encode() or True)
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise ConfigError(
                "words and names of files in UTF-8",
                ascii(word),
                "rename the file; if its name is right, set LC_ALL=C.UTF-8 or PYTHONUTF8=1",
            )


def _unforeseen(name: str, error: Exception) -> VLPZooError:
    """One message for any error, with its trace in a file."""
    lines = str(error).strip().splitlines()
    found = f"{type(error).__name__}: {lines[0][:400]}" if lines else repr(error)
    try:
        handle, file = tempfile.mkstemp(prefix=f"vlpzoo-{name}-", suffix=".txt")
        os.close(handle)
        with Path(file).open("w", encoding="utf-8", errors="backslashreplace") as trace:
            traceback.print_exception(error, file=trace)
        where = f"the trace is in {file}"
    except OSError as full:
        where = f"the trace could not be kept ({full})"
    return VLPZooError(
        f"a vlpzoo {name} that runs through",
        found,
        f"mend what the line above names and run it again; {where}, --debug shows it",
    )
