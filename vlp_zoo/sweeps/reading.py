"""Reading a sweep file; a mistake in it becomes one message that names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError
from vlp_zoo.files import slug
from vlp_zoo.reading.yamls import read_yaml
from vlp_zoo.sweeps.objective import Objective
from vlp_zoo.sweeps.plan import SEED_FLAGS, Axis, Sweep, text_of
from vlp_zoo.sweeps.ranges import Search

__all__ = ["read_sweep"]

KEYS = tuple(entry.name for entry in fields(Sweep))
SEARCH_KEYS = tuple(entry.name for entry in fields(Search))


def read_sweep(
    path: Path, changes: Mapping[str, Any] | None = None, removed: Sequence[str] = ()
) -> Sweep:
    """Read and check a sweep file.

    Args:
        path: The YAML file.
        changes: Options to set over the file's; ``evaluate.FLAG`` goes to the
            evaluation, ``seeds``, ``name`` and ``program`` to the sweep itself.
        removed: Options of the file to leave out, by the same names.

    Raises:
        DatasetNotFoundError: If there is no such file.
        ConfigError: If it does not describe a sweep.
    """
    loaded = read_yaml(path, "the sweep file")
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"a sweep in {path}", "no mapping", f"give it keys: {', '.join(KEYS)}"
        )
    loaded.setdefault("name", path.stem)
    for flag in removed:
        where, key = _place(loaded, flag)
        if key not in where:
            raise ConfigError(
                f"the option {flag} in {path}, to leave it out",
                ", ".join(sorted(map(str, where))) or "no options",
                "check the spelling of --unset",
            )
        del where[key]
    for flag, value in (changes or {}).items():
        where, key = _place(loaded, flag)
        where[key] = value
    return _checked(loaded, path)


def _place(loaded: dict[str, Any], flag: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds an option, and the option's name in it."""
    if flag in ("seeds", "name", "program", "evaluate"):
        return loaded, flag

    def section_of(name: str) -> dict[str, Any]:
        inner = loaded.get(name)
        held: dict[str, Any] = dict(inner) if isinstance(inner, dict) else {}
        loaded[name] = held
        return held

    section, _, rest = flag.partition(".")
    if section in ("evaluate", "objective", "search") and rest:
        return section_of(section), rest
    return section_of("options"), flag


def _checked(loaded: dict[str, Any], path: Path) -> Sweep:
    def refuse(wanted: str, found: str, do_this: str) -> ConfigError:
        return ConfigError(f"{wanted} in {path}", found, do_this)

    def mapping(key: str) -> dict[str, Any]:
        value = loaded.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
            raise refuse(f"a mapping of names under {key}", repr(value), "correct it")
        return value

    unknown = [str(key) for key in loaded if key not in KEYS]
    if unknown:
        raise refuse(f"keys among {', '.join(KEYS)}", ", ".join(unknown), "rename them")
    name, command = str(loaded["name"]), loaded.get("command", "fit")
    if slug(name) != name:
        raise refuse("a name that can be a folder", repr(name), f"use {slug(name)!r}")
    if command not in SEED_FLAGS:
        raise refuse("command: fit or bench", repr(command), "pick one")
    seeds = loaded.get("seeds") or []
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise refuse("seeds: a list of whole numbers", repr(seeds), "write [0, 1, 2]")
    program = loaded.get("program")
    if program is not None and not (program and isinstance(program, list)):
        raise refuse("program: a list of words", repr(program), "write [torchrun, ...]")
    seed_flag = str(loaded.get("seed_flag") or SEED_FLAGS[command])
    grid = {
        axis: _axis(axis, choices, refuse) for axis, choices in mapping("grid").items()
    }
    evaluate = mapping("evaluate") if loaded.get("evaluate") is not None else None
    if evaluate is not None and command == "bench":
        raise refuse(
            "evaluate only where the command is fit", "bench", "move it to options"
        )
    options, search = mapping("options"), mapping("search") or None
    if search and grid:
        raise refuse("either a grid or a search", "both", "make two files of it")
    if search and (odd := [key for key in search if key not in SEARCH_KEYS]):
        raise refuse(f"search: {', '.join(SEARCH_KEYS)}", ", ".join(odd), "rename it")
    ranges = Search(**{"parameters": {}, **search}) if search else None
    reserved = {"out", *((seed_flag,) if seeds else ())}
    reserved |= {"evaluate", "ckpt_path"} if command == "fit" else set()
    flags = [
        f for axis in grid.values() for choice in axis.values() for f in choice.flags
    ]
    flags += [*options, *(ranges.parameters if ranges else {})]
    taken = sorted(reserved & set(flags)) + sorted(
        {"encoder", "out"} & {*(evaluate or ())}
    )
    if taken:
        raise refuse(
            "flags that the sweep does not set by itself",
            ", ".join(taken),
            "leave them out; a sweep has --out, seeds: and evaluate: of its own",
        )
    objective = mapping("objective")
    if not objective and evaluate is None and command == "fit":
        objective = {"logged": "val/loss"}
    sweep = Sweep(
        name=name,
        command=command,
        options=options,
        grid=grid,
        baseline=loaded.get("baseline"),
        seeds=tuple(seeds),
        seed_flag=seed_flag,
        evaluate=evaluate,
        objective=Objective.of(objective, benched=command == "bench" or bool(evaluate)),
        search=ranges,
        program=program and [str(word) for word in program],
    )
    names = [variant.name for variant in sweep.variants()]
    if sweep.baseline is not None and (search or sweep.baseline not in names):
        raise refuse(
            "baseline: the name of a variant",
            f"{sweep.baseline!r}; the variants are {'; '.join(names)}",
            "copy one of them",
        )
    return sweep


def _axis(axis: str, choices: Any, refuse: Any) -> dict[str, Axis]:
    """Choices of an axis by their label."""
    short = axis.rpartition(".")[2]
    if isinstance(choices, list) and choices:
        # Values of one flag, which is the axis itself.
        return {
            (title := f"{short}={text_of(value)}"): Axis(title, value, {axis: value})
            for value in choices
        }
    if isinstance(choices, dict) and choices:
        found = {}
        for label, flags in choices.items():
            if not isinstance(flags or {}, dict):
                raise refuse(
                    f"flags under grid: {axis}: {label}",
                    repr(flags),
                    "write {FLAG: VALUE, ...}, or {} for none",
                )
            found[str(label)] = Axis(str(label), str(label), dict(flags or {}))
        return found
    wanted = f"values under grid: {axis}"
    raise refuse(wanted, repr(choices), "write a list, or labels with flags")
