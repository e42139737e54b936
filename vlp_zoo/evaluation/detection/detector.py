"""What a detection protocol trains: FCOS on the feature maps of an encoder.

Tian et al., "FCOS: fully convolutional one-stage object detection", ICCV 2019, as
torchvision has it; no anchors have to fit the data. A CNN's last stages go through a
feature pyramid network (Lin et al., CVPR 2017). A ViT has one scale, of which a simple
pyramid is made (Li et al., "Exploring plain vision transformer backbones for object
detection", ECCV 2022). Both give four maps, from half a patch (a stride of 8 for a
CNN) upwards.

Boxes are learnt in the frame of the encoder's input and predicted in that of the
original image. The head runs in full precision whatever the encoder does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork

from vlp_zoo.augment import Augment
from vlp_zoo.evaluation.training.decoders import DenseEncoder
from vlp_zoo.evaluation.training.groups import layer_decay_groups
from vlp_zoo.evaluation.training.learner import Learner
from vlp_zoo.gather import exchanging
from vlp_zoo.loading import collate_examples
from vlp_zoo.transforms import planes
from vlp_zoo.types import Box, Example, Study, Transform

if TYPE_CHECKING:
    from vlp_zoo.evaluation.detection.settings import DetectionSettings

__all__ = ["Detector", "lesions_of"]

LEVELS = 4
SMALLEST = 1.0
"""Pixels of the encoder's input: a thinner box has nothing left to be learnt."""


