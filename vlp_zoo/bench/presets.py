"""Presets and suites: protocols and their tasks by name, from YAML files.

A preset names a protocol and its settings, where they come from, whether that was
verified, and what is wrong with it; the issues are printed and stored with every number.
``NAME@fixed`` is the same preset with its ``fixed`` settings on top. A preset with
``refuse`` gives its reason instead of numbers.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from vlp_zoo.errors import ConfigError, unknown_name
from vlp_zoo.evaluation.protocol import Protocol
from vlp_zoo.files import configs_folder
from vlp_zoo.reading.yamls import read_yaml

__all__ = [
    "PROTOCOLS",
    "Preset",
    "Suite",
    "SuiteTask",
    "preset_names",
    "read_preset",
    "read_suite",
    "suite_names",
]

PROTOCOLS: dict[str, str] = {
    "linear": "vlp_zoo.evaluation.classification.linear_probe.LinearProbe",
    "knn": "vlp_zoo.evaluation.classification.knn.NearestNeighbours",
    "few-shot": "vlp_zoo.evaluation.classification.few_shot.FewShot",
    "corruptions": "vlp_zoo.evaluation.classification.corrupted.CorruptedImages",
    "zero-shot": "vlp_zoo.evaluation.alignment.zero_shot.ZeroShot",
    "tip-adapter": "vlp_zoo.evaluation.alignment.tip_adapter.TipAdapter",
    "finetune": "vlp_zoo.evaluation.classification.finetune.FineTune",
    "lora": "vlp_zoo.evaluation.classification.lora.LowRank",
    "retrieval": "vlp_zoo.evaluation.alignment.retrieve.Retrieve",
    "segmentation": "vlp_zoo.evaluation.segmentation.segmentation.Segment",
    "detection": "vlp_zoo.evaluation.detection.detection.Detect",
    "grounding": "vlp_zoo.evaluation.grounding.grounding.Ground",
    "vqa": "vlp_zoo.evaluation.vqa.vqa.AnswerQuestions",
    "vqa-text": "vlp_zoo.evaluation.vqa.vqa.AnswerWithTexts",
    "report-generation": "vlp_zoo.evaluation.reports.generation.WriteReport",
}
"""Kind of evaluation to its class, as an import path."""

VERIFIED = ("ours", "code", "readme", "docs", "inferred")


@dataclass(frozen=True)
class Preset:
    """An evaluation by name.

    Attributes:
        name: ``"vlp-linear"``, ``"mgca-linear@fixed"``.
        protocol: Ready to run.
        summary: One line.
        reference: Paper and code it stands for; empty for our own.
        verified: How its settings are known: ``"ours"``, ``"code"``, ``"readme"``,
            ``"docs"`` or ``"inferred"``.
        known_issues: Printed and stored with every number.
        data: What the preset says of data set, split and views, for the reader.
    """

    name: str
    protocol: Protocol
    summary: str
    reference: Mapping[str, str] = field(default_factory=dict)
    verified: str = "ours"
    known_issues: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SuiteTask:
    """One task of a suite.

    Attributes:
        name: Name of the task in results.
        data: ``"phantom_chest"``, ``"nih14"``, ...; data sets on disk need a root.
        options: Options of the task's data: sizes, split, views.
        presets: How it is evaluated.
        fractions: Label fractions.
        seeds: Draws at fractions below 1, and of every random head.
    """

    name: str
    data: str
    options: Mapping[str, Any]
    presets: tuple[str, ...]
    fractions: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Suite:
    """Tasks that belong together."""

    name: str
    summary: str
    tasks: tuple[SuiteTask, ...]


def preset_names() -> list[str]:
    """Names of the packaged presets, without their ``@fixed`` variants."""
    return sorted(path.stem for path in (configs_folder() / "presets").glob("*.yaml"))


def suite_names() -> list[str]:
    """Names of the packaged suites."""
    return sorted(path.stem for path in (configs_folder() / "suites").glob("*.yaml"))


def read_preset(name: str) -> Preset:
    """A packaged preset, or one from a file of one's own.

    Args:
        name: ``"vlp-linear"``, ``"mgca-linear@fixed"`` or a path.

    Raises:
        UnknownNameError: If there is no such preset.
        ConfigError: If it is not well formed, or refuses.
    """
    bare, _, variant = name.partition("@")
    path = _file("presets", bare, preset_names())
    content = _read(path)
    if content.get("refuse"):
        raise ConfigError(
            f"the preset {name}", str(content["refuse"]), "choose another preset"
        )
    issues = tuple(str(issue) for issue in content.get("known_issues", ()))
    settings = dict(content.get("settings", {}))
    if variant:
        fixed = content.get("fixed")
        if variant != "fixed" or not fixed:
            raise ConfigError(
                f"a variant {variant!r} of the preset {bare}",
                "the variant 'fixed'" if fixed else "no variants",
                f"use {bare}" + ("@fixed" if fixed else ""),
            )
        settings |= {k: v for k, v in fixed.items() if k != "known_issues"}
        issues = tuple(str(issue) for issue in fixed.get("known_issues", ()))
    if content.get("verified", "ours") not in VERIFIED:
        raise ConfigError(
            f"verified: one of {', '.join(VERIFIED)} in {path}",
            repr(content["verified"]),
            "correct the preset",
        )
    shown = path.stem + (f"@{variant}" if variant else "")
    protocol = _protocol(path, content.get("protocol"), settings, shown, issues)
    return Preset(
        name=shown,
        protocol=protocol,
        summary=str(content.get("summary", "")),
        reference=dict(content.get("reference", {})),
        verified=str(content.get("verified", "ours")),
        known_issues=issues,
        data=dict(content.get("data", {})),
    )


def read_suite(name: str) -> Suite:
    """A packaged suite, or one from a file of one's own.

    Raises:
        UnknownNameError: If there is no such suite.
        ConfigError: If it is not well formed.
    """
    path = _file("suites", name, suite_names())
    content = _read(path)
    tasks = []
    for entry in content.get("tasks", ()):
        try:
            tasks.append(
                SuiteTask(
                    name=str(entry.get("name", entry["data"])),
                    data=str(entry["data"]),
                    options=dict(entry.get("options", {})),
                    presets=tuple(entry["presets"]),
                    fractions=tuple(float(f) for f in entry.get("fractions", (1.0,))),
                    seeds=tuple(int(s) for s in entry.get("seeds", (0,))),
                )
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"tasks with data and presets in {path}",
                f"{type(error).__name__}: {error}",
                "correct the suite",
            ) from error
    if not tasks:
        raise ConfigError(f"tasks in {path}", "none", "list at least one")
    return Suite(path.stem, str(content.get("summary", "")), tuple(tasks))


def _protocol(
    path: Path,
    kind: object,
    settings: Mapping[str, Any],
    name: str,
    issues: tuple[str, ...],
) -> Protocol:
    if kind not in PROTOCOLS:
        raise ConfigError(
            f"protocol: one of {', '.join(PROTOCOLS)} in {path}",
            repr(kind),
            "correct the preset",
        )
    module, _, attribute = PROTOCOLS[str(kind)].rpartition(".")
    made: type[Protocol] = getattr(importlib.import_module(module), attribute)
    known = {entry.name for entry in fields(made)} - {"name", "known_issues"}
    old = {before: now for now, before in made.stored_as.items()}
    settings = {old.get(name, name): value for name, value in settings.items()}
    strange = sorted(set(settings) - known)
    if strange:
        raise ConfigError(
            f"settings among {', '.join(sorted(known))} in {path}",
            ", ".join(strange),
            "correct the preset",
        )
    values = {key: _frozen(value) for key, value in settings.items()}
    return made(**values, name=name, known_issues=issues)


def _frozen(value: Any) -> Any:
    """Lists as tuples, mappings as tuples of pairs: settings are never changed."""
    if isinstance(value, list):
        return tuple(_frozen(entry) for entry in value)
    if isinstance(value, dict):
        return tuple((str(key), _frozen(entry)) for key, entry in value.items())
    return value


def _file(kind: str, name: str, known: list[str]) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    if name in known:
        return configs_folder() / kind / f"{name}.yaml"
    raise unknown_name(
        f"{kind.removesuffix('s')}, or a .yaml file,", name, known, "check the spelling"
    )


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(
            f"names and values in {path}", type(content).__name__, "correct the file"
        )
    return content
