"""What each method makes of hues: inputs, targets, pictures, and what bench shows."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from tests.fakes.sources import RampSource
from tests.methods import paired, test_mae
from tests.methods.cases import BUILDERS, build_ecamp
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.loading import collate_examples
from vlp_zoo.methods.paired.fields import PairedTransform, ReportTokens
from vlp_zoo.methods.paired.views import RandomView, cut_border
from vlp_zoo.methods.place.networks import Exploration, pixel_patches
from vlp_zoo.types import Study

Pixels = npt.NDArray[np.uint8]

RED, BLUE = (200, 60, 60), (60, 102, 209)
"""Two colours of one luma."""


PICTURES = {
    "asg": "regions",
    "clip": "images",
    "ecamp": "input",
    "flair": "images",
    "gloria": "attention",
    "imitate": "views",
    "mae": "input",
    "medclip": "images",
    "mflag": "images",
    "mgca": "words",
    "mrm": "input",
    "place": "queries",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Pixels:
    """A photograph of two colours."""
    image = np.empty((72, 72, 3), np.uint8)
    image[:, :36], image[:, 36:] = left, right
    return image


def study(index: int, image: Pixels) -> Study:
    return replace(paired.study(index), image=image)


def batch_of(module: Any, images: list[Pixels], train: bool = False) -> Any:
    transform = pickle.loads(pickle.dumps(module.make_transform(train)))
    return collate_examples(
        [
            transform(study(i, image), np.random.default_rng((0, i)))
            for i, image in enumerate(images)
        ]
    )


@pytest.mark.parametrize("method", sorted(BUILDERS))
@pytest.mark.parametrize("train", [True, False])
def test_equal_luma_is_not_an_equal_input(method: str, train: bool) -> None:
    luma = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in (RED, BLUE)]
    assert luma == [102, 102]
    module = BUILDERS[method]().eval()
    one, two = (
        batch_of(module, [halves(*colours)], train)
        for colours in ((RED, BLUE), (BLUE, RED))
    )
    views = [name for name in one if name.startswith("image")]
    assert len(views) == (2 if method == "imitate" else 1)
    for view in views:
        assert one[view].dtype == torch.uint8
        assert one[view].shape[:2] == (1, 3)
        seen = [module.image_encoder.prepare(batch[view]) for batch in (one, two)]
        assert float((seen[0] - seen[1]).abs().max()) > 0.5
        with torch.no_grad():
            first, second = (module.image_encoder(images).pooled for images in seen)
        assert not torch.allclose(first, second, atol=1e-4)
    # What has no colour stays one channel.
    grey = batch_of(module, [np.full((72, 72), 102, np.uint8)], train)
    assert grey["image"].shape == (1, 1, *one["image"].shape[2:])


@pytest.mark.parametrize("method", sorted(BUILDERS))
def test_colour_is_normalised_channel_by_channel(method: str) -> None:
    module = BUILDERS[method]().eval()
    encoder = module.image_encoder
    batch = batch_of(module, [halves(RED, BLUE)])
    card = encoder.preprocessing
    assert card["channels"] == 3
    whole = batch["image"]
    if method in ("ecamp", "mrm"):
        whole = whole[..., ::2, ::2]  # two colours: every second pixel is the half
    seen = encoder.prepare(whole)
    for c, (mean, std) in enumerate(zip(card["mean"], card["std"], strict=True)):
        wanted = (whole[:, c].float() / 255 - mean) / std
        assert torch.allclose(seen[:, c], wanted, atol=1e-5)
    if method in ("asg", "imitate"):
        assert len(set(card["mean"])) == len(set(card["std"])) == 3


@pytest.mark.parametrize("method", sorted(BUILDERS))
def test_three_equal_channels_cost_what_grey_costs(method: str) -> None:
    module = BUILDERS[method]().eval()
    grey = batch_of(module, [paired.study(i).image for i in range(4)])
    wide = {
        name: field.expand(-1, 3, -1, -1) if name.startswith("image") else field
        for name, field in grey.items()
    }
    with torch.no_grad():
        wanted, found = module.losses(grey), module.losses(wide)
    assert wanted.keys() == found.keys()
    # Deviations of patches in the sample divide by one less, of 64 or of 192 pixels.
    near = 0.02 if method == "mae" else 1e-4
    for name, value in wanted.items():
        assert float(found[name]) == pytest.approx(float(value), rel=near, abs=1e-6)


@pytest.mark.parametrize("method", sorted(BUILDERS))
def test_a_step_on_colour_reaches_every_parameter(method: str) -> None:
    module = BUILDERS[method]().train()
    images = [
        np.stack([paired.study(3 * i + c).image for c in range(3)], axis=2)
        for i in range(4)
    ]
    paired.assert_every_parameter_learns(module, batch_of(module, images, train=True))


@pytest.mark.parametrize("method", sorted(BUILDERS))
def test_pictures_are_in_colour(method: str) -> None:
    module = BUILDERS[method]().eval()
    batch = batch_of(module, [halves(RED, BLUE)] * 2)
    with torch.no_grad():
        shown = module.pictures(batch)[PICTURES[method]]
    assert isinstance(shown, Tensor)
    side = module.options.image_size
    side = {"asg": 224, "gloria": 160, "mgca": 160, "place": 160, "mrm": 2 * side}.get(
        method, side
    )
    left, right = shown[:, side // 2, side // 8], shown[:, side // 2, 7 * side // 8]
    assert left[0] > left[2] + 0.2
    assert right[2] > right[0] + 0.2


def test_one_curve_for_all_channels() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    tokens = ReportTokens(ReportTokenizer.train(paired.REPORTS * 5, 160), 32)
    vary = PairedTransform(tokens, 40, True, crop_scale=1.0, jitter=0.4)
    # A crop of all pixels at their own size leaves the values alone.
    steady = replace(vary, jitter=0.0)
    fixed = steady(study(0, image), np.random.default_rng(1))["image"]
    varied = vary(study(0, image), np.random.default_rng(1))["image"]
    assert not np.array_equal(fixed, varied)
    for value in range(0, 256, 15):
        assert len(np.unique(varied[fixed == value])) == 1


def test_views_of_photographs_keep_black_corners_and_stretch_alike() -> None:
    image = np.zeros((50, 40, 3), np.uint8)
    image[10:40, 5:35] = (120, 60, 0)
    # A border is where every channel is 0, not where blue is.
    inside = cut_border(image)
    assert inside.shape == (30, 30, 3)
    assert inside[0, 0].tolist() == [255, 128, 0]
    # Dimmed, so that no kernel overshoots what 8 bits hold.
    vary = RandomView(perspective=1, autocontrast=1)
    view = vary(inside // 2, np.random.default_rng(0), 24)
    assert view.shape == (24, 24, 3)
    assert view.max() == 255
    lit = view[view[..., 0] > 100].astype(int)
    assert len(lit) > 100
    assert np.abs(lit[:, 0] - 2 * lit[:, 1]).max() <= 6
    assert (lit[:, 2] == 0).all()


def test_the_asg_square_pads_with_black() -> None:
    module = BUILDERS["asg"]()
    wide = np.full((36, 72, 3), RED, np.uint8)
    transform = replace(module.make_transform(False), resize=32)
    pixels = transform(study(0, wide), np.random.default_rng(0))["image"]
    assert pixels.shape == (3, 32, 32)
    assert pixels[:, 0].max() == 0
    assert pixels[:, 16, 16].tolist() == list(RED)


@pytest.mark.parametrize("norm_pix", [True, False])
def test_mae_predicts_colours(norm_pix: bool) -> None:
    module = test_mae.build(norm_pix=norm_pix).eval()
    image = np.stack([paired.study(c).image for c in range(3)], axis=2)
    batch = batch_of(module, [image])
    with torch.no_grad():
        images = module.image_encoder.normalise(batch["image"])
        run = module.reconstruct(images, module.patch_noise(batch))
        loss = float(module.losses(batch)["mim"])
    errors = []
    for place in range(16):
        if run.mask.hidden[0, place]:
            row, column = divmod(place, 4)
            patch = images[0, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            if norm_pix:
                # As the official code: one mean and deviation for the three channels.
                patch = (patch - patch.mean()) / (patch.var() + 1e-6).sqrt()
            guess = run.pixels[0, place].view(8, 8, 3).permute(2, 0, 1)
            errors.append((guess - patch).square().mean())
    assert loss == pytest.approx(float(torch.stack(errors).mean()), rel=1e-5)


def test_ecamp_predicts_colours_at_both_sizes() -> None:
    module = build_ecamp().eval()
    image = np.stack([paired.study(c).image for c in range(3)], axis=2)
    batch = batch_of(module, [image])
    images = module.image_encoder.normalise(batch["image"])
    ids, present = batch["input_ids"], batch["attention_mask"]
    window = torch.zeros(1, 2, dtype=torch.int64)
    with torch.no_grad():
        run = module.run(images, ids, present, module.patch_noise(batch))
        assert run.low.shape == (1, 3, 32, 32)
        predicted = module.decoder.image(run.pixels)
        hidden = run.mask.hidden.view(1, 1, 4, 4).float()
        hidden = torch.nn.functional.interpolate(hidden, scale_factor=8.0)
        error = ((predicted - run.low).square() * hidden).sum() / (3 * hidden.sum())
        assert float(module.image_loss(run)) == pytest.approx(float(error), rel=1e-5)
        side = 16 * 3  # three of four patches of 8 pixels, doubled
        places = torch.arange(64)[None]
        sharp = module.super_resolution(predicted, places, places)
        error = (sharp - images)[..., :side, :side].square().mean()
        found = module.super_resolution_loss(run, images, window)
    assert float(found) == pytest.approx(float(error), rel=1e-4)


def test_patches_vary_together_in_colour() -> None:
    grey = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    exploration = Exploration()
    wide = exploration.square(pixel_patches(grey.expand(-1, 3, -1, -1), (4, 4)))
    assert torch.allclose(
        wide, exploration.square(pixel_patches(grey, (4, 4))), atol=1e-4
    )
    assert pixel_patches(grey.expand(-1, 3, -1, -1), (4, 4)).shape == (2, 16, 3 * 64)
    # Two halves of one luma and one red: patches of the same hue go together.
    image = torch.from_numpy(halves((100, 120, 30), (100, 100, 133)))
    image = image.permute(2, 0, 1)[None, :, :64, 4:68]
    found = exploration.square(pixel_patches(image, (4, 4)))[0]
    columns = torch.arange(16) % 4 < 2
    same = columns[:, None] == columns[None]
    assert found[same].min() > found[~same].max() + 1


class Photographs(RampSource):
    """Photographs of two colours, of equal luma."""

    def __getitem__(self, index: int) -> Study:
        colours = (RED, BLUE) if index % 2 else (BLUE, RED)
        return replace(super().__getitem__(index), image=halves(*colours))


@pytest.mark.parametrize("method", ["asg", "mae"])
def test_bench_shows_an_encoder_what_it_was_trained_on(method: str) -> None:
    module = BUILDERS[method]().eval()
    encoder, source = module.image_encoder, Photographs(3)
    extraction = Extraction(device="cpu", progress=False, cache=FeatureCache(None))
    found = torch.from_numpy(extraction.get(encoder, source))
    images = torch.from_numpy(np.stack([source[i].image for i in range(3)]))
    small = images[:, ::2, ::2][:, 2:34, 2:34].permute(0, 3, 1, 2)
    with torch.no_grad():
        wanted = encoder(encoder.prepare(small)).pooled
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-3)
