"""The phantom chest world as a source of studies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.acquisition import Exposure
from vlp_zoo.data.phantom.chest.anatomy import Build
from vlp_zoo.data.phantom.chest.facts import LABELS, StudyFacts, label_states
from vlp_zoo.data.phantom.chest.frontal import draw_frontal
from vlp_zoo.data.phantom.chest.history import draw_history
from vlp_zoo.data.phantom.chest.lateral import draw_lateral
from vlp_zoo.data.phantom.chest.reports import write_report
from vlp_zoo.data.phantom.world import (
    PATIENTS_PER_SPLIT,
    PRIME,
    SPLITS,
    Drawing,
    World,
    WrittenReport,
    record,
)
from vlp_zoo.types import Study

__all__ = ["SPLITS", "VERSION", "PhantomChestSource"]

VERSION = "1"
"""Version of the world: a change of pixels or words at the same seed raises it."""

VIEW_SETS = (
    (0.42, ("PA", "LATERAL")),
    (0.50, ("PA",)),
    (0.92, ("AP",)),
    (1.00, ("AP", "LATERAL")),
)
"""Cumulative share to the views of a study."""


class PhantomChestSource(World[StudyFacts]):
    """Chest radiographs of patients who never were, drawn when asked for.

    The other arguments, and the errors, are those of `World`.

    Args:
        views: ``"frontal"`` for one PA or AP image per study, ``"all"`` to add the
            lateral images that some studies have.

    Attributes:
        name: ``"phantom_chest"``.
        label_names: The 14 CheXpert labels.
        uids: One identifier per image, in the style of a MIMIC-CXR ``dicom_id``.
        study_ids: Eight digits, one per image.
        views: ``"PA"``, ``"AP"`` or ``"LATERAL"``, one per image.
        labels: (N, 14) float32; NaN where the report hedges.
        facts: Sex and age for each image.
    """

    name: str = "phantom_chest"
    label_names: tuple[str, ...] = LABELS
    version: ClassVar[str] = VERSION
    chooses: ClassVar[str] = "views"
    choices: ClassVar[tuple[str, ...]] = ("frontal", "all")
    stream: ClassVar[int] = 55
    visits: ClassVar[tuple[float, ...]] = (0.5, 0.75, 0.9)
    first_patient: ClassVar[int] = 10_000_000
    columns = ("image", "findings", "impression", "patient_id", "view", "split")

    def __init__(
        self,
        split: str = "train",
        studies: int = 1000,
        seed: int = 0,
        image_size: int = 224,
        views: str = "frontal",
    ) -> None:
        super().__init__(split, studies, seed, image_size, views)
        self.views = [view for _, view in self._images]
        self.uids = [self._uid(study, view) for study, view in self._images]
        self.study_ids = [self._study_id(study) for study, _ in self._images]
        self._people: list[dict[str, Any]] | None = None

    def __getitem__(self, index: int) -> Study:
        return replace(super().__getitem__(index), view=self.views[index])

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Sex and age for each image, what groups are made of; nothing is drawn."""
        if self._people is None:
            self._people = [{"sex": f.sex, "age": f.age} for f in self._all_facts()]
        return self._people

    def study_facts(self, study: int) -> StudyFacts:
        """Facts of an examination by its number (not the number of an image)."""
        visits = int(self._number[study]) + 1
        return draw_history(self.seed, int(self._patient[study]), visits)[-1]

    def procedure(self, index: int) -> str:
        """Description of the examination, as in the MIMIC-CXR metadata."""
        shown = self._study_views[self._images[index][0]]
        if "LATERAL" in shown:
            return f"CHEST ({shown[0]} AND LAT)"
        return "CHEST (PORTABLE AP)" if shown[0] == "AP" else "CHEST (PA)"

    def _parts(self, rng: Rng) -> Iterable[tuple[str, ...]]:
        bounds = [bound for bound, _ in VIEW_SETS]
        kinds = np.searchsorted(bounds, rng.random(self.studies), side="right")
        self._study_views = [VIEW_SETS[kind][1] for kind in kinds]
        taken = 2 if self.choice == "all" else 1
        return (shown[:taken] for shown in self._study_views)

    def _history(self, patient: int, visits: int) -> Sequence[Mapping[str, StudyFacts]]:
        history = draw_history(self.seed, patient, visits)
        return [dict.fromkeys(("PA", "AP", "LATERAL"), facts) for facts in history]

    def _acquisition(self, index: int) -> Exposure:
        study, view = self._images[index]
        key = (self._patient[study], self._number[study], view == "LATERAL")
        return Exposure.draw(np.random.default_rng((self.seed, 103, *key)), view)

    def _draw(self, facts: StudyFacts, acquisition: Exposure) -> Drawing:
        patient = np.random.default_rng((self.seed, 102, facts.patient))
        build = Build.draw(patient, facts.sex, facts.age)
        draw = draw_lateral if acquisition.view == "LATERAL" else draw_frontal
        return draw(facts, build, acquisition, self.image_size)

    def _known(
        self, facts: StudyFacts, acquisition: Exposure, written: WrittenReport
    ) -> dict[str, Any]:
        return {
            "age": facts.age,
            "sex": facts.sex,
            "scenario": facts.scenario,
            "findings": tuple(record(finding) for finding in facts.findings),
        }

    def _states(self, facts: StudyFacts) -> dict[str, float]:
        return label_states(facts)

    def _written(self, index: int, facts: StudyFacts) -> WrittenReport:
        rng = np.random.default_rng((self.seed, 104, facts.patient, facts.number))
        return write_report(facts, self._study_views[self._images[index][0]], rng)

    def _study_id(self, study: int) -> str:
        code = SPLITS.index(self.split) * PATIENTS_PER_SPLIT + study
        return str(50_000_000 + (code * 4_256_233 + self.seed * 1_299_709) % PRIME)

    def _uid(self, study: int, view: str) -> str:
        key = f"{self.seed}/{self._patient[study]}/{self._number[study]}/{view}"
        digits = hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()
        return "-".join(digits[start : start + 8] for start in range(0, 40, 8))
