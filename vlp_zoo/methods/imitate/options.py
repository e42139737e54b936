"""What can be chosen in IMITATE: defaults are the paper's or its code's values."""

from __future__ import annotations

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.base import BatchT
from vlp_zoo.methods.imitate.losses import SMOOTHINGS
from vlp_zoo.methods.imitate.text import FrozenTextMethod
from vlp_zoo.methods.imitate.views import Variation

__all__ = ["IMITATEOptions"]


class IMITATEOptions(FrozenTextMethod[BatchT]):
    """What can be chosen; `vlp_zoo.methods.imitate` says why.

    Args:
        image_encoder: A preset (``tiny_resnet``, ...) or any timm name, CNN or ViT.
        image_size: Side S of its input.
        encoder_sizes: Changes to it: a ViT's ``patch_size``, ``embed_dim``, ``depth``,
            ``num_heads``; a ResNet's ``layers``, ``base_width``.
        warm_start: Encoder to start from; the authors' is ``timm:resnet50.tv_in1k``.
        keep_normalisation: Take over mean and deviation of ``warm_start`` too.
        text_model: Frozen text encoder: folder or hub name of a BERT, RoBERTa, MPNet or
            the like (first token of the last layer), which checkpoints then hold; or
            ``"corpus"`` for TF-IDF features of the training reports, without a download.
        text_width: Width of the ``"corpus"`` features.
        max_tokens: Longest section in tokens, for a BERT; longer ones are cut.
        cache_text: Embed each text once and keep it on disk; else embed in every step.
        channel_shares: Share of the channels that each level shows, finest first.
        channel_tokens: Token slots K of the findings branch.
        pool_side: Side of a channel's pooled map.
        attention_heads: Heads of its attention.
        joint_width: Joint width E.
        impression_hidden: Inner width of the impression projection.
        text_hidden: Inner width of the text projection.
        text_temperature: Temperature between images and texts.
        view_temperature: Temperature between views.
        view_weight: Weight of the terms between views; 0 leaves them out.
        smoothing: ``"exp"``, ``"gau"``, ``"lap"``, ``"sigmoid"``, or ``"none"`` for
            targets without clinical prior.
        smoothing_ratio: Steepness of ``"exp"``.
        negatives: ``"global"``, or ``"local"`` for those of one process.
        sync_batchnorm: Batch norm over all processes.
        horizontal_flip: Chance of mirroring a training view.
        vertical_flip: Chance of turning it upside down.
        rotation: Largest angle in degrees.
        perspective: Chance of a perspective distortion.
        autocontrast: Chance of stretching its grey values.
        learning_rate: Peak rate, absolute.
        weight_decay: Decay of all parameters.
        decay_vectors: False spares vectors and biases from it.
        betas: AdamW's averaging coefficients.
        restart_steps: Steps until the cosine restarts; None = one cosine over the run,
            with the two settings below.
        warmup_epochs: Linear warm-up.
        schedule_epochs: Where the cosine ends; None = the last epoch.
    """

    def __init__(
        self,
        image_encoder: str = "resnet50",
        image_size: int = 224,
        encoder_sizes: dict[str, int | list[int]] | None = None,
        warm_start: str | None = None,
        text_model: str = "emilyalsentzer/Bio_ClinicalBERT",
        text_width: int = 128,
        max_tokens: int = 256,
        cache_text: bool = True,
        channel_shares: list[float] = [0.25, 0.15, 0.1, 0.1],  # noqa: B006  # read only
        channel_tokens: int = 512,
        pool_side: int = 16,
        attention_heads: int = 4,
        joint_width: int = 512,
        impression_hidden: int = 2048,
        text_hidden: int = 1024,
        text_temperature: float = 0.07,
        view_temperature: float = 0.2,
        view_weight: float = 1.0,
        smoothing: str = "exp",
        smoothing_ratio: float = 0.2,
        negatives: str = "global",
        sync_batchnorm: bool = True,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.5,
        rotation: float = 30.0,
        perspective: float = 0.5,
        autocontrast: float = 0.5,
        learning_rate: float = 2e-4,
        weight_decay: float = 0.05,
        decay_vectors: bool = True,
        betas: list[float] = [0.9, 0.999],  # noqa: B006  # read only
        restart_steps: int | None = 33341,
        warmup_epochs: float = 0.0,
        schedule_epochs: float | None = None,
        keep_normalisation: bool = False,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            betas=betas,
            warmup_epochs=warmup_epochs,
            schedule_epochs=schedule_epochs,
        )
        if smoothing not in SMOOTHINGS or negatives not in ("global", "local"):
            raise ConfigError(
                f"smoothing among {', '.join(SMOOTHINGS)}; negatives global or local",
                f"{smoothing!r} and {negatives!r}",
                "correct --model.smoothing or --model.negatives",
            )
        self.image_encoder_name, self.image_size = image_encoder, image_size
        self.encoder_sizes, self.warm_start = encoder_sizes or {}, warm_start
        self.keep_normalisation = keep_normalisation
        self.set_text(text_model, text_width, max_tokens, cache_text)
        self.channel_shares, self.channel_tokens = channel_shares, channel_tokens
        self.pool_side, self.attention_heads = pool_side, attention_heads
        self.joint_width, self.text_hidden = joint_width, text_hidden
        self.impression_hidden = impression_hidden
        self.temperatures = (text_temperature, view_temperature)
        self.view_weight = view_weight
        self.smoothing, self.smoothing_ratio = smoothing, smoothing_ratio
        self.gather, self.sync_batchnorm = negatives == "global", sync_batchnorm
        self.variation = Variation(
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
            rotation=rotation,
            perspective=perspective,
            autocontrast=autocontrast,
        )
        self.decay_vectors, self.restart_steps = decay_vectors, restart_steps
