"""The joint space of a trained method by itself: two encoders, two heads, a tokenizer.

Of a method there remains what embeds an image and a text: no losses, options or readers.
That can be said in plain data (sizes in ``joint.json``, weights in ``joint.safetensors``,
what becomes of words in ``tokenizer.json``, the image encoder as timm reads it), where
texts go through a tokenizer and a BERT and heads are layers that everybody knows. Neither
a dual encoder of transformers, whose heads are one matrix without a bias on BERT's own
pooler, nor a model of open_clip, whose inner activation is another, can hold the default
CLIP of this package, so the folder has a form of its own, and an ONNX pair for others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.frozen_text import BertText
from vlp_zoo.encoders.identity import encoder_sha256, state_sha256
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.encoders.publish import WEIGHTS, write_graph
from vlp_zoo.encoders.text import TextEncoder
from vlp_zoo.encoders.weight_files import check_keys
from vlp_zoo.errors import ConfigError, EncoderLoadError, VLPZooError
from vlp_zoo.files import write_whole
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.flair.networks import UnitLinear
from vlp_zoo.methods.imitate import IMITATE
from vlp_zoo.methods.paired.frozen_text import FrozenTextMethod
from vlp_zoo.methods.paired.layers import LayersTower
from vlp_zoo.methods.paired.towers import PairedTowers, TextTower
from vlp_zoo.reading import parse_json

__all__ = [
    "JOINT_PARTS",
    "PAIR",
    "SIZES",
    "JointModel",
    "joint_of",
    "load_joint",
    "save_joint",
    "write_pair",
]

SIZES = "joint.json"
TENSORS, TOKENIZER = "joint.safetensors", "tokenizer.json"
JOINT_PARTS = (SIZES, TENSORS, TOKENIZER)
"""Files of a joint space, beside those of its image encoder."""
PAIR = ("image.onnx", "text.onnx")
FORMAT = 1
TOLERANCE = 1e-4
"""By how much an embedding may differ from the method's own: its length is 1."""


class Unit(nn.Module):
    """Scales vectors to unit length."""

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return functional.normalize(vectors, dim=-1)


