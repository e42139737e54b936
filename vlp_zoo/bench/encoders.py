"""Encoders as the command line names them: file, texts they read, data they have seen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.encoders.specs import split_spec
from vlp_zoo.errors import DatasetNotFoundError

if TYPE_CHECKING:
    from vlp_zoo.evaluation.features.joint import JointEncoder
    from vlp_zoo.evaluation.protocol import Candidate
    from vlp_zoo.evaluation.tasks import Task

__all__ = [
    "RANDOM_DRAWS",
    "check_encoders",
    "encoder_file",
    "joints_of",
    "named_encoder",
    "origin_line",
    "seen_lines",
    "sources_of",
]

UNKNOWN = "(not recorded)"
RANDOM_DRAWS = 3
"""Draws of the weights of a random init: a single one may be lucky."""


def named_encoder(spec: str) -> tuple[str, str]:
    """Name in results and spec; a plain spec is its own name.

    Example:
        >>> named_encoder("mine=runs/x"), named_encoder("timm:resnet18")
        (('mine', 'runs/x'), ('timm:resnet18', 'timm:resnet18'))
    """
    name, found, rest = spec.partition("=")
    # A path or a hub name may hold = as well, but no plain word before it.
    return (name, rest) if found and re.fullmatch(r"[\w@+ -]+", name) else (spec, spec)


def encoder_file(spec: str) -> str:
    """The encoder file of a run's folder; other specs as they are.

    Args:
        spec: A spec of an encoder (`vlp_zoo.encoders.specs.SPECS`), or the folder of a
            run.

    Raises:
        DatasetNotFoundError: If a folder has no encoder file.
    """
    folder = Path(spec)
    if not folder.is_dir():
        return spec
    file = folder / "encoder.safetensors"
    if not file.is_file():
        raise DatasetNotFoundError(
            f"encoder.safetensors in the folder {folder}",
            f"{', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'nothing'}",
            "give the .safetensors file itself; a folder of transformers is hf:FOLDER",
        )
    return str(file)


def check_encoders(specs: Sequence[str]) -> Iterator[str]:
    """Load each encoder once and say what it is, for a dry run.

    Args:
        specs: The encoders' specs, each with ``NAME=`` before it or not.

    Yields:
        Lines to print.

    Raises:
        VLPZooError: If one cannot be loaded.
    """
    from vlp_zoo.encoders.checkpoint import open_encoder
    from vlp_zoo.encoders.references import ReferenceNetwork

    for given in specs:
        name, spec = named_encoder(given)
        found: Any = open_encoder(encoder_file(spec))
        if isinstance(found, ReferenceNetwork):
            yield f"encoder {name}: trained from random weights on each task of masks"
            continue
        side = found.preprocessing["image_size"]
        yield f"encoder {name}: {found.width} features of images of {side} px"
        if Path(encoder_file(spec)).is_file():
            yield f"  {origin_line(Path(encoder_file(spec)))}"


def origin_line(file: Path) -> str:
    """What the card of an encoder file says of its training.

    Args:
        file: Path of the encoder file, where `encoder_file` returned one.
    """
    from vlp_zoo.encoders.checkpoint import read_card

    card = read_card(file)
    data = ", ".join(sources_of(str(file)))
    start, terms = card.get("origin"), card.get("data_licence")
    return (
        f"trained on {data or UNKNOWN} from {start or UNKNOWN}; "
        f"terms of the data: {terms or UNKNOWN}"
    )


def joints_of(specs: Sequence[str]) -> dict[str, JointEncoder]:
    """The joint spaces of those encoders that have one, by spec.

    Args:
        specs: The encoders' specs, returned by `encoder_file`.

    Raises:
        EncoderLoadError: If a published model cannot be loaded.
    """
    from vlp_zoo.bench.joint import joint_beside
    from vlp_zoo.encoders.checkpoint import open_joint

    found: dict[str, JointEncoder | None] = {
        spec: joint_beside(Path(spec)) if Path(spec).is_file() else open_joint(spec)
        for spec in specs
    }
    return {spec: joint for spec, joint in found.items() if joint is not None}


def sources_of(spec: str) -> list[str]:
    """Data sets that an encoder was pre-trained on, as far as card or layout tell.

    Args:
        spec: The encoder's spec, returned by `encoder_file`.

    Returns:
        Empty where nothing is known: no proof that nothing was seen.
    """
    from vlp_zoo.encoders.checkpoint import read_card

    kind, rest = split_spec(spec)
    if kind == "official":
        layout = LAYOUTS.get(rest.partition(":")[0])
        return list(layout.sources) if layout else []
    if kind or not Path(spec).is_file():
        return []
    found = read_card(Path(spec)).get("pretraining_sources")
    return [str(name) for name in found] if isinstance(found, list) else []


def seen_lines(candidates: Sequence[Candidate], task: Task) -> list[str]:
    """What a reader of a task's numbers must know of the encoders' pre-training.

    Args:
        candidates: Encoders and baselines, returned by
            `vlp_zoo.bench.suite.candidates_of`.
        task: The task.
    """
    known: dict[str, list[str]] = {}
    for candidate in candidates:
        for found in candidate.seen(task):
            if len(found.chain) == 1:
                what = (
                    f"pre-trained on {found.source} itself: unseen only if the test "
                    "patients were held out there too"
                )
            else:
                surely = "seen" if found.certain else "may have been seen"
                what = (
                    f"images of {found.dataset} {surely} in pre-training "
                    f"({' > '.join(found.chain)}: {found.mechanism})"
                )
            known.setdefault(what, []).append(candidate.subject.name)
    return [
        f"warning: {task.name}: {', '.join(who)}: {what}" for what, who in known.items()
    ]
