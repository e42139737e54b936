r"""IMITATE: clinical prior guided hierarchical vision-language pre-training.

Liu, Cheng, Shi, Shah, Bai, Arcucci, IEEE Transactions on Medical Imaging 44(1), 2025,
arXiv 2310.07355. Official code: cheliu-computation/IMITATE-TMI2024 @ cd1c575 (no
licence; nothing of it is copied here).

A report has a hierarchy: findings describe what is seen, the impression concludes. So
features of *several levels* of the image encoder are aligned with the findings, and its
top feature with the impression. The loss knows which reports resemble each other (the
clinical prior, `vlp_zoo.methods.imitate.losses`). Two views of each image are aligned
with the texts and with each other:

.. math:: L = L_{imp}(z, t_{imp}) + \lambda L_{find}(f, t_{find})
    + L_{imp}(z_1, z_2) + \lambda L_{find}(f'_1, f'_2)

========================  =====================================================
here                      in the paper's and the code's terms
========================  =====================================================
``impression``            z, high-level branch ("diagnose"), one per view
``findings``              f, multi-level branch ("read"), first draw of channels
``findings_again``        f', the same with a second draw, for the other view
``drawn``                 channel masking: the channels that are *kept*
``prior``, ``similar``    smoothed correlation of the frozen text features
========================  =====================================================

The official code runs each view through the whole visual network twice, once for f
and once for f'. Both passes see the same pixels and weights, and channels are drawn
behind the backbone, so stage features and z are bit for bit the same: here the backbone
and the impression branch run once a view, the findings branch twice. Losses and
gradients are equal (the parity replay shows it); only the *running* statistics of batch
norm, not used in training, are updated twice a step where the code does it four times.

Deviations from the released code:

======================  ==================================  ===========================
here                    there                               why
======================  ==================================  ===========================
a section that a        a list indexes a scalar: the        both losses of that section
report lacks counts     trainer stops at the first step     have weight 0 for the study
for nothing
``negatives: global``   those of one process ("local")      independent of the number
``sync_batchnorm``      off                                 of processes
channels drawn for      drawn once for the batch, alike on  a study's draw belongs to
each study              all processes                       it, whatever the batch
``warm_start: null``    ImageNet weights                    needs a download; name
                                                            ``timm:resnet50.tv_in1k``
images stretched to     by 256: the brightest value wraps   white stays white
0..255                  round to 0
one interpolation       rotation, then perspective          sharper, the same geometry
ViT: block outputs      ResNet-50 only                      one interface
======================  ==================================  ===========================

Kept as they are: targets scaled by the temperature and not summing to 1; directions
added; "gau", "lap" and "sigmoid" smoothing, which give unrelated pairs a share; draws
with replacement; free token slots that are attended to; the class token's place; weight
decay on everything; the weight λ of the findings, which jumps from 1 to 1.25 at epoch
31; a cosine that restarts after a fixed number of steps (``restart_steps``); mirrored
and upside-down views, which chests with their sides do not suggest (set
``horizontal_flip`` and ``vertical_flip`` to 0). The mask mode "scale", which the
official trainer cannot select, is not offered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypedDict

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.nn import functional

from vlp_zoo.errors import ConfigError
from vlp_zoo.gather import sync_batchnorm as synchronise
from vlp_zoo.methods.imitate.losses import (
    Rows,
    clinical_contrast,
    gather_each,
    prior,
)
from vlp_zoo.methods.imitate.networks import FindingsBranch, draw_channels
from vlp_zoo.methods.imitate.options import IMITATEOptions
from vlp_zoo.methods.imitate.pictures import write_reports
from vlp_zoo.methods.imitate.schedules import findings_weight
from vlp_zoo.methods.imitate.views import IMITATETransform, sections_of
from vlp_zoo.methods.paired.frozen_text import FrozenTextMethod, joint_projection
from vlp_zoo.methods.paired.pictures import draw_views, heat_map
from vlp_zoo.modules import in_full_precision
from vlp_zoo.types import Report

__all__ = ["IMITATE", "IMITATEBatch"]


class IMITATEBatch(TypedDict):
    """What ``IMITATE.make_transform`` returns, collated."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, S, S) uint8, first view
    image_view2: Tensor  # (B, 1 or 3, S, S) uint8
    noise_key: Tensor  # (B,) int64, channels are drawn from it
    findings_text: list[str]
    impression_text: list[str]
    has_findings: Tensor  # (B,) bool
    has_impression: Tensor  # (B,) bool


