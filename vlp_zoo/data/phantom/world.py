"""What both synthetic worlds share: patients with visits, identifiers, labels."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.canvas import Mask, Picture, Rng
from vlp_zoo.errors import ConfigError, UnknownNameError
from vlp_zoo.types import Box, Report, Study

__all__ = [
    "PATIENTS_PER_SPLIT",
    "PRIME",
    "SPLITS",
    "Drawing",
    "Said",
    "World",
    "WrittenReport",
    "record",
]

SPLITS = ("train", "val", "test")
PATIENTS_PER_SPLIT = 3_000_000
PRIME = 8_999_993

Facts = TypeVar("Facts")
Said = tuple[str, tuple[str, ...]]
"""A sentence and the labels that it affirms, hedges or denies."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Pixels and what is where.

    Attributes:
        image: uint8, (H, W) or, red first, (H, W, 3).
        boxes: Regions, then lesions.
        masks: Structure or label to bool (H, W), all lesions of a label together.
        lesions: For each lesion box its ``finding``, ``kind``, ``box``, and where it is.
    """

    image: Picture
    boxes: tuple[Box, ...]
    masks: dict[str, Mask]
    lesions: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report and what a perfect labeller reads in it.

    Attributes:
        report: Text and sections.
        mentioned: Label to 1, 0 or -1 for those that the text speaks of.
        sentences: Sentence to the labels that it affirms, hedges or denies.
        style: ``"report"``, or ``"caption"`` under a picture.
    """

    report: Report
    mentioned: dict[str, float]
    sentences: tuple[Said, ...]
    style: str = "report"


