"""Files of weights that other code wrote: read safely, names bare, misfits refused.

A released checkpoint often holds options and metrics beside the tensors. Plain data
pass; instances of a few classes that only carry such data (`CARRIERS`) are read into
inert stand-ins; everything else is refused by name. Nothing that a file names is ever
imported or called.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlp_zoo.encoders.hub import one_line
from vlp_zoo.errors import EncoderLoadError

__all__ = [
    "bare",
    "carriers_allowed",
    "check_keys",
    "misfits",
    "read_checkpoint",
    "renamed",
    "renamed_state",
    "unwrapped",
]

NESTS = ("model", "state_dict", "model_state_dict", "network", "net", "module")
"""Names under which files keep a state dict, possibly one inside another."""

LEADING = ("module.", "model.")
"""Before every key, by DataParallel or by a module that holds the network."""

ANYWHERE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""In the middle of keys as well, by torch.compile and other wrappers of torch."""


def bare(key: str) -> str:
    """A key without what wrappers put before it, however often.

    Example:
        >>> bare("module._orig_mod.module.norm.weight")
        'norm.weight'
        >>> bare("encoder._orig_mod.conv1.weight")
        'encoder.conv1.weight'
    """
    for wrapper in ANYWHERE:
        key = key.replace(wrapper, "")
    while key.startswith(LEADING):
        key = key.partition(".")[2]
    return key


