"""Decoders for segmentation, and the encoder under them at the size wanted.

None sees the image itself: what is measured is the encoder. None has batch
normalisation, so batches of any size, on any number of processes, teach the same.

- ``linear``: one 1x1 convolution on the last map (LoVT's linear head).
- ``unet``: from coarse to fine with a skip at each level (Ronneberger et al., 2015).
- ``upernet``: pooled context on the coarsest level, a feature pyramid, and all levels
  fused (Xiao et al., 2018). A ViT's four depths are brought to four scales first, as
  BEiT and MAE do.
- ``setr``: convolutions and doublings of the last map, each half as wide (SETR-PUP,
  Zheng et al., 2021; what MGCA and ECAMP put on a ViT).
- ``by-network``: ``setr`` for a ViT and ``unet`` for a CNN, as MGCA has it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.features.encoder_input import EachOnce, encoder_input

__all__ = ["DECODERS", "DenseEncoder", "freeze_unused", "has_maps", "make_decoder"]

LEVELS = 4


class DenseEncoder(nn.Module):
    """A copy of an encoder that gives its feature maps, fine to coarse.

    A ViT gets its table of positions resampled to the new grid of patches; a CNN takes
    any size. Other encoders keep their own size, and `note` says so.

    Args:
        encoder: With ``preprocessing``, and ``pyramid`` or outputs with ``levels``.
        size: Side of the input in pixels; 0 = the encoder's own. A ViT takes the
            nearest multiple of its patch.
        frozen: No weight is trained, and statistics of batch normalisation stay.
        depths: Most maps that are wanted, of the last depths.
        final: Give only the normalised last map of a ViT, whose maps have one size; it
            is what protocols without maps read.
        again: Whether every epoch brings the same images; frozen, each is encoded once.

    Attributes:
        size: Side S of the input that it got.
        note: Why that is not the size that was asked for; "" if it is.
        channels: Channels of each map.
        strides: Input pixels per pixel of each map.

    Raises:
        ConfigError: If the encoder gives no maps.
    """

    def __init__(
        self,
        encoder: nn.Module,
        size: int = 0,
        frozen: bool = True,
        depths: int = LEVELS,
        final: bool = False,
        again: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval()
        self.frozen = frozen
        self.depths = depths
        self.final = False
        self.preprocessing = dict(cast(Any, encoder).preprocessing)
        self.size, self.note = _resize(self.encoder, self.preprocessing, size)
        self.encoder.requires_grad_(not frozen)
        self.each_once = EachOnce() if frozen and again else None
        blank = torch.zeros(1, 1, self.size, self.size, dtype=torch.uint8)
        maps = self._maps(blank)
        if final and len({each.shape[-1] for each in maps}) == 1:
            self.final = True
            maps = self._maps(blank)
        if not maps:
            raise ConfigError(
                "feature maps of the encoder",
                f"none from {type(encoder).__name__}",
                "choose an encoder of maps, such as a ViT or a CNN of timm",
            )
        self.channels = [int(each.shape[1]) for each in maps]
        self.strides = [self.size / each.shape[-1] for each in maps]
        if not frozen and any(each.requires_grad for each in maps):
            freeze_unused(self.encoder, maps)

    def train(self, mode: bool = True) -> DenseEncoder:
        """A frozen encoder stays as it is, its batch statistics too."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """uint8 (B, 1 or 3, S, S) to maps (B, C_i, H_i, W_i), fine to coarse."""
        if self.each_once is None:
            return self._maps(images)
        return self.each_once(images, self._maps)

    def _maps(self, images: Tensor) -> list[Tensor]:
        pixels = encoder_input(images, self.preprocessing)
        encoder: Any = self.encoder
        if hasattr(encoder, "pyramid") and not self.final:
            return list(encoder.pyramid(pixels, self.depths).levels)
        maps = [each for each in encoder(pixels).levels if each.ndim == 4]
        return maps[-1:] if self.final else maps[-self.depths :]


def freeze_unused(network: nn.Module, outputs: Sequence[Tensor]) -> None:
    """Weights that no output hangs on (a last norm) are neither trained nor counted.

    Several processes would wait for their gradients for ever.

    Args:
        network: Whose weights.
        outputs: What it made with gradients.
    """
    weights = list(network.parameters())
    total = torch.stack([each.sum() for each in outputs]).sum()
    slopes = torch.autograd.grad(total, weights, allow_unused=True)
    for parameter, slope in zip(weights, slopes, strict=True):
        parameter.requires_grad_(slope is not None)


def has_maps(encoder: nn.Module) -> bool:
    """Whether an encoder gives feature maps."""
    if hasattr(encoder, "pyramid"):
        return True
    kept: Any = encoder
    side = int(kept.preprocessing["image_size"])
    channels = int(kept.preprocessing.get("channels", 3))
    # A forward pass of a training encoder would move its batch statistics.
    was_training = encoder.training
    with torch.no_grad():
        levels = encoder.eval()(torch.zeros(1, channels, side, side)).levels
    encoder.train(was_training)
    return any(each.ndim == 4 for each in levels)


def make_decoder(
    name: str, channels: Sequence[int], strides: Sequence[float], width: int, out: int
) -> nn.Module:
    """A decoder by name.

    Args:
        name: One of `DECODERS`, or ``"by-network"``.
        channels: Channels of the encoder's maps, fine to coarse.
        strides: Input pixels per pixel of each of these maps.
        width: Channels inside; ``linear`` has none.
        out: Number of structures.

    Returns:
        A module from maps to logits (B, out, h, w), h and w still to be enlarged.

    Raises:
        ConfigError: If there is no such decoder.
    """
    if name == "by-network":
        name = "setr" if len(set(strides)) == 1 else "unet"
    if name not in DECODERS or width < 8:
        raise ConfigError(
            f"a decoder among {', '.join(DECODERS)}, by-network; a width of 8 or more",
            f"{name!r}, {width}",
            "correct the preset",
        )
    return DECODERS[name](channels, strides, width, out)


class _Linear(nn.Module):
    def __init__(
        self, channels: Sequence[int], strides: Sequence[float], width: int, out: int
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels[-1], out, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps to logits."""
        # A ViT's blocks are not normalised, and their sizes differ by encoder.
        last = maps[-1].movedim(1, -1)
        last = (
            functional.layer_norm(last, last.shape[-1:]) if last.shape[-1] > 1 else last
        )
        logits: Tensor = self.head(last.movedim(-1, 1))
        return logits


