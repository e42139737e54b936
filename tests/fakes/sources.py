"""Tiny in-memory sources and transforms; picklable, so loader processes can use them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vlp_zoo.types import Example, Report, Study

__all__ = ["NoisyTransform", "RampSource"]


class RampSource:
    """``n`` studies; pixels, labels and words of study i all follow from i."""

    def __init__(self, n: int, name: str = "ramp", size: int = 4) -> None:
        self.name = name
        self.size = size
        self.label_names: tuple[str, ...] = ("odd", "unknown")
        self.uids = [f"{name}-{i:04d}" for i in range(n)]
        self.patient_ids = [f"patient-{i // 2}" for i in range(n)]
        self.labels: npt.NDArray[np.float32] = np.stack(
            [np.arange(n) % 2, np.full(n, np.nan)], axis=1
        ).astype(np.float32)
        self.fingerprint = f"{name}:{n}:{size}"

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, index: int) -> Study:
        return Study(
            uid=self.uids[index],
            patient_id=self.patient_ids[index],
            study_id=self.uids[index],
            image=np.full((self.size, self.size), index % 256, np.uint8),
            report=self._report(index),
            labels=self.labels[index],
        )

    def reports(self) -> Iterator[Report]:
        return (self._report(i) for i in range(len(self)))

    def _report(self, index: int) -> Report:
        return Report(text=f"Study {index}.", findings=f"Study {index}.")


class NoisyTransform:
    """Adds a field that only the sample's own generator decides."""

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        return {
            "uid": study.uid,
            "image": study.image[None],
            "noise": rng.integers(0, 2**31, size=2),
            "labels": study.labels,
        }
