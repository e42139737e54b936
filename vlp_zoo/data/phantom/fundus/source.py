"""The fundus world as a source of studies: everything follows from seed and index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.fundus.photographs import GRADES
from vlp_zoo.data.phantom.fundus.anatomy import EyeBuild
from vlp_zoo.data.phantom.fundus.camera import Camera
from vlp_zoo.data.phantom.fundus.drawing import draw_photograph
from vlp_zoo.data.phantom.fundus.facts import (
    EYES,
    LABELS,
    EyeFacts,
    label_states,
)
from vlp_zoo.data.phantom.fundus.history import draw_history
from vlp_zoo.data.phantom.fundus.reports import WrittenReport, write_report
from vlp_zoo.data.phantom.world import SPLITS, World, label_row, record
from vlp_zoo.types import Report, Study

__all__ = ["SPLITS", "VERSION", "PhantomFundusGrades", "PhantomFundusSource"]

VERSION = "1"
"""Version of the world: a change of pixels or words at the same seed raises it."""


class PhantomFundusSource(World):
    """Colour fundus photographs of patients who never were, drawn when asked for.

    Every picture hangs on ``(seed, split, index)`` alone: it is the same in every
    process, for every order of access, and a longer source starts as a shorter one.
    Patients of different splits are different people. A study is one visit; its
    report and labels are those of one eye, so each eye has its own.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        studies: Number of visits.
        seed: Seed of the phantom world.
        image_size: Side of the square images in pixels, at least 32.
        eyes: ``"one"`` for one photograph per visit, of either eye, ``"both"`` for
            the right and the left one.

    Attributes:
        name: ``"phantom_fundus"``.
        label_names: `facts.LABELS`.
        uids: Patient, visit and eye, one per image.
        patient_ids: Eight digits, one per image.
        study_ids: Patient and visit, one per image.
        eyes: ``"right"`` or ``"left"``, one per image.
        labels: (N, 15) float32; NaN where the report hedges.
        fingerprint: SHA-256 of world version and arguments.

    Raises:
        UnknownNameError: For an unknown split or choice of eyes.
        ConfigError: For sizes that cannot be drawn.
    """

    name: str = "phantom_fundus"
    label_names: tuple[str, ...] = LABELS
    version: ClassVar[str] = VERSION
    chooses: ClassVar[str] = "eyes"
    choices: ClassVar[tuple[str, ...]] = ("one", "both")
    stream: ClassVar[int] = 65
    visits: ClassVar[tuple[float, ...]] = (0.6, 0.85)
    first_patient: ClassVar[int] = 20_000_000

    def __init__(
        self,
        split: str = "train",
        studies: int = 1000,
        seed: int = 0,
        image_size: int = 224,
        eyes: str = "one",
    ) -> None:
        super().__init__(split, studies, seed, image_size, eyes)
        offset = SPLITS.index(split)
        chosen = np.random.default_rng((seed, 66, offset)).integers(0, 2, studies)
        self._images = [
            (study, eye)
            for study in range(studies)
            for eye in (EYES if eyes == "both" else (EYES[chosen[study]],))
        ]
        self.eyes = [eye for _, eye in self._images]
        self.patient_ids = [self._patient_id(study) for study, _ in self._images]
        self.study_ids = [
            f"{person}-{self._number[study]}"
            for person, (study, _) in zip(self.patient_ids, self._images, strict=True)
        ]
        self.uids = [
            f"{study}-{'OD' if eye == 'right' else 'OS'}"
            for study, eye in zip(self.study_ids, self.eyes, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Study:
        facts = self.eye_facts(index)
        camera = self.camera(index)
        written = self._written(facts, camera)
        place = EYES.index(facts.eye)
        build = EyeBuild.draw(
            np.random.default_rng((self.seed, 204, facts.patient)),
            np.random.default_rng((self.seed, 205, facts.patient, place)),
        )
        drawing = draw_photograph(facts, build, camera, self.image_size)
        states = label_states(facts)
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
                "eye": facts.eye,
                "visit": facts.number,
                "age": facts.age,
                "sex": facts.sex,
                "scenario": facts.scenario,
                "dr_grade": facts.dr_grade,
                "cup_disc_ratio": facts.cup,
                "notch": facts.notch,
                "amd_stage": facts.amd,
                "camera": camera.model,
                "quality": camera.quality,
                "style": written.style,
                "uncertain": tuple(n for n, state in states.items() if state == -1),
                "mentioned": written.mentioned,
                "sentences": written.sentences,
                "lesions": drawing.lesions,
                "findings": tuple(record(lesion) for lesion in facts.lesions),
                "acquisition": record(camera),
            },
        )

    def _label_rows(self) -> npt.NDArray[np.float32]:
        return np.stack([self._label_row(facts) for facts in self._all_facts()])

    def reports(self) -> Iterator[Report]:
        """All reports in the order of the images; nothing is drawn."""
        for index, facts in enumerate(self._all_facts()):
            yield self._written(facts, self.camera(index)).report

    def written(self, index: int) -> WrittenReport:
        """Report of an image with what a perfect labeller reads in it."""
        return self._written(self.eye_facts(index), self.camera(index))

    def eye_facts(self, index: int) -> EyeFacts:
        """What the eye of an image has, at that visit."""
        study, eye = self._images[index]
        visits = int(self._number[study]) + 1
        return draw_history(self.seed, int(self._patient[study]), visits)[-1][eye]

    def camera(self, index: int) -> Camera:
        """How an image was taken."""
        study, eye = self._images[index]
        key = (int(self._patient[study]), int(self._number[study]), EYES.index(eye))
        return Camera.draw(np.random.default_rng((self.seed, 206, *key)))

    def _label_row(self, facts: EyeFacts) -> npt.NDArray[np.float32]:
        return label_row(label_states(facts), LABELS)

    def _all_facts(self) -> Iterator[EyeFacts]:
        history: list[dict[str, EyeFacts]] = []
        patient = -1
        for study, eye in self._images:
            number = int(self._number[study])
            if self._patient[study] != patient:
                patient = int(self._patient[study])
                history = draw_history(self.seed, patient, self._visits_of(study))
            yield history[number][eye]

    def _written(self, facts: EyeFacts, camera: Camera) -> WrittenReport:
        key = (facts.patient, facts.number, EYES.index(facts.eye))
        rng = np.random.default_rng((self.seed, 207, *key))
        return write_report(facts, camera.quality, camera.haze > 0.3, rng)


class PhantomFundusGrades(PhantomFundusSource):
    """The same photographs, labelled with the grade of diabetic retinopathy alone.

    Attributes:
        labels: (N, 5) float32, one 1 in each row.
    """

    label_names: tuple[str, ...] = GRADES

    def _label_row(self, facts: EyeFacts) -> npt.NDArray[np.float32]:
        return np.asarray(_GRADES[facts.dr_grade])


_GRADES = np.eye(len(GRADES), dtype=np.float32)
