"""What can be chosen where boxes are learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from vlp_zoo.evaluation.training.learner import Plan
from vlp_zoo.evaluation.training.settings import Trained, require

__all__ = ["DetectionSettings"]


@dataclass(frozen=True)
class DetectionSettings(Trained):
    """Settings of ``vlp-det`` and its relatives, beside those of `Trained`.

    Attributes:
        size: Side of the input in pixels; 0 = the encoder's own. A ViT takes the
            nearest multiple of its patch; the details say what it was.
        resize: ``"pad"``, ``"squash"`` or "" for the encoder's own.
        width: Channels of pyramid and head, a multiple of 32 from 64 on: they are
            normalised in 32 groups, and one channel alone cannot be.
        convolutions: In each branch of the head.
        merge_classes: Detect all lesions as one class.
        boxed_only: Leave out images without a box, in all splits: for data sets that
            have boxes on a part of their positives only (NIH-14).
        epochs: Passes over the training cases at label fractions up to 10 % and above.
        learning_rates: Grid of peaks; with more than one the best is chosen on the
            validation split.
        optimiser: ``"adamw"``, ``"adam"`` or ``"sgd"``; see `Plan`.
        layer_decay: Each block of a tuned ViT learns by this factor slower than the
            one above it.
        flip: Chance of mirroring; it swaps left and right.
        min_visible: Share of a box that must be left in a crop for it to be learnt.
        score_threshold: Detections that score less are dropped.
        nms_iou: IoU threshold of the non-maximum suppression: of two detections of a
            class that overlap more, the one with the higher score stays.
        max_detections: Detections kept per image.
        legacy_map: Also give MGCA's and ECAMP's mAP, which skips images, of what
            scores ``legacy_confidence`` or more.
        legacy_confidence: Lowest score of the detections that ``legacy_map`` counts.
    """

    size: int = 512
    resize: str = ""
    width: int = 256
    convolutions: int = 4
    merge_classes: bool = False
    boxed_only: bool = False
    epochs: tuple[int, int] = (50, 12)
    learning_rates: tuple[float, ...] = (1e-4,)
    optimiser: str = "adamw"
    layer_decay: float = 0.75
    augment: str = "dense"
    flip: float = 0.0
    min_visible: float = 0.3
    score_threshold: float = 0.01
    nms_iou: float = 0.5
    max_detections: int = 100
    legacy_map: bool = False
    legacy_confidence: float = 0.5
    name: str = "vlp-det"

    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})
    headline: ClassVar[str] = "box_ap"
    reads_maps: ClassVar[bool] = True
    stored_as: ClassVar[Mapping[str, str]] = {
        "score_threshold": "confidence",
        "nms_iou": "overlap",
        "max_detections": "most",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.epochs) == 2 and min(self.epochs) >= 1,
            "two numbers of epochs, of 1 or more",
            self.epochs,
        )
        require(bool(self.learning_rates), "a learning rate", self.learning_rates)
        require(self.size >= 0, "a size of 0 or more", self.size)
        require(
            self.width >= 64 and self.width % 32 == 0,
            "a width of 64 or another multiple of 32",
            self.width,
        )
        require(
            self.resize in ("", "pad", "squash"),
            "resize pad, squash or blank",
            self.resize,
        )

    def plan(self, cases: int, learning_rate: float) -> Plan:
        """How long and how fast is trained on a number of cases."""
        batch = min(self.batch_size, cases)
        return self.plan_of(
            self.of_fraction(self.epochs) * (cases // batch),
            learning_rate,
            batch_size=batch,
            optimiser=self.optimiser,
        )
