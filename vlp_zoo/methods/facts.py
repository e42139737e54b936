"""What a user asks of a method before choosing it; plain values, nothing heavy is read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FACTS", "MethodFacts"]


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """One row of ``vlpzoo info methods``.

    Attributes:
        needs: What it reads of a study; the data sets that have it can be trained on.
        joint_space: Whether images and texts end in one space, as zero-shot
            classification, retrieval and grounding need.
        images: What kind of images its default settings are for.
        original: Licence of the authors' code, of which nothing is copied here.
        parameters: Millions of its paper-scale config with the largest vocabulary.
        cost: 10^9 FLOPs of an image there, forward and backward.
    """

    needs: str
    joint_space: bool
    images: str
    original: str
    parameters: float
    cost: float

    def line(self, recorded: bool) -> str:
        """All of it in one line.

        Args:
            recorded: Whether ``vlpzoo parity`` replays recordings of the authors' code.
        """
        return "; ".join(
            (
                f"needs {self.needs}",
                "joint space" if self.joint_space else "no joint space",
                self.images,
                f"{self.parameters:.0f} M parameters",
                f"{self.cost:.0f} GFLOP an image",
                f"original: {self.original}",
                "parity: recordings" if recorded else "no recordings for parity",
            )
        )


NONE_FOUND = "no licence found"

FACTS = {
    "asg": MethodFacts(
        "image, report, region boxes", True, "chest", NONE_FOUND, 183.6, 145.9
    ),
    "clip": MethodFacts(
        "image, report", True, "chest", "ConVIRT: none released", 133.2, 163.2
    ),
    "ecamp": MethodFacts("image, report", False, "chest", "MIT", 182.7, 117.0),
    "flair": MethodFacts(
        "image, labels or report", True, "fundus", "Apache-2.0", 132.7, 166.9
    ),
    "gloria": MethodFacts("image, report", True, "chest", "Apache-2.0", 133.6, 113.5),
    "imitate": MethodFacts(
        "image, report with sections", True, "chest", NONE_FOUND, 30.7, 50.3
    ),
    "mae": MethodFacts("image", False, "chest or fundus", "CC BY-NC 4.0", 111.8, 58.5),
    "medclip": MethodFacts("image, report", True, "chest", "MIT", 136.0, 106.9),
    "mflag": MethodFacts("image, report", True, "chest", "MIT", 33.5, 24.3),
    "mgca": MethodFacts("image, report", True, "chest", NONE_FOUND, 158.4, 138.5),
    "mrm": MethodFacts("image, report", False, "chest", "MIT", 151.3, 73.2),
    "place": MethodFacts(
        "image, report", True, "chest", "no code released", 199.2, 247.4
    ),
}
"""Name of a method to its facts.

Numbers are those of ``vlpzoo plan --config methods/NAME --studies 300000``, FLOPs of a batch
divided by its studies.
"""
