"""What can be chosen in ECAMP: defaults are the paper's or its code's values.

Where the released code and the paper part ways there is one switch per point, which
the table of deviations in `vlp_zoo.methods.ecamp` explains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.ecamp.networks import FUSIONS
from vlp_zoo.methods.ecamp.text import CORRECTED, OFFICIAL, TextRules
from vlp_zoo.methods.options import (
    MaskingOptions,
    ReportOptions,
    check_choice,
    check_weights,
    switches,
)

__all__ = ["VARIANTS", "ECAMPOptions", "Flags"]


@dataclass(frozen=True, slots=True)
class Flags:
    """Switches of one run; the defaults are the corrected variant."""

    masked_mean: bool = True
    padding_in_text_loss: bool = False
    force_descriptors: bool = True
    entities: str = "words"
    antialias: bool = True
    sr_final_relu: bool = False
    position_table: str = "mae"
    horizontal_flip: float = 0.0
    window_follows_crop: bool = True
    swap_window_axes: bool = False


VARIANTS: dict[str, tuple[Flags, TextRules]] = {
    "corrected": (Flags(), CORRECTED),
    "official": (
        Flags(
            masked_mean=False,
            padding_in_text_loss=True,
            force_descriptors=False,
            entities="tokens",
            antialias=False,
            sr_final_relu=True,
            position_table="ecamp",
            horizontal_flip=0.5,
            window_follows_crop=False,
            swap_window_axes=True,
        ),
        OFFICIAL,
    ),
}
"""Name of a variant to its switches and text rules."""


@dataclass(frozen=True, kw_only=True)
class ECAMPOptions(MaskingOptions, ReportOptions):
    """What can be chosen; `vlp_zoo.methods.ecamp` says why.

    Args:
        variant: ``"corrected"`` or ``"official"``: what the flags left at None follow.
        image_size: Side S of the encoder's input; images come at 2S.
        warm_start: Encoder to start from, such as ``official:mae:FILE`` (the authors
            start from MAE) or ``timm:NAME``; its position table comes along.
        text_depth: Layers of the text encoder, after the fusion layer.
        text_dropout: Dropout of text encoder and fusion.
        window_source: ``"attention"``, ``"boxes"``, ``"centre"`` or ``"batch"``.
        window_warmup_steps: Steps with the window at the centre, before attention.
        mim_weight: Weight of the masked image modelling, 1 in the paper; at 0 its
            networks stay.
        res_weight: Weight of the super-resolution term, 1 in the paper; at 0 its
            networks stay.
        mlm_weight: Weight of the masked language modelling, 1 in the paper; at 0 its
            networks stay.
        insert_contexts: Write the distilled context into training reports.
        rebalance: Words around entities count more, stock phrases less.
        fusion: ``"both"`` scales; ``"fine"``, words attend to patches, or ``"coarse"``,
            the mean of the patches, alone. Without ``fine``, as without ``mlm``,
            nothing trains the attention that places windows: choose another
            ``window_source``.
        trim_padding: Cut each batch to its longest report. Saves up to half of the
            text work; changes numbers where padding enters the loss.
        force_descriptors: Always hide the words before an entity.
        masked_mean: Divide image losses by the pixels that count.
        padding_in_text_loss: Predict padding as well.
        window_follows_crop: Move given windows with the crop.
        swap_window_axes: Read a given window's column as row and vice versa.
        position_table: ``"mae"`` or ``"ecamp"``, see `sincos_table`.
        antialias: Halve the image with antialiasing.
        sr_final_relu: End the super-resolution head with a ReLU.
        horizontal_flip: Chance of mirroring a training image.
        entities: ``"words"`` (with inflections) or ``"tokens"`` (official list).
        learning_rate: Peak rate, absolute, for 8192 images a step.
        schedule_epochs: Where the cosine ends; the authors stop at epoch 120.
    """

    variant: str = "corrected"
    decoder_width: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 16
    text_heads: int = 6
    text_ffn: int = 1536
    window_source: str = "attention"
    window_warmup_steps: int = 200
    mim_weight: float = 1.0
    res_weight: float = 1.0
    mlm_weight: float = 1.0
    insert_contexts: bool = True
    rebalance: bool = True
    fusion: str = "both"
    trim_padding: bool = False
    force_descriptors: bool | None = None
    masked_mean: bool | None = None
    padding_in_text_loss: bool | None = None
    window_follows_crop: bool | None = None
    swap_window_axes: bool | None = None
    position_table: str | None = None
    antialias: bool | None = None
    sr_final_relu: bool | None = None
    horizontal_flip: float | None = None
    entities: str | None = None
    learning_rate: float = 1.5e-4
    schedule_epochs: float | None = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        sources = ("attention", "boxes", "centre", "batch")
        check_choice("window_source", self.window_source, sources)
        check_choice("fusion", self.fusion, FUSIONS)
        check_weights(self.weights)
        blind = self.fusion == "coarse" or not self.mlm_weight
        if blind and self.window_source == "attention" and self.res_weight:
            raise ConfigError(
                "an attention that is trained, to place windows",
                f"--model.fusion {self.fusion}, --model.mlm_weight {self.mlm_weight}",
                "add --model.window_source centre (or boxes)",
            )
        check_choice("variant", self.variant, tuple(VARIANTS))
        check_choice("position_table", self.flags.position_table, ("mae", "ecamp"))
        check_choice("entities", self.flags.entities, ("words", "tokens"))
        if not 0 <= self.flags.horizontal_flip <= 1:
            raise ConfigError(
                "--model.horizontal_flip between 0 and 1",
                f"{self.flags.horizontal_flip}",
                "give a probability",
            )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, by its name."""
        return {"mim": self.mim_weight, "res": self.res_weight, "mlm": self.mlm_weight}

    @cached_property
    def flags(self) -> Flags:
        """The variant's switches, with those replaced that were given.

        Example:
            >>> ECAMPOptions(variant="official", antialias=True).flags.masked_mean
            False
        """
        flags, _ = VARIANTS[self.variant]
        return switches(self, flags)

    @cached_property
    def text_rules(self) -> TextRules:
        """How reports are read and hidden, in agreement with the switches."""
        _, rules = VARIANTS[self.variant]
        # What stock phrases do not lose, the words around entities cannot gain.
        template_weight = rules.template_weight if self.rebalance else 1.0
        inserted = rules.insert_probability if self.insert_contexts else 0.0
        return replace(
            rules,
            force_descriptors=self.flags.force_descriptors,
            weigh_padding=self.flags.padding_in_text_loss,
            single_tokens=self.flags.entities == "tokens",
            insert_probability=inserted,
            template_weight=template_weight,
        )
