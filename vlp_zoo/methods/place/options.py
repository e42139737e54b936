"""What can be chosen in our PLACE: every unknown of the paper is a flag here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import check_choice, check_weights
from vlp_zoo.methods.paired.options import PairedOptions
from vlp_zoo.methods.place.matching import Alignment
from vlp_zoo.methods.place.networks import Exploration

__all__ = ["PLACEOptions", "Weights"]


class Weights(NamedTuple):
    """Weights of the loss terms; a term of weight 0 is not built at all."""

    itc: float
    pcma: float
    cce: float
    div: float


@dataclass(frozen=True, kw_only=True)
class PLACEOptions(PairedOptions):
    """What can be chosen; `vlp_zoo.methods.place` says why.

    Args:
        feature_level: Which feature map of a CNN gives the patches, -1 the coarsest.
        text_model: None trains a BERT of the sizes below; ``"corpus"`` uses fixed
            TF-IDF features of reports and sentences; else a pretrained BERT, RoBERTa,
            MPNet or the like.
        max_sentences: T-PORs of a report at most; drawn at random in training.
        min_words: Shorter sentences are no observation.
        sentence_weight: ``"uniform"``, or ``"idf"``: rare sentences count more.
        joint_width: Dimensions E of the joint space.
        queries: Pathology queries Q.
        query_width: Width of the queries, and of the correlation head.
        query_layers: Layers of the extractor.
        query_heads: Attention heads of the extractor.
        query_attention: Let queries see each other.
        query_std: Standard deviation of the queries at the start.
        temperature: What ``itc`` divides similarities by.
        multi_positive: Count all images of the same report as right, in ``itc``.
        match: How queries and sentences pair: ``"soft"``, ``"maxsim"``, ``"sinkhorn"``
            or ``"hungarian"``, see `vlp_zoo.methods.place.matching.Alignment`.
        pcma_loss: ``"obs_infonce"`` (which can be met without looking at images),
            ``"set_infonce"``, ``"sentence_infonce"`` or ``"cosine"``, see `Alignment`.
        pair_temperature: Softness of ``match: soft``.
        pcma_temperature: What ``pcma`` divides similarities by.
        false_negatives: What becomes of equal sentences of other studies: ``"mask"``,
            ``"soft"`` or ``"none"``.
        false_negative_threshold: Cosine above which sentences count as equal.
        aggregation: Compare a sentence with the mean of its queries' vectors
            (``"vector"``), or average the cosines (``"score"``).
        cce_target: Whose patches vary together: ``"pixel"``, ``"frozen_init"`` or
            ``"ema"``, see `vlp_zoo.methods.place.networks.Exploration`.
        cce_statistic: Covariance (``"cov"``) or correlation (``"corr"``) of patches.
        cce_centre: What is subtracted before: the mean patch (``"token"``), each
            patch's own mean (``"patch"``) or nothing (``"none"``).
        cce_condition: What the patches attend to first: ``"report"``, ``"vpor"`` (the
            queries' states) or ``"none"``.
        cce_layers: Layers of the correlation head.
        cce_rank: Width of the vectors whose products predict the covariance.
        ema_decay: Decay of the averaged encoder, for ``cce_target: ema``.
        itc_weight: Weight of the image-report contrast; 0 leaves its networks out.
        pcma_weight: Weight of the pathology-level alignment; 0 leaves its networks out.
        cce_weight: Weight of the correlation exploration; 0 leaves its networks out.
        diversity_weight: Weight of what keeps the queries apart; None is 0 for
            ``obs_infonce``, which does not need it, else 1.
        pcma_start: Epoch from which ``pcma`` counts.
    """

    feature_level: int = -1
    max_sentences: int = 12
    min_words: int = 2
    sentence_weight: str = "uniform"
    joint_width: int = 128
    queries: int = 16
    query_width: int = 256
    query_layers: int = 2
    query_heads: int = 8
    query_attention: bool = True
    query_std: float = 1.0
    temperature: float = 0.07
    match: str = "hungarian"
    pcma_loss: str = "set_infonce"
    pair_temperature: float = 0.1
    pcma_temperature: float = 0.07
    false_negatives: str = "mask"
    false_negative_threshold: float = 0.9
    aggregation: str = "vector"
    cce_target: str = "pixel"
    cce_statistic: str = "cov"
    cce_centre: str = "token"
    cce_condition: str = "report"
    cce_layers: int = 1
    cce_rank: int = 128
    ema_decay: float = 0.999
    itc_weight: float = 1.0
    pcma_weight: float = 1.0
    cce_weight: float = 1.0
    diversity_weight: float | None = None
    pcma_start: int = 0
    jitter: float = 0.0
    learning_rate: float = 2e-5
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("sentence_weight", self.sentence_weight, ("uniform", "idf"))
        # Both check their own settings.
        _ = self.alignment, self.exploration
        losses = ("itc", "pcma", "cce")
        weights = zip((*losses, "diversity"), self.weights, strict=True)
        check_weights(dict(weights), needed=losses)
        if self.feature_level != -1 and not self.itc_weight:
            raise ConfigError(
                "itc_weight above 0 where feature_level is not the last one",
                f"itc_weight {self.itc_weight}, feature_level {self.feature_level}",
                "nothing else trains the deeper layers: use feature_level -1",
            )

    @cached_property
    def alignment(self) -> Alignment:
        """How observations pair, and the loss over pairs."""
        return Alignment(
            loss=self.pcma_loss,
            match=self.match,
            pair_temperature=self.pair_temperature,
            temperature=self.pcma_temperature,
            false_negatives=self.false_negatives,
            threshold=self.false_negative_threshold,
            aggregation=self.aggregation,
        )

    @cached_property
    def exploration(self) -> Exploration:
        """What is predicted of how patches vary together."""
        return Exploration(
            target=self.cce_target,
            statistic=self.cce_statistic,
            centre=self.cce_centre,
            condition=self.cce_condition,
        )

    @cached_property
    def weights(self) -> Weights:
        """Weight of each loss term."""
        diversity = self.diversity_weight
        if diversity is None:
            needless = self.pcma_loss == "obs_infonce" or not self.pcma_weight
            diversity = 0.0 if needless else 1.0
        return Weights(
            itc=self.itc_weight,
            pcma=self.pcma_weight,
            cce=self.cce_weight,
            div=diversity,
        )
