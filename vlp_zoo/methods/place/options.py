"""What can be chosen in our PLACE: every unknown of the paper is a flag here."""

from __future__ import annotations

from typing import NamedTuple

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.paired.sentences import SentenceTowers
from vlp_zoo.methods.paired.towers import TextSizes
from vlp_zoo.methods.place.matching import Alignment
from vlp_zoo.methods.place.networks import Exploration

__all__ = ["PLACEOptions", "Weights"]


class Weights(NamedTuple):
    """Weights of the loss terms; a term of weight 0 is not built at all."""

    itc: float
    pcma: float
    cce: float
    div: float


class PLACEOptions(SentenceTowers):
    """What can be chosen; `vlp_zoo.methods.place` says why.

    Args:
        image_encoder: A preset (``tiny``, ``tiny_resnet``, ...) or any timm name.
        image_size: Side S of its input.
        encoder_sizes: Changes to a ViT: ``patch_size``, ``embed_dim``, ``depth``, ...
        warm_start: Encoder to start from, such as ``official:mae:FILE``.
        keep_normalisation: Take over mean and deviation of ``warm_start`` too.
        feature_level: Which feature map of a CNN gives the patches, -1 the coarsest.
        text_model: None trains a BERT of the sizes below; ``"corpus"`` uses fixed
            TF-IDF features of reports and sentences; else a pretrained BERT, RoBERTa,
            MPNet or the like.
        text_width: Width of the text encoder (of the features, with ``"corpus"``).
        text_depth: Its layers.
        text_heads: Its attention heads.
        text_ffn: Inner width of its feed-forward parts.
        text_dropout: Its dropout.
        max_tokens: Longest report in tokens; longer ones are cut.
        max_sentences: T-PORs of a report at most; drawn at random in training.
        min_words: Shorter sentences are no observation.
        sentence_weight: ``"uniform"``, or ``"idf"``: rare sentences count more.
        joint_width: Dimensions E of the joint space.
        queries: Pathology queries Q.
        query_width: Their width, and that of the correlation head.
        query_layers: Layers of the extractor.
        query_heads: Its attention heads.
        query_attention: Let queries see each other.
        query_std: Their spread at the start.
        temperature: Of ``itc``.
        multi_positive: Count all images of the same report as right, in ``itc``.
        match: See `Alignment`, as for the next six.
        pcma_loss: Its ``loss``. ``"obs_infonce"`` can be met without looking at images.
        pair_temperature: Softness of the pairing.
        pcma_temperature: Of ``pcma``.
        false_negatives: What becomes of equal sentences of other studies.
        false_negative_threshold: Cosine above which sentences count as equal.
        aggregation: ``"vector"`` or ``"score"``.
        cce_target: See `Exploration`, as for the next three.
        cce_statistic: ``"cov"`` or ``"corr"``.
        cce_centre: ``"token"``, ``"patch"`` or ``"none"``.
        cce_condition: ``"report"``, ``"vpor"`` or ``"none"``.
        cce_layers: Layers of the correlation head.
        cce_rank: Width of the vectors whose products predict the covariance.
        ema_decay: Of the averaged encoder, for ``cce_target: ema``.
        itc_weight: Weight of the term; 0 leaves its networks out, here and below.
        pcma_weight: As above.
        cce_weight: As above.
        diversity_weight: None is 0 for ``obs_infonce``, which does not need it, else 1.
        pcma_start: Epoch from which ``pcma`` counts.
        crop_scale: Smallest share of the image that a training crop shows.
        jitter: Largest relative change of contrast and brightness in training.
        learning_rate: Peak rate, absolute.
        weight_decay: Decay of matrices.
        betas: AdamW's averaging coefficients.
        warmup_epochs: Linear warm-up.
        schedule_epochs: Where the cosine ends; None = the last epoch.
        tokenizer: See `VLPModule`; ignored where ``text_model`` brings its own.
        vocab_size: See `VLPModule`.
    """

    def __init__(
        self,
        image_encoder: str = "vit_base_patch16_224",
        image_size: int = 224,
        encoder_sizes: dict[str, int] | None = None,
        warm_start: str | None = None,
        feature_level: int = -1,
        text_model: str | None = None,
        text_width: int = 768,
        text_depth: int = 6,
        text_heads: int = 12,
        text_ffn: int = 3072,
        text_dropout: float = 0.1,
        max_tokens: int = 256,
        max_sentences: int = 12,
        min_words: int = 2,
        sentence_weight: str = "uniform",
        joint_width: int = 128,
        queries: int = 16,
        query_width: int = 256,
        query_layers: int = 2,
        query_heads: int = 8,
        query_attention: bool = True,
        query_std: float = 1.0,
        temperature: float = 0.07,
        multi_positive: bool = True,
        match: str = "hungarian",
        pcma_loss: str = "set_infonce",
        pair_temperature: float = 0.1,
        pcma_temperature: float = 0.07,
        false_negatives: str = "mask",
        false_negative_threshold: float = 0.9,
        aggregation: str = "vector",
        cce_target: str = "pixel",
        cce_statistic: str = "cov",
        cce_centre: str = "token",
        cce_condition: str = "report",
        cce_layers: int = 1,
        cce_rank: int = 128,
        ema_decay: float = 0.999,
        itc_weight: float = 1.0,
        pcma_weight: float = 1.0,
        cce_weight: float = 1.0,
        diversity_weight: float | None = None,
        pcma_start: int = 0,
        crop_scale: float = 0.6,
        jitter: float = 0.0,
        learning_rate: float = 2e-5,
        weight_decay: float = 0.05,
        betas: list[float] = [0.9, 0.999],  # noqa: B006  # read, never changed
        warmup_epochs: float = 1,
        schedule_epochs: float | None = None,
        tokenizer: str = "corpus",
        vocab_size: int = 30000,
        keep_normalisation: bool = False,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            betas=betas,
            warmup_epochs=warmup_epochs,
            schedule_epochs=schedule_epochs,
            tokenizer=tokenizer,
            vocab_size=vocab_size,
        )
        self.save_hyperparameters()
        self.keep_normalisation = keep_normalisation
        self.set_towers(
            image_encoder,
            image_size,
            encoder_sizes,
            warm_start,
            text_model,
            TextSizes(text_width, text_depth, text_heads, text_ffn, text_dropout),
            max_tokens,
        )
        self.set_sentences(max_sentences, min_words, sentence_weight)
        self.alignment = Alignment(
            pcma_loss,
            match,
            pair_temperature,
            pcma_temperature,
            false_negatives,
            false_negative_threshold,
            aggregation,
        )
        self.exploration = Exploration(
            cce_target, cce_statistic, cce_centre, cce_condition
        )
        if diversity_weight is None:
            diversity_weight = (
                0.0 if pcma_loss == "obs_infonce" or not pcma_weight else 1.0
            )
        self.weights = Weights(itc_weight, pcma_weight, cce_weight, diversity_weight)
        if not any(self.weights) or min(self.weights) < 0:
            raise ConfigError(
                "loss weights of 0 or more, one of them above 0",
                f"{self.weights}",
                "raise --model.itc_weight, pcma_weight or cce_weight",
            )
        if feature_level != -1 and not itc_weight:
            raise ConfigError(
                "itc_weight above 0 where feature_level is not the last one",
                f"itc_weight {itc_weight}, feature_level {feature_level}",
                "nothing else trains the deeper layers: use feature_level -1",
            )
        self.extractor_sizes = (
            queries,
            query_width,
            query_layers,
            query_heads,
            query_attention,
            query_std,
        )
        self.correlation_sizes = (query_width, cce_layers, query_heads, cce_rank)
        self.feature_level = feature_level
        self.joint_width = joint_width
        self.temperature = temperature
        self.multi_positive = multi_positive
        self.ema_decay = ema_decay
        self.pcma_start = pcma_start
        self.variation = (crop_scale, jitter)