class Detector(Learner):
    """Encoder, pyramid, FCOS head.

    Args:
        encoder: An encoder of feature maps; copied, so the caller's weights stay as
            they are.
        classes: Names of what is detected.
        protocol: Settings.
    """

    def __init__(
        self, encoder: nn.Module, classes: Sequence[str], protocol: DetectionSettings
    ) -> None:
        super().__init__()
        self.dense = DenseEncoder(
            encoder,
            protocol.size,
            protocol.frozen,
            LEVELS - 1,
            final=True,
            again=protocol.augment == "none",
        )
        self.size = self.dense.size
        self.classes = tuple(classes)
        self.protocol = protocol
        width = protocol.width
        neck = _SimplePyramid if self.dense.final else _FeaturePyramid
        self.neck: nn.Module = neck(self.dense.channels, width, self.dense.strides)
        with torch.no_grad():
            blank = torch.zeros(1, 1, self.size, self.size, dtype=torch.uint8)
            sides = [int(m.shape[-1]) for m in self.neck(self.dense(blank))]
        # A point is responsible for boxes of 4 to 8 times its stride.
        strides = tuple((max(1, round(self.size / side)),) for side in sides)
        self.fcos: Any = FCOS(
            _Placeholder(width),
            len(self.classes),
            anchor_generator=AnchorGenerator(strides, ((1.0,),) * len(sides)),
            head=_Head(width, 1, len(self.classes), protocol.convolutions),
            score_thresh=protocol.score_threshold,
            nms_thresh=protocol.nms_iou,
            detections_per_img=protocol.max_detections,
        )

    def make_transform(self, train: bool) -> Transform:
        """Fit into the square; boxes follow in training, the frame in evaluation."""
        protocol, card = self.protocol, self.dense.preprocessing
        augment = Augment(
            protocol.augment if train else "none",
            self.size,
            resize=protocol.resize or str(card.get("resize", "pad")),
            flip=protocol.flip if train else 0.0,
            min_visible=protocol.min_visible,
        )
        if train:
            return _Taught(augment, self.classes, protocol.merge_classes)
        return _Judged(augment, protocol.merge_classes)

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Images become one tensor, the rest lists: boxes differ in number."""
        images = collate_examples([{"image": e["image"]} for e in examples])
        rest = {k: [e[k] for e in examples] for k in examples[0] if k != "image"}
        return {**images, **rest}

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Head at the full rate, encoder with layer decay, no decay of vectors."""
        protocol = self.protocol
        mine = [*self.neck.parameters(), *self.fcos.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in mine if p.ndim <= 1], "weight_decay": 0.0},
            {"params": [p for p in mine if p.ndim > 1]},
        ]
        if not protocol.frozen:
            groups += layer_decay_groups(
                self.dense.encoder,
                learning_rate,
                protocol.weight_decay,
                protocol.layer_decay,
            )
        return groups

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """Focal loss of classes, GIoU loss of boxes, cross-entropy of centredness."""
        levels = self._levels(batch["image"])
        targets = [
            {"boxes": boxes, "labels": labels}
            for boxes, labels in zip(batch["boxes"], batch["labels"], strict=True)
        ]
        with torch.autocast(levels[0].device.type, enabled=False):
            outputs, anchors, counts = self._heads(levels, batch["image"])
            terms = self.fcos.compute_loss(targets, outputs, anchors, counts)
        total: Tensor = sum(terms.values())
        return total

    def predict(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """``found`` and ``truth`` of each image, in pixels of the original.

        ``found`` has entries ``[name, score, x1, y1, x2, y2]``, surest first; ``truth``
        has ``[name, x1, y1, x2, y2]``.
        """
        images = batch["image"]
        levels = self._levels(images)
        with torch.autocast(images.device.type, enabled=False):
            outputs, anchors, counts = self._heads(levels, images)
            found = self.fcos.postprocess_detections(
                {name: list(torch.split(o, counts, 1)) for name, o in outputs.items()},
                [list(torch.split(each, counts)) for each in anchors],
                [(self.size, self.size)] * len(images),
            )
        return {
            "found": [
                self._original(each, frame, size)
                for each, frame, size in zip(
                    found, batch["frame"], batch["original"], strict=True
                )
            ],
            "truth": batch["truth"],
        }

    def _levels(self, images: Tensor) -> list[Tensor]:
        return [level.float() for level in self.dense(images)]

    def _heads(
        self, levels: Sequence[Tensor], images: Tensor
    ) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
        maps = self.neck(levels)
        sizes = [(self.size, self.size)] * len(images)
        anchors = self.fcos.anchor_generator(ImageList(images.float(), sizes), maps)
        counts = [int(m.shape[-2] * m.shape[-1]) for m in maps]
        return self.fcos.head(maps), anchors, counts

    def _original(
        self,
        found: Mapping[str, Tensor],
        frame: tuple[float, float, float, float],
        original: tuple[int, int],
    ) -> list[list[Any]]:
        x1, y1, x2, y2 = frame
        width, height = original
        boxes = found["boxes"].double().cpu().numpy() - [x1, y1, x1, y1]
        boxes *= [width / (x2 - x1), height / (y2 - y1)] * 2
        # What lies in the padding is outside of the image.
        boxes = np.clip(boxes, 0, [width, height, width, height]).round(2)
        scores = found["scores"].double().cpu().numpy().round(6)
        labels = found["labels"].cpu().numpy()
        kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return [
            [self.classes[int(k)], float(s), *map(float, b)]
            for k, s, b in zip(labels[kept], scores[kept], boxes[kept], strict=True)
        ]


def lesions_of(study: Study, merged: bool = False) -> tuple[Box, ...]:
    """Boxes of lesions, without those of regions; all of one name if ``merged``."""
    found = tuple(box for box in study.boxes if box.kind == "lesion")
    return tuple(replace(box, name="lesion") for box in found) if merged else found


@dataclass(frozen=True)
class _Taught:
    augment: Augment
    classes: tuple[str, ...]
    merged: bool

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        lesions = lesions_of(study, self.merged)
        made = self.augment(replace(study, masks={}, boxes=lesions), rng)
        corners = torch.tensor([b.xyxy for b in made.boxes]).float().view(-1, 4)
        labels = torch.tensor([self.classes.index(b.name) for b in made.boxes])
        kept = (corners[:, 2:] - corners[:, :2] >= SMALLEST).all(1)
        return {
            "image": torch.from_numpy(planes(made.image)),
            "boxes": corners[kept],
            "labels": labels.long()[kept],
        }


@dataclass(frozen=True)
class _Judged:
    augment: Augment
    merged: bool

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        height, width = study.image.shape[:2]
        # The image's own outline goes through the geometry and says how to undo it.
        outline = (Box("image", (0, 0, width, height)),)
        made = self.augment(replace(study, masks={}, boxes=outline), rng)
        return {
            "image": torch.from_numpy(planes(made.image)),
            "frame": made.boxes[0].xyxy,
            "original": (width, height),
            "truth": [
                [box.name, *(round(float(x), 2) for x in box.xyxy)]
                for box in lesions_of(study, self.merged)
            ],
        }


class _Placeholder(nn.Module):
    """Tells torchvision the width; features are made before its model is asked."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels


class _Head(FCOSHead):  # type: ignore[misc]
    """FCOS's head, its losses divided by the points in boxes of all processes."""

    def compute_loss(
        self,
        targets: list[dict[str, Tensor]],
        head_outputs: dict[str, Tensor],
        anchors: list[Tensor],
        matched_idxs: list[Tensor],
    ) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = super().compute_loss(
            targets, head_outputs, anchors, matched_idxs
        )
        if not exchanging():
            return terms
        mine = torch.stack([(m >= 0).sum() for m in matched_idxs]).sum().float()
        every = mine.clone()
        dist.all_reduce(every)
        factor = mine.clamp(min=1) * dist.get_world_size() / every.clamp(min=1)
        return {name: value * factor for name, value in terms.items()}


class _FeaturePyramid(nn.Module):
    """A feature pyramid of a CNN's stages, and one coarser map of the last."""

    def __init__(
        self, channels: Sequence[int], width: int, strides: Sequence[float]
    ) -> None:
        super().__init__()
        self.network = FeaturePyramidNetwork(list(channels), width)
        self.coarser = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, width, H_i, W_i), fine to coarse."""
        named = OrderedDict((str(i), level) for i, level in enumerate(levels))
        maps = list(self.network(named).values())
        return [*maps, self.coarser(maps[-1].relu())]


class _SimplePyramid(nn.Module):
    """Four scales of a ViT's one map: twice, once, half and a quarter of its sides.

    Pixels themselves are not enlarged: once, half, a quarter and an eighth.
    """

    def __init__(
        self, channels: Sequence[int], width: int, strides: Sequence[float]
    ) -> None:
        super().__init__()
        inside = channels[-1]
        half = max(1, inside // 2)
        resized: list[tuple[nn.Module, int]] = [
            (nn.Identity(), inside),
            *((nn.MaxPool2d(2**i, ceil_mode=True), inside) for i in (1, 2, 3)),
        ]
        if strides[-1] > 1:
            double = nn.ConvTranspose2d(inside, half, 2, stride=2)
            resized = [(double, half), *resized[:-1]]
        self.scales = nn.ModuleList(
            nn.Sequential(
                scale,
                nn.Conv2d(count, width, 1, bias=False),
                nn.GroupNorm(1, width),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.GroupNorm(1, width),
            )
            for scale, count in resized
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, width, H_i, W_i), fine to coarse."""
        return [cast(Tensor, scale(levels[-1])) for scale in self.scales]
