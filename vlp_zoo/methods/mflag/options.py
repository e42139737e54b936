"""What can be chosen in M-FLAG: defaults are its code's values."""

from __future__ import annotations

from dataclasses import dataclass, field

from vlp_zoo.errors import ConfigError
from vlp_zoo.methods.options import check_choice, check_weights
from vlp_zoo.methods.paired.options import FrozenTextOptions
from vlp_zoo.methods.paired.views import RandomView

__all__ = ["MFLAGOptions"]


@dataclass(frozen=True, kw_only=True)
class MFLAGOptions(FrozenTextOptions):
    """What can be chosen; `vlp_zoo.methods.mflag.mflag` says why.

    Args:
        max_tokens: Longest report in tokens, for a BERT; longer ones are cut.
        joint_width: Joint width E.
        head_hidden: Inner width of both projections.
        separator: What stands between impression and findings.
        orthogonality_weight: Weight of the orthogonality of the image features; 0
            leaves it out.
        alignment_weight: Weight of the alignment of images and reports; 0 leaves it
            out.
        off_diagonal: Weight λ of products of two different features.
        centre: Take each feature's mean over the batch away before products.
        statistics: Products of features and batch norm over all processes
            (``"global"``) or over one (``"local"``).
        rotation: Least and largest angle in degrees, anticlockwise.
    """

    text_model: str = "microsoft/BiomedVLP-CXR-BERT-general"
    max_tokens: int = 512
    joint_width: int = 1024
    head_hidden: int = 2048
    separator: str = " "
    orthogonality_weight: float = 1.0
    alignment_weight: float = 1.0
    off_diagonal: float = 0.0051
    centre: bool = False
    statistics: str = "global"
    rotation: list[float] = field(default_factory=lambda: [0.0, 90.0])
    learning_rate: float = 2e-5
    restart_steps: int | None = 2083

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("statistics", self.statistics, ("global", "local"))
        check_weights(self.weights)
        if len(self.rotation) != 2 or self.rotation[0] > self.rotation[1]:
            raise ConfigError(
                "least and largest angle in --model.rotation",
                f"{self.rotation}",
                "give a list such as [-10, 10]",
            )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each loss term, by its name."""
        return {
            "orthogonality": self.orthogonality_weight,
            "alignment": self.alignment_weight,
        }

    @property
    def gather(self) -> bool:
        """Whether batch statistics are those of all processes."""
        return self.statistics == "global"

    @property
    def compares_processes(self) -> bool:
        """Whether batch statistics are those of all processes."""
        return self.gather

    @property
    def variation(self) -> RandomView:
        """How a training view differs from the image; it is never mirrored."""
        return RandomView(
            crop_scale=self.crop_scale,
            horizontal_flip=0.0,
            vertical_flip=0.0,
            rotation=(self.rotation[0], self.rotation[1]),
            perspective=self.perspective,
            autocontrast=self.autocontrast,
        )
