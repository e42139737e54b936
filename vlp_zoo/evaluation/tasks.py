"""A task: labelled train, validation and test studies with nobody in two of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import DataRejectedError, DatasetNotFoundError, PatientLeakError
from vlp_zoo.evaluation.guard import Guarded
from vlp_zoo.types import Report, Study, StudySource

__all__ = ["SPLITS", "Kept", "Selected", "Task", "crossed", "with_known_labels"]

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
COLUMNS = ("study_ids", "views", "facts")
"""What sources may know of each study beyond what all must."""


@dataclass(frozen=True)
class Task:
    """What is predicted, for whom, and how it is scored.

    Attributes:
        name: Name on the command line, such as ``"phantom_chest"``.
        splits: ``"train"``, ``"val"`` and ``"test"``.
        gives: What studies have, among ``labels``, ``reports``, ``boxes``,
            ``masks`` and ``questions`` (in their facts).
        min_positives: Labels with fewer known positives or known negatives in the
            test split are left out of every mean, and listed.
        legacy: Why patients may be in two splits: a published split that old numbers
            were measured on. "" refuses them.
        single_label: Classes exclude each other, a column for each: one decision per
            case instead of one per column. ``min_positives`` then leaves no class out.
        ordinal: Classes are grades, in the order of the columns.
        dataset: Short name of the data set, as after ``--data``, to be compared with
            what encoders were pre-trained on; "" compares nothing.

    Raises:
        DatasetNotFoundError: If a split is missing or empty, or there are no labels.
        PatientLeakError: If a patient is in two splits and ``legacy`` gives no reason.
        DataRejectedError: If a uid occurs twice, label columns differ between splits,
            a label is neither 0, 1 nor unknown, or classes that exclude each other do
            not.
    """

    name: str
    splits: Mapping[str, StudySource]
    gives: frozenset[str] = frozenset({"labels"})
    min_positives: int = 10
    legacy: str = ""
    single_label: bool = False
    ordinal: bool = False
    dataset: str = ""

    def __post_init__(self) -> None:
        absent = [s for s in SPLITS if s not in self.splits or not len(self.splits[s])]
        if absent:
            raise DatasetNotFoundError(
                f"the splits {', '.join(SPLITS)} of {self.name}",
                f"no studies with labels in {', '.join(absent)}",
                "give the data a split column, or larger val and test fractions",
            )
        if "labels" in self.gives and not self.label_names:
            raise DatasetNotFoundError(
                f"label columns of {self.name}",
                "none",
                "name the start of their names with --label-prefix",
            )
        for split in SPLITS:
            self._check_labels(split)
        self._check_patients()
        if not isinstance(self.splits["test"], Guarded):
            guarded = {**self.splits, "test": Guarded(self.splits["test"])}
            object.__setattr__(self, "splits", guarded)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels in the order of all columns."""
        return self.splits["train"].label_names

    @cached_property
    def split_sha256(self) -> str:
        """SHA-256 over sorted ``uid TAB split`` lines: equal counts prove nothing."""
        lines = sorted(
            f"{uid}\t{split}\n" for split in SPLITS for uid in self.splits[split].uids
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @cached_property
    def data_sha256(self) -> str:
        """SHA-256 over what the sources yield, label values included."""
        digest = hashlib.sha256("\n".join(self.label_names).encode())
        for split in SPLITS:
            source = self.splits[split]
            digest.update(source.fingerprint.encode())
            digest.update(np.ascontiguousarray(source.labels).tobytes())
        return digest.hexdigest()

    def make(self) -> None:
        """Make studies that are kept in memory, see `Kept`."""
        for source in self.splits.values():
            if make := getattr(source, "make", None):
                make()

    @cached_property
    def shared_patients(self) -> dict[tuple[str, str], list[str]]:
        """Patients that are in two splits, by pair of splits; empty unless legacy."""
        pairs = {}
        for one, other in combinations(SPLITS, 2):
            ids = (set(self.splits[split].patient_ids) for split in (one, other))
            if shared := sorted(set.intersection(*ids)):
                pairs[one, other] = shared
        return pairs

    @cached_property
    def excluded(self) -> dict[str, str]:
        """Labels that the test split cannot judge, each with the reason."""
        reasons = {}
        labels = self.splits["test"].labels
        if self.single_label:
            # One decision: small classes count, with the interval that they deserve.
            return {
                label: "no case in test"
                for label, column in zip(self.label_names, labels.T, strict=True)
                if not (column == 1).any()
            }
        for k, label in enumerate(self.label_names):
            positives = int((labels[:, k] == 1).sum())
            negatives = int((labels[:, k] == 0).sum())
            if min(positives, negatives) < max(1, self.min_positives):
                reasons[label] = f"{positives} positives, {negatives} negatives in test"
        return reasons

    def _check_labels(self, split: str) -> None:
        source = self.splits[split]
        names, values = source.label_names, source.labels
        if names != self.label_names or values.shape != (len(source), len(names)):
            raise DataRejectedError(
                f"labels {', '.join(self.label_names)} in {self.name} {split}",
                f"{', '.join(names)}, shape {values.shape}, {len(source)} studies",
                "give all splits the same label columns",
            )
        odd = ~(np.isnan(values) | (values == 0) | (values == 1))
        if odd.any():
            row, column = (int(i[0]) for i in np.nonzero(odd))
            raise DataRejectedError(
                f"labels 0, 1 or blank in {self.name} {split}",
                f"{values[row, column]} for {names[column]} of {source.uids[row]}",
                "decide on 0, 1 or blank for every label",
            )
        if self.single_label:
            blank = np.isnan(values)
            partly = blank.any(axis=1) | ((values == 1).sum(1) != 1)
            wrong = partly & ~blank.all(axis=1)
            if wrong.any():
                row = int(np.nonzero(wrong)[0][0])
                raise DataRejectedError(
                    f"one class for each study of {self.name} {split}",
                    f"{np.count_nonzero(values[row] == 1)} for {source.uids[row]}",
                    "correct the labels, or do not call them exclusive",
                )
        if len(set(source.uids)) < len(source):
            twice = _shown(_repeated(source.uids))
            raise DataRejectedError(
                f"unique uids in {self.name} {split}",
                f"more than once: {twice}",
                "remove the repeated rows",
            )

    def _check_patients(self) -> None:
        for (first, second), shared in self.shared_patients.items():
            if self.legacy:
                logger.warning(
                    "%s: %d patients in both %s and %s; accepted because: %s",
                    self.name,
                    len(shared),
                    first,
                    second,
                    self.legacy,
                )
                continue
            raise PatientLeakError(
                f"different patients in {first} and {second} of {self.name}",
                f"{len(shared)} patients in both: {_shown(shared)}",
                "split by patient, or drop the split column to let the hash "
                "of the patient id decide",
            )


class Selected:
    """Some studies of a source, as a source.

    Args:
        source: Where they are.
        indices: Which, in the order wanted.
    """

    def __init__(self, source: StudySource, indices: Sequence[int]) -> None:
        self.source = source
        self.indices = [int(index) for index in indices]
        self.name = source.name
        self.label_names = source.label_names
        self.uids = [source.uids[i] for i in self.indices]
        self.patient_ids = [source.patient_ids[i] for i in self.indices]
        self.labels: npt.NDArray[np.float32] = source.labels[self.indices]
        chosen = np.asarray(self.indices, np.int64).tobytes()
        self.fingerprint = hashlib.sha256(
            source.fingerprint.encode() + chosen
        ).hexdigest()
        for name in COLUMNS:
            if (values := getattr(source, name, None)) is not None:
                setattr(self, name, [values[i] for i in self.indices])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Study:
        return self.source[self.indices[index]]

    def reports(self) -> Iterator[Report]:
        """Reports of the selected studies; the others are read and dropped."""
        every = list(self.source.reports())
        return (every[i] for i in self.indices)

    def make(self) -> None:
        """Make studies that are kept in memory, see `Kept`."""
        if make := getattr(self.source, "make", None):
            make()


class Kept(Selected):
    """All studies of a source in memory: for small sets that are costly to make.

    Args:
        source: Where they come from.
    """

    def __init__(self, source: StudySource) -> None:
        super().__init__(source, range(len(source)))
        self.fingerprint = source.fingerprint
        self._studies: list[Study] = []

    def make(self) -> None:
        """Make them now, if they are not: loader processes started later share them."""
        if not self._studies:
            self._studies = [self.source[i] for i in range(len(self.source))]

    def __getitem__(self, index: int) -> Study:
        self.make()
        return self._studies[index]


def crossed(learnt: Task, tested: Task) -> Task:
    """A task that is learnt and tuned on one data set and tested on another.

    People of two data sets are told apart by the name of their task, as ids such as
    "12" occur in both. Whether one set lies inside the other is not looked for here.

    Args:
        learnt: Gives the training and the validation split.
        tested: Gives the test split.

    Raises:
        DataRejectedError: If they do not have the same labels in the same sense.
    """
    mine = (learnt.label_names, learnt.single_label, learnt.ordinal)
    other = (tested.label_names, tested.single_label, tested.ordinal)
    if mine != other:
        raise DataRejectedError(
            f"the labels of {learnt.name} in {tested.name}: {_shown(mine[0])}",
            _shown(other[0]),
            "choose data sets that label the same things",
        )
    test = Selected(tested.splits["test"], range(len(tested.splits["test"])))
    test.patient_ids = [f"{tested.name} {patient}" for patient in test.patient_ids]
    return Task(
        f"{learnt.name}->{tested.name}",
        {**learnt.splits, "test": test},
        learnt.gives & tested.gives,
        max(learnt.min_positives, tested.min_positives),
        learnt.legacy,
        learnt.single_label,
        learnt.ordinal,
    )


def with_known_labels(source: StudySource) -> StudySource:
    """The source without studies of which no label is known; itself if there are none.

    Such studies teach a probe nothing, and encoding them costs as much as others.
    """
    known = ~np.isnan(source.labels).all(axis=1)
    if known.all() or not source.label_names:
        return source
    return Selected(source, [int(i) for i in np.nonzero(known)[0]])


def _repeated(values: Sequence[str]) -> list[str]:
    names, counts = np.unique(np.asarray(values), return_counts=True)
    return [str(name) for name in names[counts > 1]]


def _shown(names: Sequence[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
