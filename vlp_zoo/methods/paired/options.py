"""What can be chosen in every method that aligns images with reports."""

from __future__ import annotations

from dataclasses import dataclass

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import (
    CORPUS,
    ContrastOptions,
    PretrainedTextOptions,
    PretrainOptions,
    check_crop,
)

__all__ = [
    "CORPUS",
    "FrozenTextOptions",
    "PairedOptions",
    "TowerOptions",
    "WordOptions",
    "WordReadingOptions",
]


@dataclass(frozen=True, kw_only=True)
class TowerOptions(PretrainedTextOptions):
    """Options of an image encoder and a text tower side by side.

    Args:
        text_model: None trains a BERT of the sizes below; ``"corpus"`` uses fixed
            TF-IDF features of the training reports; else a folder or hub name of a
            pretrained text encoder (BERT, RoBERTa, MPNet, ModernBERT, ...), which is
            trained on, with its own vocabulary; checkpoints need the folder no more.
        text_width: Width of the text encoder (of the features, with ``"corpus"``).
        crop_scale: Smallest share of the image that a training crop shows.
        jitter: Largest relative change of contrast and brightness in training.
    """

    joint_width: int
    temperature: float
    crop_scale: float = 0.6
    jitter: float
    warmup_epochs: float = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop(self.crop_scale)


@dataclass(frozen=True, kw_only=True)
class PairedOptions(TowerOptions):
    """Options of towers that are compared study by study."""

    multi_positive: bool = True


@dataclass(frozen=True, kw_only=True)
class FrozenTextOptions(PretrainOptions):
    """Options of methods whose text encoder is never trained.

    Args:
        encoder_sizes: Changes to the network: a ViT's ``patch_size``, ``embed_dim``,
            ``depth``, ``num_heads``; a ResNet's ``layers``, ``base_width``.
        warm_start: Encoder to start from; the authors' is ``timm:resnet50.tv_in1k``.
        text_model: Frozen text encoder: folder or hub name of a BERT, RoBERTa, MPNet or
            the like (first token of the last layer), which checkpoints then hold; or
            ``"corpus"`` for TF-IDF features of the training reports, without a download.
        text_width: Width of the ``"corpus"`` features.
        max_tokens: Longest text in tokens, for a BERT; longer ones are cut.
        cache_text: Embed each text once and keep it on disk; else embed in every step.
        crop_scale: Smallest share of the image that a training view shows, whatever its
            size; None cuts 224 of 256 pixels, as released.
        perspective: Chance of a perspective distortion.
        autocontrast: Chance of stretching a view's grey values.
        weight_decay: Decay of all parameters.
        decay_vectors: False spares vectors and biases from weight decay.
        restart_steps: Steps until the cosine restarts; None = one cosine over the run,
            with the two settings below.
    """

    image_encoder: str = "resnet50"
    # A ResNet's ``layers`` are a list.
    encoder_sizes: dict[str, int | list[int]] | None = None  # type: ignore[assignment]
    text_model: str
    text_width: int = 128
    max_tokens: int
    cache_text: bool = True
    joint_width: int
    crop_scale: float | None = None
    perspective: float = 0.5
    autocontrast: float = 0.5
    weight_decay: float = 0.05
    decay_vectors: bool = True
    restart_steps: int | None
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop(self.crop_scale)


@dataclass(frozen=True, kw_only=True)
class WordReadingOptions(PretrainedTextOptions, ContrastOptions):
    """Options of methods that read reports by words: MGCA, ASG and GLoRIA.

    Args:
        image_encoder: A ViT or ResNet: a preset (``tiny``, ``tiny_resnet``) or a timm
            name (``resnet50``).
        encoder_sizes: Changes to the network (``patch_size``, ``embed_dim``, ...).
        text_model: Folder or hub name of a pretrained BERT, the first ``text_depth``
            layers of which the report encoder starts from, with its own vocabulary and
            sizes (the authors' ``emilyalsentzer/Bio_ClinicalBERT``); None starts from
            random weights. Checkpoints need the folder no more.
        text_positions: Size of the report encoder's position table, at least
            ``max_tokens``.
        sync_bn: Batch statistics over all processes.
        learning_rate: Peak rate.
        weight_decay: Decay.
    """

    crop_scale: float | None = None
    text_positions: int = 512
    sync_bn: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop(self.crop_scale)

    @property
    def compares_processes(self) -> bool:
        """Whether neither negatives nor batch norm keep to one process."""
        return self.gather and self.sync_bn


@dataclass(frozen=True, kw_only=True)
class WordOptions(WordReadingOptions):
    """Options of MGCA, and of ASG, which grew out of it.

    Args:
        resize: Longer side of the image before cropping; None = 8/7 of the crop's side
            (256 for 224).
        crop_scale: Smallest share of the image that a training crop shows, whatever its
            size; None cuts a square out of ``resize``, as released.
        warm_start: Image encoder to start from: ``timm:deit_base_patch16_224`` is the
            authors' choice; any ``load_encoder`` spec of the same network.
        text_width: Width of the report encoder.
        max_tokens: Tokens T of a report, padded or cut.
        joint_width: Width E of the joint space.
        head_hidden: Inner width of the projection heads.
        temperature: What similarities are divided by.
        official_positions: Position 0 for every token, as in the released code.
        official_schedule: Cosine with warm-up restarts, decay of all parameters.
        schedule_epochs: Where the cosine ends (or starts anew).
    """

    resize: int | None = None
    max_tokens: int = 112
    joint_width: int = 128
    head_hidden: int = 2048
    temperature: float = 0.07
    official_positions: bool = False
    official_schedule: bool = False
    weight_decay: float = 0.05
    warmup_epochs: float = 20
    schedule_epochs: float | None = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_scale is not None and self.cuts_as_released:
            raise ConfigError(
                "crops of any size, or crops as released out of a resized image",
                f"--model.crop_scale {self.crop_scale} beside options of the other kind "
                f"(resize {self.resize})",
                "leave --model.crop_scale out, or resize and antialias",
            )

    @property
    def cuts_as_released(self) -> bool:
        """Whether an option of crops out of a resized image was given."""
        return self.resize is not None

    @property
    def crop_side(self) -> int:
        """Side of the crops."""
        return self.image_size

    @property
    def square(self) -> int:
        """Side of the square that is cropped from: ``resize``, or in proportion."""
        return self.resize or round(self.crop_side * 256 / 224)
