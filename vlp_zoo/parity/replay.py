"""What the replays of all methods share: reading, naming, taking steps, counting.

A method's replay is a table from a file to the part that needs it: a `Replay`. A part
reads the `Recording`, runs this package on the recorded inputs and yields a `Comparison`
for each quantity. What was recorded under a name that it does not know is refused, and
`count_inputs` says which of the inputs it never took.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vlp_zoo.errors import ConfigError, DatasetNotFoundError, VLPZooError
from vlp_zoo.parity.comparison import Comparison, relative, sums, tensor

__all__ = [
    "INPUTS",
    "Part",
    "Read",
    "Recording",
    "Replay",
    "Vocabulary",
    "adamw",
    "count_inputs",
    "intermediates",
    "replayed",
    "take_step",
    "under",
]

T = TypeVar("T")

INPUTS = "inputs replayed"
"""How the quantity of `replayed` begins."""


class Read(dict[str, T]):
    """Entries of a recorded file that remember which were asked for by name.

    Going through all of them asks for none.

    Args:
        entries: What the file holds.
        origin: The file, for the message about an entry that is not there.
    """

    def __init__(self, entries: Mapping[str, T], origin: object) -> None:
        super().__init__(entries)
        self.origin = origin
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> T:
        """An entry, which counts as asked for.

        Raises:
            DatasetNotFoundError: If there is none of that name.
        """
        if key not in self:
            raise DatasetNotFoundError(
                f"the entry {key!r} in {self.origin}",
                f"{len(self)} entries: {', '.join(sorted(self)[:9])}",
                "fetch the fixture again",
            )
        self.asked.add(key)
        return super().__getitem__(key)


class Vocabulary:
    """Finds the published vocabulary by which the authors' code read reports.

    Args:
        given: The file; None = where a recording looks for it.

    Attributes:
        asked: Whether a recording had reports to read.
    """

    def __init__(self, given: Path | None = None) -> None:
        self.given = given
        self.asked = False

    def find(self, *beside: Path) -> Path:
        """The file that was given, or the first of these places that has one.

        Raises:
            DatasetNotFoundError: If there is none.
        """
        self.asked = True
        places = (self.given,) if self.given else beside
        for place in places:
            if place.is_file():
                return place
        raise DatasetNotFoundError(
            f"the published tokenizer {places[0]}",
            "no such file",
            "give --tokenizer FILE",
        )


class Recording:
    """A folder of ``NAME.json`` and ``NAME.safetensors``, each read when asked for.

    Args:
        folder: The folder.
        vocabulary: What finds the published vocabulary of recorded reports.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary | None = None) -> None:
        self.folder, self.vocabulary = folder, vocabulary or Vocabulary()
        self._facts: dict[str, Read[Any]] = {}
        self._tensors: dict[str, Read[Tensor]] = {}

    def has(self, file: str) -> bool:
        """Whether the folder holds a file."""
        return (self.folder / file).is_file()

    def facts(self, name: str) -> Read[Any]:
        """The entries of ``NAME.json``; those of ``NAME.json: config`` count too."""
        if name not in self._facts:
            file = self.folder / f"{name}.json"
            entries = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(entries, dict):
                raise DatasetNotFoundError(
                    f"named entries in {file}",
                    type(entries).__name__,
                    "fetch the fixture again",
                )
            if isinstance(config := entries.get("config"), dict):
                entries["config"] = Read(config, f"the config of {file}")
            self._facts[name] = Read(entries, file)
        return self._facts[name]

    def tensors(self, name: str) -> Read[Tensor]:
        """The tensors of ``NAME.safetensors``."""
        if name not in self._tensors:
            file = self.folder / f"{name}.safetensors"
            self._tensors[name] = Read(load_file(file), file)
        return self._tensors[name]


Part = Callable[[Recording, torch.dtype], Iterator[Comparison]]
"""Replays a part of a recording in some arithmetic."""


@dataclass(frozen=True)
class Replay:
    """Replays those parts of a method's recordings that a folder holds.

    Args:
        method: Name of the method, for messages.
        parts: File that a part cannot do without, to the part.
    """

    method: str
    parts: Mapping[str, Part]

    def __call__(
        self,
        folder: Path,
        dtype: torch.dtype = torch.float32,
        vocabulary: Vocabulary | None = None,
    ) -> list[Comparison]:
        """Replay a folder.

        Args:
            folder: Folder of the recording.
            dtype: Arithmetic of the replay; most recordings were made in float32.
            vocabulary: What finds the published vocabulary; None = where a part looks for it.

        Raises:
            DatasetNotFoundError: If the folder is missing, holds no part, or a file or
                an entry of a part is missing or damaged.
        """
        if not folder.is_dir():
            raise DatasetNotFoundError(
                f"a fixture folder {folder}", "no such folder", "check --fixture"
            )
        recording = Recording(folder, vocabulary)
        held = [part for file, part in self.parts.items() if recording.has(file)]
        if not held:
            raise DatasetNotFoundError(
                f"{' or '.join(self.parts)} in {folder}",
                "none of them",
                f"give a folder with a recorded {self.method} run",
            )
        try:
            return [row for part in held for row in part(recording, dtype)]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            if isinstance(error, VLPZooError):
                raise
            raise DatasetNotFoundError(
                f"a recorded {self.method} run in {folder}",
                f"{type(error).__name__}: {error}",
                "fetch the fixture again",
            ) from error


