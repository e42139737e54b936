r"""M-FLAG: frozen language models and latent space geometry.

Liu, Cheng, Chen, Qiao, Zhang, Shah, Bai, Arcucci, MICCAI 2023, arXiv 2307.08347. Official
code: cheliu-computation/M-FLAG-MICCAI2023 @ a7fea3c (MIT; nothing of it is copied here).

The text encoder is never trained. The image encoder's features are aligned with its
features through two projections, without negatives; that all images end in one point is
prevented by batch norm and by a loss that wants the image features, before their
projection, orthonormal over the batch:

.. math:: L = L_{orth}(X) + L_{align}(u, v)

========================  =====================================================
here                      in the paper's and the code's terms
========================  =====================================================
``pooled``                X, image features of the backbone, (B, F)
``image_head``            ``proj_v``, into the joint space: u
``text_head``             ``proj_t``, from frozen text features: v
``off_diagonal``          λ of Barlow Twins
========================  =====================================================

Deviations from the released code:

======================  ==================================  ===========================
here                    there                               why
======================  ==================================  ===========================
``statistics: global``  products and batch norm of one      independent of the number
                        process ("local")                   of processes
``separator: " "``      impression and findings glued       word pieces of two
                        together ("")                       sentences joined into one
a missing section is    NaN impressions crash; findings     nothing to read is nothing
left out                "dumb" count as missing             to align
products divided by     by the configured batch size        the same in training; right
the rows                                                    in validation
``restart_steps``       from a fixed number of 4 processes  steps mean the same
                                                            everywhere
exact epochs            one more than asked for             what is asked for
reshuffled epochs       the same batches every epoch        batch statistics mix
``warm_start: null``    ImageNet weights                    needs a download; name
                                                            ``timm:resnet50.tv_in1k``
images stretched to     by 256: the brightest value wraps   white stays white
0..255                  round to 0
one interpolation       rotation, then perspective          sharper, the same geometry
texts embedded once     in every step, padded to 512        the encoder is frozen
======================  ==================================  ===========================

Kept as they are: features that are neither centred (``centre``) nor scaled, so that
non-negative ones are orthogonal only where they are sparse; a sum over features, whose
size hangs on their number; both distances of the alignment, which are equal; rotations
to one side, up to 90° (``rotation``), though reports name sides; weight decay on
everything; a cosine that restarts and does not end with the run. The frozen text encoder
is in evaluation mode, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypedDict

import numpy as np
from torch import Tensor
from torch.nn import functional

from vlp_zoo.gather import sync_batchnorm
from vlp_zoo.methods.mflag.losses import alignment, orthogonality
from vlp_zoo.methods.mflag.options import MFLAGOptions
from vlp_zoo.methods.paired.frozen_text import FrozenTextMethod, joint_projection
from vlp_zoo.methods.paired.pictures import heat_map, pair_pictures
from vlp_zoo.methods.paired.views import RandomView, cut_border
from vlp_zoo.modules import in_full_precision
from vlp_zoo.reports.sections import clean
from vlp_zoo.transforms import planes
from vlp_zoo.types import Example, Report, Study

__all__ = ["MFLAG", "MFLAGBatch", "MFLAGTransform", "joined"]

HALF = (0.5, 0.5, 0.5)
"""Mean and deviation of pixels in 0..1 that the images are normalised by."""


class MFLAGBatch(TypedDict):
    """What ``MFLAG.make_transform`` returns, collated."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, S, S) uint8
    report_text: list[str]
    has_report: Tensor  # (B,) bool


class Pass(NamedTuple):
    """What the networks make of a batch."""

    pooled: Tensor  # (B, F) image features
    image: Tensor  # (B, E) projected, not of unit length
    text: Tensor  # (B, E)


def joined(impression: str, findings: str, separator: str = " ") -> str:
    """The impression, then the findings; an empty one is left out.

    Example:
        >>> joined("No effusion.", "Heart size is normal.")
        'No effusion. Heart size is normal.'
    """
    return separator.join(part for part in (impression, findings) if part)


