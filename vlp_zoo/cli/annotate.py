"""``vlpzoo annotate``: distil entity contexts for a file or folder of reports.

Writes JSON lines ``{"uid", "context"}`` that the data sets of this package read back.
A run can be stopped at any time and started again: what is written is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from vlp_zoo.cli.parser import Parser
from vlp_zoo.cli.screen import progress_bar
from vlp_zoo.errors import ConfigError, DatasetNotFoundError, ReportSourceError
from vlp_zoo.files import append, require_writable

if TYPE_CHECKING:
    from vlp_zoo.reports.contexts.context import ContextSource

__all__ = ["annotate_reports", "main", "read_reports"]

_TEXT_COLUMNS = ("findings", "impression")
_TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".gz", ".zip", ".xz", ".bz2")
_ID_COLUMNS = ("uid", "image")
Pair = tuple[str, str]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="vlpzoo annotate",
        description="Distil what each report says into short entity sentences.",
        epilog="An API key for an endpoint is read from VLPZOO_API_KEY. Reports are"
        " sent there: check that the data set's licence allows it.",
    )
    parser.add_argument(
        "--reports",
        type=Path,
        required=True,
        help="table (CSV, also packed, TSV, Parquet or .xlsx), or a folder of .txt reports",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON-lines file to write or continue"
    )
    parser.add_argument(
        "--source",
        default="rules",
        help="rules (default), csv:FILE, hf:PATH or the URL of a chat endpoint",
    )
    parser.add_argument(
        "--text-columns",
        help="columns joined to one text (findings,impression, else report or text)",
    )
    parser.add_argument(
        "--id-column",
        help="column of unique ids (uid, else image, by which --data.context joins)",
    )
    parser.add_argument("--model", help="model name for an endpoint")
    parser.add_argument("--workers", type=int, default=4, help="requests in flight (4)")
    parser.add_argument("--cache", type=Path, help="folder of answers (OUT.cache)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds (120)")
    parser.add_argument("--retries", type=int, default=5, help="per report (5)")
    parser.add_argument("--limit", type=int, help="stop after this many reports")
    return parser


def read_reports(
    path: Path, text_columns: Sequence[str] | None = None, id_column: str | None = None
) -> list[Pair]:
    """(uid, text) of every report, in the order found.

    Args:
        path: A table as of ``--data pairs``, or a folder searched for ``*.txt``; a text file's uid is
            its path below the folder without the suffix, and its text the findings
            and impression.
        text_columns: Columns joined by a blank; ``findings`` and ``impression``, or
            else ``report`` or ``text``, by default.
        id_column: Column of unique ids; ``uid``, or else ``image``, by default.

    Raises:
        DatasetNotFoundError: If the file, a column, or every text file is missing.
        ConfigError: If ids are missing or repeat.
    """
    if path.is_dir():
        return list(_text_files(path))
    if not path.is_file():
        raise DatasetNotFoundError(
            f"a table or folder of reports: {path}", "no such path", "check --reports"
        )
    if path.suffix not in _TABLES:
        raise DatasetNotFoundError(
            f"a {' or '.join(_TABLES)} table or a folder: {path}",
            f"a file that ends with {path.suffix!r}",
            "convert it, or give the folder that holds the .txt files",
        )
    return _table(path, text_columns, id_column)


def _text_files(folder: Path) -> Iterator[Pair]:
    from vlp_zoo.reports.sections import parse_report

    files = sorted(folder.rglob("*.txt"))
    if not files:
        raise DatasetNotFoundError(
            f".txt reports below {folder}", "none", "check --reports"
        )
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        uid = file.relative_to(folder).with_suffix("").as_posix()
        yield uid, parse_report(text).body


def _table(
    path: Path, text_columns: Sequence[str] | None, id_column: str | None
) -> list[Pair]:
    from vlp_zoo.reading import read_table

    table = read_table(path)
    present = [str(column) for column in table.columns]
    if text_columns is None:
        text_columns = [name for name in _TEXT_COLUMNS if name in present] or [
            name for name in ("report", "text") if name in present
        ][:1]
    id_column = id_column or next((n for n in _ID_COLUMNS if n in present), "uid")
    missing = [name for name in (id_column, *text_columns) if name not in present]
    if missing or not text_columns:
        wanted = ", ".join(missing) or "findings, impression, report or text"
        raise DatasetNotFoundError(
            f"the column(s) {wanted} in {path}",
            f"the columns {', '.join(present)}",
            "give --id-column and --text-columns",
        )
    uids = table[id_column].tolist()
    repeated = [uid for uid, count in Counter(uids).items() if count > 1 or not uid]
    if repeated:
        raise ConfigError(
            f"a unique id in every row of {id_column!r} in {path}",
            f"{len(repeated)} empty or repeated, such as {repeated[0]!r}",
            "give another --id-column",
        )
    columns = [[_seen(name, text) for text in table[name]] for name in text_columns]
    texts = [" ".join(filter(None, parts)) for parts in zip(*columns, strict=True)]
    return list(zip(uids, texts, strict=True))


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[FileIO]:
    """The output, open for this process alone."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists() and not out.is_file():
        raise ConfigError(
            f"a file to write contexts to: {out}",
            "a folder or a device",
            "give another --out",
        )
    with out.open("ab+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{out} for this run alone",
                "another run that writes it",
                "wait for it, or give another --out",
            ) from error
        yield file


