"""From a name on the command line to a task: synthetic, in a table, or in official layout."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlp_zoo.errors import ConfigError

if TYPE_CHECKING:
    from vlp_zoo.data.base import PairsDataModule
    from vlp_zoo.data.questions import QuestionSets
    from vlp_zoo.evaluation.tasks import Task
    from vlp_zoo.types import StudySource

__all__ = [
    "PHANTOM_STUDIES",
    "TASKS",
    "build_task",
    "check_options",
    "flag",
    "options_of",
]

PHANTOM_STUDIES = {"train": 2000, "val": 500, "test": 1000}
"""Synthetic studies per split: minutes on a laptop, intervals of about +-0.02."""

DRAWN: dict[str, tuple[str, dict[str, Any]]] = {
    "phantom_chest": ("PhantomChest", {}),
    "phantom_fundus": ("PhantomFundus", {}),
    "phantom_fundus_grades": ("PhantomFundus", {"labels": "grades"}),
}
"""Name to data module and what it is given."""

TASKS = (
    f"{', '.join(DRAWN)}, pairs:TABLE.csv, vqa:QUESTIONS, NAME:ROOT (vlpzoo info datasets"
    " lists names),"
    " READER.py:ROOT, or 'ONE->OTHER' to learn on one and test on the other"
)


@dataclass(frozen=True)
class _Opened:
    """A kind of data, opened with the options that it reads."""

    data: PairsDataModule | QuestionSets
    gives: frozenset[str]
    legacy: str = ""
    exclusive: bool = False
    ordinal: bool = False


def build_task(
    name: str,
    *,
    title: str | None = None,
    min_positives: int = 10,
    keep: bool = False,
    **options: Any,
) -> Task:
    """The task of a name.

    Args:
        name: A synthetic data set, ``pairs:TABLE``, ``vqa:QUESTIONS`` as of
            `vlp_zoo.data.questions`, or ``NAME:ROOT`` with any data set in its
            official layout, or ``READER.py:ROOT`` with one of one's own.
            ``ONE->OTHER`` learns and tunes on the first and takes the test split of
            the second.
        title: Name of the task in results; None makes one of ``name``.
        min_positives: Labels with fewer known positives or negatives in the test split
            count in no mean.
        keep: Make or decode all studies at once and keep them in memory.
        **options: Those that this kind of data reads (`options_of`); of ``ONE->OTHER``
            each side takes its own.

    Raises:
        UnknownNameError: If there is no such task.
        ConfigError: If an option is given that this kind of data does not read, or has
            a value that it does not know.
        DatasetNotFoundError: If its files or labels are missing.
        PatientLeakError: If a patient is on two sides.
        DataRejectedError: If the labels of two data sets do not agree.
    """
    learnt, arrow, tested = name.partition("->")
    if arrow:
        common = {"min_positives": min_positives, "keep": keep}
        return _crossed(learnt.strip(), tested.strip(), title, common, options)
    import numpy as np

    from vlp_zoo.evaluation.tasks import Kept, Task, with_known_labels

    kind, place, opening = _opening(name)
    check_options([name], options)
    opened = opening(kind, place, **options)
    gives = set(opened.gives)
    sources: dict[str, StudySource] = dict(opened.data.sources)
    # A data set may have labels by its card, and here none of their files.
    if all(np.isnan(source.labels).all() for source in sources.values()):
        gives.discard("labels")
    elif not gives & {"boxes", "masks"}:
        # Elsewhere a study without labels still has something to be judged by.
        sources = {split: with_known_labels(s) for split, s in sources.items()}
    if keep:
        sources = {split: Kept(source) for split, source in sources.items()}
    # A table keeps its name when it moves; the hashes tell tables apart.
    plain = kind if not place else f"{Path(kind).stem}:{Path(place).name}"
    (dataset,) = opened.data.pretraining_sources
    return Task(
        name=title or plain,
        splits=sources,
        gives=frozenset(gives),
        min_positives=min_positives,
        legacy=opened.legacy,
        single_label=opened.exclusive or opened.ordinal,
        ordinal=opened.ordinal,
        dataset=dataset,
    )


def options_of(name: str) -> tuple[str, ...]:
    """The options that the data of a task read, apart from those of all tasks.

    Args:
        name: Name of a task that `build_task` takes; for ``ONE->OTHER`` the options are
            those that either side reads.
    """
    found: dict[str, None] = {}
    for part in name.split("->"):
        _, _, opening = _opening(part.strip())
        parameters = inspect.signature(opening).parameters.values()
        found |= {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    return tuple(found)


def check_options(names: Sequence[str], options: Iterable[str]) -> None:
    """Refuse options that nothing would read.

    Args:
        names: Tasks, as of `build_task`.
        options: Names of options that were given for them.

    Raises:
        ConfigError: If none of the tasks reads one of them.
    """
    read = dict.fromkeys(option for name in names for option in options_of(name))
    ignored = [flag(option) for option in options if option not in read]
    if ignored:
        raise ConfigError(
            f"options that {' or '.join(names)} reads: "
            f"{', '.join(map(flag, read)) or 'none'}",
            f"{', '.join(ignored)}, which would change nothing",
            "leave them out, or evaluate the tasks that read them by themselves",
        )


def flag(option: str) -> str:
    """An option as it is typed: ``--label-prefix``."""
    return f"--{option.replace('_', '-')}"


def _opening(name: str) -> tuple[str, str, Callable[..., _Opened]]:
    """Kind, place and what opens it."""
    from vlp_zoo.data import DATASETS
    from vlp_zoo.errors import unknown_name

    kind, _, place = name.partition(":")
    known: dict[str, tuple[str, Callable[..., _Opened]]] = {
        **dict.fromkeys(DRAWN, ("", _drawn)),
        "pairs": ("TABLE.csv", _table),
        "vqa": ("QUESTIONS", _questions),
        **dict.fromkeys(DATASETS, ("ROOT", _official)),
    }
    if kind.endswith(".py"):
        known[kind] = ("ROOT", _official)
    if kind not in known:
        raise unknown_name("task", kind, known, f"give one of {TASKS}")
    wanted, opening = known[kind]
    if bool(place) != bool(wanted):
        raise ConfigError(f"a task among {TASKS}", name, f"write {kind}:{wanted}")
    return kind, place, opening


# Each keyword of these is an option that the kind reads; there is no other list.


def _drawn(
    kind: str,
    _: str,
    *,
    studies: Mapping[str, int] | None = None,
    image_size: int = 224,
) -> _Opened:
    """A synthetic data set: studies per split, and the side of its images."""
    from vlp_zoo.data import datamodules

    counts = studies or PHANTOM_STUDIES
    module, given = DRAWN[kind]
    data = getattr(datamodules, module)(
        **given,
        train_studies=counts["train"],
        val_studies=counts["val"],
        test_studies=counts["test"],
        image_size=image_size,
    )
    gives = frozenset({"labels", "reports", "boxes", "masks"})
    # The five grades of retinopathy, one for each photograph.
    return _Opened(data, gives, ordinal=given.get("labels") == "grades")


def _table(
    _: str,
    place: str,
    *,
    label_prefix: str = "label_",
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    views: list[str] | None = None,
    colour: bool = False,
    exclusive: bool = False,
    ordinal: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
) -> _Opened:
    """A table of one's own, divided as by ``--data pairs``.

    An encoder that was trained on the table has not seen its test patients then.
    """
    from vlp_zoo.data.datamodules import Pairs

    data = Pairs(
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
    return _Opened(data, frozenset(_given(data)), exclusive=exclusive, ordinal=ordinal)


def _questions(
    _: str,
    place: str,
    *,
    split: str = "canonical",
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
) -> _Opened:
    """Questions about images: a table, VQA-RAD's file or SLAKE's folder."""
    from vlp_zoo.data.questions import read_questions

    data = read_questions(
        Path(place), split=split, val=val_fraction, test=test_fraction
    )
    return _Opened(data, frozenset({"questions"}), legacy=data.legacy)


def _official(
    kind: str,
    place: str,
    *,
    split: str | None = None,
    views: list[str] | None = None,
    blank: str | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> _Opened:
    """A data set in its official layout; what is None is as after ``--data NAME``."""
    from vlp_zoo.data import official

    chosen = {"split": split, "views": views, "blank": blank}
    options: dict[str, Any] = {k: v for k, v in chosen.items() if v is not None}
    options |= {"root": place, "on_error": on_error}
    data: official.Official
    if kind.endswith(".py"):
        data = official.Own(reader=kind, **options)
    else:
        data = getattr(official, kind)(**options)
    # A study without report still has its labels.
    data.has_reports = False
    card = data.card
    return _Opened(
        data,
        frozenset(card.gives),
        legacy=data.legacy,
        exclusive=card.single_label,
        ordinal=card.ordinal,
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


def _crossed(
    learnt: str,
    tested: str,
    title: str | None,
    common: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Task:
    """Train and validation of one, test of the other, each by what it reads."""
    from vlp_zoo.evaluation.tasks import crossed

    check_options([learnt, tested], options)
    sides = []
    for part in (learnt, tested):
        read = {k: options[k] for k in options_of(part) if k in options}
        # A rule of the one is seldom known to the other, whose own is then taken.
        if "split" in read and not _knows(part, read["split"]):
            del read["split"]
        sides.append(read)
    if "split" in options and not any("split" in read for read in sides):
        raise ConfigError(
            f"a split rule {options['split']!r} of {learnt} or {tested}",
            "it is known to neither",
            "choose another --split",
        )
    first, second = (
        build_task(part, **common, **read)
        for part, read in zip((learnt, tested), sides, strict=True)
    )
    task = crossed(first, second)
    return replace(task, name=title) if title else task


def _knows(name: str, split: str) -> bool:
    from vlp_zoo.data.catalogue import card_of

    kind = name.partition(":")[0]
    return split == "canonical" or split in card_of(kind).splits
