"""The public names of the package: lazy, and the same as the commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vlp_zoo as vz
from vlp_zoo.errors import ConfigError, DataRejectedError, DatasetNotFoundError
from vlp_zoo.evaluation.features.encoder_input import encoder_input
from vlp_zoo.evaluation.features.extraction import fit_image

DOCS = Path(__file__).parents[1] / "docs" / "python.md"
BEFORE = Path(__file__).parent / "golden" / "before"
RUN = BEFORE / "clip"


def grey(side: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    drawn = np.random.default_rng(seed).integers(0, 256, (side, side + 7))
    return drawn.astype(np.uint8)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, vlp_zoo as vz; dir(vz);"
        "print(sorted({'torch', 'numpy', 'lightning', 'timm', 'vlp_zoo.api'}"
        " & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(vz.PUBLIC))
def test_every_public_name_leads_somewhere(name: str) -> None:
    assert name in vz.__all__
    assert name in dir(vz)
    assert getattr(vz, name).__doc__


def test_every_name_of_all_is_there_and_others_are_not() -> None:
    assert set(vz.__all__) == {*vz.PUBLIC, "__version__"}
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        vz.nothing_of_the_kind  # noqa: B018


def test_a_run_its_file_and_its_checkpoint_are_one_encoder(tmp_path: Path) -> None:
    of_run = vz.load_encoder(RUN)
    of_file = vz.load_encoder(str(RUN / "encoder.safetensors"))
    of_method = vz.load_method(RUN).image_encoder
    assert isinstance(vz.load_method(RUN / "checkpoints" / "last.ckpt"), vz.CLIP)
    images = [grey(40), grey(24, 1)]
    wanted = vz.embed(images, of_run)
    assert wanted.shape == (2, 16)
    assert wanted.dtype == np.float32
    for encoder in (of_file, of_method, RUN):
        assert np.array_equal(vz.embed(images, encoder), wanted)
    with pytest.raises(DatasetNotFoundError, match=r"encoder\.safetensors"):
        vz.load_encoder(tmp_path)
    with pytest.raises(ConfigError, match=r"last\.ckpt"):
        vz.load_method(tmp_path)
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="damage"):
        vz.load_method(tmp_path / "cut.ckpt")


def test_embedding_is_the_encoder_on_its_own_preprocessing() -> None:
    encoder: Any = vz.load_encoder("random:micro", seed=3)
    images = [grey(50, seed) for seed in range(5)]
    found = vz.embed(images, encoder, batch_size=2)
    recipe = encoder.preprocessing
    pixels = torch.stack([torch.from_numpy(fit_image(i, recipe)) for i in images])
    wanted = encoder(encoder_input(pixels, recipe))
    assert np.allclose(found, wanted.pooled, atol=1e-5)
    means = vz.embed(images, encoder, pooling="mean")
    assert np.allclose(means, wanted.tokens.mean(1), atol=1e-5)


def test_files_arrays_and_pictures_of_pillow_are_the_same_images(
    tmp_path: Path,
) -> None:
    array = grey(40)
    Image.fromarray(array).save(tmp_path / "a.png")
    colour = np.stack([array, array.T[:40, :40].repeat(2, 1)[:, :47], array], axis=2)
    Image.fromarray(colour).save(tmp_path / "b.png")
    encoder = vz.load_encoder("random:micro")
    pictures: list[Any] = [array, Image.fromarray(array), tmp_path / "a.png"]
    rows = vz.embed(pictures, encoder)
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[0], rows[2])
    kept = vz.embed([colour, tmp_path / "b.png"], encoder, colour=True)
    assert np.array_equal(kept[0], kept[1])
    assert not np.allclose(vz.embed([tmp_path / "b.png"], encoder)[0], kept[0])


@pytest.mark.parametrize(
    ("images", "error", "said"),
    [
        ([], ConfigError, "an empty list"),
        (grey(8), ConfigError, "one ndarray"),
        ([grey(8).astype(np.float32)], DataRejectedError, "float32"),
        ([np.zeros((8, 8, 4), np.uint8)], DataRejectedError, "(8, 8, 4)"),
        ([Image.new("CMYK", (8, 8))], DataRejectedError, "mode CMYK"),
        (["no/such/file.png"], DataRejectedError, "no/such/file.png"),
    ],
)
def test_what_is_no_image_is_refused(
    images: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        vz.embed(images, vz.load_encoder("random:micro"))
    assert said in str(caught.value)


def test_a_loaded_encoder_is_evaluated_as_its_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    settings: dict[str, Any] = {
        "studies": {"train": 24, "val": 12, "test": 24},
        "image_size": 32,
        "min_positives": 2,
        "bootstrap": 0,
        "baselines": False,
        "num_workers": 0,
        "device": "cpu",
    }
    loaded = vz.load_encoder(RUN)
    results = [
        vz.evaluate(
            encoders, ["phantom_chest"], ["vlp-knn"], out=tmp_path / name, **settings
        )
        for name, encoders in (("a", {"mine": loaded}), ("b", [f"mine={RUN}"]))
    ]
    rows = [
        {(row.key, row.encoder, row.metric): row.value for row in found}
        for found in results
    ]
    assert rows[0] == rows[1]
    assert {encoder for _, encoder, _ in rows[0]} == {"mine"}
    assert not loaded.training


@pytest.mark.slow
def test_the_training_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    known: dict[str, Any] = {}
    exec(blocks[0], known)  # noqa: S102  # our own documentation
    model = known["model"]
    assert known["trainer"].global_step == 4
    features = vz.embed([grey(40)], model.image_encoder)
    assert np.isfinite(features).all()
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    again = vz.load_method(checkpoint)
    assert np.array_equal(vz.embed([grey(40)], again.image_encoder), features)


def test_the_documentation_names_what_is_there() -> None:
    named = set(re.findall(r"\bvz\.(\w+)", DOCS.read_text()))
    assert named <= {*vz.__all__}
    assert named >= {*vz.PUBLIC}
