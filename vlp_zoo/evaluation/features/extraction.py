"""Frozen features of un-augmented images, each image read once for all encoders."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vlp_zoo.errors import ConfigError, EncoderLoadError, VLPZooError
from vlp_zoo.evaluation.baselines import Described, Prevalence
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.devices import find_device, share_batches, spread
from vlp_zoo.evaluation.features.encoder_input import encoder_input
from vlp_zoo.evaluation.features.joint import JointEncoder
from vlp_zoo.files import cache_folder
from vlp_zoo.loading import start_worker
from vlp_zoo.transforms import resize
from vlp_zoo.types import StudySource

__all__ = ["POOLINGS", "Extraction", "fit_image", "weights_sha256"]

POOLINGS = ("global", "mean")
"""``global`` is the encoder's own pooled vector, ``mean`` the mean of its tokens."""

PRECISIONS = ("32", "bf16")
FILTERS = {"bicubic": "cubic", "bilinear": "bilinear", "nearest": "nearest"}
Features = npt.NDArray[np.float32]
Geometry = tuple[int, str, str]
Look = Geometry | Callable[[npt.NDArray[np.uint8]], Features]
"""What an encoder sees of an image: its pixels in a square, or numbers about it."""


def geometry(preprocessing: Mapping[str, Any]) -> Geometry:
    """Side, resize rule and filter: what decides the pixels an encoder sees.

    Raises:
        ConfigError: For a rule or filter that is not known.
    """
    rule = str(preprocessing.get("resize", "pad"))
    name = str(preprocessing.get("interpolation", "bicubic"))
    if rule not in ("pad", "squash") or name not in FILTERS:
        raise ConfigError(
            f"resize pad or squash, interpolation {', '.join(FILTERS)}",
            f"resize {rule!r}, interpolation {name!r} in the encoder's preprocessing",
            "correct the encoder's card",
        )
    return int(preprocessing["image_size"]), rule, FILTERS[name]


def fit_image(
    image: npt.NDArray[np.uint8], preprocessing: Mapping[str, Any]
) -> npt.NDArray[np.uint8]:
    """An image as the encoder sees it: whole, never cropped or augmented.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        preprocessing: ``image_size`` S, ``interpolation``, and ``resize``: ``"pad"``
            (default) keeps the aspect and adds black, ``"squash"`` does not.

    Returns:
        uint8 (1 or 3, S, S).
    """
    return _fit(image, geometry(preprocessing))


def _fit(image: npt.NDArray[np.uint8], wanted: Geometry) -> npt.NDArray[np.uint8]:
    size, rule, name = wanted
    padded = rule == "pad"
    planes = [image] if image.ndim == 2 else [image[..., c] for c in range(3)]
    fitted = [
        resize(
            np.ascontiguousarray(plane),
            size,
            keep_aspect=padded,
            pad=padded,
            interpolation=name,
        )
        for plane in planes
    ]
    return np.stack(fitted)


def weights_sha256(encoder: nn.Module) -> str:
    """SHA-256 of an encoder's weights; other modules name themselves or are hashed."""
    own = getattr(encoder, "sha256", None)
    if isinstance(own, str):
        return own
    from vlp_zoo.encoders.identity import encoder_sha256, state_sha256
    from vlp_zoo.encoders.image import ImageEncoder

    if hasattr(encoder, "timm"):
        return encoder_sha256(cast(ImageEncoder, encoder))
    return state_sha256(encoder.state_dict(), type(encoder).__qualname__)


class _Pixels(Dataset[Any]):
    """Uint8 images of a source at each geometry that some encoder wants."""

    def __init__(self, source: StudySource, looks: Sequence[Look]) -> None:
        self.source = source
        self.looks = list(looks)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        try:
            image = self.source[index].image
        except VLPZooError as error:
            # A worker's exception loses its clauses on the way; a value does not.
            return error
        return [
            look(image) if callable(look) else _fit(image, look) for look in self.looks
        ]


def _collate(items: Sequence[Any]) -> Any:
    for item in items:
        if isinstance(item, VLPZooError):
            return item
    try:
        return [torch.from_numpy(np.stack(images)) for images in zip(*items)]  # noqa: B905
    except ValueError:
        # Grey and colour in one batch: grey becomes three equal channels.
        wide = [
            [i if i.ndim == 1 else np.broadcast_to(i, (3, *i.shape[1:])) for i in item]
            for item in items
        ]
        return [torch.from_numpy(np.stack(images)) for images in zip(*wide)]  # noqa: B905


