"""What every pre-training method lets a user choose, each option said once.

A method's options are one frozen dataclass over `PretrainOptions`, or `ReportOptions`
where it learns a vocabulary. A field is the flag, its default and its type; the class
docstring is the flag's help; ``__post_init__`` refuses values that cannot be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, TypeVar

from vlp_zoo.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "CORPUS",
    "ContrastOptions",
    "MaskingOptions",
    "PretrainOptions",
    "PretrainedTextOptions",
    "ReportOptions",
    "check_choice",
    "check_crop",
    "check_weights",
    "switches",
]

FlagsT = TypeVar("FlagsT", bound="DataclassInstance")

CORPUS = "corpus"
"""The ``text_model`` of fixed features, learnt on the training reports."""


@dataclass(frozen=True, kw_only=True)
class PretrainOptions:
    """Options of all methods.

    Args:
        image_encoder: A preset (``tiny``, ``tiny_resnet``, ...) or any timm name.
        image_size: Side S of the image encoder's input.
        encoder_sizes: Changes to a ViT: ``patch_size``, ``embed_dim``, ``depth``, ...
        warm_start: Encoder to start from, such as ``official:mae:FILE``.
        keep_normalisation: Take over mean and deviation of ``warm_start`` too.
        checkpoint_activations: Compute the blocks of transformers again in backward
            instead of keeping their activations: less memory, about a third more time.
        compile: Let torch.compile make code for the blocks of transformers, or for a
            whole convolutional encoder, while fitting.
        learning_rate: Peak rate, absolute.
        weight_decay: Decay of matrices.
        betas: AdamW's averaging coefficients.
        warmup_epochs: Linear warm-up.
        schedule_epochs: Where the cosine ends; None = the last epoch.
    """

    image_encoder: str = "vit_base_patch16_224"
    image_size: int = 224
    encoder_sizes: dict[str, int] | None = None
    warm_start: str | None = None
    keep_normalisation: bool = False
    checkpoint_activations: bool = False
    compile: bool = False
    learning_rate: float
    weight_decay: float
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    warmup_epochs: float
    schedule_epochs: float | None = None

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise ConfigError(
                "two values in --model.betas",
                f"{self.betas}",
                "give a list such as [0.9, 0.95]",
            )

    @property
    def compares_processes(self) -> bool:
        """Whether the studies of a step are those of all processes together."""
        return True


@dataclass(frozen=True, kw_only=True)
class ReportOptions(PretrainOptions):
    """Options of methods that train a text encoder on a vocabulary.

    Args:
        text_width: Width of the text encoder.
        text_depth: Layers of the text encoder.
        text_heads: Attention heads of the text encoder.
        text_ffn: Inner width of the text encoder's feed-forward parts.
        text_dropout: Dropout rate of the text encoder.
        max_tokens: Longest report in tokens; longer ones are cut.
        tokenizer: ``"corpus"`` trains a WordPiece vocabulary on the training reports
            (cached); else a vocab.txt, a tokenizer.json, a local folder or a hub name.
        vocab_size: Size of a corpus vocabulary; ignored with a ready tokenizer.
    """

    text_width: int = 768
    text_depth: int = 6
    text_heads: int = 12
    text_ffn: int = 3072
    text_dropout: float = 0.1
    max_tokens: int = 256
    tokenizer: str = "corpus"
    vocab_size: int = 30000

    @property
    def tokenizer_name(self) -> str:
        """The vocabulary to use, as for ``tokenizer``."""
        return self.tokenizer


@dataclass(frozen=True, kw_only=True)
class PretrainedTextOptions(ReportOptions):
    """Options of methods whose text encoder may start from a pretrained one.

    Args:
        text_model: None trains a BERT of the sizes below from scratch; else a folder or
            hub name of a pretrained BERT, which is trained on, with its own vocabulary;
            checkpoints need the folder no more.
        tokenizer: ``"corpus"`` trains a WordPiece vocabulary on the training reports
            (cached), or takes that of a pretrained ``text_model``; else a vocab.txt, a
            tokenizer.json, a local folder or a hub name.
    """

    text_model: str | None = None

    @property
    def tokenizer_name(self) -> str:
        """The vocabulary to use: a pretrained BERT understands its own only."""
        pretrained = self.text_model not in (None, CORPUS)
        if pretrained and self.tokenizer == "corpus":
            return str(self.text_model)
        return self.tokenizer


@dataclass(frozen=True, kw_only=True)
class MaskingOptions(PretrainOptions):
    """Options of masked autoencoders.

    Args:
        image_encoder: A ViT: a preset (``tiny``, ``base``) or a timm name.
        encoder_sizes: Changes to the ViT: ``patch_size``, ``embed_dim``, ``depth``,
            ``num_heads``.
        mask_ratio: Share of hidden patches.
        decoder_width: Width of the image decoder.
        decoder_depth: Blocks of the image decoder.
        decoder_heads: Attention heads of the image decoder.
        crop_scale: Smallest share of the image that a training crop shows.
    """

    mask_ratio: float = 0.75
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    crop_scale: float = 0.2
    weight_decay: float = 0.05
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    warmup_epochs: float = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop(self.crop_scale)
        ratio, width, heads = self.mask_ratio, self.decoder_width, self.decoder_heads
        # Fixed positions take the width in quarters.
        if not 0 < ratio < 1 or width % 4 or width % heads:
            raise ConfigError(
                "decoder_width divisible by 4 and by decoder_heads, mask_ratio in 0..1",
                f"{width}, {heads} heads, mask_ratio {ratio}",
                "change --model.decoder_width, decoder_heads or mask_ratio",
            )


@dataclass(frozen=True, kw_only=True)
class ContrastOptions(PretrainOptions):
    """Options of methods that compare studies with the others of a step.

    Args:
        negatives: Rows of all processes (``"global"``) or of one (``"local"``).
    """

    negatives: str = "global"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("negatives", self.negatives, ("global", "local"))

    @property
    def gather(self) -> bool:
        """Whether negatives are those of all processes."""
        return self.negatives == "global"

    @property
    def compares_processes(self) -> bool:
        """Whether the studies of a step are those of all processes together."""
        return self.gather


def switches(options: PretrainOptions, variant: FlagsT) -> FlagsT:
    """The switches of a variant, with those replaced that were given.

    Args:
        options: Have a field for each switch; None was not given.
        variant: The dataclass of switches that the variant stands for.
    """
    given = {one.name: getattr(options, one.name) for one in fields(variant)}
    chosen = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }
    return replace(variant, **chosen)


def check_weights(weights: Mapping[str, float], needed: Sequence[str] = ()) -> None:
    """Refuse weights of losses below 0, and those with which nothing would be learnt.

    Args:
        weights: Weight by the name of the loss.
        needed: Losses of which one at least must count; none = of all.

    Raises:
        ConfigError: With the weights.
    """
    needed = needed or list(weights)
    if min(weights.values()) < 0 or not any(weights[name] for name in needed):
        names = [f"{name}_weight" for name in needed]
        raise ConfigError(
            f"weights of 0 or more, and {' or '.join(names)} above 0",
            ", ".join(f"{name}_weight {value}" for name, value in weights.items()),
            f"raise --model.{' or --model.'.join(names)}",
        )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse what is not among the choices.

    Args:
        name: The option, without ``--model.``.
        value: What was given.
        choices: What may be.

    Raises:
        ConfigError: With the choices.
    """
    if value not in choices:
        raise ConfigError(
            f"--model.{name} among {', '.join(choices)}", f"{value!r}", "pick one"
        )


def check_crop(crop_scale: float | None) -> None:
    """Refuse a share of the image that cannot be cropped.

    Args:
        crop_scale: Smallest share that a training crop shows; None = another rule.

    Raises:
        ConfigError: If it is no share.
    """
    if crop_scale is not None and not 0 < crop_scale <= 1:
        raise ConfigError(
            "--model.crop_scale above 0 and at most 1",
            f"{crop_scale}",
            "give the smallest share of the image that a crop shows",
        )