def under(entries: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The entries whose name begins with a prefix, without it, by name."""
    return {
        name.removeprefix(prefix): value
        for name, value in sorted(entries.items())
        if name.startswith(prefix)
    }


def intermediates(
    recorded: Mapping[str, Tensor],
    ours: Mapping[str, Tensor],
    tolerance: float | Callable[[Tensor], float],
    thinned: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Iterator[Comparison]:
    """Compare what passed through the networks, under ``mid.NAME``.

    Args:
        recorded: Tensors by name; ``NAME.strided`` is every n-th value of a flattened
            one.
        ours: Tensors under the recorded names.
        tolerance: Largest absolute error, or what makes it of a recorded tensor.
        thinned: For each strided name its ``flat_stride`` and sums.

    Raises:
        ConfigError: If a recorded tensor has no counterpart among ours.
    """
    for key, expected in recorded.items():
        name = key.removesuffix(".strided")
        if name not in ours:
            raise ConfigError(
                f"the intermediate {key!r}", "no counterpart here", "update vlp-zoo"
            )
        found = ours[name]
        if name != key:
            yield sums(f"mid.{name}.sums", found, thinned[name])
            found = found.reshape(-1)[:: thinned[name]["flat_stride"]]
        allowed = tolerance(expected) if callable(tolerance) else tolerance
        yield tensor(f"mid.{key}", found, expected, allowed)


def adamw(module: nn.Module, recipe: Mapping[str, Any]) -> torch.optim.AdamW:
    """The recorded AdamW over all that is trained; rates are set step by step."""
    return torch.optim.AdamW(
        [p for p in module.parameters() if p.requires_grad],
        betas=tuple(recipe["betas"]),
        eps=recipe.get("eps", 1e-8),
        weight_decay=recipe["weight_decay"],
    )


def take_step(
    title: str,
    optimizer: torch.optim.Optimizer,
    losses: Mapping[str, Tensor],
    recorded: Mapping[str, Any],
    tolerance: float,
    *,
    clip: float | None = None,
    norm_tolerance: float | None = None,
) -> Iterator[Comparison]:
    """Compare losses before a step of the optimiser, and take it.

    Args:
        title: Name of the step.
        optimizer: Holds the parameters and the rate of this step.
        losses: Ours, under their recorded names, with ``total``.
        recorded: Official numbers; ``grad_norm``, if there, is that of the total.
        tolerance: Largest relative error.
        clip: Largest norm of the gradient that is stepped by; None = any.
        norm_tolerance: Largest one of the gradient's norm; None = the same.
    """
    for name, value in losses.items():
        yield relative(f"{title}.{name}", value, recorded[name], tolerance)
    optimizer.zero_grad()
    losses["total"].backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if "grad_norm" in recorded:
        norm = nn.utils.get_total_norm(
            [p.grad for p in parameters if p.grad is not None]
        )
        most = tolerance if norm_tolerance is None else norm_tolerance
        yield relative(f"{title}.grad_norm", norm, recorded["grad_norm"], most)
    if clip is not None:
        nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


def count_inputs(
    entries: Mapping[str, Read[Any] | tuple[Read[Any], Callable[[str], bool]]],
    excused: Mapping[str, str] | None = None,
) -> Comparison:
    """How many of a recording's inputs its replay has asked for so far.

    Args:
        entries: Prefix for messages to the entries of a file, and which of them are
            inputs where not all are.
        excused: Inputs that cannot be replayed to the reason, see `replayed`.
    """
    names: set[str] = set()
    asked: set[str] = set()
    for prefix, entry in entries.items():
        read, is_input = entry if isinstance(entry, tuple) else (entry, None)
        names |= {prefix + n for n in read if is_input is None or is_input(n)}
        asked |= {prefix + n for n in read.asked}
    return replayed(names, asked, excused or {})


def replayed(
    recorded: Iterable[str], asked: Container[str], excused: Mapping[str, str]
) -> Comparison:
    """How many of a recording's inputs went into its replay; others fail it.

    Args:
        recorded: Names of all its inputs.
        asked: Those that were read.
        excused: Inputs that cannot be replayed to the reason, which is printed.
    """
    names = sorted(recorded)
    left = [name for name in names if name not in asked]
    said = [f"{n} ({excused[n]})" if n in excused else n for n in left]
    count, total = len(names) - len(left), len(names)
    text = f"{INPUTS}: {count} of {total}"
    text += f"; not replayed: {', '.join(said)}" if left else ""
    missing = sum(name not in excused for name in left)
    return Comparison(text, float(count), float(total), float(missing), 0.0)
