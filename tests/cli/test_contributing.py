"""CONTRIBUTING.md's examples run as they are written there."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from tests.cli.test_strangers import block
from vlp_zoo.bench.presets import PROTOCOLS
from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.methods.stored import load_method

PAGE = "CONTRIBUTING.md"
SMALL = "--studies 40 20 20 --image-size 32 --min-positives 1 --bootstrap 20"


def words_of(start: str) -> list[str]:
    """The page's command that begins so, as a shell hands it over."""
    return shlex.split(block(PAGE, "bash", start).replace("\\\n", ""))[1:]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_method_of_another_package(capsys: pytest.CaptureFixture[str]) -> None:
    Path("two_crops.py").write_text(block(PAGE, "python", '"""Two crops'))
    # What pip writes for a package with that entry point.
    group, line = block(PAGE, "toml", "[project.entry-points").strip().splitlines()
    assert group == '[project.entry-points."vlp_zoo.methods"]'
    Path("two_crops-1.dist-info").mkdir()
    Path("two_crops-1.dist-info/METADATA").write_text("Name: two-crops\nVersion: 1\n")
    Path("two_crops-1.dist-info/entry_points.txt").write_text(
        f"[vlp_zoo.methods]\n{line.replace(chr(34), '')}\n"
    )
    importlib.invalidate_caches()
    words = words_of("vlpzoo fit --model two_crops")
    for option, value in (("--evaluate", "[]"), ("--trainer.max_epochs", "1")):
        words[words.index(option) + 1] = value
    sizes = "--data.train_studies 16 --data.val_studies 8 --data.image_size 32"
    steps = "--data.batch_size 8 --data.num_workers 0"
    chosen = "--model.temperature 0.2 --trainer.accelerator cpu"
    assert main([*words, *f"{sizes} {steps} {chosen}".split()]) == 0
    (checkpoint,) = Path("runs").rglob("last.ckpt")
    options: Any = load_method(checkpoint).options
    assert options.temperature == 0.2
    (encoder,) = Path("runs").rglob("version_*/encoder.safetensors")
    assert load_encoder(str(encoder)).width > 0
    capsys.readouterr()
    assert main(["info", "methods"]) == 0
    assert "two_crops" in capsys.readouterr().out


def test_a_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS, "my_clip", LAYOUTS["mae"])  # taken back at the end
    entry = block(PAGE, "python", 'LAYOUTS["my_clip"]')
    imports = "from vlp_zoo.encoders.layouts import LAYOUTS, Layout"
    Path("my_layout.py").write_text(f"{imports}\n\n{entry}")
    importlib.import_module("my_layout")
    vit = timm.create_model(
        "vit_base_patch16_224", embed_dim=128, depth=1, num_heads=2, num_classes=0
    )
    state = {f"visual.{name}": value for name, value in vit.state_dict().items()}
    state |= {"text.embed": torch.zeros(3), "logit_scale": torch.tensor(1.0)}
    torch.save(state, "released.pth")
    encoder = load_encoder("official:my_clip:released.pth")
    assert encoder.preprocessing["mean"] == [0.5, 0.5, 0.5]
    images = torch.rand(2, 3, 224, 224)
    torch.testing.assert_close(
        encoder(images).pooled, vit.eval()(images), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
def test_a_preset_and_a_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my-knn.yaml").write_text(block(PAGE, "yaml", "summary: nearest neighbours"))
    words = words_of("vlpzoo bench --encoder runs/mae")
    words[words.index("runs/mae/version_0")] = "random:micro"
    Path("class_means.py").write_text(block(PAGE, "python", '"""How well the two'))
    monkeypatch.setitem(PROTOCOLS, "class-means", "class_means.ClassMeans")
    Path("means.yaml").write_text("summary: class means\nprotocol: class-means\n")
    small = [*SMALL.split(), "--num-workers", "0"]
    assert main([*words, "--preset", "means.yaml", *small]) == 0
    rows = ResultStore(Path("runs/bench")).read()
    found = {
        (row.protocol, row.encoder): row
        for row in rows
        if row.metric == "macro_auroc" and row.split == "test" and not row.baseline
    }
    assert found["my-knn", "random:micro"].settings["k_grid"] == [1, 3, 5]
    for preset in ("my-knn", "means"):
        assert found[preset, "random:micro"].low is not None
        # All cases alike: one half, whatever was learnt.
        assert found[preset, "prevalence"].value == 0.5
