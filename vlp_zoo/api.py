"""What the commands do, as functions: the face behind ``import vlp_zoo as vz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import nn

from vlp_zoo.bench import run
from vlp_zoo.bench.encoders import encoder_file
from vlp_zoo.bench.pictures import Picture, Pictures
from vlp_zoo.encoders.checkpoint import open_encoder
from vlp_zoo.encoders.hub import fetch
from vlp_zoo.encoders.publish import CARD, PARTS, WEIGHTS
from vlp_zoo.errors import ConfigError, EncoderLoadError
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.methods import base, stored
from vlp_zoo.methods.checkpoints import check_checkpoint
from vlp_zoo.methods.joint import JOINT_PARTS, SIZES, load_joint

if TYPE_CHECKING:
    from vlp_zoo.evaluation.results import Result

__all__ = [
    "Picture",
    "embed",
    "evaluate",
    "from_pretrained",
    "load_encoder",
    "load_method",
]


def load_encoder(spec: str | Path, *, seed: int = 0) -> nn.Module:
    """Load any image encoder, ready for evaluation.

    Args:
        spec: The folder of a run, an encoder file, or another form of
            `vlp_zoo.encoders.specs.SPECS`.
        seed: Seed of the weights of ``random:``.

    Returns:
        A module in evaluation mode, on the CPU, without gradients. It has
        ``preprocessing`` and takes normalised images (B, C, S, S); its output has
        ``pooled`` (B, D) and ``tokens`` (B, P, D).

    Raises:
        DatasetNotFoundError: If a folder has no encoder file.
        EncoderLoadError: If weights do not fit or cannot be had.
    """
    return open_encoder(encoder_file(str(spec)), seed)


def from_pretrained(place: str | Path) -> nn.Module:
    """Load what ``vlpzoo export`` wrote, from a folder or from the hub.

    Weights are read from safetensors alone: nothing is unpickled, and no code of the
    repository is run.

    Args:
        place: A folder, or ``OWNER/NAME`` on the hub, with ``@REVISION`` for another
            version than the newest. Without a network, what the hub's cache has is
            taken.

    Returns:
        The encoder, as of `load_encoder`. Of an export with ``--joint`` a
        `vlp_zoo.methods.joint.JointModel`: ``embed_images``, ``embed_texts``, and the
        encoder as ``image_encoder``.

    Raises:
        EncoderLoadError: If it is not there, cannot be had, is no export, or is not
            whole.
    """
    folder = Path(place)
    if not folder.is_dir():
        folder = fetch(str(place), (*PARTS, *JOINT_PARTS))
    if not (folder / CARD).is_file():
        raise EncoderLoadError(
            f"an export of vlpzoo, with its {CARD}, in {place}",
            ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing",
            "vz.load_encoder loads runs, files and models of timm, transformers and "
            "open_clip",
        )
    if (folder / SIZES).is_file():
        return load_joint(folder)
    return load_encoder(folder / WEIGHTS)


def load_method(run: str | Path) -> base.VLPModule[Any]:
    """Load a trained method with all its networks and its vocabulary.

    Args:
        run: A checkpoint of ``vlpzoo fit``, or the folder of a run, whose ``last.ckpt``
            is taken.

    Returns:
        The LightningModule in evaluation mode, on the CPU.

    Raises:
        ConfigError: If there is no checkpoint, or it is damaged.
        UnknownNameError: If no installed method wrote it.
    """
    path = Path(run)
    if path.is_dir():
        path = path / "checkpoints" / "last.ckpt"
    if not path.is_file():
        raise ConfigError(
            f"a checkpoint {path}",
            "no such file",
            "give a .ckpt file that vlpzoo fit wrote, or the folder of a run",
        )
    check_checkpoint(path)
    return stored.load_method(path)


def evaluate(
    encoders: Sequence[str] | Mapping[str, str | nn.Module],
    tasks: Sequence[str],
    presets: Sequence[str] = ("vlp-linear",),
    *,
    out: str | Path = "runs/bench",
    **options: Any,
) -> list[Result]:
    """Evaluate encoders on tasks; what stands in ``out`` already is not computed again.

    Args:
        encoders: Specs as ``vlpzoo bench --encoder`` takes them; or names for the
            results, each with a spec or a loaded encoder.
        tasks: Names as ``vlpzoo bench --task`` takes them.
        presets: Names as ``vlpzoo info presets`` lists them.
        out: Folder of the results.
        **options: Others of `vlp_zoo.bench.evaluate`, those of the tasks among them.

    Returns:
        All results, headline and others, encoders before baselines within each task.

    Raises:
        SuiteError: At the end, if runs failed; it carries the results of the others.
    """
    return run.evaluate(encoders, tasks, Path(out), presets=presets, **options)


def embed(
    images: Sequence[Picture],
    encoder: str | Path | nn.Module,
    *,
    colour: bool = False,
    batch_size: int = 64,
    device: str = "auto",
    pooling: str = "global",
) -> npt.NDArray[np.float32]:
    """Features of images, each prepared as the encoder's card says.

    Args:
        images: N files, arrays or images of Pillow's, of any sizes.
        encoder: The encoder, loaded by `load_encoder`, or a spec that it takes.
        colour: Read files in colour, as fundus photographs need it. Arrays and images
            of Pillow's say themselves what they are.
        batch_size: Images per forward pass.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        pooling: ``"global"`` for the encoder's own, ``"mean"`` for the mean over places.

    Returns:
        float32 (N, D) in the order of the images.

    Raises:
        DataRejectedError: If an image cannot be read, or is none.
        EncoderLoadError: If the encoder cannot be loaded or yields NaN or infinity.
    """
    one = isinstance(images, str | Path | np.ndarray | Image.Image)
    if one or not len(images):
        raise ConfigError(
            "a list of images",
            f"one {type(images).__name__}" if one else "an empty list",
            "write embed([image], encoder)",
        )
    if not isinstance(encoder, nn.Module):
        encoder = load_encoder(encoder)
    extraction = Extraction(
        batch_size=batch_size,
        device=device,
        pooling=pooling,
        progress=False,
        cache=FeatureCache(None),
    )
    return extraction.get(encoder, Pictures(images, colour))