def _done(file: FileIO, out: Path) -> set[str]:
    """Uids already in the output; a half line at its end is cut off and said."""
    done: set[str] = set()
    file.seek(0)
    good = 0
    for number, line in enumerate(file.readall().splitlines(keepends=True), 1):
        try:
            row = json.loads(line)
            uid, context = row["uid"], row["context"]
            if not (isinstance(uid, str) and isinstance(context, str)):
                raise TypeError("uid and context are texts")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # Only the last line can be one that an interruption cut; what does not
            # begin like ours is somebody's own.
            ours = line.startswith(_START) or _START.startswith(line)
            if line.endswith(b"\n") or not ours:
                raise ReportSourceError(
                    f"JSON lines of uid and context in {out}",
                    f"something else in line {number}: {line[:60]!r}",
                    "give another --out, or repair that line",
                ) from error
            file.truncate(good)
            print(
                f"{out}: line {number} was cut by an interruption and is made again",
                file=sys.stderr,
            )
            return done
        done.add(uid)
        good += len(line)
        if not line.endswith(b"\n"):
            append(file, b"\n")
    return done


_START = b'{"uid": '


def annotate_reports(
    source: ContextSource, reports: Sequence[Pair], out: Path, quiet: bool = False
) -> Counter[str]:
    """Write the contexts of the reports that ``out`` does not hold yet.

    Args:
        source: What makes the contexts.
        reports: (uid, text) pairs.
        out: JSON-lines file; failures go to ``OUT.rejects.jsonl`` beside it, which
            is written anew and removed when nothing failed.
        quiet: Show no progress bar.

    Returns:
        Counts: ``kept`` (written before), ``written``, ``empty`` (of those written:
        nothing to say), ``failed``.

    Raises:
        ReportSourceError: If ``out`` holds something else.
        ConfigError: If ``out`` is no file, or another run writes it.
    """
    with _locked(out) as file:
        return _annotate(source, reports, file, out, quiet)


def _annotate(
    source: ContextSource, reports: Sequence[Pair], file: FileIO, out: Path, quiet: bool
) -> Counter[str]:
    from rich.progress import TimeRemainingColumn

    done = _done(file, out)
    todo = [(uid, text) for uid, text in reports if uid not in done]
    counts = Counter(kept=len(reports) - len(todo), written=0, empty=0, failed=0)
    rejects = rejects_file(out)
    rejects.unlink(missing_ok=True)
    with progress_bar(TimeRemainingColumn(), disable=quiet) as bar:
        task = bar.add_task(source.name, total=len(todo))
        for start in range(0, len(todo), source.batch_size):
            chunk = todo[start : start + source.batch_size]
            answers = _answers(source, chunk)
            lines = []
            for (uid, _), answer in zip(chunk, answers, strict=True):
                if isinstance(answer, ReportSourceError):
                    counts["failed"] += 1
                    _append(rejects, uid, answer)
                    continue
                counts["written"] += 1
                counts["empty"] += not answer
                lines.append(_line({"uid": uid, "context": answer}))
            append(file, b"".join(lines))
            bar.advance(task, len(chunk))
    return counts


def _seen(column: str, text: str) -> str:
    """What a cell says was seen: of a whole report, findings and impression."""
    from vlp_zoo.reports.blank import stated
    from vlp_zoo.reports.sections import parse_report

    return stated(parse_report(text).body if column in ("report", "text") else text)


def _answers(
    source: ContextSource, chunk: Sequence[Pair]
) -> list[str | ReportSourceError]:
    # An empty report has an empty context; no model needs to be asked.
    asked = [(uid, text) for uid, text in chunk if text.strip()]
    given = iter(
        source.contexts([uid for uid, _ in asked], [text for _, text in asked])
        if asked
        else []
    )
    return [next(given) if text.strip() else "" for _, text in chunk]


def rejects_file(out: Path) -> Path:
    """Where the failures of a run are listed."""
    return out.with_name(f"{out.name}.rejects.jsonl")


def _append(rejects: Path, uid: str, error: ReportSourceError) -> None:
    row = {"uid": uid, "looked_for": error.looked_for, "reason": error.found}
    with rejects.open("ab", buffering=0) as file:
        append(file, _line(row))


def _line(row: dict[str, str]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        # The name of a file that is no UTF-8: escaped, and equal when it is read back.
        return (json.dumps(row) + "\n").encode()


def main(argv: list[str]) -> int:
    """Annotate reports; 1 if one of them failed."""
    arguments = _parser().parse_args(argv)
    from vlp_zoo.reports.contexts.context import context_source

    require_writable(arguments.out.parent)
    columns = arguments.text_columns
    reports = read_reports(
        arguments.reports,
        [name.strip() for name in columns.split(",")] if columns else None,
        arguments.id_column,
    )
    out: Path = arguments.out
    source = context_source(
        arguments.source,
        arguments.model,
        cache=arguments.cache or out.with_name(f"{out.name}.cache"),
        workers=arguments.workers,
        timeout=arguments.timeout,
        retries=arguments.retries,
    )
    counts = annotate_reports(source, reports[: arguments.limit], out)
    print(
        f"{out}: {counts['written']} written ({counts['empty']} empty),"
        f" {counts['kept']} kept from before, {counts['failed']} failed"
    )
    if counts["failed"]:
        print(f"the failed ones and why: {rejects_file(out)}; run again to retry them")
        return 1
    return 0
