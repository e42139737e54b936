"""The fundus world as a source of studies: everything follows from seed and index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from vlp_zoo.data.fundus.photographs import GRADES
from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.fundus.anatomy import EyeBuild
from vlp_zoo.data.phantom.fundus.camera import Camera
from vlp_zoo.data.phantom.fundus.drawing import draw_photograph
from vlp_zoo.data.phantom.fundus.facts import EYES, LABELS, EyeFacts, label_states
from vlp_zoo.data.phantom.fundus.history import draw_history
from vlp_zoo.data.phantom.fundus.reports import write_report
from vlp_zoo.data.phantom.world import SPLITS, Drawing, World, WrittenReport, record

__all__ = ["SPLITS", "VERSION", "PhantomFundusGrades", "PhantomFundusSource"]

VERSION = "1"
"""Version of the world: a change of pixels or words at the same seed raises it."""


class PhantomFundusSource(World[EyeFacts]):
    """Colour fundus photographs of patients who never were, drawn when asked for.

    A study is one visit; its report and labels are those of one eye, so each eye has
    its own. The other arguments, and the errors, are those of `World`.

    Args:
        eyes: ``"one"`` for one photograph per visit, of either eye, ``"both"`` for
            the right and the left one.

    Attributes:
        name: ``"phantom_fundus"``.
        label_names: `facts.LABELS`.
        uids: Patient, visit and eye, one per image.
        study_ids: Patient and visit, one per image.
        eyes: ``"right"`` or ``"left"``, one per image.
        labels: (N, 15) float32; NaN where the report hedges.
    """

    name: str = "phantom_fundus"
    label_names: tuple[str, ...] = LABELS
    version: ClassVar[str] = VERSION
    chooses: ClassVar[str] = "eyes"
    choices: ClassVar[tuple[str, ...]] = ("one", "both")
    stream: ClassVar[int] = 65
    visits: ClassVar[tuple[float, ...]] = (0.6, 0.85)
    first_patient: ClassVar[int] = 20_000_000
    columns: ClassVar[tuple[str, ...]] = (
        *("image", "indication", "comparison", "findings", "impression"),
        *("patient_id", "study_id", "split", "boxes", "masks", "eye", "age", "sex"),
        *("dr_grade", "cup_disc_ratio", "quality", "camera"),
    )

    def __init__(
        self,
        split: str = "train",
        studies: int = 1000,
        seed: int = 0,
        image_size: int = 224,
        eyes: str = "one",
    ) -> None:
        super().__init__(split, studies, seed, image_size, eyes)
        self.eyes = [eye for _, eye in self._images]
        self.study_ids = [
            f"{person}-{self._number[study]}"
            for person, (study, _) in zip(self.patient_ids, self._images, strict=True)
        ]
        self.uids = [
            f"{study}-{'OD' if eye == 'right' else 'OS'}"
            for study, eye in zip(self.study_ids, self.eyes, strict=True)
        ]

    def eye_facts(self, index: int) -> EyeFacts:
        """What the eye of an image has, at that visit."""
        return self._facts(index)

    def camera(self, index: int) -> Camera:
        """How an image was taken."""
        study, eye = self._images[index]
        key = (int(self._patient[study]), int(self._number[study]), EYES.index(eye))
        return Camera.draw(np.random.default_rng((self.seed, 206, *key)))

    def _parts(self, rng: Rng) -> Iterable[tuple[str, ...]]:
        chosen = rng.integers(0, 2, self.studies)
        return (EYES if self.choice == "both" else (EYES[one],) for one in chosen)

    def _history(self, patient: int, visits: int) -> Sequence[Mapping[str, EyeFacts]]:
        return draw_history(self.seed, patient, visits)

    def _acquisition(self, index: int) -> Camera:
        return self.camera(index)

    def _draw(self, facts: EyeFacts, acquisition: Camera) -> Drawing:
        build = EyeBuild.draw(
            np.random.default_rng((self.seed, 204, facts.patient)),
            np.random.default_rng(
                (self.seed, 205, facts.patient, EYES.index(facts.eye))
            ),
        )
        return draw_photograph(facts, build, acquisition, self.image_size)

    def _known(
        self, facts: EyeFacts, acquisition: Camera, written: WrittenReport
    ) -> dict[str, Any]:
        return {
            "eye": facts.eye,
            "visit": facts.number,
            "age": facts.age,
            "sex": facts.sex,
            "scenario": facts.scenario,
            "dr_grade": facts.dr_grade,
            "cup_disc_ratio": facts.cup,
            "notch": facts.notch,
            "amd_stage": facts.amd,
            "camera": acquisition.model,
            "quality": acquisition.quality,
            "style": written.style,
            "findings": tuple(record(lesion) for lesion in facts.lesions),
        }

    def _states(self, facts: EyeFacts) -> dict[str, float]:
        return label_states(facts)

    def _written(self, index: int, facts: EyeFacts) -> WrittenReport:
        camera = self.camera(index)
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
