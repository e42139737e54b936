"""``vlpzoo leaderboard``: stored results as Markdown, CSV and one HTML page."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import vlp_zoo
from vlp_zoo.cli.parser import StrictParser, add_results, at_least, results_of
from vlp_zoo.cli.screen import progress_bar
from vlp_zoo.files import cache_folder, require_writable, write_whole

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(
        prog="vlpzoo leaderboard",
        description="Write stored results as LEADERBOARD.md, leaderboard.csv and "
        "leaderboard.html.",
        epilog=(
            "Runs share a table only if they share task, split, data, preset, settings, "
            "label fraction and the labels that count. The page needs no network and "
            "no server; equal results give equal files."
        ),
    )
    add_results(parser)
    parser.add_argument(
        "--reported",
        type=Path,
        metavar="CSV",
        help="numbers of papers, shown apart (benchmarks/reported.csv has some)",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/leaderboard"))
    parser.add_argument(
        "--bootstrap",
        type=at_least(0),
        default=1000,
        metavar="R",
        help="replicates of differences and means, more where many encoders meet; "
        "0 = stored intervals only (1000)",
    )
    parser.add_argument(
        "--no-html", action="store_true", help="leave out the page, which needs Jinja2"
    )
    return parser


def main(argv: list[str]) -> int:
    """Write the three files, or stop with one message."""
    options = _parser().parse_args(argv)
    require_writable(options.out)
    folders = results_of(options)
    needed = [folder / "results.jsonl" for folder in folders]
    needed += [options.reported] if options.reported else []
    if not all(path.is_file() for path in needed):
        _made(options, folders)  # Which says what is missing.
    # Thousands of replicates: what was made of equal results is kept.
    kept = cache_folder() / "leaderboard" / f"{_digest(options, folders)}.json"
    files = _kept(kept)
    if files is None:
        files = _made(options, folders)
        try:
            write_whole(kept, json.dumps({"files": files, "sha256": _sha256(files)}))
        except OSError as error:
            print(f"not kept for the next time: {error}", file=sys.stderr)
    for name, content in files.items():
        write_whole(options.out / name, content)
        print(options.out / name)
    return 0


def _kept(path: Path) -> dict[str, str] | None:
    """Contents of the files by name that an earlier call made; None if there are none."""
    if not path.is_file():
        return None
    try:
        row = json.loads(path.read_bytes())
        files: dict[str, str] = row["files"]
        if not files or row["sha256"] != _sha256(files):
            raise ValueError("another checksum")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        print(f"{path} is damaged ({error}): made again", file=sys.stderr)
        return None
    return files


def _sha256(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _made(options: argparse.Namespace, folders: list[Path]) -> dict[str, str]:
    """Contents of the files by name."""
    from vlp_zoo.leaderboard.boards import make_boards
    from vlp_zoo.leaderboard.reported import read_reported
    from vlp_zoo.leaderboard.runs import read_runs
    from vlp_zoo.leaderboard.text import csv_text, markdown

    reported = read_reported(options.reported) if options.reported else []
    with _watched() as progress:
        boards = make_boards(
            read_runs(folders), replicates=options.bootstrap, progress=progress
        )
        files = {
            "LEADERBOARD.md": markdown(boards, reported),
            "leaderboard.csv": csv_text(boards),
        }
        if not options.no_html:
            from vlp_zoo.leaderboard.page import page

            files["leaderboard.html"] = page(boards, reported)
    return files


@contextlib.contextmanager
def _watched() -> Iterator[Callable[[str, int, int], None]]:
    """Say which board is made: a terminal has a bar, a log a line once a minute."""
    if not sys.stderr.isatty():
        from vlp_zoo.bench.pace import Pace

        with Pace(partial(print, file=sys.stderr, flush=True), "boards") as pace:
            yield lambda name, done, total: pace.told("leaderboard", done, total)
        return
    from rich.console import Console
    from rich.markup import escape

    with progress_bar(console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("reading results", total=None)
        yield lambda name, done, total: bar.update(
            task, description=escape(name), completed=done, total=total
        )


def _digest(options: argparse.Namespace, folders: list[Path]) -> str:
    """Hash of everything that decides the contents: options, results, and the code."""
    asked = (vlp_zoo.__version__, options.bootstrap, options.no_html)
    found = hashlib.sha256(repr(asked).encode())
    for path in _inputs(options, folders):
        content = path.read_bytes()
        found.update(f"\0{path.name} {len(content)}\0".encode())
        found.update(content)
    return found.hexdigest()


def _inputs(options: argparse.Namespace, folders: list[Path]) -> Iterator[Path]:
    code = Path(vlp_zoo.__file__).parent
    for part in ("leaderboard", "evaluation"):
        yield from sorted(p for p in (code / part).rglob("*.*") if p.suffix != ".pyc")
    if options.reported:
        yield options.reported
    for folder in folders:
        yield from sorted(p for p in folder.rglob("*.*") if p.is_file())
