"""What can be chosen in MedCLIP: defaults are the paper's intent, else its code's values."""

from __future__ import annotations

from dataclasses import dataclass

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import ContrastOptions, check_choice
from vlp_zoo.methods.paired.options import TowerOptions

__all__ = ["MedCLIPOptions"]


@dataclass(frozen=True, kw_only=True)
class MedCLIPOptions(TowerOptions, ContrastOptions):
    """What can be chosen; `vlp_zoo.methods.medclip.medclip` says why.

    Args:
        warm_start: Encoder to start from; the authors' is
            ``timm:swin_tiny_patch4_window7_224.ms_in1k``.
        text_model: None trains a BERT of the sizes below; ``"corpus"`` uses fixed
            TF-IDF features of the training reports; else a folder or hub name of a
            pretrained BERT, which is trained on, with its own vocabulary.
        max_tokens: Longest sentence in tokens; longer ones are cut.
        joint_width: Dimensions E of the joint space.
        temperature: What cosines are divided by at the start; learnt, 0.01 to 1.
        similarity: How much an image and a sentence agree: ``"cosine"`` of their
            labels, the raw product ``"dot"`` as released, or ``"pairs"``, which knows
            only that a sentence is the image's own.
        second_weight: Weight of the varied sentence beside that of the sentence; 0
            leaves it out. The released code's is 1.
        pool_padding: Let padding count in the mean of a sentence's tokens, as released.
        splitter: ``"sentences"``, or ``"released"``, which loses letters.
    """

    image_encoder: str = "swin_tiny_patch4_window7_224"
    text_depth: int = 12
    max_tokens: int = 77
    joint_width: int = 512
    temperature: float = 0.07
    similarity: str = "cosine"
    second_weight: float = 1.0
    pool_padding: bool = False
    splitter: str = "sentences"
    jitter: float = 0.2
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("similarity", self.similarity, ("cosine", "dot", "pairs"))
        check_choice("splitter", self.splitter, ("sentences", "released"))
        if not 0.01 <= self.temperature <= 1 or self.second_weight < 0:
            raise ConfigError(
                "temperature in 0.01..1 and second_weight of 0 or more",
                f"{self.temperature} and {self.second_weight}",
                "correct --model.temperature or --model.second_weight",
            )
        if self.text_depth < 2:
            raise ConfigError(
                "a text_depth of 2 or more, whose first two layers are read",
                f"{self.text_depth}",
                "raise --model.text_depth",
            )
