"""What happens around a training run: files written, pictures drawn, speed shown."""

from vlp_zoo.callbacks.checkpoints import (
    BestCheckpoint,
    EMAWeights,
    LastCheckpoint,
    WholeCheckpointIO,
)
from vlp_zoo.callbacks.display import (
    EmbeddingWriter,
    EpochLines,
    Progress,
    Throughput,
    TrainingPictures,
)
from vlp_zoo.callbacks.export import ExportEncoder
from vlp_zoo.callbacks.running import RunFolder, Stopped, run_folder

__all__ = [
    "BestCheckpoint",
    "EMAWeights",
    "EmbeddingWriter",
    "EpochLines",
    "ExportEncoder",
    "LastCheckpoint",
    "Progress",
    "RunFolder",
    "Stopped",
    "Throughput",
    "TrainingPictures",
    "WholeCheckpointIO",
    "run_folder",
]
