from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.evaluation.stubs import BlockSource, StubEncoder
from tests.fakes.processes import on_two_processes
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, DataRejectedError, EncoderLoadError
from vlp_zoo.evaluation.features import extraction as features
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import (
    Extraction,
    fit_image,
    weights_sha256,
)


def _fresh(folder: Path | None = None, **settings: object) -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(folder), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def vit() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder("micro").eval()


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (7, 0), (23, 2), (7, 2)])
def test_features_do_not_depend_on_batches_or_workers(
    vit: ImageEncoder, batch_size: int, workers: int
) -> None:
    source = BlockSource("test", 23)
    whole = _fresh(batch_size=23).get(vit, source)
    parts = _fresh(batch_size=batch_size, num_workers=workers).get(vit, source)
    assert whole.shape == (23, 32)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)


def test_features_are_the_encoder_on_the_normalised_image(vit: ImageEncoder) -> None:
    source = BlockSource("test", 3)
    features = _fresh().get(vit, source)
    means = _fresh(pooling="mean").get(vit, source)
    for i in range(3):
        pixels = torch.from_numpy(fit_image(source.images[i], vit.preprocessing))
        with torch.no_grad():
            output = vit(vit.normalise(pixels[None].expand(-1, 3, -1, -1)))
        np.testing.assert_allclose(features[i], output.pooled[0], rtol=1e-4, atol=1e-5)
        mean = output.tokens[0].mean(0)
        np.testing.assert_allclose(means[i], mean, rtol=1e-4, atol=1e-5)


def test_the_cache_saves_the_encoder_from_working_twice(tmp_path: Path) -> None:
    encoder, source = StubEncoder(), BlockSource("val", 10)
    first = _fresh(tmp_path).get(encoder, source)
    again = _fresh(tmp_path).get(encoder, source)
    assert encoder.images == source.read == 10
    np.testing.assert_array_equal(first, again)
    assert not list(tmp_path.rglob("*.part"))


def test_what_changes_features_changes_the_key(tmp_path: Path) -> None:
    encoder, source = StubEncoder(), BlockSource("val", 4)
    plain = _fresh().key(encoder, source)
    assert plain == _fresh(batch_size=2).key(StubEncoder(), BlockSource("val", 4))
    others = [
        _fresh().key(StubEncoder(seed=1), source),
        _fresh().key(encoder, BlockSource("val", 4, seed=1)),
        _fresh(pooling="mean").key(encoder, source),
        _fresh(precision="bf16").key(encoder, source),
    ]
    encoder.preprocessing["mean"] = [0.4] * 3
    others.append(_fresh().key(encoder, source))
    assert len({plain, *others}) == 6


@pytest.mark.parametrize("damage", ["truncated", "flipped", "replaced"])
def test_a_damaged_cache_is_made_again_with_a_notice(
    tmp_path: Path, damage: str
) -> None:
    encoder, source = StubEncoder(), BlockSource("val", 10)
    first = _fresh(tmp_path).get(encoder, source)
    (path,) = tmp_path.rglob("*.npz")
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2] ^= 255
    else:
        content = bytearray(b"not an archive")
    path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        again = _fresh(tmp_path).get(encoder, source)
    np.testing.assert_array_equal(first, again)
    assert encoder.images == 20
    np.testing.assert_array_equal(_fresh(tmp_path).get(encoder, source), first)
    assert encoder.images == 20


def test_an_unwritable_cache_costs_a_warning_only(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.warns(UserWarning, match="not cached"):
        features = _fresh(blocked).get(StubEncoder(), BlockSource("val", 4))
    assert features.shape == (4, 16)


def test_each_image_is_read_once_for_all_encoders(vit: ImageEncoder) -> None:
    source, stub = BlockSource("val", 9), StubEncoder()
    both = _fresh(batch_size=4).get_all([vit, stub], source)
    assert source.read == 9
    np.testing.assert_array_equal(both[1], _fresh(batch_size=4).get(stub, source))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_keeps_its_message(workers: int) -> None:
    source = BlockSource("val", 6, broken=4)
    with pytest.raises(DataRejectedError) as caught:
        _fresh(num_workers=workers).get(StubEncoder(), source)
    assert caught.value.found == "truncated"


def test_the_encoder_is_left_as_it_was(tmp_path: Path) -> None:
    encoder = StubEncoder().train()
    before = weights_sha256(encoder)
    source = BlockSource("val", 5)
    one = _fresh().get(encoder, source)
    # Dropout in training mode would differ between the two.
    np.testing.assert_array_equal(one, _fresh().get(encoder, source))
    assert encoder.training
    assert weights_sha256(encoder) == before


def test_an_encoder_that_yields_nan_is_refused() -> None:
    encoder = StubEncoder()
    encoder.map.weight.data[0] = torch.nan
    with pytest.raises(EncoderLoadError, match="finite"):
        _fresh().get(encoder, BlockSource("val", 3))


def test_images_keep_their_aspect_unless_told() -> None:
    tall = np.full((40, 20), 200, np.uint8)
    recipe = {"image_size": 10, "interpolation": "bilinear"}
    padded = fit_image(tall, recipe)
    assert padded.shape == (1, 10, 10)
    assert not padded[..., :2].any()
    assert (padded[..., 3:7] == 200).all()
    assert (fit_image(tall, {**recipe, "resize": "squash"}) == 200).all()
    colour = np.stack([tall, tall // 2, tall // 4], -1)
    assert fit_image(colour, recipe)[:, 5, 5].tolist() == [200, 100, 50]
    with pytest.raises(ConfigError, match="resize"):
        fit_image(tall, {**recipe, "resize": "stretch"})


def test_settings_that_cannot_be_are_refused() -> None:
    for settings in ({"precision": "8"}, {"pooling": "max"}, {"batch_size": 0}):
        with pytest.raises(ConfigError):
            _fresh(**settings)
    with pytest.raises(ConfigError, match="device"):
        _ = _fresh(device="abacus").torch_device


def test_the_folder_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path))
    Extraction(progress=False).get(StubEncoder(), BlockSource("val", 3))
    assert len(list((tmp_path / "features").glob("*.npz"))) == 1


def test_workers_are_forked_without_a_pool_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool of cv2 that a child inherits has no threads, and the child waits for them."""
    seen: list[int] = []
    real: Any = torch.utils.data.DataLoader

    def loader(*args: Any, **options: Any) -> Any:
        seen.append(cv2.getNumThreads())
        return real(*args, **options)

    cv2.setNumThreads(2)
    monkeypatch.setattr(features, "DataLoader", loader)
    found = _fresh(tmp_path, num_workers=1).get(StubEncoder(), BlockSource("a", 4))
    assert len(found) == 4
    assert seen == [1]


def test_two_processes_that_encode_the_same_leave_one_whole_file(
    tmp_path: Path,
) -> None:
    cache = tmp_path / "cache"

    def encode(_: int) -> Any:
        return torch.from_numpy(_fresh(cache).get(StubEncoder(), BlockSource("a", 6)))

    one, two = on_two_processes(encode, tmp_path)
    assert torch.equal(one, two)
    (file,) = (cache / "features").iterdir()
    with np.load(file, allow_pickle=False) as archive:
        assert np.array_equal(archive["features"], one.numpy())
