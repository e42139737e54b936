"""From a name on the command line to a task: drawn, in a table, or in official layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlp_zoo.errors import ConfigError

if TYPE_CHECKING:
    from vlp_zoo.data.base import PairsDataModule
    from vlp_zoo.evaluation.tasks import Task

__all__ = ["PHANTOM_STUDIES", "TASKS", "build_task"]

PHANTOM_STUDIES = {"train": 2000, "val": 500, "test": 1000}
"""Drawn studies per split: minutes on a laptop, intervals of about +-0.02."""

DRAWN: dict[str, tuple[str, dict[str, Any]]] = {
    "phantom_chest": ("PhantomChest", {}),
    "phantom_fundus": ("PhantomFundus", {}),
    "phantom_fundus_grades": ("PhantomFundus", {"labels": "grades"}),
}
"""Name to data module and what it is given."""

TASKS = (
    f"{', '.join(DRAWN)}, pairs:TABLE.csv, NAME:ROOT (vlpzoo info datasets lists names),"
    " READER.py:ROOT, or 'ONE->OTHER' to learn on one and test on the other"
)


def build_task(
    name: str,
    *,
    label_prefix: str = "label_",
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    min_positives: int = 10,
    image_size: int = 224,
    studies: dict[str, int] | None = None,
    keep: bool = False,
    colour: bool = False,
    split: str = "canonical",
    views: list[str] | None = None,
    blank: str = "nan",
    on_error: Literal["raise", "skip"] = "raise",
    title: str | None = None,
    exclusive: bool = False,
    ordinal: bool = False,
) -> Task:
    """The task of a name.

    Args:
        name: A drawn world, ``pairs:TABLE``, or ``NAME:ROOT`` with any data set in its
            official layout, or ``READER.py:ROOT`` with one of one's own.
            ``ONE->OTHER`` learns and tunes on the first and takes the test split of
            the second.
        label_prefix: Of a table's label columns.
        val_fraction: Share of a table's patients, where it has no split column.
        test_fraction: As above. The defaults are those of ``--data pairs``, so that
            an encoder trained on the table has not seen its test patients.
        min_positives: See `vlp_zoo.evaluation.tasks.Task`.
        image_size: Side of drawn images.
        studies: Drawn studies per split; None = `PHANTOM_STUDIES`.
        colour: Of a table: keep images in colour.
        keep: Draw or decode all studies at once and keep them in memory.
        split: Rule that splits a data set in its official layout.
        views: Keep only these views of files; None keeps all.
        blank: What labels become that a data set leaves blank: nan or zero.
        on_error: What to do about files that cannot be read.
        title: Name of the task in results; None makes one of ``name``.
        exclusive: A table's labels exclude each other: one class for each image. Data
            sets in their official layout say so themselves.
        ordinal: They are grades in the order of the columns.

    Raises:
        UnknownNameError: If there is no such task.
        DatasetNotFoundError: If its files or labels are missing.
        PatientLeakError: If a patient is on two sides.
        DataRejectedError: If the labels of two data sets do not agree.
    """
    learnt, arrow, tested = name.partition("->")
    if arrow:
        return _crossed(
            learnt,
            tested,
            title,
            label_prefix=label_prefix,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            min_positives=min_positives,
            image_size=image_size,
            studies=studies,
            keep=keep,
            split=split,
            views=views,
            blank=blank,
            on_error=on_error,
            exclusive=exclusive,
            ordinal=ordinal,
        )
    from vlp_zoo.cli.names import unknown_name
    from vlp_zoo.data import DATASETS, datamodules, official
    from vlp_zoo.evaluation.tasks import Kept, Task, with_known_labels

    kind, _, place = name.partition(":")
    known = dict.fromkeys(DRAWN, "") | {"pairs": "TABLE.csv"}
    known |= dict.fromkeys(["mimic_cxr", *DATASETS], "ROOT")
    if kind.endswith(".py"):
        known[kind] = "ROOT"
    if kind not in known:
        raise unknown_name("task", kind, known, f"give one of {TASKS}")
    if bool(place) != bool(known[kind]):
        raise ConfigError(f"a task among {TASKS}", name, f"write {kind}:{known[kind]}")
    legacy = ""
    data: datamodules.PairsDataModule
    gives = {"labels", "reports"}
    if kind in DRAWN:
        counts = studies or PHANTOM_STUDIES
        module, given = DRAWN[kind]
        data = getattr(datamodules, module)(
            **given,
            train_studies=counts["train"],
            val_studies=counts["val"],
            test_studies=counts["test"],
            image_size=image_size,
        )
        gives |= {"boxes", "masks"}
        # The five grades of retinopathy, one for each photograph.
        ordinal = ordinal or given.get("labels") == "grades"
    elif kind == "pairs":
        data = datamodules.Pairs(
            path=place,
            label_prefix=label_prefix,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            views=views,
            on_error=on_error,
            colour=colour,
            # Labels, boxes and masks can be judged without a text.
            reports=False,
        )
        gives = _given(data)
    elif kind == "mimic_cxr":
        data = datamodules.MIMICCXR(root=place, on_error=on_error)
    else:
        options: dict[str, Any] = {
            "root": place,
            "split": split,
            "views": views,
            "blank": blank,
            "on_error": on_error,
        }
        found: official.Official
        if kind.endswith(".py"):
            found = official.Own(reader=kind, **options)
        else:
            found = getattr(official, kind)(**options)
        data = found
        # A study without report still has its labels.
        data.has_reports = False
        gives = set(found.card.gives)
        exclusive, ordinal = found.card.single_label, found.card.ordinal
        rule = found.card.splits.get(split)
        if rule is not None and rule.legacy:
            legacy = " ".join(rule.issues) or f"the legacy split {split}"
    sources = data.sources
    if not next(iter(sources.values())).label_names:
        gives.discard("labels")
    elif not gives & {"boxes", "masks"}:
        # Elsewhere a study without labels still has something to be judged by.
        sources = {split: with_known_labels(s) for split, s in sources.items()}
    if keep:
        sources = {split: Kept(source) for split, source in sources.items()}
    # A table keeps its name when it moves; the hashes tell tables apart.
    plain = kind if not place else f"{Path(kind).stem}:{Path(place).name}"
    (dataset,) = data.pretraining_sources
    return Task(
        name=title or plain,
        splits=sources,
        gives=frozenset(gives),
        min_positives=min_positives,
        legacy=legacy,
        single_label=exclusive or ordinal,
        ordinal=ordinal,
        dataset=dataset,
    )


def _given(data: PairsDataModule) -> set[str]:
    """What the rows of a table have."""
    from vlp_zoo.reports.blank import is_blank

    gives = {"labels"}
    for source in data.sources.values():
        columns = {"boxes": getattr(source, "boxes", []), "masks": source.masks}  # type: ignore[attr-defined]
        gives |= {name for name, cells in columns.items() if any(cells)}
        if any(not is_blank(report.body) for report in source.reports()):
            gives.add("reports")
    return gives


def _crossed(learnt: str, tested: str, title: str | None, **options: Any) -> Task:
    """Train and validation of one, test of the other, each split by its own rule."""
    from vlp_zoo.evaluation.tasks import crossed

    split = options.pop("split")
    # A rule of the one is seldom known to the other, whose own is then taken.
    rules = [split if _knows(part, split) else "canonical" for part in (learnt, tested)]
    if split not in rules:
        raise ConfigError(
            f"a split rule {split!r} of {learnt} or {tested}",
            "it is known to neither",
            "choose another --split",
        )
    first, second = (
        build_task(part.strip(), split=rule, **options)
        for part, rule in zip((learnt, tested), rules, strict=True)
    )
    task = crossed(first, second)
    return replace(task, name=title) if title else task


def _knows(name: str, split: str) -> bool:
    from vlp_zoo.data import DATASETS
    from vlp_zoo.data.catalogue import card_of

    kind = name.strip().partition(":")[0]
    return split == "canonical" or (kind in DATASETS and split in card_of(kind).splits)
