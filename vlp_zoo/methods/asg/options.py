"""What can be chosen in ASG: defaults are the paper's or its code's values."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import PretrainedTextOptions, check_crop

__all__ = ["ASGOptions"]


@dataclass(frozen=True, kw_only=True)
class ASGOptions(PretrainedTextOptions):
    """What can be chosen; `vlp_zoo.methods.asg` says why.

    Args:
        image_encoder: A ViT or ResNet: a preset (``tiny``, ``tiny_resnet``) or a timm
            name (``resnet50``).
        image_size: Side S of the encoder's input.
        resize: Longer side of the image before cropping; None = 8/7 of ``image_size``
            (256 for 224).
        crop_scale: Smallest share of the image that a training crop shows, whatever its
            size; None cuts a square of ``image_size`` out of ``resize``, as released.
        encoder_sizes: Changes to the network (``patch_size``, ``embed_dim``, ...).
        warm_start: Image encoder to start from: ``timm:deit_base_patch16_224`` is the
            authors' choice; any ``load_encoder`` spec of the same network.
        text_model: Folder or hub name of a pretrained BERT, the first ``text_depth``
            layers of which the report encoder starts from, with its own vocabulary and
            sizes (the authors' ``emilyalsentzer/Bio_ClinicalBERT``); None starts from
            random weights. Checkpoints need the folder no more.
        text_width: Width of the report encoder.
        text_positions: Size of the report encoder's position table, at least
            ``max_tokens``.
        max_tokens: Tokens T of a report, padded or cut.
        joint_width: Width E of the joint space.
        head_hidden: Inner width of the four projection heads.
        temperature: What ``ira``, ``arsa`` and ``erl`` divide similarities by.
        tag_text: Features of the tag strings: ``"corpus"`` learns them from the
            training reports; else folder or hub name of a BERT (the authors'
            ``emilyalsentzer/Bio_ClinicalBERT``), run once.
        tag_width: Width F of the tag strings' features and of the tag decoder.
        tag_depth: Layers of the tag decoder.
        tag_heads: Attention heads of the tag decoder.
        tag_ffn: Inner width of the tag decoder's feed-forward parts.
        tag_dropout: Dropout rate of the tag decoder.
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
        official_roi_index: A region's features may come from another image of the
            batch, as in the released code; see the table of `vlp_zoo.methods.asg.asg`.
        official_positions: Position 0 for every token, as in the released code.
        roi_aligned: RoI align without the half-patch shift.
        shared_positives: Do not contrast regions that share their sentences.
        negatives: Rows of all processes (``"global"``) or of one (``"local"``).
        sync_bn: Batch statistics over all processes.
        antialias: Shrink images by area averaging.
        official_schedule: Cosine with warm-up restarts, decay of all parameters.
        learning_rate: Peak rate.
        weight_decay: Decay.
        schedule_epochs: Where the cosine ends (or starts anew).
    """

    resize: int | None = None
    crop_scale: float | None = None
    text_dropout: float = 0.0
    text_positions: int = 512
    max_tokens: int = 112
    joint_width: int = 128
    head_hidden: int = 2048
    temperature: float = 0.07
    tag_text: str = "corpus"
    tag_width: int = 768
    tag_depth: int = 4
    tag_heads: int = 4
    tag_ffn: int = 1024
    tag_dropout: float = 0.1
    ira_weight: float = 1.0
    arsa_weight: float = 1.0
    irl_weight: float = 5.0
    erl_weight: float = 1.0
    max_regions: int = 29
    region_source: str = "auto"
    region_atlas: str | None = None
    scene_graphs: str | None = None
    radgraph: str | None = None
    official_roi_index: bool = False
    official_positions: bool = False
    roi_aligned: bool = True
    shared_positives: bool = True
    negatives: str = "global"
    sync_bn: bool = True
    antialias: bool = True
    official_schedule: bool = False
    learning_rate: float = 4e-5
    weight_decay: float = 0.05
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    warmup_epochs: float = 20
    schedule_epochs: float | None = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.negatives not in ("global", "local"):
            raise ConfigError(
                "negatives among global, local", f"{self.negatives!r}", "pick one"
            )
        check_crop(self.crop_scale)
        released = self.resize is not None or not self.antialias
        if self.crop_scale is not None and released:
            raise ConfigError(
                "crops of any size, or crops as released out of a resized image",
                f"--model.crop_scale {self.crop_scale} with resize {self.resize} and "
                f"antialias {self.antialias}, which it would not read",
                "leave --model.crop_scale or the other two out",
            )
        weights = self.weights
        if min(weights.values()) < 0 or not self.ira_weight + self.erl_weight:
            raise ConfigError(
                "weights of 0 or more, and ira_weight or erl_weight above 0",
                ", ".join(f"{name} {value}" for name, value in weights.items()),
                "change --model.ira_weight or --model.erl_weight: without both nothing "
                "makes a joint space",
            )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, by its name."""
        return {
            "ira": self.ira_weight,
            "arsa": self.arsa_weight,
            "irl": self.irl_weight,
            "erl": self.erl_weight,
        }

    @property
    def gather(self) -> bool:
        """Whether negatives are those of all processes."""
        return self.negatives == "global"

    @property
    def square(self) -> int:
        """Side of the square that is cropped from: ``resize``, or in proportion."""
        return self.resize or round(self.image_size * 256 / 224)

    @property
    def packaged_atlas(self) -> bool:
        """Whether an atlas may be chosen by what the data are."""
        return self.region_source == "auto" and self.region_atlas is None
