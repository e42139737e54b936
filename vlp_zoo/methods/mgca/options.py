"""What can be chosen in MGCA: defaults are the paper's or its code's values."""

from __future__ import annotations

from dataclasses import dataclass

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import check_choice, check_weights
from vlp_zoo.methods.paired.options import WordOptions

__all__ = ["MGCAOptions"]


@dataclass(frozen=True, kw_only=True)
class MGCAOptions(WordOptions):
    """What can be chosen; `vlp_zoo.methods.mgca` says why.

    Args:
        image_size: Side S of the encoder's input; 299 for a ResNet as released.
        crop_size: Side of the crops, which are enlarged to ``image_size``: 224 for a
            ResNet as released; None = ``image_size``.
        temperature: What ``ita`` divides similarities by.
        token_temperature: What ``cta`` divides similarities by, in its attention too.
        prototype_temperature: What ``cpa`` divides scores of prototypes by.
        prototypes: Prototypes K.
        sinkhorn_epsilon: Smoothness of the codes.
        sinkhorn_iterations: Rounds of evening the codes out.
        freeze_prototypes_epochs: Epochs in which prototypes stay as they were drawn.
        ita_weight: Weight of the instance-wise alignment.
        cta_weight: Weight of the token-wise alignment; 0 builds no local heads.
        cpa_weight: Weight of the prototype alignment; 0 builds no prototypes.
        bidirectional: Align patches with words, not only words with patches.
        learnt_attention: Let trained attention layers find each token's counterpart
            instead of the similarities themselves.
        token_weights: ``"aligned"``: a word weighs what [CLS] gives to it;
            ``"official"``: to the token behind it, and the last word of a report that
            fills all tokens is lost.
        unit_attended: Counterparts of a ViT's patches have unit length, as others do.
        mask_padding: Padding neither is a negative nor counts in batch norm.
        official_captions: Sentences cut as in the released code, decimals too.
    """

    crop_size: int | None = None
    token_temperature: float = 0.1
    prototype_temperature: float = 0.2
    prototypes: int = 500
    sinkhorn_epsilon: float = 0.05
    sinkhorn_iterations: int = 3
    freeze_prototypes_epochs: int = 1
    ita_weight: float = 1.0
    cta_weight: float = 1.0
    cpa_weight: float = 1.0
    bidirectional: bool = True
    learnt_attention: bool = False
    token_weights: str = "aligned"
    unit_attended: bool = True
    mask_padding: bool = True
    official_captions: bool = False
    learning_rate: float = 2e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("token_weights", self.token_weights, ("aligned", "official"))
        # Without both of these nothing makes a joint space.
        check_weights(self.weights, needed=("ita", "cpa"))
        if min(self.prototypes - 1, self.sinkhorn_iterations) < 1 or not (
            min(self.sinkhorn_epsilon, self.prototype_temperature) > 0
        ):
            raise ConfigError(
                "at least 2 prototypes and 1 round of sinkhorn_iterations, "
                "sinkhorn_epsilon and prototype_temperature above 0",
                f"{self.prototypes}, {self.sinkhorn_iterations}, "
                f"{self.sinkhorn_epsilon} and {self.prototype_temperature}",
                "change them, or set --model.cpa_weight 0",
            )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, by its name."""
        return {"ita": self.ita_weight, "cta": self.cta_weight, "cpa": self.cpa_weight}

    @property
    def crop_side(self) -> int:
        """Side of the crops."""
        return self.crop_size or self.image_size