class Pass(NamedTuple):
    """What the networks make of a batch; E is the joint width."""

    pooled: list[Tensor]  # (B, D) each view
    impression: list[Tensor]  # (B, E) each view
    findings: list[Tensor]  # (B, E) each view, first draw
    findings_again: list[Tensor]  # (B, E) each view, second draw
    text_findings: Tensor  # (B, E)
    text_impression: Tensor  # (B, E)


class IMITATE(FrozenTextMethod[IMITATEBatch]):
    """Findings meet many levels, the impression the top (Liu et al., 2025).

    Options are those of `IMITATEOptions`.
    """

    options: IMITATEOptions
    restart_growth: ClassVar[int] = 2
    batch_keys: ClassVar[frozenset[str]] = IMITATEBatch.__required_keys__
    image_fields: ClassVar[tuple[str, ...]] = ("image", "image_view2")
    pair_gains: ClassVar[Mapping[str, str]] = {
        "image_text_impression": "image_gain",
        "image_text_findings": "image_gain",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(IMITATEOptions(**kwargs))

    # Networks -------------------------------------------------------------------

    def build(self) -> None:
        """Create the networks."""
        options = self.options
        self.image_encoder = self.make_image_encoder(
            mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD
        )
        levels = len(options.channel_shares)
        self.channels = self.image_encoder.level_channels(levels)
        shares = options.channel_shares[levels - len(self.channels) :]
        self.drawn_channels = [
            max(int(share * count + 1e-9), 1)
            for share, count in zip(shares, self.channels, strict=True)
        ]
        if sum(self.drawn_channels) > options.channel_tokens:
            raise ConfigError(
                f"at most channel_tokens = {options.channel_tokens} drawn channels",
                f"{' + '.join(map(str, self.drawn_channels))} of the levels",
                "raise --model.channel_tokens or lower --model.channel_shares",
            )
        width, joint = self.image_encoder.width, options.joint_width
        self.findings_branch = FindingsBranch(
            options.channel_tokens, options.pool_side, options.attention_heads, joint
        )
        self.impression_head = joint_projection(width, options.impression_hidden, joint)
        # One projection for both sections.
        self.text_head = joint_projection(
            self.find_text_width(), options.text_hidden, joint
        )
        if self.options.sync_batchnorm:
            synchronise(self)

    def make_transform(self, train: bool) -> IMITATETransform:
        """Two views of the image, two sections of the report."""
        return IMITATETransform(self.options.image_size, train, self.options.variation)

    def texts_of(self, report: Report) -> Sequence[str]:
        """Findings and impression."""
        sections = sections_of(report)
        return sections.findings, sections.impression

    # One step -------------------------------------------------------------------

    def draw(self, keys: Tensor, again: bool = False) -> list[list[Tensor]]:
        """Channels (B, n) per view and level, from the batch's noise keys."""
        return [
            draw_channels(keys, self.channels, self.drawn_channels, 2 * again + view)
            for view in range(2)
        ]

    def run(
        self,
        views: Sequence[Tensor],
        drawn: Sequence[Sequence[Tensor]],
        drawn_again: Sequence[Sequence[Tensor]] | None,
        findings_features: Tensor,
        impression_features: Tensor,
    ) -> Pass:
        """Both views through the branches, both sections through the projection.

        Args:
            views: Two of (B, 3, S, S), normalised.
            drawn: Per view and level, channels for the texts: (n,) or (B, n).
            drawn_again: Channels for the images of the other view, shaped like
                ``drawn``; None leaves that part out.
            findings_features: (B, F) frozen.
            impression_features: (B, F) frozen.
        """
        seen = [
            self.image_encoder.pyramid(view, len(self.options.channel_shares))
            for view in views
        ]
        impression = [
            in_full_precision(self.impression_head, view.pooled) for view in seen
        ]
        # Batch norm sees each view and draw by itself, in this order.
        findings, again = (
            [
                self.findings_branch(view.levels, index)
                for view, index in zip(seen, draws, strict=True)
            ]
            if draws is not None
            else []
            for draws in (drawn, drawn_again)
        )
        return Pass(
            [view.pooled for view in seen],
            impression,
            findings,
            again,
            *(
                in_full_precision(self.text_head, features.to(self.dtype))
                for features in (findings_features, impression_features)
            ),
        )

    def objective(
        self,
        run: Pass,
        findings_features: Tensor,
        impression_features: Tensor,
        has_findings: Tensor,
        has_impression: Tensor,
        weight: float,
    ) -> dict[str, Tensor]:
        """The four weighted terms.

        Args:
            run: What the networks made of the batch.
            findings_features: (B, F) frozen text features.
            impression_features: (B, F) frozen text features.
            has_findings: (B,) bool.
            has_impression: (B,) bool.
            weight: λ of the findings.
        """
        frozen_findings, frozen_impression, counts_f, counts_i = gather_each(
            [
                findings_features,
                impression_features,
                has_findings[:, None].float(),
                has_impression[:, None].float(),
            ],
            self.options.gather,
        )
        text_f, text_i, z1, z2, f1, f2, *again_12 = gather_each(
            [
                run.text_findings,
                run.text_impression,
                *run.impression,
                *run.findings,
                *run.findings_again,
            ],
            self.options.gather,
        )
        similar_f, similar_i = (
            prior(features, self.options.smoothing, self.options.smoothing_ratio)
            for features in (frozen_findings, frozen_impression)
        )
        tau, tau_views = self.options.text_temperature, self.options.view_temperature
        terms = {
            "image_text_impression": clinical_contrast(
                z1, text_i, tau, similar_i, counts_i
            )
            + clinical_contrast(z2, text_i, tau, similar_i, counts_i),
            "image_text_findings": weight
            * (
                clinical_contrast(f1, text_f, tau, similar_f, counts_f)
                + clinical_contrast(f2, text_f, tau, similar_f, counts_f)
            ),
        }
        if self.options.view_weight:
            # The released code adds the loss of (1, 2) and that of (2, 1): the same.
            between = clinical_contrast(z1, z2, tau_views, similar_i, counts_i)
            terms["image_image_impression"] = 2 * self.options.view_weight * between
            again1, again2 = again_12
            # No prior here: views of similar findings are still told apart.
            between = clinical_contrast(again1, again2, tau_views, None, counts_f)
            terms["image_image_findings"] = (
                2 * self.options.view_weight * weight * between
            )
        return terms

    def losses(self, batch: IMITATEBatch) -> dict[str, Tensor]:
        """Image-text and image-image terms of impression and findings."""
        keys, texts = batch["noise_key"], batch["findings_text"]
        read = self.text_features([*texts, *batch["impression_text"]])
        features = (read[: len(texts)], read[len(texts) :])
        run = self.run(
            [
                self.image_encoder.prepare(view)
                for view in (batch["image"], batch["image_view2"])
            ],
            self.draw(keys),
            self.draw(keys, again=True) if self.options.view_weight else None,
            *features,
        )
        self.watch(run.pooled[0])
        said, present = batch["impression_text"], batch["has_impression"]
        self.pairs_seen.hand(run.impression[0], run.text_impression, said, present)
        return self.objective(
            run,
            *features,
            batch["has_findings"],
            batch["has_impression"],
            findings_weight(self.current_epoch),
        )

    # Joint space and the rest ---------------------------------------------------

    def embed_images(self, images: Tensor) -> Tensor:
        """Images, (B, 1 or 3, H, W) uint8, in the impression space: (B, E)."""
        pooled = self.image_encoder.encode(images).pooled
        return functional.normalize(self.impression_head(pooled).float(), dim=1)

    def pictures(self, batch: IMITATEBatch) -> dict[str, Tensor | str]:
        """Views, clinical priors, similarities of images and texts, and the texts.

        ``prior_*`` shows how much of a positive each pair of reports is;
        ``similarity_*`` what the joint space makes of images (rows) and texts
        (columns), findings with findings and impression with impression.
        """
        texts = (batch["findings_text"], batch["impression_text"])
        features = [self.text_features(part) for part in texts]
        pixels = (batch["image"], batch["image_view2"])
        run = self.run(
            [self.image_encoder.prepare(view) for view in pixels],
            self.draw(batch["noise_key"]),
            None,
            *features,
        )
        pairs = {
            "findings": (run.findings[0], run.text_findings),
            "impression": (run.impression[0], run.text_impression),
        }
        shown: dict[str, Tensor | str] = {"views": draw_views(pixels)}
        for (name, (image, text)), frozen in zip(pairs.items(), features, strict=True):
            rows = Rows(frozen.float(), frozen.float(), 0)
            similar = prior(rows, self.options.smoothing, self.options.smoothing_ratio)
            if similar is not None:
                shown[f"prior_{name}"] = heat_map(similar)
            image, text = (
                functional.normalize(x.float(), dim=1) for x in (image, text)
            )
            shown[f"similarity_{name}"] = heat_map(image @ text.T)
        shown["reports"] = write_reports(batch["uid"], *texts)
        return shown
