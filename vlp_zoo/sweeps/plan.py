"""From a sweep file to the list of runs: variants, seeds and their commands.

A sweep file is YAML::

    name: mask_ratios
    command: fit                       # or bench
    options: {config: demo/ecamp, trainer.max_epochs: 4}
    grid:
      model.mask_ratio: [0.35, 0.75]   # a flag and its values
      losses:                          # labels, each with any number of flags
        all: {}
        no super-resolution: {model.res_weight: 0}
    seeds: [0, 1, 2]
    evaluate: {task: phantom_chest}    # vlpzoo bench on the encoder of each run
    objective: {metric: macro_auroc}

Axes multiply; a list of ablations is one axis with labels. docs/clusters.md has the
rest, configs/sweeps whole files.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError
from vlp_zoo.files import slug
from vlp_zoo.sweeps.objective import Objective
from vlp_zoo.sweeps.ranges import Search

__all__ = [
    "ENCODER",
    "FOLDER",
    "SEED_FLAGS",
    "Axis",
    "Order",
    "Run",
    "Sweep",
    "Variant",
    "text_of",
]

FOLDER, ENCODER = "{folder}", "{encoder}"
"""What stands in a command for the run's folder and for the encoder it trained."""

SEED_FLAGS = {"fit": "seed_everything", "bench": "seeds"}
REPEATED = ("encoder", "suite", "task", "preset", "root")
"""Options of ``vlpzoo bench`` that are given once per value."""

FIRST = ("config", "model", "data")
"""Options that open others and so have to stand before them."""


@dataclass(frozen=True)
class Variant:
    """One point of the grid.

    Attributes:
        name: Its labels, joined; says which variant a number belongs to.
        axes: Axis to label or value, for tables and plots.
        flags: Options it adds to, or changes in, those of the sweep.
    """

    name: str
    axes: dict[str, Any]
    flags: dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What a run has to do; equal orders give equal results.

    Attributes:
        variant: Name of the variant.
        seed: None where the sweep has no seeds.
        program: Words before the command; None is this Python's ``vlp_zoo``.
        commands: One after another; `FOLDER` and `ENCODER` are filled in when run.
    """

    variant: str
    seed: int | None
    program: list[str] | None
    commands: list[list[str]]

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps(vars(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Order:
        """The inverse of `to_json`.

        Raises:
            ValueError: If the text is not of an order.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Run:
    """An order and the folder it is carried out in."""

    order: Order
    folder: Path

    @property
    def name(self) -> str:
        """The variant, with its seed if there are seeds."""
        seed = self.order.seed
        return self.order.variant + ("" if seed is None else f", seed {seed}")


@dataclass(frozen=True)
class Axis:
    """One choice on an axis.

    Attributes:
        title: In a variant's name.
        value: In tables: the flag's value, or the label.
        flags: What it sets.
    """

    title: str
    value: Any
    flags: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A sweep file, checked.

    Attributes:
        name: Folder of its runs, below the folder of all sweeps.
        command: ``"fit"`` or ``"bench"``.
        options: Flags (without dashes) of every run.
        grid: Axis to its variants' (label, flags).
        baseline: Name of the variant that others are compared with.
        seeds: Repetitions; empty for one run per variant.
        seed_flag: Option that takes the seed.
        evaluate: Options of ``vlpzoo bench`` on the trained encoder; None for none.
        objective: Which number of a finished run counts.
        search: Trials in place of a grid, or None.
        program: Words before each command; None is this Python's ``vlp_zoo``.
    """

    name: str
    command: str = "fit"
    options: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, dict[str, Axis]] = field(default_factory=dict)
    baseline: str | None = None
    seeds: tuple[int, ...] = ()
    seed_flag: str = "seed_everything"
    evaluate: dict[str, Any] | None = None
    objective: Objective = field(default_factory=Objective)
    search: Search | None = None
    program: list[str] | None = None

    def variants(self) -> list[Variant]:
        """All points of the grid, the first axis slowest.

        Raises:
            ConfigError: If two axes set one flag.
        """
        found = []
        axes = [
            [(axis, *one) for one in row.items()] for axis, row in self.grid.items()
        ]
        for point in itertools.product(*axes):
            flags: dict[str, Any] = {}
            for axis, label, choice in point:
                twice = flags.keys() & choice.flags.keys()
                if twice:
                    raise ConfigError(
                        "axes that set different flags",
                        f"{', '.join(sorted(twice))} set twice for {axis}: {label}",
                        "make one axis with labels of them",
                    )
                flags |= choice.flags
            name = ", ".join(choice.title for _, _, choice in point) or "all"
            shown = {axis: choice.value for axis, _, choice in point}
            found.append(Variant(name, shown, flags))
        return found

    def runs(self, out: Path, variants: Sequence[Variant] | None = None) -> list[Run]:
        """The runs of all, or of given, variants; each seed is a run.

        Args:
            out: Folder of all sweeps.
            variants: Those of the grid by default.

        Raises:
            ConfigError: If names cannot be told apart as folders.
        """
        runs: dict[str, Run] = {}
        for variant in self.variants() if variants is None else variants:
            for seed in self.seeds or (None,):
                order = self._order(variant, seed)
                suffix = "" if seed is None else f"-seed{seed}"
                folder = out / self.name / f"{slug(variant.name)}{suffix}"
                run = Run(order, folder)
                other = runs.setdefault(str(folder).lower(), run)
                if other is not run:
                    raise ConfigError(
                        "names of variants that make different folders",
                        f"{other.name!r} and {run.name!r} both make {folder.name}",
                        "change a label, or remove the repeated value",
                    )
        return list(runs.values())

    def _order(self, variant: Variant, seed: int | None) -> Order:
        flags = {**self.options, **variant.flags}
        if seed is not None:
            flags[self.seed_flag] = seed
        if self.command == "bench":
            flags["out"] = f"{FOLDER}/bench"
            commands = [["bench", *_bench_words(flags)]]
        else:
            # The sweep evaluates by itself: a killed evaluation is found again.
            flags |= {"out": f"{FOLDER}/fit", "evaluate": []}
            commands = [["fit", *_fit_words(flags)]]
            if self.evaluate is not None:
                flags = {"encoder": ENCODER, **self.evaluate, "out": f"{FOLDER}/bench"}
                commands.append(["bench", *_bench_words(flags)])
        return Order(variant.name, seed, self.program, commands)


def _fit_words(flags: Mapping[str, Any]) -> Iterator[str]:
    """Options as jsonargparse reads them."""
    for flag in sorted(flags, key=lambda f: FIRST.index(f) if f in FIRST else 9):
        yield f"--{flag}={text_of(flags[flag])}"


def _bench_words(flags: Mapping[str, Any]) -> Iterator[str]:
    """Options as argparse reads them."""
    for flag, value in flags.items():
        if value is None or value is False:
            continue
        if value is True:
            yield f"--{flag}"
        elif flag in REPEATED:
            for each in value if isinstance(value, list) else [value]:
                yield f"--{flag}={each}"
        elif isinstance(value, list):
            yield f"--{flag}"
            yield from map(str, value)
        else:
            yield f"--{flag}={value}"


def text_of(value: Any) -> str:
    """A flag's value as a word of a command.

    Example:
        >>> text_of([0.1, None, True])
        '[0.1, null, true]'
    """
    if isinstance(value, str):
        return value
    # JSON is YAML: null, true, lists and mappings come out as jsonargparse wants them.
    return json.dumps(value)
