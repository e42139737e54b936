"""Prompt files: sentences of zero-shot classification, versioned, by name.

A file gives pairs of sentences that affirm and deny a finding, words for labels that
are abbreviated or not how a report speaks, and whole sentences for labels that fit into
no template ("No Finding"). Its SHA-256 is stored with every number: one word more is
another evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError, unknown_name
from vlp_zoo.files import configs_folder
from vlp_zoo.reading.yamls import read_yaml

__all__ = [
    "Prompts",
    "prompt_names",
    "prompts",
    "read_prompts",
    "zero_shot_scores",
]

Pair = tuple[str, str]


@dataclass(frozen=True)
class Prompts:
    """The sentences of a file.

    Attributes:
        name: Name of the file, without its ending.
        version: Raised with every change.
        sha256: SHA-256 of the file.
        templates: Pairs that affirm and deny, ``{}`` for the finding.
        words: Label to what stands for it; labels are compared by `plain`.
        whole: Label to pairs that take the place of the templates, in turn.
    """

    name: str
    version: int
    sha256: str
    templates: tuple[Pair, ...]
    words: Mapping[str, str]
    whole: Mapping[str, tuple[Pair, ...]]

    def pairs(self, label: str) -> list[Pair]:
        """One pair of sentences for each template."""
        key = plain(label)
        if key in self.whole:
            given = self.whole[key]
            return [given[i % len(given)] for i in range(len(self.templates))]
        words = self.words.get(key, key)
        return [(yes.format(words), no.format(words)) for yes, no in self.templates]


def plain(label: str) -> str:
    """A label in lower case with spaces, the way files and tasks are compared.

    Example:
        >>> plain("Pleural_Thickening")
        'pleural thickening'
    """
    return " ".join(label.replace("_", " ").lower().split())


def prompt_names() -> list[str]:
    """Names of the packaged files."""
    return sorted(path.stem for path in (configs_folder() / "prompts").glob("*.yaml"))


def read_prompts(name: str) -> Prompts:
    """A packaged prompt file, or one of one's own.

    Args:
        name: ``"chest"``, ``"fundus"`` or a path that ends in ``.yaml``.

    Raises:
        UnknownNameError: If there is no such file.
        ConfigError: If it is not well formed.
    """
    path = Path(name)
    if path.suffix != ".yaml" or not path.is_file():
        if name not in prompt_names():
            raise unknown_name(
                "prompt file, or a .yaml file,",
                name,
                prompt_names(),
                "check the spelling",
            )
        path = configs_folder() / "prompts" / f"{name}.yaml"
    content = read_yaml(path, "the prompt file")
    raw = path.read_bytes()
    try:
        templates = tuple(_pair(entry) for entry in content["templates"])
        words = {plain(k): str(v) for k, v in content.get("words", {}).items()}
        whole = {
            plain(k): tuple(_pair(entry) for entry in v)
            for k, v in content.get("whole", {}).items()
        }
        version = int(content["version"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"version, templates, words and whole in {path}",
            f"{type(error).__name__}: {error}",
            "correct the prompt file",
        ) from error
    if not templates or any("{}" not in side for pair in templates for side in pair):
        raise ConfigError(
            f"pairs of sentences with {{}} for the finding in {path}",
            str(templates)[:80] or "none",
            "correct the prompt file",
        )
    digest = hashlib.sha256(raw).hexdigest()
    return Prompts(path.stem, version, digest, templates, words, whole)


def _pair(entry: Any) -> Pair:
    yes, no = (str(side) for side in entry)
    return yes, no


Array = npt.NDArray[np.floating]

AFFIRM, DENY = "There is {}.", "There is no {}."


def prompts(label_names: Sequence[str]) -> tuple[list[str], list[str]]:
    """A sentence that affirms and one that denies each finding.

    Example:
        >>> prompts(["Pleural_Effusion"])
        (['There is pleural effusion.'], ['There is no pleural effusion.'])
    """
    words = [name.replace("_", " ").lower() for name in label_names]
    return [AFFIRM.format(w) for w in words], [DENY.format(w) for w in words]


def zero_shot_scores(
    images: Array, affirming: Array, denying: Array
) -> npt.NDArray[np.float64]:
    """How much closer each image is to the affirming sentence.

    Args:
        images: (N, E) unit length.
        affirming: (K, E) unit length.
        denying: (K, E) unit length.

    Returns:
        (N, K) differences of cosines, larger = present.
    """
    wide = images.astype(np.float64)
    scores: npt.NDArray[np.float64] = wide @ (affirming - denying).astype(np.float64).T
    return scores
