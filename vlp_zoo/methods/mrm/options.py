"""What can be chosen in MRM: defaults are the paper's or its code's values.

Where the released code and the paper part ways there is one switch per point, which
the table of deviations in `vlp_zoo.methods.mrm.mrm` explains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import (
    MaskingOptions,
    ReportOptions,
    check_choice,
    switches,
)

__all__ = ["VARIANTS", "Flags", "MRMOptions"]


@dataclass(frozen=True, slots=True)
class Flags:
    """Switches of one run; the defaults are the corrected variant."""

    report_loss: str = "hidden"
    report_text: str = "body"
    position_table: str = "mae"
    antialias: bool = True
    horizontal_flip: float = 0.0
    last_position_visible: bool = False


VARIANTS: dict[str, Flags] = {
    "corrected": Flags(),
    "official": Flags(
        report_loss="all",
        report_text="raw",
        position_table="ecamp",
        antialias=False,
        horizontal_flip=0.5,
        last_position_visible=True,
    ),
}
"""Name of a variant to its switches."""


@dataclass(frozen=True, kw_only=True)
class MRMOptions(MaskingOptions, ReportOptions):
    """What can be chosen; `vlp_zoo.methods.mrm` says why.

    Args:
        variant: ``"corrected"`` or ``"official"``: what the flags left at None follow.
        image_size: Side S of the encoder's input; images come at ``target_scale`` S.
        warm_start: Encoder to start from, such as ``official:mae:FILE`` (the authors
            start from MAE) or ``timm:NAME``; its position table comes along.
        word_mask_ratio: Share of hidden words.
        target_scale: Side of the predicted image over that of the encoder's input: 2
            restores twice the resolution, 1 is MAE's target.
        norm_pix: Standardise each target patch by its own pixels.
        words_see_image: Add the mean of the visible patches to every word; without it
            reports teach the image encoder nothing.
        mim_weight: Weight of the masked image modelling, 1 in the paper.
        mlm_weight: Weight of the masked report modelling, 1 in the paper.
        report_loss: Over ``"hidden"`` words, all ``"words"``, or ``"all"`` positions,
            padding too.
        report_text: ``"body"``, findings and impression, or ``"raw"``, the whole text,
            headings and indication too.
        position_table: ``"mae"`` or ``"ecamp"``, see `sincos_table`.
        antialias: Shrink the image with antialiasing.
        horizontal_flip: Chance of mirroring a training image.
        last_position_visible: Never hide the last position of the longest reports.
        learning_rate: Peak rate, absolute, for 256 images a step.
    """

    variant: str = "corrected"
    word_mask_ratio: float = 0.5
    target_scale: int = 2
    norm_pix: bool = True
    decoder_width: int = 768
    decoder_depth: int = 4
    decoder_heads: int = 6
    words_see_image: bool = True
    mim_weight: float = 1.0
    mlm_weight: float = 1.0
    report_loss: str | None = None
    report_text: str | None = None
    position_table: str | None = None
    antialias: bool | None = None
    horizontal_flip: float | None = None
    last_position_visible: bool | None = None
    text_width: int = 384
    text_heads: int = 6
    text_ffn: int = 1536
    max_tokens: int = 100
    learning_rate: float = 1.5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("variant", self.variant, tuple(VARIANTS))
        check_choice("report_loss", self.flags.report_loss, ("hidden", "words", "all"))
        check_choice("report_text", self.flags.report_text, ("body", "raw"))
        check_choice("position_table", self.flags.position_table, ("mae", "ecamp"))
        if (
            not 0 < self.word_mask_ratio <= 1
            or not 0 <= self.flags.horizontal_flip <= 1
        ):
            raise ConfigError(
                "--model.word_mask_ratio above 0 and up to 1, horizontal_flip in 0..1",
                f"{self.word_mask_ratio} and {self.flags.horizontal_flip}",
                "give shares",
            )
        if self.target_scale < 1:
            raise ConfigError(
                "--model.target_scale of 1 or more",
                f"{self.target_scale}",
                "give 1 or 2",
            )
        if min(self.mim_weight, self.mlm_weight) < 0 or not (
            self.mim_weight or (self.mlm_weight and self.words_see_image)
        ):
            raise ConfigError(
                "a loss that reaches the image encoder, with weights of 0 or more",
                f"mim_weight {self.mim_weight}, mlm_weight {self.mlm_weight}, "
                f"words_see_image {self.words_see_image}",
                "raise --model.mim_weight or mlm_weight",
            )

    @cached_property
    def flags(self) -> Flags:
        """The variant's switches, with those replaced that were given.

        Example:
            >>> MRMOptions(variant="official", antialias=True).flags.report_loss
            'all'
        """
        return switches(self, VARIANTS[self.variant])
