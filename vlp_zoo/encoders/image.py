"""ImageEncoder: any timm network behind one output type.

The timm model sits in ``.timm`` untouched, so that its ``state_dict`` loads into a
stock ``timm.create_model(**spec["timm"])`` with ``strict=True``. Nothing is
downloaded unless ``pretrained=True`` asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import timm
import torch
from timm.layers.hybrid_embed import HybridEmbed
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.layouts import GREY_MEAN, GREY_STD
from vlp_zoo.encoders.preprocessing import ReadsPixels, from_pixels
from vlp_zoo.encoders.timm_names import IMAGE_PRESETS, check_name, refuse_loading
from vlp_zoo.encoders.timm_shapes import as_map, fitted, measure, once, tokens_of
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.errors import ConfigError, EncoderLoadError, VLPZooError

__all__ = [
    "IMAGE_PRESETS",
    "EncoderOutput",
    "ImageEncoder",
    "patchify",
    "sincos_table",
]


@dataclass(frozen=True)
class EncoderOutput:
    """What every image encoder returns.

    Attributes:
        pooled: (B, D) one vector per image.
        tokens: (B, P, D) one vector per patch, row by row, without class token. Where
            pooled features pass hidden layers of a head, so do the tokens, one by one.
        grid: Rows and columns of the patches, ``h * w == P``.
        levels: Feature maps (B, C_i, H_i, W_i), fine to coarse; one for a ViT.
    """

    pooled: Tensor
    tokens: Tensor
    grid: tuple[int, int]
    levels: tuple[Tensor, ...]


def sincos_table(grid: tuple[int, int], width: int, formula: str = "mae") -> Tensor:
    """Fixed 2-D sine-cosine position table with a zero row for the class token.

    The first half of the width encodes the column, the second the row; each half is
    sines, then cosines, of ``position * 10000 ** -e(i)``.

    Args:
        grid: Rows and columns of the patches.
        width: Width D, divisible by 4.
        formula: Exponent ``e(i)`` of frequency i of D/4: ``"mae"`` has i / (D/4)
            (frequencies 1 to 1e-4; He et al., arXiv 2111.06377); ``"ecamp"`` has
            i / D as in ECAMP's released code (frequencies 1 to 0.1).

    Returns:
        (1, 1 + h*w, D) float32.

    Raises:
        ValueError: If the width is not divisible by 4 or the formula is unknown.

    Example:
        >>> sincos_table((2, 2), 8).shape
        torch.Size([1, 5, 8])
    """
    if width % 4 or formula not in ("mae", "ecamp"):
        raise ValueError(f"width % 4 == 0 and mae or ecamp, got {width}, {formula!r}")
    quarter = width // 4
    steps = torch.arange(quarter, dtype=torch.float64)
    frequencies = 10000.0 ** -(steps / (quarter if formula == "mae" else width))
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing="ij",
    )
    halves = []
    for positions in (columns, rows):
        angles = positions.reshape(-1, 1) * frequencies
        halves += [angles.sin(), angles.cos()]
    table = torch.cat(halves, dim=1)
    return torch.cat([torch.zeros(1, width), table.float()])[None]


def patchify(images: Tensor, patch: int) -> Tensor:
    """View images as patches.

    Args:
        images: (B, C, H, W), H and W divisible by ``patch``.
        patch: Side of a patch in pixels.

    Returns:
        (B, h, w, C, patch, patch), a view: nothing is copied.

    Example:
        >>> patchify(torch.zeros(2, 3, 32, 16), 8).shape
        torch.Size([2, 4, 2, 3, 8, 8])
    """
    batch, channels, height, width = images.shape
    # Splitting axes never copies, even where channels are one expanded grey plane.
    split = images.view(batch, channels, height // patch, patch, width // patch, patch)
    return split.permute(0, 2, 4, 1, 3, 5)


class ImageEncoder(ReadsPixels, nn.Module):
    """A timm network with its preprocessing.

    Args:
        name: A preset (``tiny``, ...) or any timm name.
        image_size: Side S of the square input; None = the preset's or 224.
        drop_path: Stochastic depth rate of the last block.
        pooling: ``"token"`` pools a plain ViT by its class token, ``"avg"`` by the mean
            of its normalised patch tokens. A ViT without a class token pools as it was
            made to: by that mean, or as SigLIP does by its own attention (``"map"``).
            Other networks pool as timm built them, or, told ``"first"``, by the first
            place of their last map, as CXR-CLIP does with its Swin.
        mean: Three channel means of pixels in 0..1; None = the pretrained weights'
            own, else those of chest X-rays.
        std: Three channel deviations, as for ``mean``.
        pretrained: Let timm download its weights.
        timm_arguments: Passed to ``timm.create_model`` (embed_dim, depth, ...).
        **more_timm_arguments: Further arguments of ``timm.create_model``.

    Attributes:
        timm: The network.
        spec: Plain data that `from_spec` rebuilds the encoder from.
        width: D of the output, pooled and tokens alike.
        grid: Rows and columns of the patches.
        patch_size: Pixels per patch side (the total stride of a CNN).
        preprocessing: Image size, mean, std, channels, interpolation.

    Raises:
        UnknownNameError: If timm does not know the name.
        ConfigError: If size and patches do not go together.
    """

    pixel_statistics: Tensor  # (2, 3), mean and deviation

    def __init__(
        self,
        name: str = "vit_base_patch16_224",
        image_size: int | None = None,
        drop_path: float = 0.0,
        pooling: str = "token",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        pretrained: bool = False,
        timm_arguments: Mapping[str, Any] | None = None,
        **more_timm_arguments: Any,
    ) -> None:
        super().__init__()
        arguments = {
            **IMAGE_PRESETS.get(name, {"model_name": name}),
            **(timm_arguments or {}),
            **more_timm_arguments,
        }
        check_name(arguments["model_name"])
        refuse_loading(arguments)
        arguments, size, self.pooling = fitted(arguments, image_size, pooling)
        if drop_path:
            arguments["drop_path_rate"] = drop_path
        self.timm: nn.Module = timm.create_model(pretrained=pretrained, **arguments)
        own = getattr(self.timm, "pretrained_cfg", {}) if pretrained else {}
        self.image_size = size
        self.is_vit = isinstance(self.timm, VisionTransformer)
        if not self.is_vit:
            # Convolutions are faster so, above all in bf16, and so is drawing channels
            # of feature maps, as IMITATE does.
            self.timm.to(memory_format=torch.channels_last)
        pools = "" if self.is_vit else self.pooling
        self.shapes = once(
            arguments,
            ("shapes", size, pools),
            lambda: measure(self.timm, size, pools),
        )
        self.width, self.grid = self.shapes.width, self.shapes.grid
        if isinstance(self.timm, VisionTransformer):
            embed = self.timm.patch_embed
            plain = isinstance(embed, PatchEmbed)
            stride = embed.patch_size[0] if plain else size // self.grid[0]
        else:
            stride = int(self.timm.feature_info[-1]["reduction"])  # type: ignore[index]
        self.patch_size = stride
        self.spec: dict[str, Any] = {
            "timm": arguments,
            "image_size": size,
            "pooling": self.pooling,
        }
        self.use_normalisation(
            mean or own.get("mean", [GREY_MEAN] * 3),
            std or own.get("std", [GREY_STD] * 3),
        )

    def at_size(self, image_size: int) -> ImageEncoder:
        """The same network for images of another size, with fresh weights.

        Its own weights fit there, whoever puts them in.

        Args:
            image_size: Side in pixels.

        Raises:
            ConfigError: If its weights are for one size, as a ViT's are.
        """
        # Not asked of this network itself: processes may hold a shard of it each.
        specs = self.spec, {**self.spec, "image_size": image_size}
        with torch.random.fork_rng(devices=[]):
            same, other = map(ImageEncoder.from_spec, specs)
        mine, its = (
            {name: tensor.shape for name, tensor in encoder.timm.state_dict().items()}
            for encoder in (same, other)
        )
        if mine != its:
            raise ConfigError(
                f"a network that reads images of {image_size} px too",
                f"{self.spec['timm']['model_name']}, whose weights are for "
                f"{self.image_size} px",
                "keep that size, or take a convolutional network",
            )
        return other

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> ImageEncoder:
        """Rebuild an encoder, randomly initialised, from ``.spec``.

        Nothing is downloaded or read, whatever the spec says.

        Raises:
            EncoderLoadError: If the spec lacks an entry, or timm cannot build it.
            ConfigError: If it names files or downloads.
        """
        try:
            arguments = dict(spec["timm"])
            name = str(arguments.pop("model_name"))
            rest = {key: spec[key] for key in ("image_size", "pooling", "mean", "std")}
        except (KeyError, TypeError) as error:
            raise EncoderLoadError(
                "an encoder spec with timm, image_size, pooling, mean and std",
                f"{spec!r} ({error!r})",
                "export the encoder again",
            ) from error
        try:
            return cls(name, **rest, timm_arguments=arguments)
        except VLPZooError:
            raise
        except (TypeError, ValueError, AttributeError, AssertionError) as error:
            raise EncoderLoadError(
                "a network that timm can build from the spec",
                f"{spec!r} ({error!r})"[:400],
                "export the encoder again",
            ) from error

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How pixels become input: plain data for the encoder's card."""
        return {
            "image_size": self.image_size,
            "mean": self.mean,
            "std": self.std,
            "channels": 3,
            "interpolation": "bicubic",
        }

    def use_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise pixels otherwise from now on, in the card too."""
        self.mean = self.spec["mean"] = [float(value) for value in mean]
        self.std = self.spec["std"] = [float(value) for value in std]
        # Where the weights are, so that a step copies nothing from the host.
        where = next(self.parameters()).device
        statistics = torch.tensor([self.mean, self.std], device=where)
        self.register_buffer("pixel_statistics", statistics, persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """`from_pixels`, by statistics that lie where the weights do."""
        if torch.float64 in (images.dtype, self.pixel_statistics.dtype):
            return super().normalise(images)
        return from_pixels(images, *self.pixel_statistics)

    def encode(self, images: Tensor) -> EncoderOutput:
        """Images of a batch as they come, (B, 1 or 3, H, W): `prepare`, then `forward`."""
        found: EncoderOutput = self(self.prepare(images))
        return found

    def load_weights(self, state: Mapping[str, Tensor], origin: str) -> None:
        """Load timm-keyed weights, all of them or none.

        Raises:
            EncoderLoadError: With counts and names where they do not fit.
        """
        check_keys(self.timm.state_dict(), state, origin)
        self.timm.load_state_dict(dict(state))

    def forward(self, images: Tensor) -> EncoderOutput:
        """Encode normalised images (B, 3, S, S)."""
        if isinstance(self.timm, VisionTransformer):
            features = self.timm.forward_features(images)
            pooled = self.timm.forward_head(features, pre_logits=True)
            tokens = features[:, self.timm.num_prefix_tokens :]
            h, w = self.grid
            # len() of a batch would be a constant of an exported graph.
            level = torch.unflatten(tokens.transpose(1, 2), 2, (h, w))
            return EncoderOutput(pooled, tokens, self.grid, (level,))
        network: Any = self.timm
        final, levels = network.forward_intermediates(images)
        pooled = network.forward_head(final, pre_logits=True)
        places = levels[-1]
        if self.shapes.tokens == "final":
            places = as_map(network, final, self.grid)
        elif self.shapes.tokens == "head":
            places = tokens_of(network, final)
        if self.pooling == "first":
            pooled = places[:, :, 0, 0]
        grid = (int(places.shape[-2]), int(places.shape[-1]))
        tokens = places.flatten(2).transpose(1, 2)
        return EncoderOutput(pooled, tokens, grid, tuple(levels))

    def level_channels(self, count: int = 4) -> list[int]:
        """Channels of each level of `pyramid`."""
        if isinstance(self.timm, VisionTransformer):
            return [self.width] * min(count, len(self.timm.blocks))
        return list(self.shapes.channels[-count:])

    def pyramid(self, images: Tensor, count: int = 4) -> EncoderOutput:
        """What `forward` gives, with the outputs of ``count`` depths as ``levels``.

        A CNN's levels are its last stages. A ViT's are those of evenly spaced blocks,
        the last one included, not normalised, as maps over the grid of patches.
        """
        if not isinstance(self.timm, VisionTransformer):
            output: EncoderOutput = self(images)
            return replace(output, levels=output.levels[-count:])
        depth = len(self.timm.blocks)
        count = min(count, depth)
        blocks = [math.ceil(depth * (i + 1) / count) - 1 for i in range(count)]
        network: Any = self.timm
        features, maps = network.forward_intermediates(images, indices=blocks)
        pooled = network.forward_head(features, pre_logits=True)
        tokens = features[:, self.timm.num_prefix_tokens :]
        return EncoderOutput(pooled, tokens, self.grid, tuple(maps))

    def require_maskable(self) -> VisionTransformer:
        """The ViT, if its patches can be encoded one by one.

        Raises:
            ConfigError: If the network is no ViT with one class token.
        """
        vit = self.timm
        if (
            not isinstance(vit, VisionTransformer)
            or vit.cls_token is None
            or vit.pos_embed is None
            or vit.num_prefix_tokens != 1
            or vit.no_embed_class
            or not isinstance(vit.patch_embed, (PatchEmbed, HybridEmbed))
        ):
            raise ConfigError(
                "a ViT with a class token and absolute positions, to mask patches",
                f"{self.spec['timm']['model_name']}",
                "choose tiny, tiny_hybrid, small, base or another vit_*_patch*",
            )
        return vit

    def encode_visible(self, images: Tensor, keep_ids: Tensor) -> Tensor:
        """Encode some patches only, as masked autoencoders do.

        The kept patches are gathered from the pixels and embedded by one matrix
        product; the result equals embedding every patch and then gathering. Before the
        convolutions of a hybrid, which look across borders, hidden patches are made
        blank (0, the mean), so that no token tells anything of them.

        Args:
            images: (B, 3, S, S) normalised; a channel-expanded view is fine.
            keep_ids: (B, V) int64 patch numbers, in the order wanted.

        Returns:
            (B, 1 + V, D): class token, then the kept patches, normalised.

        Raises:
            ConfigError: If the network is no ViT with one class token.
        """
        vit = self.require_maskable()
        if isinstance(vit.patch_embed, PatchEmbed):
            embedded = self._embed_kept(images, keep_ids)
        else:
            embedded = self._embed_blanked(images, keep_ids)
        positions: Any = vit.pos_embed
        hidden = embedded + positions[0, 1:][keep_ids]
        first = (vit.cls_token + positions[:, :1]).expand(len(images), -1, -1)
        hidden = vit.norm_pre(torch.cat([first, hidden], dim=1))
        encoded: Tensor = vit.norm(vit.blocks(vit.pos_drop(hidden)))
        return encoded

    def _embed_kept(self, images: Tensor, keep_ids: Tensor) -> Tensor:
        """(B, V, D) of patches that are cut out and embedded one by one."""
        patches = patchify(images, self.patch_size)
        batch = torch.arange(len(images), device=images.device)[:, None]
        rows = keep_ids.div(self.grid[1], rounding_mode="floor")
        kept = patches[batch, rows, keep_ids % self.grid[1]]
        network: Any = self.timm
        projection = network.patch_embed.proj
        embedded: Tensor = functional.linear(
            kept.flatten(2), projection.weight.flatten(1), projection.bias
        )
        return embedded

    def _embed_blanked(self, images: Tensor, keep_ids: Tensor) -> Tensor:
        """(B, V, D) of an image of which only the kept patches are there."""
        shown = images.new_zeros(len(images), self.grid[0] * self.grid[1])
        shown = shown.scatter(1, keep_ids, 1.0).view(-1, 1, *self.grid)
        shown = functional.interpolate(shown, scale_factor=float(self.patch_size))
        embed: Any = self.timm.patch_embed
        tokens: Tensor = embed(images * shown)
        return tokens.gather(1, keep_ids[..., None].expand(-1, -1, tokens.shape[2]))
