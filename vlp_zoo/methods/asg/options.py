"""What can be chosen in ASG: defaults are the paper's or its code's values."""

from __future__ import annotations

from dataclasses import dataclass

from vlp_zoo.methods.options import check_weights
from vlp_zoo.methods.paired.options import WordOptions

__all__ = ["ASGOptions"]


@dataclass(frozen=True, kw_only=True)
class ASGOptions(WordOptions):
    """What can be chosen; `vlp_zoo.methods.asg` says why.

    Args:
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
            or ``"phantom"``, the packaged one, which was fitted on synthetic chests. None
            takes the packaged one for drawn data and no atlas for other data.
        scene_graphs: Folder of Chest ImaGenome ``UID_SceneGraph.json`` files, which
            come before the study's own boxes.
        radgraph: JSON file of RadGraph's annotations, which come before our rules
            for the sentences that it holds.
        official_roi_index: A region's features may come from another image of the
            batch, as in the released code; see the table of `vlp_zoo.methods.asg.asg`.
        roi_aligned: RoI align without the half-patch shift.
        shared_positives: Do not contrast regions that share their sentences.
        antialias: Shrink images by area averaging.
    """

    text_dropout: float = 0.0
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
    roi_aligned: bool = True
    shared_positives: bool = True
    antialias: bool = True
    learning_rate: float = 4e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        # Without both of these nothing makes a joint space.
        check_weights(self.weights, needed=("ira", "erl"))

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
    def cuts_as_released(self) -> bool:
        """Whether an option of crops out of a resized image was given."""
        return super().cuts_as_released or not self.antialias

    @property
    def packaged_atlas(self) -> bool:
        """Whether an atlas may be chosen by what the data are."""
        return self.region_source == "auto" and self.region_atlas is None