class World(ABC, Generic[Facts]):
    """Examinations of patients who never were; subclasses draw images and reports.

    Everything hangs on ``(seed, split, index)`` alone: it is the same in every process,
    for every order of access, and a longer source starts as a shorter one. Patients of
    different splits are different people.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        studies: Number of examinations.
        seed: Seed of the phantom world.
        image_size: Side of the square images in pixels, at least 32.
        choice: Which images of an examination are taken, a key of `choices`.

    Attributes:
        uids: One unique identifier per image.
        patient_ids: Eight digits, one per image.
        study_ids: Images of one examination share it.
        fingerprint: SHA-256 of world version and arguments.

    Raises:
        UnknownNameError: For an unknown split or choice.
        ConfigError: For sizes that cannot be drawn.
    """

    name: str
    label_names: tuple[str, ...]
    version: ClassVar[str]
    chooses: ClassVar[str]
    """Name of the argument that `choices` are the values of."""
    choices: ClassVar[tuple[str, ...]]
    stream: ClassVar[int]
    """Number of the stream of random draws that gives patients their visits."""
    visits: ClassVar[tuple[float, ...]]
    """A patient has one visit, and one more for each that a uniform draw exceeds."""
    first_patient: ClassVar[int]
    """The least patient number."""
    columns: ClassVar[tuple[str, ...]]
    """The columns of its ``pairs.csv`` before those of the labels."""
    uids: list[str]
    study_ids: list[str]

    def __init__(
        self, split: str, studies: int, seed: int, image_size: int, choice: str
    ) -> None:
        if split not in SPLITS:
            raise UnknownNameError(
                f"a split called {split!r}",
                f"the phantom worlds have {', '.join(SPLITS)}",
                "choose one of them",
            )
        if choice not in self.choices:
            raise UnknownNameError(
                f"{self.chooses}={choice!r}",
                f"known are {' and '.join(self.choices)}",
                "choose one of them",
            )
        if not 1 <= studies <= PATIENTS_PER_SPLIT or image_size < 32 or seed < 0:
            raise ConfigError(
                f"1 to {PATIENTS_PER_SPLIT} studies of at least 32 pixels, seed >= 0",
                f"studies={studies}, image_size={image_size}, seed={seed}",
                "change that argument",
            )
        self.split = split
        self.studies = studies
        self.seed = seed
        self.image_size = image_size
        self.choice = choice
        offset = SPLITS.index(split)
        draws = np.random.default_rng((seed, self.stream, offset)).random(studies)
        counts = 1 + sum((draws > bound).astype(np.int64) for bound in self.visits)
        ends = np.cumsum(counts)
        position = np.arange(studies)
        patient = np.searchsorted(ends, position, side="right")
        self._number = position - (ends - counts)[patient]
        self._patient = patient + offset * PATIENTS_PER_SPLIT
        self._labels: npt.NDArray[np.float32] | None = None
        known = json.dumps(
            [self.name, self.version, split, studies, seed, image_size, choice]
        )
        self.fingerprint = hashlib.sha256(known.encode()).hexdigest()
        rng = np.random.default_rng((seed, self.stream + 1, offset))
        self._images = [
            (study, part)
            for study, parts in enumerate(self._parts(rng))
            for part in parts
        ]
        self.patient_ids = [self._patient_id(study) for study, _ in self._images]

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.split, self.studies, self.seed, self.image_size, self.choice)
        return type(self), arguments

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Study:
        facts = self._facts(index)
        written = self._written(index, facts)
        acquisition = self._acquisition(index)
        drawing = self._draw(facts, acquisition)
        states = self._states(facts)
        return Study(
            uid=self.uids[index],
            patient_id=self.patient_ids[index],
            study_id=self.study_ids[index],
            image=drawing.image,
            report=written.report,
            labels=self._label_row(facts),
            boxes=drawing.boxes,
            masks=drawing.masks,
            facts={
                **self._known(facts, acquisition, written),
                "uncertain": tuple(n for n, state in states.items() if state == -1),
                "mentioned": written.mentioned,
                "sentences": written.sentences,
                "lesions": drawing.lesions,
                "acquisition": record(acquisition),
            },
        )

    @abstractmethod
    def _parts(self, rng: Rng) -> Iterable[tuple[str, ...]]:
        """What is imaged in each examination: its views, or its eyes."""

    @abstractmethod
    def _history(self, patient: int, visits: int) -> Sequence[Mapping[str, Facts]]:
        """For each of a patient's first visits, what is true of every part."""

    @abstractmethod
    def _acquisition(self, index: int) -> Any:
        """How an image is taken."""

    @abstractmethod
    def _draw(self, facts: Facts, acquisition: Any) -> Drawing:
        """Pixels, boxes and masks of the image that is taken so."""

    @abstractmethod
    def _known(
        self, facts: Facts, acquisition: Any, written: WrittenReport
    ) -> dict[str, Any]:
        """What else this world tells of an image."""

    @abstractmethod
    def _states(self, facts: Facts) -> dict[str, float]:
        """Each label as 1 (present), 0 (absent) or -1 (uncertain)."""

    @abstractmethod
    def _written(self, index: int, facts: Facts) -> WrittenReport:
        """The report of an image, given its facts."""

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """(N, K): 1 present, 0 absent, NaN uncertain; made when first read."""
        if self._labels is None:
            rows = [self._label_row(facts) for facts in self._all_facts()]
            self._labels = np.stack(rows)
        return self._labels

    @labels.setter
    def labels(self, values: npt.NDArray[np.float32]) -> None:
        self._labels = values

    def reports(self) -> Iterator[Report]:
        """All reports in the order of the images; nothing is drawn."""
        last: tuple[Facts, Report] | None = None
        for index, facts in enumerate(self._all_facts()):
            if last is None or facts is not last[0]:
                last = facts, self._written(index, facts).report
            yield last[1]

    def written(self, index: int) -> WrittenReport:
        """Report of an image with what a perfect labeller reads in it."""
        return self._written(index, self._facts(index))

    def study_number(self, index: int) -> int:
        """Which of the patient's examinations an image belongs to, from 0."""
        return int(self._number[self._images[index][0]])

    def _facts(self, index: int) -> Facts:
        study, part = self._images[index]
        visits = int(self._number[study]) + 1
        return self._history(int(self._patient[study]), visits)[-1][part]

    def _all_facts(self) -> Iterator[Facts]:
        """The facts of every image in order, each patient's history drawn once."""
        patient = -1
        history: Sequence[Mapping[str, Facts]] = ()
        for study, part in self._images:
            if self._patient[study] != patient:
                patient = int(self._patient[study])
                history = self._history(patient, self._visits_of(study))
            yield history[self._number[study]][part]

    def _label_row(self, facts: Facts) -> npt.NDArray[np.float32]:
        states = self._states(facts)
        values = np.array([states[name] for name in self.label_names], np.float32)
        values[values == -1] = np.nan
        return values

    def _visits_of(self, study: int) -> int:
        """How many examinations in a row, from ``study`` on, are of one patient."""
        near = self._patient[study : study + 1 + len(self.visits)]
        return int(np.count_nonzero(near == near[0]))

    def _patient_id(self, study: int) -> str:
        # A prime step scatters neighbours over the numbers, and so over the folders
        # p10 to p19 of MIMIC-CXR's layout.
        scattered = int(self._patient[study]) * 6_700_417 + self.seed * 1_299_709
        return str(self.first_patient + scattered % PRIME)


def record(item: Any) -> dict[str, Any]:
    """Fields of a dataclass; a third of the cost of ``asdict``, which copies in depth."""
    return {field.name: getattr(item, field.name) for field in fields(item)}
