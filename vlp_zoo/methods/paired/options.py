"""What can be chosen in every method that aligns images with reports."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlp_zoo.methods.options import CORPUS, PretrainedTextOptions, check_crop

__all__ = ["CORPUS", "PairedOptions"]


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
