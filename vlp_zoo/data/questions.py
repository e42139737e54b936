"""Questions about images: a table of one's own, VQA-RAD's file, or SLAKE's folder.

Each image is one study, whatever is asked about it; its questions are its
``facts["questions"]``, a tuple of `vlp_zoo.types.Question`.

* **Table** (``.csv``, ``.tsv``, ``.parquet``, ``.xlsx``): columns ``image`` (relative to the
  table), ``question`` and ``answer``; if there, ``patient_id``, ``split``, ``question_id``,
  ``question_type`` and ``answer_type`` (open or closed; without it yes and no are closed).
* **VQA-RAD** (Lau et al., Scientific Data 2018): ``VQA_RAD Dataset Public.json``, the images in
  ``VQA_RAD Image Folder`` beside it. Its own test questions are about images that training
  questions are about, too, so images are split by hash; ``official`` keeps its split.
* **SLAKE** (Liu et al., ISBI 2021): a folder with ``train.json``, ``validate.json``,
  ``test.json`` and ``imgs``, split as released. Only its English questions are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vlp_zoo.data.splits import canonical_split, check_patients, split_patients
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.reading import read_json, read_table
from vlp_zoo.types import Question

__all__ = ["QuestionSets", "read_questions"]

logger = logging.getLogger(__name__)

RAD_IMAGES = ("VQA_RAD Image Folder", "images", ".")
"""Where the images of VQA-RAD may lie, beside its file."""
RAD_SPLIT = "official split: images of test questions are in training, too"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class QuestionSets:
    """Images with questions, by split.

    Attributes:
        sources: ``"train"``, ``"val"`` and ``"test"``.
        pretraining_sources: The data set's name; "" of a table.
        legacy: Why images may be in two splits; "" where they are not.
    """

    sources: dict[str, FileStudies]
    pretraining_sources: tuple[str]
    legacy: str = ""


@dataclass(frozen=True)
class _Row:
    """One question with where it stands."""

    image: str
    patient: str
    split: str | None
    question: Question
    line: int


def read_questions(
    path: Path, *, split: str = "canonical", val: float = 0.1, test: float = 0.1
) -> QuestionSets:
    """Read questions in one of the formats named above.

    Args:
        path: The table, VQA-RAD's JSON file or SLAKE's folder.
        split: ``"canonical"`` or, for VQA-RAD, ``"official"``.
        val: Share of patients to validate on, where no split is given.
        test: Share of patients to test on, where none is given.

    Raises:
        DatasetNotFoundError: If files or columns are missing, or a split is empty.
        ConfigError: If a file is not as described, or there is no such split.
        PatientLeakError: If a patient is in two splits of a table or of SLAKE.
    """
    rules = ("canonical", "official") if path.suffix == ".json" else ("canonical",)
    if split not in rules:
        raise ConfigError(
            f"--split among {', '.join(rules)} for {path}", split, "choose one of them"
        )
    if path.is_dir():
        rows, root, name = _slake(path), path / "imgs", "slake"
    elif path.suffix == ".json":
        rows, root, name = _rad(path, split == "official"), path.parent, "vqa_rad"
        root = _rad_images(path, rows)
    else:
        rows, root, name = _table(path), path.parent, ""
    if blank := sum(not (r.question.text and r.question.answer) for r in rows):
        logger.warning("%s: %d questions without text or answer left out", path, blank)
    rows = [r for r in rows if r.question.text and r.question.answer]
    legacy = RAD_SPLIT if split == "official" else ""
    drawn = split_patients([r.patient for r in rows], val=val, test=test)
    if not legacy:
        given = all(r.split is not None for r in rows)
        splits = [str(r.split) for r in rows] if given else drawn
        for ids in ([r.patient for r in rows], [r.image for r in rows]):
            check_patients(
                str(path),
                ids,
                splits,
                "split by patient, and each image with one patient, or drop the split "
                "column to let the hash of the patient id decide",
            )
    else:
        # No validation split was released: some images of the training questions.
        val_only = split_patients([r.patient for r in rows], val=val, test=0.0)
        splits = [
            "test" if r.split == "test" else part
            for r, part in zip(rows, val_only, strict=True)
        ]
    names = Counter((r.question.uid, s) for r, s in zip(rows, splits, strict=True))
    if twice := [uid for (uid, _), count in names.items() if count > 1]:
        raise ConfigError(
            f"questions with names of their own in {path}",
            f"more than once: {', '.join(twice[:5])}",
            "correct the column of their ids, or leave it out",
        )
    sources = {
        wanted: _source(
            f"{name or path.stem} {wanted}",
            [r for r, s in zip(rows, splits, strict=True) if s == wanted],
            root,
        )
        for wanted in SPLITS
    }
    if empty := [wanted for wanted, source in sources.items() if not len(source)]:
        counts = Counter(splits)
        raise DatasetNotFoundError(
            f"questions for {', '.join(empty)} in {path}",
            ", ".join(f"{name} {count}" for name, count in sorted(counts.items())),
            "give a split column with train, val and test, or larger --val-fraction "
            "and --test-fraction",
        )
    return QuestionSets(sources, (name,), legacy)


def _source(name: str, rows: Sequence[_Row], root: Path) -> FileStudies:
    """One study for each image, in the order in which images come."""
    by_image: dict[str, list[_Row]] = {}
    for row in rows:
        by_image.setdefault(row.image, []).append(row)
    images, first = list(by_image), [group[0] for group in by_image.values()]
    studies = FileStudies(
        name,
        uids=images,
        patient_ids=[row.patient for row in first],
        study_ids=images,
        images=[root / image for image in images],
        texts=[""] * len(images),
        rows=[row.line for row in first],
        views=[None] * len(images),
    )
    asked = [tuple(row.question for row in group) for group in by_image.values()]
    # What is asked and answered is data: another answer is another task.
    digests = [
        hashlib.sha256(digest + json.dumps([asdict(q) for q in each]).encode()).digest()
        for digest, each in zip(studies.digests, asked, strict=True)
    ]
    facts = [{"questions": each} for each in asked]
    return replace(studies, facts=facts, digests=digests)


def _table(path: Path) -> list[_Row]:
    table = read_table(
        path,
        ["image", "question", "answer"],
        ids=["patient_id", "question_id"],
    )
    names = [str(name) for name in table.columns]
    cells: list[dict[str, Any]] = [
        dict(zip(names, row, strict=True))
        for row in table.itertuples(index=False, name=None)
    ]
    splits = [canonical_split(str(cell.get("split", ""))) for cell in cells]
    if "split" in table and None in splits:
        raise ConfigError(
            f"train, val or test in the column split of {path}",
            f"{sorted(set(table['split']))[:5]}",
            "correct the column",
        )
    return [
        _row(
            cell,
            cell["image"],
            cell.get("patient_id", ""),
            split,
            number + 2,
            path,
            kind=cell.get("question_type", ""),
            uid=cell.get("question_id", ""),
        )
        for number, (cell, split) in enumerate(zip(cells, splits, strict=True))
    ]


def _rad(path: Path, official: bool) -> list[_Row]:
    rows = []
    for number, cell in enumerate(_entries(path, ("image_name", "question", "answer"))):
        test = str(cell.get("phrase_type", "")).startswith("test")
        split = ("test" if test else "train") if official else None
        kind, uid = cell.get("question_type", ""), cell.get("qid", "")
        image = cell["image_name"]
        rows.append(_row(cell, image, "", split, number + 1, path, kind=kind, uid=uid))
    return rows


def _rad_images(path: Path, rows: Sequence[_Row]) -> Path:
    for name in RAD_IMAGES:
        if rows and (path.parent / name / rows[0].image).is_file():
            return path.parent / name
    raise DatasetNotFoundError(
        f"the images of {path} in {' or '.join(RAD_IMAGES)} beside it",
        f"no {rows[0].image if rows else 'question'} there",
        "put the folder of images beside the file",
    )


def _slake(root: Path) -> list[_Row]:
    rows, foreign = [], 0
    needed = ("img_name", "question", "answer", "q_lang", "answer_type")
    for name, split in (("train", "train"), ("validate", "val"), ("test", "test")):
        path = root / f"{name}.json"
        for number, cell in enumerate(_entries(path, needed)):
            if cell["q_lang"] != "en":
                foreign += 1
                continue
            kind, uid = cell.get("content_type", ""), cell.get("qid", "")
            image = cell["img_name"]
            rows.append(
                _row(cell, image, "", split, number + 1, path, kind=kind, uid=uid)
            )
    if foreign:
        logger.warning("%s: %d questions not in English left out", root, foreign)
    return rows


def _entries(path: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a JSON list, each with what is needed."""
    content = read_json(path, "the questions")
    if not isinstance(content, list):
        raise ConfigError(
            f"a list of questions in {path}",
            type(content).__name__,
            "download it again",
        )
    for number, entry in enumerate(content, 1):
        lacking = [n for n in needed if not isinstance(entry, dict) or n not in entry]
        if lacking:
            raise ConfigError(
                f"{', '.join(needed)} of every question in {path}",
                f"no {', '.join(lacking)} in entry {number}",
                "download it again",
            )
    return content


def _row(
    cell: dict[str, Any],
    image: object,
    patient: object,
    split: str | None,
    line: int,
    path: Path,
    *,
    kind: object,
    uid: object,
) -> _Row:
    """A question from its cells; blank cells are filled from others."""
    answer = str(cell["answer"]).strip()
    said = str(cell.get("answer_type", "")).strip().lower()
    if said not in ("", "open", "closed"):
        raise ConfigError(
            f"open or closed as answer_type in {path}",
            f"{cell['answer_type']!r} in row {line}",
            "correct it, or leave the column out",
        )
    closed = said == "closed" if said else answer.lower().rstrip(".") in ("yes", "no")
    name = str(image).strip()
    return _Row(
        name,
        str(patient).strip() or name,
        split,
        Question(
            str(uid).strip() or f"row {line}",
            str(cell["question"]).strip(),
            answer,
            closed,
            str(kind).strip(),
        ),
        line,
    )
