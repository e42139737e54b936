"""What can be chosen in GLoRIA: defaults are the released code's values."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.gloria.losses import Scales
from vlp_zoo.methods.options import check_choice, check_weights
from vlp_zoo.methods.paired.options import WordReadingOptions

__all__ = ["GLoRIAOptions"]

CHOICES = {
    "report_text": ("impression", "body"),
    "caption": ("sentence", "report"),
    "sentences": ("all", "official"),
    "text_scale": ("sum", "mean", "unit"),
    "pool": ("sum", "mean"),
    "schedule": ("cosine", "plateau", "constant"),
}
"""Option to what it may be."""


@dataclass(frozen=True, kw_only=True)
class GLoRIAOptions(WordReadingOptions):
    """What can be chosen; `vlp_zoo.methods.gloria` says why.

    Args:
        image_size: Side of the encoder's input; 299, of 19 x 19 places, as released.
        crop_size: Side of the crops, which are enlarged to ``image_size``: 224 as
            released; None = ``image_size``.
        crop_scale: Smallest share of the image that a training crop shows, whatever its
            size; None cuts a square out of one of 8/7 of its side, as released.
        warm_start: Image encoder to start from: ``timm:resnet50.tv_in1k`` is the
            authors' choice.
        text_width: Width of the report encoder and of the joint space.
        max_tokens: Tokens T of a caption, padded or cut.
        report_text: ``"impression"``, or where a report has none what was seen; or
            ``"body"``, findings and impression.
        caption: ``"sentence"``, one of the report drawn anew at each sight (in
            validation always the same), or the whole ``"report"``.
        sentences: ``"all"``, or the ``"official"`` ones: none after a sentence with
            which the words read are exactly five, and empty ones too.
        text_scale: ``"sum"`` or ``"mean"`` of the last four states of a piece, its
            embedding among them; or words and texts of ``"unit"`` length. Large ones
            make the softmax over words all or nothing.
        count_unknown: Count words that the vocabulary lacks; else as many words are
            cut off at the end of the caption, as released.
        attention_scale: What shares of words are multiplied by before the softmax over
            places, t1.
        word_scale: What cosines of words are multiplied by before they are pooled, t2.
        loss_scale: What scores of pairs are multiplied by, t3.
        pool: Logarithm of the ``"sum"`` of the words' exponentials, which grows with
            the text, or of their ``"mean"``.
        local_weight: Weight of the local loss; 0 builds no local head.
        global_weight: Weight of the global loss; 0 leaves the joint space untrained.
        multi_positive: Count all images of the same caption as right; such captions
            differ by dropout alone, so little changes.
        schedule: ``"cosine"``: AdamW with warm-up and half a cosine; else Adam whose
            decay is part of the gradient, as released, at a rate that is halved on a
            ``"plateau"`` of the validation loss (of 5 epochs) or stays ``"constant"``.
    """

    image_encoder: str = "resnet50"
    crop_size: int | None = None
    text_depth: int = 12
    max_tokens: int = 97
    report_text: str = "impression"
    caption: str = "sentence"
    sentences: str = "all"
    text_scale: str = "sum"
    count_unknown: bool = True
    attention_scale: float = 4.0
    word_scale: float = 5.0
    loss_scale: float = 10.0
    pool: str = "sum"
    local_weight: float = 1.0
    global_weight: float = 1.0
    multi_positive: bool = False
    schedule: str = "cosine"
    learning_rate: float = 5e-5
    weight_decay: float = 1e-6
    betas: list[float] = field(default_factory=lambda: [0.5, 0.999])
    warmup_epochs: float = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        if self.schedule != "cosine" and (self.warmup_epochs or self.schedule_epochs):
            raise ConfigError(
                "warm-up and end of a cosine (--model.schedule cosine)",
                f"--model.schedule {self.schedule}, which has neither",
                "leave --model.warmup_epochs and schedule_epochs out",
            )
        check_weights(self.weights)
        if min(self.scales) <= 0:
            raise ConfigError(
                "attention_scale, word_scale and loss_scale above 0",
                ", ".join(map(str, self.scales)),
                "correct them",
            )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, by its name."""
        return {"local": self.local_weight, "global": self.global_weight}

    @property
    def scales(self) -> Scales:
        """t1, t2 and t3."""
        return Scales(self.attention_scale, self.word_scale, self.loss_scale)

    @property
    def crop_side(self) -> int:
        """Side of the crops."""
        return self.crop_size or self.image_size