class _Ladder(nn.Module):
    """Maps of one width, each half the size of the one before.

    A CNN has such maps. A ViT's have one size: the first of four is enlarged four
    times, the second twice, the last is halved. None becomes finer than the input:
    pixels themselves are halved only.
    """

    def __init__(
        self, channels: Sequence[int], strides: Sequence[float], width: int
    ) -> None:
        super().__init__()
        count = len(channels)
        self.flat = len(set(strides)) == 1
        self.picks = (
            [i * count // LEVELS for i in range(LEVELS)]
            if self.flat
            else list(range(count))
        )
        self.lateral = nn.ModuleList(_block(channels[i], width, 1) for i in self.picks)
        scales: list[nn.Module] = [nn.Identity() for _ in self.picks]
        self.finest = strides[0]
        if self.flat:
            enlarged = min(2, max(0, round(math.log2(strides[0]))))
            scales = [_scaled(width, enlarged - i) for i in range(LEVELS)]
            self.finest /= 2**enlarged
        self.scale = nn.ModuleList(scales)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps to a ladder of them."""
        return [
            scale(lateral(maps[i]))
            for i, lateral, scale in zip(
                self.picks, self.lateral, self.scale, strict=True
            )
        ]


def _scaled(width: int, doublings: int) -> nn.Module:
    """Maps so many times twice as large, or half as large where it is negative."""
    if doublings == 0:
        return nn.Identity()
    if doublings < 0:
        return nn.AvgPool2d(2**-doublings, ceil_mode=True)
    double = [nn.ConvTranspose2d(width, width, 2, 2) for _ in range(doublings)]
    if doublings == 1:
        return double[0]
    return nn.Sequential(double[0], nn.GELU(), double[1])


class _UNet(nn.Module):
    def __init__(
        self, channels: Sequence[int], strides: Sequence[float], width: int, out: int
    ) -> None:
        super().__init__()
        self.ladder = _Ladder(channels, strides, width)
        steps = len(self.ladder.picks) - 1
        self.join = nn.ModuleList(
            nn.Sequential(_block(2 * width, width), _block(width, width))
            for _ in range(steps)
        )
        self.fine = _block(width, width // 2)
        self.head = nn.Conv2d(width // 2, out, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps to logits."""
        *skips, found = self.ladder(maps)
        for skip, join in zip(reversed(skips), self.join, strict=True):
            found = join(torch.cat([_like(found, skip), skip], 1))
        if self.ladder.finest > 1:
            found = _double(found)
        logits: Tensor = self.head(self.fine(found))
        return logits


class _UPerNet(nn.Module):
    def __init__(
        self, channels: Sequence[int], strides: Sequence[float], width: int, out: int
    ) -> None:
        super().__init__()
        self.ladder = _Ladder(channels, strides, width)
        levels = len(self.ladder.picks)
        self.pools = (1, 2, 3, 6)
        # No norm here: one pixel has nothing to be normalised by.
        self.context = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU()) for _ in self.pools
        )
        self.top = _block((1 + len(self.pools)) * width, width)
        self.smooth = nn.ModuleList(_block(width, width) for _ in range(levels - 1))
        self.fuse = _block(levels * width, width)
        self.head = nn.Conv2d(width, out, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps to logits."""
        *finer, coarse = self.ladder(maps)
        around = [
            _like(context(functional.adaptive_avg_pool2d(coarse, side)), coarse)
            for side, context in zip(self.pools, self.context, strict=True)
        ]
        found = [self.top(torch.cat([coarse, *around], 1))]
        for level, smooth in zip(reversed(finer), self.smooth, strict=True):
            found.append(smooth(level + _like(found[-1], level)))
        finest = found[-1]
        fused = self.fuse(torch.cat([_like(each, finest) for each in found], 1))
        logits: Tensor = self.head(fused)
        return logits


class _SETR(nn.Module):
    def __init__(
        self, channels: Sequence[int], strides: Sequence[float], width: int, out: int
    ) -> None:
        super().__init__()
        doublings = max(1, min(4, round(math.log2(max(2.0, strides[-1])))))
        widths = [max(8, width >> i) for i in range(doublings)]
        self.stages = nn.ModuleList(
            _block(a, b)
            for a, b in zip([channels[-1], *widths[:-1]], widths, strict=True)
        )
        self.head = nn.Conv2d(widths[-1], out, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps to logits."""
        found = maps[-1]
        for stage in self.stages:
            found = _double(stage(found))
        logits: Tensor = self.head(found)
        return logits


DECODERS: dict[str, Callable[[Sequence[int], Sequence[float], int, int], nn.Module]] = {
    "linear": _Linear,
    "unet": _UNet,
    "upernet": _UPerNet,
    "setr": _SETR,
}
"""Name to class."""


def _block(inside: int, outside: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(math.gcd(8, outside), outside),
        nn.GELU(),
    )


def _like(found: Tensor, other: Tensor) -> Tensor:
    return _resized(found, (int(other.shape[-2]), int(other.shape[-1])))


def _double(found: Tensor) -> Tensor:
    return _resized(found, (2 * found.shape[-2], 2 * found.shape[-1]))


def _resized(found: Tensor, size: tuple[int, int]) -> Tensor:
    if found.shape[-2:] == size:
        return found
    return functional.interpolate(found, size, mode="bilinear", align_corners=False)


def _resize(
    encoder: nn.Module, preprocessing: dict[str, Any], size: int
) -> tuple[int, str]:
    """Make the encoder take another size; the size it takes, and why not the wanted."""
    own = int(preprocessing["image_size"])
    if not size or size == own:
        return own, ""
    if not isinstance(encoder, ImageEncoder):
        return own, f"it takes {own} px only"
    network: Any = encoder.timm
    unit = encoder.patch_size
    side = size
    if hasattr(network, "set_input_size"):
        side = max(1, round(size / unit)) * unit
        network.set_input_size(img_size=(side, side))
    elif hasattr(network, "patch_embed"):
        return own, f"{encoder.spec['timm']['model_name']} takes {own} px only"
    encoder.image_size = side
    encoder.grid = (math.ceil(side / unit), math.ceil(side / unit))
    return side, "" if side == size else f"a multiple of its {unit} px patches"
