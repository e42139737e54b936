"""What can be chosen in IMITATE: defaults are the paper's or its code's values."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlp_zoo.methods.imitate.losses import SMOOTHINGS
from vlp_zoo.methods.options import ContrastOptions, check_choice
from vlp_zoo.methods.paired.options import FrozenTextOptions
from vlp_zoo.methods.paired.views import RandomView

__all__ = ["IMITATEOptions"]


@dataclass(frozen=True, kw_only=True)
class IMITATEOptions(FrozenTextOptions, ContrastOptions):
    """What can be chosen; `vlp_zoo.methods.imitate` says why.

    Args:
        max_tokens: Longest section in tokens, for a BERT; longer ones are cut.
        channel_shares: Share of the channels that each level shows, finest first.
        channel_tokens: Token slots K of the findings branch.
        pool_side: Side of a channel's pooled map.
        attention_heads: Attention heads of the findings branch.
        joint_width: Joint width E.
        impression_hidden: Inner width of the impression projection.
        text_hidden: Inner width of the text projection.
        text_temperature: Temperature between images and texts.
        view_temperature: Temperature between views.
        view_weight: Weight of the terms between views; 0 leaves them out.
        smoothing: ``"exp"``, ``"gau"``, ``"lap"``, ``"sigmoid"``, or ``"none"`` for
            targets without clinical prior.
        smoothing_ratio: Steepness of ``"exp"``.
        sync_batchnorm: Batch norm over all processes.
        horizontal_flip: Chance of mirroring a training view.
        vertical_flip: Chance of turning a training view upside down.
        rotation: Largest angle in degrees, either way.
    """

    text_model: str = "emilyalsentzer/Bio_ClinicalBERT"
    max_tokens: int = 256
    channel_shares: list[float] = field(default_factory=lambda: [0.25, 0.15, 0.1, 0.1])
    channel_tokens: int = 512
    pool_side: int = 16
    attention_heads: int = 4
    joint_width: int = 512
    impression_hidden: int = 2048
    text_hidden: int = 1024
    text_temperature: float = 0.07
    view_temperature: float = 0.2
    view_weight: float = 1.0
    smoothing: str = "exp"
    smoothing_ratio: float = 0.2
    sync_batchnorm: bool = True
    horizontal_flip: float = 0.5
    vertical_flip: float = 0.5
    rotation: float = 30.0
    learning_rate: float = 2e-4
    restart_steps: int | None = 33341

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("smoothing", self.smoothing, tuple(SMOOTHINGS))

    @property
    def compares_processes(self) -> bool:
        """Whether neither negatives nor batch norm keep to one process."""
        return self.gather and self.sync_batchnorm

    @property
    def variation(self) -> RandomView:
        """How training views differ from the image."""
        return RandomView(
            crop_scale=self.crop_scale,
            horizontal_flip=self.horizontal_flip,
            vertical_flip=self.vertical_flip,
            rotation=(-self.rotation, self.rotation),
            perspective=self.perspective,
            autocontrast=self.autocontrast,
        )