def unwrapped(state: Mapping[str, Tensor], origin: str) -> dict[str, Tensor]:
    """A state dict under bare names.

    Args:
        state: Name to tensor.
        origin: Where it comes from, for the message.

    Raises:
        EncoderLoadError: If two tensors get one name, so that one would be lost.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in state.items():
        name = bare(key)
        if name in found:
            raise EncoderLoadError(
                f"one tensor for each name in {origin}",
                f"two for {name} (one of them {key})",
                "save the state dict that you mean alone: "
                "torch.save({'model': state_dict}, FILE)",
            )
        found[name] = tensor
    return found


def renamed(key: str, table: Sequence[tuple[str, str]]) -> str | None:
    """Our name for a key of another code base, by the first prefix that matches.

    Args:
        key: With or without what wrappers put before it.
        table: Their prefix to ours; "" on the right leaves the key out.

    Returns:
        None for what is left out; the bare key where no prefix matches.

    Example:
        >>> renamed("module.head.0.bias", [("head.", "image_head."), ("fc.", "")])
        'image_head.0.bias'
    """
    name = bare(key)
    for theirs, ours in table:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs) if ours else None
    return name


def renamed_state(
    state: Mapping[str, Tensor], table: Sequence[tuple[str, str]]
) -> dict[str, Tensor]:
    """A state dict under our names, see `renamed`, without what is left out."""
    found = {renamed(key, table): tensor for key, tensor in state.items()}
    return {name: tensor for name, tensor in found.items() if name is not None}


class _Kept:
    """What stands for an instance of a carrier: it takes any state and does nothing."""

    def __init__(self, *args: object) -> None:
        self.args = args

    def __setstate__(self, state: object) -> None:
        self.state = state


def _kept_map(*args: object) -> OrderedDict[Any, Any]:
    return OrderedDict()


MAPS = (
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.types.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "munch.Munch",
    "box.box.Box",
)
"""Subclasses of dict that hold options."""

RECORDS = (
    "argparse.Namespace",
    "types.SimpleNamespace",
    "jsonargparse._namespace.Namespace",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    *(
        f"omegaconf.nodes.{kind}Node"
        for kind in (
            *("Any", "String", "Integer", "Float", "Boolean", "Bytes", "Path"),
            *("Enum", "Union", "Interpolation", "InterpolationResult"),
        )
    ),
    "omegaconf.base.UnionNode",
    # Types that those refer to, and the names of callbacks among Lightning's states.
    "typing.Any",
    *(f"builtins.{kind}" for kind in ("dict", "list", "tuple", "str", "int", "float")),
    *("builtins.bool", "builtins.bytes"),
    *(
        f"{package}.callbacks.{name}"
        for package in ("pytorch_lightning", "lightning.pytorch")
        for name in (
            "model_checkpoint.ModelCheckpoint",
            "early_stopping.EarlyStopping",
        )
    ),
)
"""Others that hold options, or stand as plain names."""

CARRIERS = (*MAPS, *RECORDS, "collections.defaultdict")
"""Classes that files of released weights are known to hold, none of them imported."""


def _numpy() -> list[Any]:
    """Scalars and arrays of numbers, under their old and their new place in NumPy."""
    core: Any = np._core.multiarray  # type: ignore[attr-defined]
    allowed: list[Any] = [np.ndarray, np.dtype]
    allowed += sorted(
        {type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSU"},
        key=lambda t: t.__name__,
    )
    for place in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [(core._reconstruct, f"{place}._reconstruct")]
        allowed += [(core.scalar, f"{place}.scalar")]
    return allowed


@contextmanager
def carriers_allowed() -> Iterator[None]:
    """While ``torch.load(..., weights_only=True)`` may meet `CARRIERS` and numbers."""
    allowed = _numpy()
    allowed += [(OrderedDict, name) for name in MAPS]
    allowed += [(_Kept, name) for name in RECORDS]
    allowed.append((_kept_map, "collections.defaultdict"))
    with torch.serialization.safe_globals(allowed):
        yield


def read_checkpoint(path: Path, part: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint file, under bare names.

    Args:
        path: ``.safetensors``, or a ``torch.save`` file that holds a state dict,
            alone or under one of `NESTS`; unpickled safely.
        part: Name of the state dict to take where the file holds several.

    Raises:
        EncoderLoadError: If it cannot be read, or only unsafely, or has no tensors.
    """
    if not path.is_file():
        raise EncoderLoadError(f"a checkpoint {path}", "no such file", "check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            with carriers_allowed():
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None and "eights only load failed" not in str(error):
            raise _unreadable(path, error) from error
        raise EncoderLoadError(
            f"a checkpoint of tensors and plain data in {path}",
            f"{named[1] if named else 'other objects'}, not loaded for safety",
            "where you trust the file, save its tensors alone, with the code that wrote "
            "it: torch.save({'model': state_dict}, FILE)",
        ) from error
    except Exception as error:  # torch raises whatever its readers do
        raise _unreadable(path, error) from error
    deeper: tuple[str, ...] = (part, *NESTS)
    while isinstance(content, Mapping):
        key = next((k for k in deeper if isinstance(content.get(k), Mapping)), None)
        if key is None:
            break
        content = content[key]
    tensors = (
        {str(key): value for key, value in content.items() if torch.is_tensor(value)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise EncoderLoadError(
            f"a state dict in {path}",
            f"a {type(content).__name__} without tensors",
            "give a file with a state dict, alone or under 'model'",
        )
    return unwrapped(tensors, str(path))


def _unreadable(path: Path, error: Exception) -> EncoderLoadError:
    return EncoderLoadError(
        f"a readable checkpoint in {path}", one_line(error), "download it again"
    )


def misfits(kinds: Mapping[str, Sequence[str]]) -> list[str]:
    """For each kind of misfit that there is, how many and the first five names."""
    return [
        f"{len(names)} {kind} ({', '.join(names[:5])}{', ...' if names[5:] else ''})"
        for kind, names in kinds.items()
        if names
    ]


def check_keys(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str
) -> None:
    """Refuse weights that do not fit exactly.

    Args:
        expected: ``state_dict`` of the network.
        state: Weights offered.
        origin: Where the weights come from, for the message.

    Raises:
        EncoderLoadError: With counts and the first five names of each kind.
    """
    parts = misfits(
        {
            "missing": [name for name in expected if name not in state],
            "unexpected": [name for name in state if name not in expected],
            "of another shape": [
                f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
                for name, tensor in expected.items()
                if name in state and state[name].shape != tensor.shape
            ],
        }
    )
    if parts:
        raise EncoderLoadError(
            f"{len(expected)} tensors in {origin}",
            f"{len(state)} tensors: {'; '.join(parts)}",
            "check the architecture, or name the checkpoint's layout "
            "(official:LAYOUT:FILE)",
        )
