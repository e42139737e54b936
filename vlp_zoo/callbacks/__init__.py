"""What happens around a training run: files written, pictures drawn, speed shown."""

from vlp_zoo.callbacks.checkpoints import BestCheckpoint, EMAWeights, LastCheckpoint
from vlp_zoo.callbacks.display import (
    EmbeddingWriter,
    EpochLines,
    Progress,
    Throughput,
    TrainingPictures,
)
from vlp_zoo.callbacks.export import ExportEncoder

__all__ = [
    "BestCheckpoint",
    "EMAWeights",
    "EmbeddingWriter",
    "EpochLines",
    "ExportEncoder",
    "LastCheckpoint",
    "Progress",
    "Throughput",
    "TrainingPictures",
]
