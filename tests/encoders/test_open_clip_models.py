"""open_clip is not needed: a module with the parts used here stands in for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlp_zoo.encoders.checkpoint import open_encoder, open_joint
from vlp_zoo.encoders.published.open_clip_models import OpenClipEncoder
from vlp_zoo.errors import DependencyNotFoundError, EncoderLoadError
from vlp_zoo.evaluation.features.extraction import weights_sha256

SIDE = 32


class TimmTower(nn.Module):
    """BiomedCLIP's kind: a timm trunk, then a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=SIDE,
            patch_size=8,
            embed_dim=12,
            depth=4,
            num_heads=2,
            num_classes=0,
        )
        self.head = nn.Linear(12, 6, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.trunk(images))  # type: ignore[no-any-return]


class OwnTower(nn.Module):
    """open_clip's own ViT: tokens on demand, a projection as a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 8, 8)
        self.class_embedding = nn.Parameter(torch.randn(12))
        self.proj: nn.Parameter | None = nn.Parameter(torch.randn(12, 6))
        self.output_tokens = False

    def forward(self, images: Tensor) -> Any:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        pooled = patches.mean(1) + self.class_embedding
        if self.proj is not None:
            pooled = pooled @ self.proj
        return (pooled, patches) if self.output_tokens else pooled


class Pair(nn.Module):
    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.words = nn.Embedding(128, 6)

    def encode_image(self, images: Tensor) -> Tensor:
        return self.visual(images)  # type: ignore[no-any-return]

    def encode_text(self, ids: Tensor) -> Tensor:
        return self.words(ids).sum(1)  # type: ignore[no-any-return]


TOWERS = {"ViT-own": OwnTower, "hf-hub:some/biomed": TimmTower, "RN50": nn.Identity}


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    fake: Any = ModuleType("open_clip")

    def create_model(name: str, pretrained: str | None = None) -> nn.Module:
        if name not in TOWERS:
            raise RuntimeError(f"Model config for {name} not found.")
        fake.asked.append((name, pretrained))
        torch.manual_seed(0)
        return Pair(TOWERS[name]())

    def tokenizer(texts: list[str]) -> Tensor:
        rows = [[ord(c) % 128 for c in text.ljust(20)[:20]] for text in texts]
        return torch.tensor(rows)

    fake.asked = []
    fake.create_model = create_model
    fake.get_tokenizer = lambda name: tokenizer
    fake.get_model_preprocess_cfg = lambda model: {
        "size": (SIDE, SIDE),
        "mode": "RGB",
        "mean": (0.48, 0.46, 0.41),
        "std": (0.27, 0.26, 0.28),
        "interpolation": "bicubic",
        "resize_mode": "squash" if isinstance(model.visual, OwnTower) else "shortest",
    }
    monkeypatch.setitem(sys.modules, "open_clip", fake)
    monkeypatch.setattr(
        "vlp_zoo.encoders.published.open_clip_models.is_cached",
        lambda repo, files: True,
    )
    return fake  # type: ignore[no-any-return]


def test_without_the_package_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for opened in (open_encoder, open_joint):
        with pytest.raises(DependencyNotFoundError, match="open_clip_torch"):
            opened("open_clip:ViT-B-32/openai")


@pytest.mark.parametrize("place", ["ViT-own/laion", "hf-hub:some/biomed"])
def test_features_are_those_before_the_projection(
    module: ModuleType, place: str
) -> None:
    encoder = open_encoder(f"open_clip:{place}")
    assert isinstance(encoder, OpenClipEncoder)
    assert module.asked == [("ViT-own", "laion") if "own" in place else (place, None)]
    torch.manual_seed(0)
    model: Any = Pair(TOWERS[place.removesuffix("/laion")]()).eval()
    images = torch.randn(2, 3, SIDE, SIDE)
    output = encoder(images)
    with torch.no_grad():
        joint = model.encode_image(images)
    head = model.visual.proj if "own" in place else model.visual.head.weight.T
    torch.testing.assert_close(output.pooled @ head, joint)
    assert output.tokens.shape == (2, 16, 12)
    assert output.grid == (4, 4)
    assert encoder.preprocessing["resize"] == ("squash" if "own" in place else "pad")
    levels = encoder.pyramid(images).levels
    assert [level.shape[1] for level in levels] == encoder.level_channels()
    assert len(levels) == (1 if "own" in place else 4)
    fresh = encoder.random_copy(1)
    assert weights_sha256(fresh) == weights_sha256(encoder.random_copy(1))
    mine, other = encoder.state_dict(), fresh.state_dict()
    kept = [key for key in mine if torch.equal(mine[key], other[key])]
    # Biases and scales of normalisation start at 0 and 1 in both.
    assert not [key for key in kept if mine[key].ndim > 1], kept


def test_images_and_texts_meet(module: ModuleType) -> None:
    joint = open_joint("open_clip:hf-hub:some/biomed")
    assert joint is not None
    pixels = torch.randint(0, 256, (2, 1, SIDE, SIDE), dtype=torch.uint8)
    texts = ["edema", "no edema"]
    model: Any = joint.model
    mean = torch.tensor([0.48, 0.46, 0.41]).view(-1, 1, 1)
    std = torch.tensor([0.27, 0.26, 0.28]).view(-1, 1, 1)
    with torch.no_grad():
        wanted = model.encode_image((pixels / 255 - mean) / std)
        images, words = joint.embed_images(pixels), joint.embed_texts(texts)
    torch.testing.assert_close(images, functional.normalize(wanted, dim=-1))
    assert words.shape == (2, 6)
    torch.testing.assert_close(words.norm(dim=1), torch.ones(2))
    assert len(joint.sha256) == 64


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("ViT-own", "an architecture alone"),
        ("RN50/openai", "a Identity"),
        ("ViT-none/openai", "not found"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    module: ModuleType, place: str, words: str
) -> None:
    with pytest.raises(EncoderLoadError, match=words):
        open_encoder(f"open_clip:{place}")


def test_the_hub_is_asked_before_the_package(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vlp_zoo.encoders.published.open_clip_models.is_cached",
        lambda repo, files: False,
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderLoadError, match="HF_HUB_OFFLINE=1"):
        open_encoder("open_clip:hf-hub:some/biomed")
    assert not module.asked
