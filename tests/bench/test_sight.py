"""What a model sees in one image: maps, words, reports, and the page of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vlp_zoo.bench.sight import (
    FRAME,
    Map,
    Sight,
    look,
    overlay,
    page,
    places_that_count,
)
from vlp_zoo.cli import main
from vlp_zoo.data.phantom.chest.source import PhantomChestSource
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sight") / "wide <b>.png"
    pixels = PhantomChestSource("train", 1, image_size=96)[0].image
    cv2.imwrite(str(path), np.hstack([pixels, pixels])[:, :160])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two steps."""
    out = tmp_path_factory.mktemp("runs")
    words = ["--trainer.max_steps=2", "--data.train_studies=32", "--data.val_studies=8"]
    more = ["--data.batch_size=8", "--data.num_workers=0", "--evaluate=[]"]
    size = ["--model.image_encoder=tiny_resnet", "--model.image_size=64"]
    assert (
        main(["fit", "--model", "clip", *words, *more, *size, "--out", str(out)]) == 0
    )
    (folder,) = out.glob("clip/version_*")
    return folder


def test_attention_of_a_vit_is_that_of_its_class_token() -> None:
    encoder = ImageEncoder("test_vit", 64)
    pixels = torch.randint(256, (1, 64, 64), dtype=torch.uint8)
    title, found = places_that_count(encoder, pixels.numpy())
    assert title == "attention of the class token"
    assert found is not None
    assert found.shape == encoder.grid
    # By hand: queries, keys and softmax of the last block.
    seen: list[Any] = []
    block: Any = encoder.timm.blocks[-1].attn  # type: ignore[union-attr,index]
    hook = block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        encoder(encoder.prepare(pixels[None]))
        hook.remove()
        rows = seen[0].shape[1]
        q, k, _ = block.qkv(seen[0]).reshape(rows, 3, block.num_heads, -1).unbind(1)
        logits = torch.einsum("hd,nhd->hn", block.q_norm(q)[0], block.k_norm(k))
        wanted = (logits * block.scale).softmax(-1).mean(0)[-found.size :]
    np.testing.assert_allclose(found.ravel(), wanted.numpy(), rtol=1e-4)
    assert block.fused_attn


def test_grad_cam_is_where_the_features_come_from() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder("tiny_resnet", 64).eval().requires_grad_(False)
    pixels = np.zeros((1, 64, 64), np.uint8)
    title, found = places_that_count(encoder, pixels)
    assert title == "Grad-CAM of the features"
    assert found is not None
    assert found.shape == encoder.grid
    # The features are the mean of the last map, so a channel's weight is its own mean.
    last = encoder(encoder.prepare(torch.from_numpy(pixels)[None])).levels[-1]
    mean = last.mean((2, 3), keepdim=True)
    wanted = ((mean / mean.norm()) * last).sum(1).relu()[0] / found.size
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-6)


def test_the_largest_numbers_are_red_and_what_was_not_seen_stays() -> None:
    image = np.full((1, 3, 3), 100, np.uint8)
    shown = overlay(image, np.array([[np.nan, 1.0, 3.0]]))
    assert shown[0].tolist() == [[70, 70, 70], [70, 70, 70], [255, 70, 70]]


def test_an_image_is_seen_with_words(run: Path, image: Path) -> None:
    pool = ["Clear lungs.", "Large effusion.", "Clear lungs."]
    sight = look(
        str(run), image, texts=["effusion"], findings=["Edema"], pool=pool, nearest=5
    )
    assert [one.title for one in sight.maps][1:] == ["similarity to: effusion"]
    assert all(one.values.shape == sight.image.shape[:2] for one in sight.maps)
    assert sight.image.shape == (96, 160, 3)
    assert max(sight.image.shape) <= FRAME
    ((text, cosine),) = sight.texts
    assert text == "effusion"
    assert -1 <= cosine <= 1
    assert [name for name, _ in sight.findings] == ["Edema"]
    # Each report once, the nearest first.
    assert sorted(words for words, _ in sight.reports) == sorted(set(pool))
    assert sight.reports[0][1] >= sight.reports[1][1]
    assert len(look(str(run), image).findings) == 13


def test_words_need_an_encoder_that_knows_some(image: Path) -> None:
    with pytest.raises(ConfigError, match="share a space"):
        look("random:resnet18", image, texts=["effusion"])
    sight = look("random:resnet18", image)
    assert len(sight.maps) == 1
    assert not (sight.texts)
    assert not (sight.findings)
    assert not (sight.reports)


def test_a_page_holds_everything_and_escapes_names() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    sight = Sight(
        image, (Map("here", np.zeros((4, 4))),), (("<i>", 0.25),), remarks=("so",)
    )
    found = page(sight, "a <b>", "runs/x")
    assert "<b>" not in found
    assert "<i>" not in found
    assert "+0.250" in found
    assert found.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=.http", found)


def test_the_command_prints_what_the_page_says(
    run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "there" / "show.html"
    words = ["show", str(image), "--encoder", str(run), "--text", "left effusion"]
    assert main([*words, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "left effusion" in said
    assert f"page: {out}" in said
    assert "similarity to: left effusion" in out.read_text(encoding="utf-8")
    assert main(["show", str(tmp_path / "no.png"), "--encoder", str(run)]) == 1
