"""MAE: a masked autoencoder on images alone, the control for what reports add.

He, Chen, Xie, Li, Dollár, Girshick, "Masked autoencoders are scalable vision
learners", CVPR 2022, arXiv 2111.06377; official code: facebookresearch/mae.

A quarter of the patches goes through the image encoder; a light decoder predicts the
pixels of the others, each patch standardised by its own mean and deviation (§3, §4.1).

Deviations. Defaults are those of the paper's appendix A.1 (mask ratio 0.75, decoder 512
x 8, crops of 20 to 100 %, batch 4096, rate 2.4e-3) but for:

======================  ============================  ==================================
here                    in the paper                  why
======================  ============================  ==================================
no mirroring            half of the images            the heart has a side (``flip``)
learnt on X-rays        ImageNet                      the control for medical methods
patch pooling           class token                   nothing trains the class token
                                                      directly
masks by sample         by the global generator       the same on one process or eight
grey pixels             colour                        of grey images three equal channels
                                                      are predicted
======================  ============================  ==================================

No report is read, so ``embed_texts`` and retrieval do not exist for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.image import patchify, sincos_table
from vlp_zoo.losses import masked_mse
from vlp_zoo.methods.base import BatchT, VLPModule
from vlp_zoo.methods.options import MaskingOptions
from vlp_zoo.modules import MAEDecoder, PatchMask, mask_patches, xavier_linears
from vlp_zoo.noise import sample_noise
from vlp_zoo.transforms import planes, training_view
from vlp_zoo.types import Example, Study

__all__ = [
    "MAE",
    "ImageTransform",
    "MAEBatch",
    "MAEOptions",
    "MaskedImages",
    "patch_targets",
]


class MAEBatch(TypedDict):
    """What `ImageTransform` returns, collated. S is the encoder's image side."""

    uid: list[str]
    image: Tensor  # (B, 1 or 3, S, S) uint8
    noise_key: Tensor  # (B,) int64, the mask is drawn from it


@dataclass(frozen=True)
class ImageTransform:
    """Study to example, the report left out.

    Args:
        image_size: Side S of the square images.
        train: Crop at random; else the whole image is resized.
        crop_scale: Smallest share of the image that a crop shows.
        flip: Chance of mirroring.
    """

    image_size: int
    train: bool
    crop_scale: float = 0.2
    flip: float = 0.0

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        pixels, _ = training_view(
            study.image,
            rng,
            self.image_size,
            train=self.train,
            crop_scale=self.crop_scale,
            flip=self.flip,
        )
        return {
            "uid": study.uid,
            "image": planes(pixels),
            "noise_key": np.int64(rng.integers(0, 2**63 - 1)),
        }


class Reconstruction(NamedTuple):
    """One forward pass, up to the loss."""

    mask: PatchMask
    latent: Tensor  # (B, 1 + V, D) class token, then visible patches
    pixels: Tensor  # (B, P, p*p*3) predicted, standardised where the target is


@dataclass(frozen=True, kw_only=True)
class MAEOptions(MaskingOptions):
    """What can be chosen.

    Args:
        norm_pix: Standardise each target patch by its own pixels.
        flip: Chance of mirroring a training image.
        learning_rate: Peak rate, absolute, for 4096 images a step.
    """

    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    norm_pix: bool = True
    flip: float = 0.0
    learning_rate: float = 2.4e-3
    schedule_epochs: float | None = 800


