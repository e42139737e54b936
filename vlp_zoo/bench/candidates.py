"""Who is evaluated: encoders, and the baselines behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from torch import nn

from vlp_zoo.bench.encoders import RANDOM_DRAWS
from vlp_zoo.encoders.checkpoint import open_encoder
from vlp_zoo.errors import ConfigError, EncoderLoadError, VLPZooError
from vlp_zoo.evaluation.baselines import (
    Acquisition,
    PixelEncoder,
    Prevalence,
    random_copy,
)
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.subject import Subject, subject_of

__all__ = [
    "ACQUISITION",
    "PIXELS",
    "PREVALENCE",
    "candidates_of",
    "refuse_two_poolings",
]

PIXELS = "pixels"
PREVALENCE = "prevalence"
ACQUISITION = "acquisition"


def candidates_of(
    encoders: Sequence[str],
    extraction: Extraction,
    *,
    baselines: bool = True,
    random_draws: int = RANDOM_DRAWS,
    load: Callable[[str], nn.Module] = open_encoder,
    joints: Mapping[str, JointEncoder] | None = None,
    names: Mapping[str, str] | None = None,
    sources: Mapping[str, Sequence[str]] | None = None,
) -> list[Candidate]:
    """Load encoders and put their baselines behind them.

    Args:
        encoders: Specs as `open_encoder` takes them.
        extraction: How they will be encoded.
        baselines: Add random copies of each architecture, pixels, what the acquisition
            tells, and prevalence.
        random_draws: How many random copies, each with weights of its own.
        load: From spec to encoder.
        joints: Spec to the joint space of those encoders that have one.
        names: Spec to the name in results; the spec itself otherwise.
        sources: Spec to the data sets that the encoder was pre-trained on.

    Returns:
        Encoders first; nothing twice.

    Raises:
        EncoderLoadError: If an encoder cannot be loaded.
        ConfigError: If two of them have the same weights and pool in two ways.
    """
    found: dict[tuple[str, str], Candidate] = {}
    fresh: dict[str, Candidate] = {}
    plain: list[tuple[str, nn.Module]] = [
        (PIXELS, PixelEncoder()),
        (ACQUISITION, Acquisition()),
        (PREVALENCE, Prevalence()),
    ]
    others = [
        Candidate(subject_of(module, name, "floor", extraction), module)
        for name, module in plain
    ]
    for spec in dict.fromkeys(encoders):
        try:
            module = load(spec)
        except VLPZooError:
            raise
        except (OSError, RuntimeError, ValueError) as error:
            raise EncoderLoadError(
                f"the encoder {spec}",
                f"{type(error).__name__}: {error}",
                "check the name, the file and, for timm:, the connection",
            ) from error
        name = (names or {}).get(spec, spec)
        subject = subject_of(module, name, "encoder", extraction)
        compared: list[str] = []
        if baselines:
            for random in _random(module, name, random_draws, extraction):
                fresh.setdefault(random.subject.identity, random)
                compared.append(random.subject.identity)
            # Pixels and acquisition; what the prevalence says is in the metrics.
            compared += [other.subject.identity for other in others[:2]]
        joint = (joints or {}).get(spec)
        # One image encoder may lie under several joint spaces.
        known = found.setdefault(
            (subject.identity, joint.sha256 if joint else ""),
            Candidate(
                subject,
                module,
                tuple(dict.fromkeys(compared)),
                joint,
                tuple((sources or {}).get(spec, ())),
            ),
        )
        refuse_two_poolings(
            subject, known.subject.own_pooling, f"the encoder {known.subject.name}"
        )
    if not baselines:
        return list(found.values())
    taken = {identity for identity, _ in found}
    random_baselines = [c for identity, c in fresh.items() if identity not in taken]
    return [*found.values(), *random_baselines, *others]


def _random(
    encoder: nn.Module, name: str, draws: int, extraction: Extraction
) -> Iterator[Candidate]:
    """The same architecture with weights that were drawn, once for each seed."""
    family = ""
    for draw in range(draws):
        copy = random_copy(encoder, draw)
        if copy is None:
            return
        title = f"random init of {name}" + (f" (draw {draw})" if draw else "")
        subject = subject_of(copy, title, "floor", extraction)
        family = family or subject.sha256
        yield Candidate(replace(subject, draw=draw, family=family), copy)


def refuse_two_poolings(subject: Subject, other: str, where: str) -> None:
    """Refuse weights that another encoder pools in another way.

    Results know an encoder by its weights and preprocessing, so the two would count as
    one.
    """
    if other and subject.own_pooling and other != subject.own_pooling:
        raise ConfigError(
            f"one pooling of the weights of {subject.name} ({subject.own_pooling})",
            f"the same weights pooled by {other} in {where}",
            "evaluate the two one by one, each with an --out of its own",
        )