@dataclass(frozen=True)
class MFLAGTransform:
    """Study to example: what the workers run.

    Args:
        image_size: Side S of the square view.
        train: Vary the view; else it is the one without chance.
        variation: How training views differ.
        separator: Between the sections.
    """

    image_size: int
    train: bool
    variation: RandomView
    separator: str = " "

    def text(self, report: Report) -> str:
        """What is read of a report; one without these sections is read whole."""
        impression, findings = clean(report.impression), clean(report.findings)
        return joined(impression, findings, self.separator) or clean(report.body)

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        pixels = self.variation.prepare(cut_border(study.image), self.image_size)
        if self.train:
            view = self.variation(pixels, rng, self.image_size)
        else:
            view = self.variation.whole(pixels, self.image_size)
        text = self.text(study.report)
        return {
            "uid": study.uid,
            "image": planes(view),
            "report_text": text,
            "has_report": np.bool_(text),
        }


class MFLAG(FrozenTextMethod[MFLAGBatch]):
    """Images meet frozen texts in an orthogonal space (Liu et al., 2023).

    Options are those of `MFLAGOptions`.
    """

    options: MFLAGOptions
    batch_keys: ClassVar[frozenset[str]] = MFLAGBatch.__required_keys__
    pair_gains: ClassVar[Mapping[str, str]] = {"alignment": "image_gain"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MFLAGOptions(**kwargs))

    def build(self) -> None:
        """An image encoder and two projections."""
        hidden, joint = self.options.head_hidden, self.options.joint_width
        self.image_encoder = self.make_image_encoder(mean=HALF, std=HALF)
        self.image_head = joint_projection(self.image_encoder.width, hidden, joint)
        self.text_head = joint_projection(self.find_text_width(), hidden, joint)
        if self.options.gather:
            sync_batchnorm(self)

    def make_transform(self, train: bool) -> MFLAGTransform:
        """One view of the image, impression and findings of the report."""
        options = self.options
        return MFLAGTransform(
            options.image_size, train, options.variation, options.separator
        )

    def texts_of(self, report: Report) -> Sequence[str]:
        """Impression and findings in one."""
        return (self.make_transform(False).text(report),)

    def run(self, images: Tensor, features: Tensor) -> Pass:
        """Images through encoder and projection, text features through theirs.

        Args:
            images: (B, 3, S, S), normalised.
            features: (B, D) frozen text features.
        """
        pooled = self.image_encoder(images).pooled
        return Pass(
            pooled,
            in_full_precision(self.image_head, pooled),
            in_full_precision(self.text_head, features.to(self.dtype)),
        )

    def objective(
        self, run: Pass, present: Tensor | None = None, divide_by: int | None = None
    ) -> dict[str, Tensor]:
        """The weighted terms.

        Args:
            run: What the networks made of a batch.
            present: (B,) bool, which studies have a report; None = all.
            divide_by: What products are divided by; None = their rows.
        """
        options, terms = self.options, {}
        if options.orthogonality_weight:
            terms["orthogonality"] = options.orthogonality_weight * orthogonality(
                run.pooled,
                options.off_diagonal,
                divide_by,
                options.centre,
                options.gather,
            )
        if options.alignment_weight:
            terms["alignment"] = options.alignment_weight * alignment(
                run.image, run.text, present
            )
        return terms

    def losses(self, batch: MFLAGBatch) -> dict[str, Tensor]:
        """``orthogonality`` of the image space and ``alignment`` with the reports."""
        run = self._read(batch)
        self.watch(run.pooled)
        if self.options.alignment_weight:
            said, present = batch["report_text"], batch["has_report"]
            self.pairs_seen.hand(run.image, run.text, said, present)
        return self.objective(run, batch["has_report"])

    def _read(self, batch: MFLAGBatch) -> Pass:
        images = self.image_encoder.prepare(batch["image"])
        return self.run(images, self.text_features(batch["report_text"]))

    def embed_images(self, images: Tensor) -> Tensor:
        """Images, (B, 1 or 3, H, W) uint8, in the joint space: (B, E), unit length."""
        pooled = self.image_encoder.encode(images).pooled
        return functional.normalize(self.image_head(pooled).float(), dim=1)

    def pictures(self, batch: MFLAGBatch) -> dict[str, Tensor | str]:
        """Views, similarities of images (rows) and reports, and the reports.

        ``products`` are those of the first 32 image features over the batch, which the
        loss wants to be 1 on the diagonal and 0 elsewhere.
        """
        run = self._read(batch)
        few = run.pooled[:, :32].float()
        products = heat_map(few.T @ few / len(few))
        reports = batch["report_text"]
        shown = pair_pictures(batch["image"], run.image, run.text, reports)
        return {**shown, "products": products}
