"""What can be chosen in ECAMP: defaults are the paper's or its code's values."""

from __future__ import annotations

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.base import BatchT, VLPModule
from vlp_zoo.methods.ecamp.flags import choice, resolve_flags
from vlp_zoo.methods.ecamp.networks import FUSIONS

__all__ = ["ECAMPOptions"]


class ECAMPOptions(VLPModule[BatchT]):
    """What can be chosen; `vlp_zoo.methods.ecamp` says why.

    Args:
        variant: ``"corrected"`` or ``"official"``: what the flags left at None follow.
        image_encoder: A ViT: a preset (``tiny``, ``base``) or a timm name.
        image_size: Side S of the encoder's input; images come at 2S.
        encoder_sizes: Changes to the ViT: ``patch_size``, ``embed_dim``, ``depth``,
            ``num_heads``.
        warm_start: Encoder to start from, such as ``official:mae:FILE`` (the authors
            start from MAE) or ``timm:NAME``; its position table comes along.
        keep_normalisation: Take over mean and deviation of ``warm_start`` too.
        mask_ratio: Share of hidden patches.
        decoder_width: Width of the image decoder.
        decoder_depth: Its blocks.
        decoder_heads: Its attention heads.
        text_width: Width of the text encoder.
        text_depth: Its layers, after the fusion layer.
        text_heads: Its attention heads.
        text_ffn: Inner width of its feed-forward parts.
        text_dropout: Dropout of text encoder and fusion.
        max_tokens: Longest report in tokens; longer ones are cut.
        window_source: ``"attention"``, ``"boxes"``, ``"centre"`` or ``"batch"``.
        window_warmup_steps: Steps with the window at the centre, before attention.
        mim_weight: Weight of the term, 1 in the paper; at 0 its networks stay.
        res_weight: As above.
        mlm_weight: As above.
        insert_contexts: Write the distilled context into training reports.
        rebalance: Words around entities count more, stock phrases less.
        fusion: ``"both"`` scales; ``"fine"``, words attend to patches, or ``"coarse"``,
            the mean of the patches, alone. Without ``fine``, as without ``mlm``,
            nothing trains the attention that places windows: choose another
            ``window_source``.
        trim_padding: Cut each batch to its longest report. Saves up to half of the
            text work; changes numbers where padding enters the loss.
        force_descriptors: Always hide the words before an entity.
        masked_mean: Divide image losses by the pixels that count.
        padding_in_text_loss: Predict padding as well.
        window_follows_crop: Move given windows with the crop.
        swap_window_axes: Read a given window's column as row and vice versa.
        position_table: ``"mae"`` or ``"ecamp"``, see `sincos_table`.
        antialias: Halve the image with antialiasing.
        sr_final_relu: End the super-resolution head with a ReLU.
        horizontal_flip: Chance of mirroring a training image.
        entities: ``"words"`` (with inflections) or ``"tokens"`` (official list).
        learning_rate: Peak rate, absolute, for 8192 images a step.
        weight_decay: Decay of matrices.
        betas: AdamW's averaging coefficients.
        warmup_epochs: Linear warm-up.
        schedule_epochs: Where the cosine ends; the authors stop at epoch 120.
        tokenizer: See `VLPModule`.
        vocab_size: See `VLPModule`.
    """

    def __init__(
        self,
        variant: str = "corrected",
        image_encoder: str = "vit_base_patch16_224",
        image_size: int = 224,
        encoder_sizes: dict[str, int] | None = None,
        warm_start: str | None = None,
        mask_ratio: float = 0.75,
        decoder_width: int = 512,
        decoder_depth: int = 4,
        decoder_heads: int = 16,
        text_width: int = 768,
        text_depth: int = 6,
        text_heads: int = 6,
        text_ffn: int = 1536,
        text_dropout: float = 0.1,
        max_tokens: int = 256,
        window_source: str = "attention",
        window_warmup_steps: int = 200,
        mim_weight: float = 1.0,
        res_weight: float = 1.0,
        mlm_weight: float = 1.0,
        insert_contexts: bool = True,
        rebalance: bool = True,
        fusion: str = "both",
        trim_padding: bool = False,
        force_descriptors: bool | None = None,
        masked_mean: bool | None = None,
        padding_in_text_loss: bool | None = None,
        window_follows_crop: bool | None = None,
        swap_window_axes: bool | None = None,
        position_table: str | None = None,
        antialias: bool | None = None,
        sr_final_relu: bool | None = None,
        horizontal_flip: float | None = None,
        entities: str | None = None,
        learning_rate: float = 1.5e-4,
        weight_decay: float = 0.05,
        betas: list[float] = [0.9, 0.95],  # noqa: B006  # read, never changed
        warmup_epochs: float = 40,
        schedule_epochs: float | None = 200,
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
        choice("window_source", window_source, "attention", "boxes", "centre", "batch")
        choice("fusion", fusion, *FUSIONS)
        self.weights = {"mim": mim_weight, "res": res_weight, "mlm": mlm_weight}
        if min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise ConfigError(
                "weights of 0 or more, one of them above 0",
                ", ".join(f"{name} {value}" for name, value in self.weights.items()),
                "raise --model.mim_weight, res_weight or mlm_weight",
            )
        blind = fusion == "coarse" or not mlm_weight
        if blind and window_source == "attention" and res_weight:
            raise ConfigError(
                "an attention that is trained, to place windows",
                f"--model.fusion {fusion}, --model.mlm_weight {mlm_weight}",
                "add --model.window_source centre (or boxes)",
            )
        self.flags, self.text_rules = resolve_flags(
            variant,
            insert_contexts=insert_contexts,
            rebalance=rebalance,
            force_descriptors=force_descriptors,
            masked_mean=masked_mean,
            padding_in_text_loss=padding_in_text_loss,
            window_follows_crop=window_follows_crop,
            swap_window_axes=swap_window_axes,
            position_table=position_table,
            antialias=antialias,
            sr_final_relu=sr_final_relu,
            horizontal_flip=horizontal_flip,
            entities=entities,
        )
        self.image_encoder_name, self.image_size = image_encoder, image_size
        self.encoder_sizes, self.warm_start = encoder_sizes or {}, warm_start
        self.keep_normalisation = keep_normalisation
        self.mask_ratio, self.max_tokens = mask_ratio, max_tokens
        self.decoder_sizes = (decoder_width, decoder_depth, decoder_heads)
        self.text_sizes = (text_width, text_depth, text_heads, text_ffn, text_dropout)
        self.window_source, self.trim_padding = window_source, trim_padding
        self.window_warmup_steps = window_warmup_steps
        self.fusion_scales = fusion
