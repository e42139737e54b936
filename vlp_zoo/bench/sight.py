"""What a model sees in one image: where it looks, and which words are near to it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from vlp_zoo.bench.encoders import encoder_file, joints_of
from vlp_zoo.bench.pictures import Picture, Pictures
from vlp_zoo.encoders.checkpoint import open_encoder
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, DependencyNotFoundError
from vlp_zoo.evaluation.alignment.prompts import prompts, zero_shot_scores
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction, fit_image
from vlp_zoo.evaluation.features.joint import JointEncoder, unit_rows
from vlp_zoo.evaluation.grounding.similarity_maps import (
    Phrase,
    framed,
    has_places,
    similarity_maps,
)
from vlp_zoo.pixels.levels import reddened
from vlp_zoo.reports.words.lexicon import CHEXPERT

__all__ = ["Map", "Sight", "look", "page", "places_that_count"]

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

FINDINGS = tuple(name.replace("_", " ") for name in CHEXPERT if name != "No Finding")
FRAME = 512
"""Longer side of a shown picture in pixels, at most."""


@dataclass(frozen=True)
class Map:
    """Numbers over an image.

    Attributes:
        title: What they are.
        values: (H, W) in the frame of the image; NaN where the encoder saw nothing.
    """

    title: str
    values: Array


@dataclass(frozen=True)
class Sight:
    """What was seen in an image.

    Attributes:
        image: (H, W, 3), at most `FRAME` pixels long.
        maps: Where the encoder looks, then where each text is found.
        texts: Texts and their cosines with the image.
        findings: Findings and how much nearer "There is X." is than "There is no X.".
        reports: The nearest reports of a pool and their cosines.
        remarks: What could not be shown, and why.
    """

    image: Pixels
    maps: tuple[Map, ...]
    texts: tuple[tuple[str, float], ...] = ()
    findings: tuple[tuple[str, float], ...] = ()
    reports: tuple[tuple[str, float], ...] = ()
    remarks: tuple[str, ...] = ()


def look(
    spec: str,
    image: Picture,
    *,
    texts: Sequence[str] = (),
    findings: Sequence[str] | None = None,
    pool: Sequence[str] = (),
    nearest: int = 5,
    colour: bool = False,
) -> Sight:
    """Look at one image through an encoder.

    Args:
        spec: The folder of a run, or another spec of an encoder.
        image: The image.
        texts: Texts to find in it.
        findings: Names to be scored without training; None stands for CheXpert's where
            the image is read in grey.
        pool: Reports, of which the nearest are shown.
        nearest: How many.
        colour: Read a file in colour.

    Raises:
        ConfigError: If words were given and the encoder knows none.
        DataRejectedError: If the image cannot be read.
        EncoderLoadError: If the encoder cannot be loaded.
    """
    spec = encoder_file(spec)
    encoder = open_encoder(spec)
    joint = joints_of([spec]).get(spec)
    if joint is None and (texts or findings or pool):
        raise ConfigError(
            "an encoder whose images and texts share a space",
            f"{spec}, which has none",
            "leave texts, findings and reports out, or give the run of another method",
        )
    source = Pictures([image], colour)
    pixels = source[0].image
    size = (pixels.shape[0], pixels.shape[1])
    maps, remarks = [], []
    how: Any = getattr(encoder, "preprocessing", {})
    if isinstance(encoder, ImageEncoder):
        title, places = places_that_count(encoder, fit_image(pixels, how))
        if places is None:
            remarks.append(f"no map of where it looks: {title}")
        else:
            maps.append(Map(title, framed(places, size, how, FRAME)))
    else:
        remarks.append("no map of where it looks: its layers are not timm's")
    shown = framed_image(pixels)
    if joint is None:
        return Sight(shown, tuple(maps), remarks=tuple(remarks))
    if findings is None:
        findings = () if colour else FINDINGS
    extraction = Extraction(progress=False, cache=FeatureCache(None))
    if texts and has_places(joint):
        phrases = [Phrase(0, text, (text,), ()) for text in texts]
        found = similarity_maps(joint, source, phrases, FRAME, extraction)
        maps += [
            Map(f"similarity to: {text}", values)
            for text, (values, _) in zip(texts, found, strict=True)
        ]
    elif texts:
        remarks.append("no maps of texts: the method aligns whole images only")
    vector = unit_rows(extraction.get(cast(nn.Module, joint), source))
    margins: Sequence[float] = ()
    if findings:
        said, denied = (_vectors(joint, t, extraction) for t in prompts(findings))
        margins = zero_shot_scores(vector, said, denied)[0].tolist()
    nearby = sorted(
        _cosines(joint, vector, list(dict.fromkeys(pool)), extraction),
        key=lambda pair: -pair[1],
    )
    return Sight(
        shown,
        tuple(maps),
        tuple(_cosines(joint, vector, texts, extraction)),
        tuple(zip(findings, margins, strict=True)),
        tuple(nearby[:nearest]),
        tuple(remarks),
    )


def places_that_count(
    encoder: ImageEncoder, pixels: npt.NDArray[np.uint8]
) -> tuple[str, Array | None]:
    """Where an encoder takes its features from.

    A ViT's last block says what its class token attends to, or all its patches where
    their mean is the feature. For other networks it is Grad-CAM (Selvaraju et al.,
    ICCV 2017) of the length of the features.

    Args:
        encoder: The encoder.
        pixels: (C, S, S), as `fit_image` makes them.

    Returns:
        What it is and (h, w); or why there is none, and None.
    """
    encoder = encoder.eval()
    images = encoder.prepare(torch.from_numpy(pixels)[None])
    if not encoder.is_vit:
        with torch.enable_grad():
            found = encoder(images.requires_grad_())
            last = found.levels[-1]
            (slope,) = torch.autograd.grad(found.pooled.norm(), last, allow_unused=True)
        if slope is None:
            return "its features do not come from its last map", None
        weighed = (slope.mean((2, 3), keepdim=True) * last).sum(1).relu()
        return "Grad-CAM of the features", _numbers(weighed[0])
    network: Any = encoder.timm
    block = network.blocks[-1].attn
    kept: list[Tensor] = []
    hook = block.attn_drop.register_forward_hook(lambda *seen: kept.append(seen[2]))
    fused, block.fused_attn = block.fused_attn, False
    try:
        with torch.inference_mode():
            encoder(images)
    finally:
        block.fused_attn = fused
        hook.remove()
    weights, first = kept[0].mean(1)[0], network.num_prefix_tokens
    by_token = encoder.pooling == "token" and network.cls_token is not None
    row = weights[0] if by_token else weights[first:].mean(0)
    who = "the class token" if by_token else "all patches"
    return f"attention of {who}", _numbers(row[first:].view(encoder.grid))


def framed_image(pixels: Pixels) -> Pixels:
    """(H, W, 3) of at most `FRAME` pixels, of the size of its maps."""
    height, width = pixels.shape[:2]
    factor = min(1.0, FRAME / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    three = small if small.ndim == 3 else np.repeat(small[..., None], 3, 2)
    return np.asarray(three, np.uint8)


def overlay(image: Pixels, values: Array) -> Pixels:
    """The lightness of an image, the larger numbers over it in red.

    Args:
        image: (H, W, 3).
        values: (H, W); the least is not coloured, NaN is left as it is.
    """
    finite = np.isfinite(values)
    low, high = values[finite].min(initial=np.inf), values[finite].max(initial=-np.inf)
    heat = np.where(finite, (values - low) / max(high - low, 1e-12), 0.0)
    return reddened(image, heat)


def page(sight: Sight, title: str, subtitle: str) -> str:
    """A page of its own: pictures are inside, nothing is loaded.

    Args:
        sight: What was seen.
        title: Name of the image.
        subtitle: Name of the encoder.

    Raises:
        DependencyNotFoundError: If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise DependencyNotFoundError(
            "Jinja2, for the page", str(error), "pip install 'vlp-zoo[report]'"
        ) from error
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files("vlp_zoo.bench") / "sight.html.j2").read_text(encoding="utf-8")
    pictures = [("the image", _data(sight.image))]
    pictures += [
        (one.title, _data(overlay(sight.image, one.values))) for one in sight.maps
    ]
    rendered: str = environment.from_string(template).render(
        title=title, subtitle=subtitle, sight=sight, pictures=pictures
    )
    return rendered


def _cosines(
    joint: JointEncoder, vector: Array, texts: Sequence[str], extraction: Extraction
) -> list[tuple[str, float]]:
    if not texts:
        return []
    cosines = _vectors(joint, texts, extraction) @ vector[0]
    return list(zip(texts, map(float, cosines), strict=True))


def _vectors(
    joint: JointEncoder, texts: Sequence[str], extraction: Extraction
) -> Array:
    return unit_rows(extraction.texts(joint, texts))


def _numbers(values: Tensor) -> Array:
    return values.detach().double().numpy()


def _data(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
