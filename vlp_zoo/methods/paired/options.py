"""What can be chosen in every method that aligns images with reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlp_zoo.methods.options import (
    CORPUS,
    PretrainedTextOptions,
    PretrainOptions,
    check_crop,
)

__all__ = ["CORPUS", "FrozenTextOptions", "PairedOptions"]


@dataclass(frozen=True, kw_only=True)
class PairedOptions(PretrainedTextOptions):
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
    multi_positive: bool = True
    crop_scale: float = 0.6
    jitter: float
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    warmup_epochs: float = 1
    schedule_epochs: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop(self.crop_scale)


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
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    restart_steps: int | None
    warmup_epochs: float = 0.0
    schedule_epochs: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_crop(self.crop_scale)
