"""The phantom chest world as a source of studies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.phantom.chest.acquisition import Exposure
from vlp_zoo.data.phantom.chest.anatomy import Build
from vlp_zoo.data.phantom.chest.facts import LABELS, StudyFacts, label_states
from vlp_zoo.data.phantom.chest.frontal import draw_frontal
from vlp_zoo.data.phantom.chest.history import draw_history
from vlp_zoo.data.phantom.chest.lateral import draw_lateral
from vlp_zoo.data.phantom.chest.reports import WrittenReport, write_report
from vlp_zoo.data.phantom.world import (
    PATIENTS_PER_SPLIT,
    PRIME,
    SPLITS,
    World,
    label_row,
    record,
)
from vlp_zoo.types import Report, Study

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


class PhantomChestSource(World):
    """Chest radiographs of patients who never were, drawn when asked for.

    Every study hangs on ``(seed, split, index)`` alone: it is the same in every
    process, for every order of access, and a longer source starts as a shorter one.
    Patients of different splits are different people.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        studies: Number of examinations.
        seed: Seed of the phantom world.
        image_size: Side of the square images in pixels, at least 32.
        views: ``"frontal"`` for one PA or AP image per study, ``"all"`` to add the
            lateral images that some studies have.

    Attributes:
        name: ``"phantom_chest"``.
        label_names: The 14 CheXpert labels.
        uids: One identifier per image, in the style of a MIMIC-CXR ``dicom_id``.
        patient_ids: Eight digits, one per image.
        study_ids: Eight digits, one per image.
        views: ``"PA"``, ``"AP"`` or ``"LATERAL"``, one per image.
        labels: (N, 14) float32; NaN where the report hedges.
        facts: Sex and age for each image.
        fingerprint: SHA-256 of world version and arguments.

    Raises:
        UnknownNameError: For an unknown split or choice of views.
        ConfigError: For sizes that cannot be drawn.
    """

    name: str = "phantom_chest"
    label_names: tuple[str, ...] = LABELS
    version: ClassVar[str] = VERSION
    chooses: ClassVar[str] = "views"
    choices: ClassVar[tuple[str, ...]] = ("frontal", "all")
    stream: ClassVar[int] = 55
    visits: ClassVar[tuple[float, ...]] = (0.5, 0.75, 0.9)
    first_patient: ClassVar[int] = 10_000_000

    def __init__(
        self,
        split: str = "train",
        studies: int = 1000,
        seed: int = 0,
        image_size: int = 224,
        views: str = "frontal",
    ) -> None:
        super().__init__(split, studies, seed, image_size, views)
        offset = SPLITS.index(split)
        draws = np.random.default_rng((seed, 56, offset)).random(studies)
        kinds = np.searchsorted([bound for bound, _ in VIEW_SETS], draws, side="right")
        self._study_views = [VIEW_SETS[kind][1] for kind in kinds]
        self._images = [
            (study, view)
            for study, shown in enumerate(self._study_views)
            for view in (shown if views == "all" else shown[:1])
        ]
        self.views = [view for _, view in self._images]
        self.uids = [self._uid(study, view) for study, view in self._images]
        self.patient_ids = [self._patient_id(study) for study, _ in self._images]
        self.study_ids = [self._study_id(study) for study, _ in self._images]
        self._people: list[dict[str, Any]] | None = None

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Study:
        study, view = self._images[index]
        facts = self.study_facts(study)
        written = self._written(study, facts)
        patient = np.random.default_rng((self.seed, 102, facts.patient))
        build = Build.draw(patient, facts.sex, facts.age)
        exposure = Exposure.draw(
            np.random.default_rng(
                (self.seed, 103, facts.patient, facts.number, view == "LATERAL")
            ),
            view,
        )
        draw = draw_lateral if view == "LATERAL" else draw_frontal
        drawing = draw(facts, build, exposure, self.image_size)
        states = label_states(facts)
        return Study(
            uid=self.uids[index],
            patient_id=self.patient_ids[index],
            study_id=self.study_ids[index],
            image=drawing.image,
            report=written.report,
            view=view,
            labels=label_row(states, LABELS),
            boxes=drawing.boxes,
            masks=drawing.masks,
            facts={
                "age": facts.age,
                "sex": facts.sex,
                "scenario": facts.scenario,
                "uncertain": tuple(n for n, state in states.items() if state == -1),
                "mentioned": written.mentioned,
                "sentences": written.sentences,
                "lesions": drawing.lesions,
                "findings": tuple(record(finding) for finding in facts.findings),
                "acquisition": record(exposure),
            },
        )

    def _label_rows(self) -> npt.NDArray[np.float32]:
        states = (label_states(facts) for facts in self._all_facts())
        rows = np.stack([label_row(state, LABELS) for state in states])
        return np.asarray(rows[[study for study, _ in self._images]])

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Sex and age for each image, what groups are made of; nothing is drawn."""
        if self._people is None:
            known = [{"sex": f.sex, "age": f.age} for f in self._all_facts()]
            self._people = [known[study] for study, _ in self._images]
        return self._people

    def reports(self) -> Iterator[Report]:
        """All reports in the order of the images; nothing is drawn."""
        written = {}
        facts = enumerate(self._all_facts())
        for study, _ in self._images:
            while study not in written:
                number, known = next(facts)
                written = {number: self._written(number, known).report}
            yield written[study]

    def written(self, index: int) -> WrittenReport:
        """Report of an image with what a perfect labeller reads in it."""
        study, _ = self._images[index]
        return self._written(study, self.study_facts(study))

    def study_facts(self, study: int) -> StudyFacts:
        """Facts of an examination by its number (not the number of an image)."""
        number = int(self._number[study])
        return draw_history(self.seed, int(self._patient[study]), number + 1)[-1]

    def study_number(self, index: int) -> int:
        """Which of the patient's examinations an image belongs to, from 0."""
        return int(self._number[self._images[index][0]])

    def procedure(self, index: int) -> str:
        """Description of the examination, as in the MIMIC-CXR metadata."""
        shown = self._study_views[self._images[index][0]]
        if "LATERAL" in shown:
            return f"CHEST ({shown[0]} AND LAT)"
        return "CHEST (PORTABLE AP)" if shown[0] == "AP" else "CHEST (PA)"

    def _all_facts(self) -> Iterator[StudyFacts]:
        history: list[StudyFacts] = []
        for study in range(self.studies):
            number = int(self._number[study])
            if number == 0:
                patient = int(self._patient[study])
                history = draw_history(self.seed, patient, self._visits_of(study))
            yield history[number]

    def _written(self, study: int, facts: StudyFacts) -> WrittenReport:
        rng = np.random.default_rng((self.seed, 104, facts.patient, facts.number))
        return write_report(facts, self._study_views[study], rng)

    def _study_id(self, study: int) -> str:
        code = SPLITS.index(self.split) * PATIENTS_PER_SPLIT + study
        return str(50_000_000 + (code * 4_256_233 + self.seed * 1_299_709) % PRIME)

    def _uid(self, study: int, view: str) -> str:
        key = f"{self.seed}/{self._patient[study]}/{self._number[study]}/{view}"
        digits = hashlib.sha1(key.encode(), usedforsecurity=False).hexdigest()
        return "-".join(digits[start : start + 8] for start in range(0, 40, 8))
