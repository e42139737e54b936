"""``vlpzoo audit``: leaks, copies, contradictions, bad files and shortcuts in data."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.bench.tasks import flag
from vlp_zoo.cli.parser import StrictParser
from vlp_zoo.cli.screen import output
from vlp_zoo.errors import ConfigError
from vlp_zoo.files import require_writable

if TYPE_CHECKING:
    from vlp_zoo.data.audit.findings import Audit, Splits
    from vlp_zoo.evaluation.classification.shortcuts import Shortcut

__all__ = ["build_splits", "main", "run"]

FAIL_ON = ("leak", "twin", "contradiction", "unreadable", "never")
STUDIES = (400, 100, 200)
"""Synthetic studies per split."""

FOUND = 3
"""Exit code when something was found that --fail-on asks for."""


def _parser() -> argparse.ArgumentParser:
    parser = StrictParser(
        prog="vlpzoo audit",
        description="Look for leaks, copies, contradictions, bad files and shortcuts.",
        epilog=(
            "Give --data several times to compare data sets with each other. Exit "
            "code: 0 clean, 1 wrong options or missing data, 3 findings at or above "
            "--fail-on (leak > twin > contradiction > unreadable)."
        ),
    )
    parser.repeat(
        "--data",
        "DATA",
        "phantom_chest, pairs:TABLE.csv or NAME:ROOT of any data "
        "set that vlpzoo info datasets lists",
    )
    parser.add_argument(
        "--split",
        metavar="RULE",
        help="split rule of listed data sets (canonical); pairs use their split column",
    )
    parser.add_argument(
        "--encoder-card",
        type=Path,
        metavar="FILE",
        help="card (.json) of an encoder: was it pre-trained on this data?",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/audit"))
    parser.add_argument("--fail-on", choices=FAIL_ON, default="leak")
    parser.add_argument(
        "--label-prefix",
        help="pairs: start of the names of label columns (label_)",
    )
    parser.add_argument(
        "--no-crops", action="store_true", help="do not look for cropped copies"
    )
    parser.add_argument("--workers", type=int, help="threads (all cores)")
    parser.add_argument(
        "--studies",
        type=int,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help="phantom_chest: studies per split (400 100 200)",
    )
    return parser


def main(argv: list[str]) -> int:
    """Audit, write ``audit.json`` and ``audit.html``, print a summary.

    Returns:
        0 or 3; errors are raised.

    Raises:
        ConfigError: For options that cannot be.
    """
    options = _parser().parse_args(argv)
    require_writable(options.out)
    if not options.data:
        raise ConfigError(
            "at least one --data", "none", "vlpzoo audit --data pairs:TABLE.csv"
        )
    card = _read_card(options.encoder_card) if options.encoder_card else None
    datasets: dict[str, Splits] = {}
    _check_read(options)
    for name in dict.fromkeys(options.data):
        datasets[_free_name(_short_name(name), datasets)] = build_splits(
            name,
            split=options.split,
            label_prefix=options.label_prefix or "label_",
            studies=tuple(options.studies or STUDIES),
        )
    report, audit = run(
        datasets, card=card, crops=not options.no_crops, workers=options.workers
    )
    bad = options.fail_on != "never" and audit.reaches(options.fail_on)
    report["fail_on"] = options.fail_on
    report["passed"] = not bad
    _write(options.out, report, audit)
    _print(report)
    print(f"written: {options.out / 'audit.html'} and audit.json beside it")
    return FOUND if bad else 0


def _check_read(options: argparse.Namespace) -> None:
    """Refuse options of a kind of data that is not among those to be compared."""
    kinds = {name.partition(":")[0] for name in options.data}
    for option, kind in (("label_prefix", "pairs"), ("studies", "phantom_chest")):
        if getattr(options, option) is not None and kind not in kinds:
            raise ConfigError(
                f"--data {kind}, which alone reads {flag(option)}",
                ", ".join(options.data),
                f"leave {flag(option)} out: it would change nothing",
            )


def build_splits(
    name: str,
    *,
    split: str | None = None,
    label_prefix: str = "label_",
    studies: tuple[int, ...] = STUDIES,
) -> Splits:
    """The sources of each split of a data set, unusable rows included.

    Args:
        name: ``phantom_chest``, ``pairs:TABLE`` or ``NAME:ROOT``.
        split: Rule of a listed data set; None = canonical.
        label_prefix: Prefix of the label columns of a table.
        studies: Synthetic studies per split.

    Raises:
        UnknownNameError: If there is no such data set.
        DatasetNotFoundError: If its files are missing.
        ConfigError: If the place is missing, or a table is given a rule.
    """
    from vlp_zoo.data import DATASETS
    from vlp_zoo.data.catalogue import card_of, load
    from vlp_zoo.data.pairs import PairColumns, read_pairs
    from vlp_zoo.data.phantom.chest.source import SPLITS, PhantomChestSource
    from vlp_zoo.data.splits import split_patients
    from vlp_zoo.errors import unknown_name

    kind, _, place = name.partition(":")
    known = {"phantom_chest": "", "pairs": "TABLE.csv"}
    known = {**dict.fromkeys(DATASETS, "ROOT"), **known}
    if kind not in known:
        raise unknown_name("data set", kind, known, "vlpzoo info datasets lists them")
    if bool(place) != bool(known[kind]):
        wanted = f"{kind}:{known[kind]}" if known[kind] else kind
        raise ConfigError("a data set and its place in --data", name, f"write {wanted}")
    if split is not None and kind not in DATASETS:
        raise ConfigError(
            f"a data set with split rules for --split {split}",
            kind,
            "leave --split out: this data set says itself how it is split",
        )
    if kind == "phantom_chest":
        return {
            part: PhantomChestSource(part, n)
            for part, n in zip(SPLITS, studies, strict=True)
        }
    if kind in DATASETS:
        found, splits = load(card_of(kind), Path(place), split=split or "canonical")
    else:
        columns = PairColumns(label_prefix=label_prefix)
        found, given = read_pairs(Path(place), columns, need_report=False)
        # The shares of --data pairs and of bench, so that the same split is audited.
        splits = given or split_patients(found.patient_ids, val=0.1, test=0.1)
    rows: dict[str, list[int]] = {}
    for i, part in enumerate(splits):
        rows.setdefault(part, []).append(i)
    order = sorted(rows, key=lambda part: (*SPLITS, part).index(part))
    return {part: found.subset(rows[part], f"{found.name} {part}") for part in order}


def _short_name(name: str) -> str:
    kind, _, place = name.partition(":")
    return f"{kind}:{Path(place).name}" if kind == "pairs" else kind


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    if name not in taken:
        return name
    return next(n for i in range(2, 1000) if (n := f"{name}:{i}") not in taken)


def run(
    datasets: Mapping[str, Splits],
    *,
    card: Mapping[str, Any] | None = None,
    crops: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> tuple[dict[str, Any], Audit]:
    """Audit data sets and an encoder's card, and probe for shortcuts.

    Args:
        datasets: Name to split to source.
        card: Card of an encoder; its ``pretraining_sources``, else its ``data``, are
            compared with the data sets.
        crops: Look for cropped copies too.
        workers: Threads; None = one per core.
        progress: Show a bar on a terminal.

    Returns:
        The content of ``audit.json``, and the audit.
    """
    from vlp_zoo.data.audit.findings import audit as audit_data
    from vlp_zoo.overlaps import contamination

    audit = audit_data(datasets, crops=crops, workers=workers, progress=progress)
    report = audit.to_dict()
    report["shortcuts"] = {
        name: [_plain(shortcut) for shortcut in _probe(audit, name)]
        for name in datasets
    }
    sources = _sources_of(card) if card is not None else []
    report["contamination"] = [
        {**asdict(found), "dataset": name}
        for name in datasets
        for found in contamination(sources, name.partition(":")[0])
    ]
    report["verdict"] = _verdict(report)
    return report, audit


def _probe(audit: Audit, name: str) -> list[Shortcut]:
    import numpy as np

    from vlp_zoo.data.audit.prints import FEATURES
    from vlp_zoo.evaluation.classification.shortcuts import shortcut_probe

    splits = audit.datasets[name]
    label_names = next(iter(splits.values())).label_names
    if not label_names:
        return []
    mine = [i for i, image in enumerate(audit.images) if image.dataset == name]
    columns = [audit.prints.features[mine]]
    names = list(FEATURES)
    facts = {
        "view": [
            v for s in splits.values() for v in getattr(s, "views", [""] * len(s))
        ],
        "site": [
            next((f[k] for k in ("site", "source", "device") if f.get(k)), "")
            for s in splits.values()
            for f in getattr(s, "facts", [{}] * len(s))
        ],
    }
    for fact, values in facts.items():
        words = np.array([str(value or "") for value in values])
        kinds = sorted(set(words) - {""})
        # Something that is different for each image describes no group.
        if len(kinds) + ("" in words) > 1 and len(kinds) <= 50:
            columns.append((words[:, None] == np.array(kinds)).astype(np.float32))
            names += [f"{fact} {kind}" for kind in kinds]
    return shortcut_probe(
        np.concatenate(columns, axis=1),
        names,
        np.concatenate([source.labels for source in splits.values()]),
        label_names,
        [audit.images[i].patient_id for i in mine],
    )


def _plain(shortcut: Shortcut) -> dict[str, Any]:
    numbers = {
        name: None if math.isnan(value) else round(float(value), 4)
        for name in ("auroc", "low", "high")
        for value in [getattr(shortcut, name)]
    }
    return {**asdict(shortcut), **numbers, "strong": shortcut.strong}


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"an encoder card in --encoder-card {path}",
            f"{type(error).__name__}: {error}",
            "give the .json file beside the encoder's .safetensors",
        ) from error
    if not isinstance(card, dict) or not _sources_of(card):
        raise ConfigError(
            f"what the encoder was pre-trained on in {path}",
            "neither pretraining_sources nor data",
            'add "pretraining_sources": ["NAME", ...] to the card',
        )
    return card


def _sources_of(card: Mapping[str, Any]) -> list[str]:
    named = card.get("pretraining_sources") or card.get("data") or []
    return [named] if isinstance(named, str) else [str(name) for name in named]


def _verdict(report: Mapping[str, Any]) -> str:
    found = [
        f"{n} {grade}{'s' if n > 1 and grade != 'unreadable' else ''}"
        for grade, n in report["counts"].items()
        if n
    ]
    strong = sum(s["strong"] for items in report["shortcuts"].values() for s in items)
    if strong:
        found.append(f"{strong} strong shortcut{'s' if strong > 1 else ''}")
    if seen := [item for item in report["contamination"] if item["certain"]]:
        names = ", ".join(dict.fromkeys(str(item["dataset"]) for item in seen))
        found.append(f"the encoder has seen images of {names}")
    return f"found: {', '.join(found)}" if found else "clean: nothing found"


def _write(out: Path, report: Mapping[str, Any], audit: Audit) -> None:
    from vlp_zoo.data.audit.page import render
    from vlp_zoo.files import write_whole

    write_whole(out / "audit.json", json.dumps(report, indent=2, default=str) + "\n")
    write_whole(out / "audit.html", render(audit, report))


def _findings(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each finding; groups of copies in the same places share one."""
    lines: dict[tuple[str, str], list[str]] = {}
    for f in findings:
        place = f["summary"]
        if f["kind"] == "copies":
            place = " and ".join(f"{name} {split}" for name, split in f["sides"])
        elif f["kind"] == "labels":
            place = f"copies disagree on {', '.join(f['labels'])}"
        pair = " = ".join(image["uid"] for image in f["images"][:2])
        lines.setdefault((f["grade"], place), []).append(pair)
    found = []
    for (grade, place), uids in lines.items():
        words = place
        if " = " in uids[0]:
            groups = f"{len(uids)} group{'s' if len(uids) > 1 else ''}"
            start = "" if grade == "contradiction" else "copies in "
            words = f"{start}{place}: {groups}, such as {uids[0]}"
        found.append(f"{grade}: {words}")
    return found


def _print(report: Mapping[str, Any]) -> None:
    from rich.table import Table

    console = output()
    table = Table("data set", "split", "images", "patients", "split hash")
    for name, data in report["datasets"].items():
        for split, part in data["splits"].items():
            counts = (str(part["images"]), str(part["patients"]))
            table.add_row(name, split, *counts, data["split_sha256"][:12])
    console.print(table)
    lines = _findings(report["findings"])
    lines += [
        f"shortcut: {s['label']} of {name} is guessed from the acquisition, AUROC "
        f"{s['auroc']:.3f} ({s['low']:.3f} to {s['high']:.3f}), mostly by "
        + ", ".join(s["features"])
        for name, items in report["shortcuts"].items()
        for s in items
        if s["strong"]
    ]
    lines += [
        f"encoder: {'shares' if c['certain'] else 'may share'} images with "
        f"{c['dataset']} ({' > '.join(c['chain'])}): {c['mechanism']}"
        for c in report["contamination"]
    ]
    for line in lines[:20]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(lines) > 20:
        print(f"... and {len(lines) - 20} more")
    print(report["verdict"])
