"""Facts and batches: the types that every part of the package agrees on.

Shape letters, used in every docstring: B batch, H W pixels, P patches, T tokens,
S sentences, R regions, K labels, D encoder width, E joint width, N samples.

Conventions: a ``*_mask`` is bool and True means *valid* or *selected*; ``*_ids`` are
int64; boxes are ``(x1, y1, x2, y2)`` in pixels of the image they belong to, x to the
right, y down; labels are float32 with 1 = present, 0 = absent and NaN = unknown.
Image sides are named as in radiology reports: *left* is the patient's left, which
a frontal chest image shows on its right-hand side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = [
    "Box",
    "Example",
    "FileName",
    "Question",
    "Report",
    "Study",
    "StudySource",
    "Transform",
]

FileName = str | os.PathLike[str]
"""What `open` takes; `vlp_zoo.data.packed.PackedPath` says why not only `Path`."""

Example = dict[str, Any]
"""What a method's transform makes of one study: names to arrays, tensors, strings."""


@dataclass(frozen=True, slots=True)
class Report:
    """One radiology report.

    Attributes:
        text: The whole report as found, sections included.
        indication: Section text, "" where the section is missing.
        comparison: Text of the comparison section, "" where it is missing.
        findings: Text of the findings section, "" where it is missing.
        impression: Text of the impression section, "" where it is missing.
        context: Distilled entity sentences ("There is effusion. There is no edema.")
            from a side file; None where there is none, and then methods that need
            it distil it by rule (`vlp_zoo.reports.contexts.context`).
        headed: Whether headings were found in the text, which then stands for no
            section.
    """

    text: str
    indication: str = ""
    comparison: str = ""
    findings: str = ""
    impression: str = ""
    context: str | None = None
    headed: bool = field(default=False, repr=False, compare=False)

    @property
    def body(self) -> str:
        """Findings followed by impression, what was seen; "" where both are missing.

        A text of which no section is known is the body itself. What was asked for is
        never taken for what was seen.
        """
        parts = [part for part in (self.findings, self.impression) if part.strip()]
        if parts or self.headed or self.indication or self.comparison:
            return " ".join(parts)
        return self.text


@dataclass(frozen=True, slots=True)
class Box:
    """A named rectangle: an anatomical region or a lesion.

    Attributes:
        name: Region (``"right lower lung zone"``) or finding (``"pneumothorax"``).
        xyxy: ``(x1, y1, x2, y2)`` in pixels of the study's image.
        kind: ``"region"`` or ``"lesion"``.
    """

    name: str
    xyxy: tuple[float, float, float, float]
    kind: str = "region"


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image, with its answer.

    Attributes:
        uid: Unique within its split.
        text: The question.
        answer: The answer as it was written.
        closed: Whether it is answered by yes, no or one of a few words.
        kind: What is asked for ("presence", "modality", ...); "" where unknown.
    """

    uid: str
    text: str
    answer: str
    closed: bool
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """One image with everything known about it: facts only, nothing corrupted.

    Attributes:
        uid: Unique within its source, stable between runs.
        patient_id: Grouping key for splits and bootstraps.
        study_id: Images of one examination share it.
        image: uint8, (H, W) for one grey channel or (H, W, 3) for colour.
        report: The report of the study.
        view: ``"PA"``, ``"AP"``, ``"LATERAL"`` or None where unknown.
        labels: (K,) float32 in the order of the source's ``label_names``.
        boxes: Regions and lesions, possibly none.
        masks: Lesion name to bool (H, W).
        facts: Anything else a source knows (severity, zone, acquisition, ...).
        original_size: (height, width) of the image as it was published, which boxes
            from other files are in pixels of; None where ``image`` has that size, and
            (0, 0) where it was made smaller and nobody knows from what.
    """

    uid: str
    patient_id: str
    study_id: str
    image: npt.NDArray[np.uint8]
    report: Report
    view: str | None = None
    labels: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.empty(0, np.float32)
    )
    boxes: tuple[Box, ...] = ()
    masks: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    original_size: tuple[int, int] | None = None


@runtime_checkable
class StudySource(Protocol):
    """A finite, ordered, random-access collection of studies (one split).

    Columns are available without decoding an image; ``source[i]`` decodes. A source
    is picklable and returns the same study for the same index in every process.
    """

    @property
    def name(self) -> str:
        """Name for tables and cards."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the K label columns."""
        ...

    @property
    def uids(self) -> Sequence[str]:
        """One per study, unique."""
        ...

    @property
    def patient_ids(self) -> Sequence[str]:
        """One per study."""
        ...

    @property
    def labels(self) -> npt.NDArray[np.float32]:
        """(N, K), NaN = unknown."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the source will yield: the key of every derived cache."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Study: ...

    def reports(self) -> Iterator[Report]:
        """All reports in order, no image decoded."""
        ...


Transform = Callable[[Study, np.random.Generator], Example]
"""Study to example, drawing only from the generator it is given. Picklable."""