class MaskedImages(VLPModule[BatchT]):
    """The half that masked autoencoders share: networks, draws and pictures."""

    options: MaskingOptions
    decoder: MAEDecoder

    def build_autoencoder(
        self, formula: str = "mae", upscale: int = 1, **look: Any
    ) -> None:
        """Create image encoder and decoder, with fixed positions in both.

        Nothing trains the class token directly: encoders pool the patches.

        Args:
            formula: Formula of the positions, see `sincos_table`.
            upscale: Side of the predicted image over that of the encoded one.
            **look: Mean and deviation of pixels, as for `ImageEncoder`.
        """
        encoder = self.image_encoder = self.make_image_encoder(pooling="avg", **look)
        vit: Any = encoder.require_maskable()
        options = self.options
        self.decoder = MAEDecoder(
            encoder.width,
            encoder.patch_size,
            sincos_table(encoder.grid, options.decoder_width, formula),
            options.decoder_depth,
            options.decoder_heads,
            upscale,
        )
        vit.pos_embed.data.copy_(sincos_table(encoder.grid, encoder.width, formula))
        vit.pos_embed.requires_grad_(False)

    def initialise(self) -> None:
        """Initialise as MAE does, once all networks are there: Xavier over a text model too."""
        xavier_linears(self)
        vit: Any = self.image_encoder.timm
        nn.init.xavier_uniform_(vit.patch_embed.proj.weight.data.flatten(1))
        nn.init.normal_(vit.cls_token, std=0.02)

    def patch_noise(self, batch: BatchT) -> Tensor:
        """(B, P) uniform draws that belong to the samples."""
        rows, columns = self.image_encoder.grid
        return sample_noise(batch["noise_key"], rows * columns)

    def shrunk(self, images: Tensor, antialias: bool) -> Tensor:
        """Images (B, C, H, H) at the encoder's side S, (B, C, S, S)."""
        size = (self.options.image_size,) * 2
        if images.shape[-2:] == size:
            return images
        return functional.interpolate(images, size, mode="bicubic", antialias=antialias)

    def reconstruct(self, images: Tensor, noise: Tensor) -> Reconstruction:
        """Encode the visible patches, predict all.

        Args:
            images: (B, 1 or 3, S, S) normalised.
            noise: (B, P) uniform; small means visible.
        """
        mask = mask_patches(noise, self.options.mask_ratio)
        colour = images.expand(-1, 3, -1, -1)
        latent = self.image_encoder.encode_visible(colour, mask.keep_ids)
        return Reconstruction(mask, latent, self.decoder(latent, mask.restore_ids))

    def reconstruction_loss(
        self, run: Reconstruction, images: Tensor, norm_pix: bool
    ) -> Tensor:
        """Squared error on the hidden patches, each target standardised or not."""
        target, _, _ = patch_targets(images, self.decoder.patch_size, norm_pix)
        return masked_mse(_by_colour(run.pixels), target, run.mask.hidden)

    def reconstructed(
        self, run: Reconstruction, images: Tensor, norm_pix: bool
    ) -> dict[str, Tensor | str]:
        """Pictures: input, what the encoder sees, and the hidden patches filled in."""
        size = self.decoder.patch_size
        _, mean, deviation = patch_targets(images, size, norm_pix)
        predicted = _by_colour(run.pixels.float()) * deviation + mean
        filled = self.decoder.image(predicted.flatten(2))
        shown = self.filled_in(images, run.mask, filled)
        return {name: self.side_by_side(rows) for name, rows in shown.items()}

    def filled_in(
        self, images: Tensor, mask: PatchMask, predicted: Tensor
    ) -> dict[str, Tensor]:
        """``input``, ``masked_input`` (mean colour where hidden), ``reconstruction``.

        Args:
            images: (B, 1 or 3, H, H) normalised.
            mask: What the encoder did not see.
            predicted: (B, 3, H, H), shown where hidden.
        """
        hidden = mask.hidden.view(-1, 1, *self.image_encoder.grid).float()
        hidden = functional.interpolate(hidden, images.shape[-2:])
        visible = images * (1 - hidden)
        filled = visible + predicted * hidden
        return {"input": images, "masked_input": visible, "reconstruction": filled}

    def side_by_side(self, images: Tensor) -> Tensor:
        """Normalised (B, 1 or 3, H, W) as one picture (3, H, B*W) in 0..1."""
        mean, std = (
            images.new_tensor(values).view(3, 1, 1)
            for values in (self.image_encoder.mean, self.image_encoder.std)
        )
        return torch.cat(list((images * std + mean).clamp(0, 1)), dim=2)


class MAE(MaskedImages[MAEBatch]):
    """Masked autoencoder (He et al., 2022).

    Options are those of `MAEOptions`.
    """

    options: MAEOptions
    reads_reports: bool = False
    batch_keys: ClassVar[frozenset[str]] = MAEBatch.__required_keys__
    field_sources: ClassVar[dict[str, str]] = {
        "image": "choose a data set with images (--data pairs, mimic_cxr, ...)",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(MAEOptions(**kwargs))

    def build(self) -> None:
        """Encoder and decoder with fixed positions, initialised as in the paper."""
        self.build_autoencoder()
        self.initialise()

    def make_transform(self, train: bool) -> ImageTransform:
        """Crop."""
        options = self.options
        return ImageTransform(
            options.image_size, train, options.crop_scale, options.flip
        )

    def losses(self, batch: MAEBatch) -> dict[str, Tensor]:
        """``mim``: squared error on the hidden patches."""
        images = self.image_encoder.normalise(batch["image"])
        run = self.reconstruct(images, self.patch_noise(batch))
        self.watch(run.latent[:, 1:].mean(1))
        return {"mim": self.reconstruction_loss(run, images, self.options.norm_pix)}

    def pictures(self, batch: MAEBatch) -> dict[str, Tensor | str]:
        """Input, what the encoder sees, and the hidden patches filled in."""
        images = self.image_encoder.normalise(batch["image"])
        run = self.reconstruct(images, self.patch_noise(batch))
        return self.reconstructed(run, images, self.options.norm_pix)


def patch_targets(
    images: Tensor, patch_size: int, norm_pix: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of all patches (B, P, p*p, C), and the mean and deviation taken off them.

    Mean and deviation are those of a patch, one for its channels together.

    Args:
        images: (B, C, H, W) normalised.
        patch_size: p.
        norm_pix: Standardise each patch; else mean 0 and deviation 1 come back.
    """
    patches = patchify(images, patch_size)
    pixels = patches.flatten(1, 2).flatten(3).transpose(2, 3)
    if not norm_pix:
        blank = pixels.new_zeros(1, 1, 1, 1)
        return pixels, blank, blank + 1
    variance, mean = torch.var_mean(pixels, (2, 3), keepdim=True)
    deviation = (variance + 1e-6).sqrt()
    return (pixels - mean) / deviation, mean, deviation


def _by_colour(pixels: Tensor) -> Tensor:
    """(B, P, p*p*3) to (B, P, p*p, 3)."""
    return pixels.view(*pixels.shape[:2], -1, 3)