class JointModel(nn.Module):
    """Images and texts to unit vectors of one space.

    Args:
        image_encoder: Encodes images.
        image_head: From its pooled vectors (B, D) to (B, E).
        tower: Encodes texts.
        text_head: From its pooled vectors to (B, E).
        tokenizer: Texts to ids, special tokens and all.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        image_head: nn.Sequential,
        tower: TextTower,
        text_head: nn.Sequential,
        tokenizer: Tokenizer,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.image_head = image_head
        self.tower = tower
        self.text_head = text_head
        # Marks of padding and the like that a report spells out are text.
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.eval().requires_grad_(False)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How images are prepared: what the image encoder's card says."""
        return self.image_encoder.preprocessing

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all weights and the vocabulary."""
        words = self.tokenizer.to_str()
        text = f"{encoder_sha256(self.image_encoder)} {state_sha256(self.text_state())}"
        return hashlib.sha256(f"{text} {words}".encode()).hexdigest()

    def text_state(self) -> dict[str, Tensor]:
        """Weights of all but the image encoder."""
        state = self.state_dict()
        return {k: v for k, v in state.items() if not k.startswith("image_encoder.")}

    def project_images(self, images: Tensor) -> Tensor:
        """Normalised (B, 3, S, S) to (B, E) of unit length."""
        projected = self.image_head(self.image_encoder(images).pooled)
        return functional.normalize(projected.float(), dim=1)

    def project_texts(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask (B, T) to (B, E) of unit length."""
        read = self.tower.read(input_ids, attention_mask.bool())
        return functional.normalize(self.text_head(read.pooled).float(), dim=1)

    def embed_images(self, images: Tensor) -> Tensor:
        """uint8 (B, 1 or 3, H, W) to (B, E) of unit length."""
        return self.project_images(self.image_encoder.prepare(images))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """B texts to (B, E) of unit length."""
        rows = self.tokenizer.encode_batch(list(texts))
        device = next(self.parameters()).device
        ids, mask = (
            torch.tensor([getattr(row, name) for row in rows], device=device)
            for name in ("ids", "attention_mask")
        )
        return self.project_texts(ids, mask)

    def embed_patches(self, images: Tensor) -> Tensor | None:
        """None: places stay with the method (`vlp_zoo.load_method`)."""
        return None

    def embed_phrases(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of phrases, those of `embed_texts`: there is one space."""
        return self.embed_texts(texts)


def joint_of(method: VLPModule[Any]) -> JointModel:
    """The joint space of a method, on which it and the result agree.

    Args:
        method: Loaded from a checkpoint.

    Raises:
        ConfigError: If it has none, or one that cannot be said in plain layers.
    """
    name = type(method).__name__
    if isinstance(method, PairedTowers) and method.has_text_head:
        tower, tokenizer = method.text_tower, method.known_tokenizer()
        longest, ends = method.options.max_tokens, method.ends_texts
        head, text_head = getattr(method, "image_head", None), method.text_head
        if head is None or not isinstance(tower, TextTower):
            raise _refused(name, "fixed features of words, or no loss of whole texts")
    elif isinstance(method, FrozenTextMethod):
        frozen = method.frozen()
        if not isinstance(frozen, BertText):
            raise _refused(name, "fixed features of words (text_model: corpus)")
        tower, tokenizer = TextTower(frozen.encoder), frozen.tokenizer
        longest, ends = frozen.max_tokens, True
        own = isinstance(method, IMITATE)
        head = method.impression_head if own else getattr(method, "image_head", None)
        text_head = method.text_head
    elif method.has_text_head:
        raise _refused(name, "rules of its own by which texts are cleaned and split")
    else:
        raise _refused(name, "a method without a joint space")
    plain = type(tower) in (TextTower, LayersTower)
    if not plain or getattr(tower, "padding", False):
        raise _refused(name, "a text encoder that sees how much its batch is padded")
    model = JointModel(
        method.image_encoder,
        _plain(head, name),
        tower,
        _plain(text_head, name),
        Tokenizer.from_str(tokenizer.with_marks(longest, sep=ends)),
    )
    _require_same(method, model)
    return model


def save_joint(model: JointModel, folder: Path) -> list[Path]:
    """Write all but the image encoder, which is an export by itself.

    Args:
        model: The joint space.
        folder: Where the image encoder is, or will be.

    Returns:
        The files.
    """
    state = {key: tensor.contiguous() for key, tensor in model.text_state().items()}
    layers = isinstance(model.tower, LayersTower)
    sizes = {
        "format": FORMAT,
        "image_sha256": encoder_sha256(model.image_encoder),
        "sha256": state_sha256(state),
        "text": {"layers": layers, **model.tower.encoder.spec},
        "image_head": [_size(layer) for layer in model.image_head],
        "text_head": [_size(layer) for layer in model.text_head],
    }
    write_whole(folder / TENSORS, save(state, {"format": "pt"}))
    write_whole(folder / TOKENIZER, model.tokenizer.to_str(pretty=True))
    write_whole(folder / SIZES, json.dumps(sizes, indent=2) + "\n")
    return [folder / part for part in JOINT_PARTS]


class _Images(nn.Module):
    """One way into the space, as a graph has one entry."""

    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """See `JointModel.project_images`."""
        return self.model.project_images(images)


class _Texts(_Images):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        """See `JointModel.project_texts`."""
        return self.model.project_texts(input_ids, attention_mask)


def write_pair(model: JointModel, folder: Path) -> list[Path]:
    """Write ``image.onnx`` and ``text.onnx``, both to unit length: ``vectors`` (B, E).

    Args:
        model: The joint space.
        folder: Where to.

    Returns:
        The files.

    Raises:
        DependencyNotFoundError: If the packages that torch exports with are missing.
    """
    side = model.image_encoder.image_size
    batch = torch.export.Dim("batch")
    tokens = torch.export.Dim("tokens", max=model.tower.encoder.max_positions)
    pixels = torch.zeros(2, 3, side, side), [batch]
    # Two tensors: of one that is given twice, torch makes one input.
    ids, mask = (torch.ones(2, 3, dtype=torch.int64) for _ in range(2))
    written = [folder / part for part in PAIR]
    image, text = written
    write_graph(_Images(model).eval(), {"images": pixels}, ["vectors"], image)
    free = [batch, tokens]
    marked = {"input_ids": (ids, free), "attention_mask": (mask, free)}
    write_graph(_Texts(model).eval(), marked, ["vectors"], text)
    return written


def load_joint(folder: Path) -> JointModel:
    """What `save_joint` and the export of its image encoder wrote.

    Args:
        folder: Where they are.

    Raises:
        EncoderLoadError: If a file is missing or damaged, or they do not belong
            together.
    """
    image_encoder = load_encoder(str(folder / WEIGHTS))
    try:
        sizes = parse_json((folder / SIZES).read_text(encoding="utf-8"))
        if sizes["format"] > FORMAT:
            raise ValueError(f"format {sizes['format']}: update vlp-zoo")
        text = dict(sizes["text"])
        encoder = TextEncoder.from_spec(text)
        tower = LayersTower(encoder, False) if text["layers"] else TextTower(encoder)
        heads = [
            nn.Sequential(*(_made(size) for size in sizes[head]))
            for head in ("image_head", "text_head")
        ]
        tokenizer = Tokenizer.from_str((folder / TOKENIZER).read_text("utf-8"))
        state, wanted = load_file(folder / TENSORS), str(sizes["sha256"])
        images = str(sizes["image_sha256"])
    except VLPZooError:
        raise
    except (
        Exception
    ) as error:  # bare ones of tokenizers too: the files may be anybody's
        raise EncoderLoadError(
            f"a joint space in {folder}: {', '.join(JOINT_PARTS)}",
            f"{type(error).__name__}: {str(error)[:200]}",
            "copy the whole folder, or export it again with --joint",
        ) from error
    model = JointModel(image_encoder, heads[0], tower, heads[1], tokenizer)
    check_keys(model.text_state(), state, str(folder / TENSORS))
    model.load_state_dict(
        {**state, **image_encoder.state_dict(prefix="image_encoder.")}
    )
    found = (encoder_sha256(image_encoder), state_sha256(model.text_state()))
    if found != (images, wanted):
        raise EncoderLoadError(
            f"weights {images[:12]} and {wanted[:12]} (as {SIZES} says) in {folder}",
            f"weights {found[0][:12]} and {found[1][:12]}",
            "the files do not belong together: export again with --joint",
        )
    return model


def _refused(method: str, found: str) -> ConfigError:
    return ConfigError(
        f"a joint space of {method} that plain layers and a tokenizer can say (--joint)",
        found,
        "leave out --joint; vz.load_method keeps the whole method, in Python",
    )


def _plain(head: Any, method: str) -> nn.Sequential:
    return nn.Sequential(*_layers(head, method)).eval()


def _layers(head: Any, method: str) -> Iterator[nn.Module]:
    if isinstance(head, nn.Sequential):
        for layer in head:
            yield from _layers(layer, method)
    elif isinstance(head, UnitLinear):
        yield from (Unit(), head.projection)
    elif isinstance(head, _BatchNorm):
        # Over processes or not: in evaluation it is a scale and a shift.
        one = nn.BatchNorm1d(head.num_features, head.eps, affine=head.affine)
        one.load_state_dict(head.state_dict())
        yield one
    elif isinstance(head, nn.Linear | nn.LayerNorm | nn.ReLU):
        yield head
    else:
        raise _refused(method, f"a head with a {type(head).__name__}")


def _size(layer: nn.Module) -> dict[str, Any]:
    if isinstance(layer, nn.Linear):
        sizes = {"in": layer.in_features, "out": layer.out_features}
        return {"layer": "linear", **sizes, "bias": layer.bias is not None}
    if isinstance(layer, nn.BatchNorm1d):
        sizes = {"width": layer.num_features, "affine": layer.affine}
        return {"layer": "batch_norm", **sizes, "eps": layer.eps}
    if isinstance(layer, nn.LayerNorm):
        width = int(layer.normalized_shape[0])
        return {"layer": "layer_norm", "width": width, "eps": layer.eps}
    return {"layer": "relu" if isinstance(layer, nn.ReLU) else "unit"}


def _made(size: Mapping[str, Any]) -> nn.Module:
    kind = size["layer"]
    if kind == "linear":
        return nn.Linear(int(size["in"]), int(size["out"]), bias=bool(size["bias"]))
    if kind == "batch_norm":
        width, affine = int(size["width"]), bool(size["affine"])
        return nn.BatchNorm1d(width, float(size["eps"]), affine=affine)
    if kind == "layer_norm":
        return nn.LayerNorm(int(size["width"]), float(size["eps"]))
    bare: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "unit": Unit}
    return bare[kind]()


@torch.no_grad()
def _require_same(method: VLPModule[Any], model: JointModel) -> None:
    """Never a folder of which the numbers are others than the run's."""
    drawn = torch.Generator().manual_seed(0)
    side = model.image_encoder.image_size
    images = torch.randint(
        0, 256, (2, 1, side, side), dtype=torch.uint8, generator=drawn
    )
    texts = ["No pleural effusion. Heart size is normal.", "Left basal pneumonia."]
    for wanted, found in (
        (method.embed_images(images), model.embed_images(images)),
        (method.embed_texts(texts), model.embed_texts(texts)),
    ):
        gap = float((wanted - found).abs().max())
        if not gap < TOLERANCE:
            name = type(method).__name__
            raise _refused(name, f"embeddings that differ from it by {gap:.1g}")
