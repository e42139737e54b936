"""What both synthetic worlds share: patients with visits, identifiers, labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError, UnknownNameError

__all__ = ["PATIENTS_PER_SPLIT", "PRIME", "SPLITS", "World", "label_row", "record"]

SPLITS = ("train", "val", "test")
PATIENTS_PER_SPLIT = 3_000_000
PRIME = 8_999_993


class World:
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

    Raises:
        UnknownNameError: For an unknown split or choice.
        ConfigError: For sizes that cannot be drawn.
    """

    name: str
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

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.split, self.studies, self.seed, self.image_size, self.choice)
        return type(self), arguments

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """(N, K): 1 present, 0 absent, NaN uncertain; made when first read."""
        if self._labels is None:
            self._labels = self._label_rows()
        return self._labels

    @labels.setter
    def labels(self, values: npt.NDArray[np.float32]) -> None:
        self._labels = values

    def _label_rows(self) -> npt.NDArray[np.float32]:
        raise NotImplementedError

    def _visits_of(self, study: int) -> int:
        """How many examinations in a row, from ``study`` on, are of one patient."""
        last = study
        while (
            last + 1 < self.studies and self._patient[last + 1] == self._patient[study]
        ):
            last += 1
        return last - study + 1

    def _patient_id(self, study: int) -> str:
        # A prime step scatters neighbours over the numbers, and so over the folders
        # p10 to p19 of MIMIC-CXR's layout.
        scattered = int(self._patient[study]) * 6_700_417 + self.seed * 1_299_709
        return str(self.first_patient + scattered % PRIME)


def label_row(
    states: Mapping[str, float], names: Iterable[str]
) -> npt.NDArray[np.float32]:
    """Labels in the order of ``names``; -1, uncertain, becomes NaN."""
    values = np.array([states[name] for name in names], np.float32)
    values[values == -1] = np.nan
    return values


def record(item: Any) -> dict[str, Any]:
    """Fields of a dataclass; a third of the cost of ``asdict``, which copies in depth."""
    return {field.name: getattr(item, field.name) for field in fields(item)}
