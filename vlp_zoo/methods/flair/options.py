"""What can be chosen in FLAIR: defaults are the paper's or its code's values.

Where the released code and the paper part ways there is one switch per point, which
the table of deviations in `vlp_zoo.methods.flair.flair` explains.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import ContrastOptions, check_choice, switches
from vlp_zoo.methods.paired.options import CORPUS, PairedOptions

__all__ = ["VARIANTS", "FLAIROptions", "Flags"]

UNSEEN = ("myopia", "cataract", "macular hole", "retinitis pigmentosa")
SETS = ("11_STARE", "08_ODIR", "08_ODIR-5K", "31_JICHI")


@dataclass(frozen=True, slots=True)
class Flags:
    """Switches of one run; the defaults are the corrected variant."""

    pool_padding: bool = False
    positives: str = "overlap"
    wordless: str = "caption"
    aliases: bool = True
    banned: tuple[str, ...] = (*UNSEEN, "myopic", "retinitis")
    ban_parts: bool = False
    free_text: tuple[str, ...] = ("06_DEN", *SETS, "odir")
    official_schedule: bool = False


VARIANTS: dict[str, Flags] = {
    "corrected": Flags(),
    "official": Flags(
        pool_padding=True,
        positives="drawn",
        wordless="class",
        aliases=False,
        banned=(*UNSEEN, "myopic", "myope", "myop", "retinitis"),
        ban_parts=True,
        free_text=("06_EYENET", *SETS),
        official_schedule=True,
    ),
}
"""Name of a variant to its switches."""


@dataclass(frozen=True, kw_only=True)
class FLAIROptions(PairedOptions, ContrastOptions):
    """What can be chosen; `vlp_zoo.methods.flair` says why.

    Args:
        variant: ``"corrected"`` or ``"official"``: what the flags left at None follow.
        image_size: Side S of the canvas that the whole image is put on.
        warm_start: Encoder to start from; the authors' is ``timm:resnet50.tv_in1k``.
        text_model: None trains a BERT of the sizes below from scratch; else a folder or
            hub name of a pretrained BERT (the authors'
            ``emilyalsentzer/Bio_ClinicalBERT``), which is trained on, with its own
            vocabulary; checkpoints need the folder no more.
        max_tokens: Longest caption in tokens; longer ones are cut.
        joint_width: Dimensions E of the joint space.
        temperature: What similarities are divided by at the start; it is learnt, and
            stays between 0.01 and 1.
        template: Caption; [ATR] and [CLS] become an attribute and a category.
        descriptions: Sentences that a category may be described by: the packaged
            ``"fundus"``, a YAML file of ``descriptions`` and ``aliases``, or
            ``"none"``.
        balance: Give each source of the data the same share of an epoch.
        crop_scale: Smallest share of the image that a training crop shows; None shows
            the whole image on a canvas, as the authors do.
        horizontal_flip: Chance of mirroring a training image.
        vary_chance: Chance of turning a training image, and of varying its contrast.
        rotation: Largest angle in degrees.
        zoom: Smallest scale of a turned image.
        jitter: Largest relative change of contrast and brightness.
        multi_positive: Count images and captions of one category as right; without it
            the loss is CLIP's.
        positives: Right images of a caption: those with the category among
            their own (``"overlap"``), or for which it was ``"drawn"`` too.
        wordless: The class of an image without a category: its ``"caption"``, or the
            empty string, one ``"class"`` for all; images without any word are left out,
            or in the latter case trained on.
        aliases: Fold case, hyphens and synonyms of words before anything is done.
        banned: Categories that stay unseen.
        ban_parts: Leave out images with a category of which a banned word is a part,
            "no cataract" or "chorioretinitis" too; else whole words that are affirmed.
        free_text: Sources whose words are sentences already and never described.
        pool_padding: Average hidden states over padding too.
        official_schedule: Warm-up from the first step on, a cosine of 100 epochs, decay
            of all parameters.
        learning_rate: Peak rate.
        weight_decay: Decay.
    """

    variant: str = "corrected"
    image_encoder: str = "resnet50"
    image_size: int = 512
    text_depth: int = 12
    max_tokens: int = 77
    joint_width: int = 512
    temperature: float = 0.07
    template: str = "A [ATR] fundus photograph of [CLS]"
    descriptions: str = "fundus"
    balance: bool = True
    crop_scale: float | None = None  # type: ignore[assignment]
    horizontal_flip: float = 0.5
    vary_chance: float = 0.25
    rotation: float = 5.0
    zoom: float = 0.9
    jitter: float = 0.2
    positives: str | None = None
    wordless: str | None = None
    aliases: bool | None = None
    banned: list[str] | None = None
    ban_parts: bool | None = None
    free_text: list[str] | None = None
    pool_padding: bool | None = None
    official_schedule: bool | None = None
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("variant", self.variant, tuple(VARIANTS))
        check_choice("positives", self.flags.positives, ("overlap", "drawn"))
        check_choice("wordless", self.flags.wordless, ("caption", "class"))
        if not 0.01 <= self.temperature <= 1 or not 0 < self.zoom <= 1:
            raise ConfigError(
                "temperature in 0.01..1 and zoom above 0 and at most 1",
                f"{self.temperature} and {self.zoom}",
                "correct --model.temperature or --model.zoom",
            )
        if "[CLS]" not in self.template:
            raise ConfigError(
                "a --model.template with [CLS], the place of the category",
                f"{self.template!r}",
                "write one such as 'A [ATR] fundus photograph of [CLS]'",
            )
        if self.text_model == CORPUS:
            raise ConfigError(
                "a text encoder that is trained, whose hidden states FLAIR averages",
                "text_model corpus, which has none",
                "leave out --model.text_model, or name a pretrained BERT",
            )

    @cached_property
    def flags(self) -> Flags:
        """The switches: the variant's, where none is given.

        Example:
            >>> FLAIROptions(variant="official", aliases=True).flags.positives
            'drawn'
        """
        return switches(self, VARIANTS[self.variant])
