"""What can be chosen in ASG: defaults are the paper's or its code's values."""

from __future__ import annotations

from torch import Tensor

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.asg.networks import check_weights
from vlp_zoo.methods.base import BatchT, VLPModule
from vlp_zoo.reports.regions import RegionBoxes

__all__ = ["ASGOptions"]


class ASGOptions(VLPModule[BatchT]):
    """What can be chosen; `vlp_zoo.methods.asg` says why.

    Args:
        image_encoder: A ViT or ResNet: a preset (``tiny``, ``tiny_resnet``) or a timm
            name (``resnet50``).
        image_size: Side S of the encoder's input.
        resize: Longer side of the image before cropping; None = 8/7 of ``image_size``
            (256 for 224).
        encoder_sizes: Changes to the network (``patch_size``, ``embed_dim``, ...).
        warm_start: Image encoder to start from: ``timm:deit_base_patch16_224`` is the
            authors' choice; any ``load_encoder`` spec of the same network.
        keep_normalisation: Take over mean and deviation of ``warm_start`` too.
        text_width: Width of the report encoder.
        text_depth: Its layers.
        text_heads: Its attention heads.
        text_ffn: Inner width of its feed-forward parts.
        text_dropout: Its dropout.
        text_positions: Size of its position table, at least ``max_tokens``.
        max_tokens: Tokens T of a report, padded or cut.
        joint_width: Width E of the joint space.
        head_hidden: Inner width of the four projection heads.
        temperature: Of ``ira``, ``arsa`` and ``erl``.
        tag_text: Features of the tag strings: ``"corpus"`` learns them from the
            training reports; else folder or hub name of a BERT (the authors'
            ``emilyalsentzer/Bio_ClinicalBERT``), run once.
        tag_width: Width F of these features and of the tag decoder.
        tag_depth: Layers of the tag decoder.
        tag_heads: Attention heads in it.
        tag_ffn: Inner width of its feed-forward parts.
        tag_dropout: Dropout in it.
        ira_weight: Weight of the image-report alignment.
        arsa_weight: Weight of the region-sentence alignment; 0 builds no local heads.
        irl_weight: Weight of tag recognition; 0 builds no tag decoder.
        erl_weight: Weight of the soft labels.
        max_regions: Region slots R.
        region_source: ``"auto"``: boxes of the study, the atlas for regions it lacks;
            ``"study"``: its own only.
        region_atlas: A JSON file written by `vlp_zoo.reports.regions.RegionAtlas.save`,
            or ``"phantom"``, the packaged one, which was fitted on drawn chests. None
            takes the packaged one for drawn data and no atlas for other data.
        scene_graphs: Folder of Chest ImaGenome ``UID_SceneGraph.json`` files, which
            come before the study's own boxes.
        radgraph: JSON file of RadGraph's annotations, which come before our rules
            for the sentences that it holds.
        official_roi_index: See the table in `vlp_zoo.methods.asg`, as for the next seven.
        official_positions: Position 0 for every token.
        roi_aligned: RoI align without the half-patch shift.
        shared_positives: Do not contrast regions that share their sentences.
        negatives: ``"global"`` or ``"local"``.
        sync_bn: Batch statistics over all processes.
        antialias: Shrink images by area averaging.
        official_schedule: Cosine with warm-up restarts, decay of all parameters.
        learning_rate: Peak rate.
        weight_decay: Decay.
        betas: AdamW's averaging coefficients.
        warmup_epochs: Linear warm-up.
        schedule_epochs: Where the cosine ends (or starts anew).
        tokenizer: See `VLPModule`.
        vocab_size: See `VLPModule`.
    """

    def __init__(
        self,
        image_encoder: str = "vit_base_patch16_224",
        image_size: int = 224,
        resize: int | None = None,
        encoder_sizes: dict[str, int] | None = None,
        warm_start: str | None = None,
        text_width: int = 768,
        text_depth: int = 6,
        text_heads: int = 12,
        text_ffn: int = 3072,
        text_dropout: float = 0.0,
        text_positions: int = 512,
        max_tokens: int = 112,
        joint_width: int = 128,
        head_hidden: int = 2048,
        temperature: float = 0.07,
        tag_text: str = "corpus",
        tag_width: int = 768,
        tag_depth: int = 4,
        tag_heads: int = 4,
        tag_ffn: int = 1024,
        tag_dropout: float = 0.1,
        ira_weight: float = 1.0,
        arsa_weight: float = 1.0,
        irl_weight: float = 5.0,
        erl_weight: float = 1.0,
        max_regions: int = 29,
        region_source: str = "auto",
        region_atlas: str | None = None,
        scene_graphs: str | None = None,
        radgraph: str | None = None,
        official_roi_index: bool = False,
        official_positions: bool = False,
        roi_aligned: bool = True,
        shared_positives: bool = True,
        negatives: str = "global",
        sync_bn: bool = True,
        antialias: bool = True,
        official_schedule: bool = False,
        learning_rate: float = 4e-5,
        weight_decay: float = 0.05,
        betas: list[float] = [0.9, 0.999],  # noqa: B006  # read, never changed
        warmup_epochs: float = 20,
        schedule_epochs: float | None = 50,
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
        if negatives not in ("global", "local"):
            raise ConfigError(
                "negatives among global, local", f"{negatives!r}", "pick one"
            )
        self.image_encoder_name, self.image_size = image_encoder, image_size
        self.resize = resize or round(image_size * 256 / 224)
        self.encoder_sizes, self.warm_start = encoder_sizes or {}, warm_start
        self.keep_normalisation = keep_normalisation
        self.text_sizes = (text_width, text_depth, text_heads, text_ffn, text_dropout)
        self.max_tokens, self.text_positions = max_tokens, text_positions
        self.head_sizes, self.temperature = (head_hidden, joint_width), temperature
        self.tag_text, self.tag_width = tag_text, tag_width
        self.tag_sizes = (tag_depth, tag_heads, tag_ffn, tag_dropout)
        self.weights = check_weights(ira_weight, arsa_weight, irl_weight, erl_weight)
        self.max_regions = max_regions
        self.region_boxes = RegionBoxes.open(region_source, region_atlas, scene_graphs)
        self.packaged_atlas = region_source == "auto" and region_atlas is None
        self.region_shares: dict[str, float] = {}
        self.radgraph = radgraph
        self.official_roi_index = official_roi_index
        self.official_positions = official_positions
        self.roi_aligned, self.shared_positives = roi_aligned, shared_positives
        self.gather, self.sync_bn = negatives == "global", sync_bn
        self.antialias, self.official_schedule = antialias, official_schedule
        self.known_tags: Tensor | None = None
        """Tag features (40, F): from `setup`, a checkpoint, or set by hand."""