@dataclass
class Extraction:
    """How features are made, and where they are kept.

    Attributes:
        batch_size: Images per forward pass; changes float noise only.
        num_workers: Reading processes of each device; 0 reads in the one that encodes.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
        devices: Processes, each with a device of its own, that encode, predict or
            train together; texts are embedded by one.
        precision: ``"32"`` or ``"bf16"``.
        pooling: One of `POOLINGS`.
        progress: Show a bar on a terminal.
        cache: Where features are kept.
        logs: Folder of TensorBoard logs of what is trained; None logs nothing.
    """

    batch_size: int = 64
    num_workers: int = 0
    device: str = "auto"
    devices: int = 1
    precision: str = "32"
    pooling: str = "global"
    progress: bool = True
    cache: FeatureCache = field(default_factory=lambda: FeatureCache(cache_folder()))
    logs: Path | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS or self.pooling not in POOLINGS:
            raise ConfigError(
                f"precision {' or '.join(PRECISIONS)}, pooling {' or '.join(POOLINGS)}",
                f"precision {self.precision!r}, pooling {self.pooling!r}",
                "choose one of them",
            )
        if self.batch_size < 1 or self.num_workers < 0 or self.devices < 1:
            raise ConfigError(
                "a batch size of 1 or more, 0 or more workers, 1 device or more",
                f"batch size {self.batch_size}, {self.num_workers} workers, "
                f"{self.devices} devices",
                "correct these options",
            )

    @property
    def torch_device(self) -> torch.device:
        """The device, ``auto`` decided.

        Raises:
            ConfigError: If there is no such device, or there are not ``devices``.
        """
        return find_device(self.device, self.devices)

    def key(self, encoder: nn.Module, source: StudySource) -> str:
        """Cache key of one encoder on one source."""
        return FeatureCache.key(
            weights=weights_sha256(encoder),
            preprocessing=dict(cast(Any, encoder).preprocessing),
            source=source.fingerprint,
            pooling=self.pooling,
            own_pooling=str(getattr(encoder, "pooling", "")),
            precision=self.precision,
        )

    def get(self, encoder: nn.Module, source: StudySource) -> Features:
        """Features (N, D) of one encoder, from the cache if they are there."""
        return self.get_all([encoder], source)[0]

    def get_all(
        self, encoders: Sequence[nn.Module], source: StudySource
    ) -> list[Features]:
        """Features of several encoders, each image read at most once.

        Args:
            encoders: Modules with ``preprocessing``, whose output has ``pooled``
                (B, D) and ``tokens`` (B, P, D).
            source: N studies.

        Returns:
            For each encoder float32 (N, D) in the order of the source.

        Raises:
            DataRejectedError: If an image cannot be read.
            EncoderLoadError: If an encoder yields NaN or infinity.
        """
        keys = [self.key(encoder, source) for encoder in encoders]
        for key, encoder in zip(keys, encoders, strict=True):
            if isinstance(encoder, Prevalence):
                same = encoder.describe(np.zeros((1, 1), np.uint8))
                self.cache.remember(key, np.tile(same, (len(source), 1)))
        missing = {
            key: encoder
            for key, encoder in zip(keys, encoders, strict=True)
            if self.cache.get(key, len(source)) is None
        }
        if missing:
            made = self._extract(list(missing.values()), source)
            for key, features in zip(missing, made, strict=True):
                self.cache.put(key, features)
        found = [self.cache.get(key, len(source)) for key in keys]
        return [features for features in found if features is not None]

    def _extract(
        self, encoders: Sequence[nn.Module], source: StudySource
    ) -> list[Features]:
        device = self.torch_device
        parts = share_batches(range(len(source)), self.batch_size, self.devices)
        # Other processes are handed weights; from a device they could not be.
        place = device if len(parts) == 1 else torch.device("cpu")
        lean = replace(self, cache=FeatureCache(None))
        with _frozen(encoders, place):
            work = partial(lean._encode_cases, encoders, source)
            found = spread(work, parts, device)
        made = [np.concatenate(pieces) for pieces in zip(*found, strict=True)]
        for encoder, features in zip(encoders, made, strict=True):
            if not np.isfinite(features).all():
                bad = int((~np.isfinite(features).all(1)).sum())
                raise EncoderLoadError(
                    f"finite features from {type(encoder).__name__}",
                    f"NaN or infinity for {bad} of {len(features)} images",
                    "use another checkpoint, or --precision 32",
                )
        return made

    def _encode_cases(
        self,
        encoders: Sequence[nn.Module],
        source: StudySource,
        cases: Sequence[int],
        device: torch.device,
    ) -> list[Features]:
        recipes = [cast(Any, encoder).preprocessing for encoder in encoders]
        wanted: list[Look] = [
            encoder.describe if isinstance(encoder, Described) else geometry(recipe)
            for encoder, recipe in zip(encoders, recipes, strict=True)
        ]
        looks = list(dict.fromkeys(wanted))
        if self.num_workers:
            start_worker()  # before the fork, see there
        loader = DataLoader(
            _Pixels(source, looks),
            batch_size=self.batch_size,
            sampler=cases,
            num_workers=self.num_workers,
            collate_fn=_collate,
            worker_init_fn=start_worker,
            pin_memory=device.type == "cuda",
        )
        outputs: list[list[Tensor]] = [[] for _ in encoders]
        with _frozen(encoders, device):
            for batch in self._bar(loader, source.name, shown=0 in cases):
                if isinstance(batch, VLPZooError):
                    raise batch
                moved = [pixels.to(device, non_blocking=True) for pixels in batch]
                for i, encoder in enumerate(encoders):
                    images = moved[looks.index(wanted[i])]
                    outputs[i].append(self._encode(encoder, images, recipes[i]))
        return [torch.cat(parts).numpy() for parts in outputs]

    def _encode(
        self, encoder: nn.Module, images: Tensor, recipe: Mapping[str, Any]
    ) -> Tensor:
        if images.ndim == 2:
            # Numbers about the image are features already.
            return images.float().cpu()
        if hasattr(encoder, "embed_images"):
            # A joint space takes bytes and normalises them itself.
            with self._half(images.device):
                return cast(JointEncoder, encoder).embed_images(images).float().cpu()
        with self._half(images.device):
            output = encoder(encoder_input(images, recipe))
        if self.pooling == "mean":
            return cast(Tensor, output.tokens.float().mean(1).cpu())
        return cast(Tensor, output.pooled.float().cpu())

    def _half(self, device: torch.device) -> torch.autocast:
        return torch.autocast(
            device.type, torch.bfloat16, enabled=self.precision == "bf16"
        )

    def texts(self, joint: JointEncoder, texts: Sequence[str]) -> Features:
        """Embeddings (N, E) of texts, each different one embedded once and kept.

        Args:
            joint: A module that embeds texts.
            texts: N texts.

        Raises:
            EncoderLoadError: If an embedding is not finite.
        """
        different = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(different)}
        digest = hashlib.sha256("\0".join(different).encode()).hexdigest()
        key = FeatureCache.key(
            weights=joint.sha256,
            preprocessing={"texts": True},
            source=digest,
            pooling="joint",
            precision=self.precision,
        )
        found = self.cache.get(key, len(different))
        if found is None:
            device = self.torch_device
            with _frozen([cast(nn.Module, joint)], device), self._half(device):
                parts = [
                    joint.embed_texts(different[i : i + self.batch_size]).float().cpu()
                    for i in range(0, len(different), self.batch_size)
                ]
            found = torch.cat(parts).numpy()
            if not np.isfinite(found).all():
                raise EncoderLoadError(
                    "finite embeddings of texts",
                    "NaN or infinity",
                    "use another checkpoint, or --precision 32",
                )
            self.cache.put(key, found)
        return found[[place[text] for text in texts]]

    def _bar(self, loader: DataLoader[Any], name: str, *, shown: bool) -> Iterator[Any]:
        """The bar of the first process stands for all."""
        yield from track(
            loader,
            description=f"encode {name}",
            console=Console(stderr=True),
            transient=True,
            disable=not (shown and self.progress and sys.stderr.isatty()),
        )


@contextmanager
def _frozen(encoders: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Evaluation mode on the device, full float32 products, all as before afterwards.

    Fit lowers the precision of float32 products on GPUs; an encoder would then get
    other features at the end of training than from its file.
    """
    training = [encoder.training for encoder in encoders]
    places = [next(encoder.parameters(), torch.empty(0)).device for encoder in encoders]
    precision = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        for encoder in encoders:
            encoder.eval().to(device)
        with torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for encoder, mode, place in zip(encoders, training, places, strict=True):
            encoder.train(mode).to(place)
