"""An exported folder is what timm loads, and says where it comes from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder
from vlp_zoo.encoders.image import ImageEncoder

CARD = {
    "method": "toy",
    "hyper_parameters": {"learning_rate": 0.125},
    "pretraining_sources": ["nih14", "rsna"],
    "data_licence": "CC0",
    "origin": "timm:resnet18",
    "steps": 77,
    "compute": {"device": "cpu", "hours": 1.5},
}


def saved(folder: Path, name: str = "micro", **arguments: Any) -> Path:
    torch.manual_seed(0)
    encoder = ImageEncoder(name, **arguments)
    return save_encoder(folder / "encoder.safetensors", encoder, CARD)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("micro", {"pooling": "avg", "mean": [0.1, 0.2, 0.3]}),
        ("micro", {"pooling": "token", "timm_arguments": {"final_norm": False}}),
        ("micro", {"pooling": "avg", "timm_arguments": {"fc_norm": True}}),
        ("resnet10t", {"image_size": 64}),
    ],
)
def test_timm_loads_the_folder_and_sees_the_same(
    name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    path, out = saved(tmp_path, name, **arguments), tmp_path / "out"
    assert main(["export", str(tmp_path), str(out)]) == 0
    ours = load_encoder(str(path))
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    images = torch.randn(2, 3, ours.image_size, ours.image_size)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), ours(images).pooled)
    data: Any = timm.data
    config = data.resolve_model_data_config(loaded)
    assert list(config["mean"]) == ours.mean
    assert list(config["input_size"]) == [3, ours.image_size, ours.image_size]
    assert config["crop_mode"] == "border"
    written = json.loads((out / "config.json").read_text())
    stock = timm.create_model(
        written["architecture"], num_classes=0, **_without(written["model_args"])
    )
    stock.load_state_dict(load_file(out / "model.safetensors"), strict=True)
    again = load_encoder(str(out / "model.safetensors"))
    assert torch.equal(again(images).pooled, ours(images).pooled)


def _without(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key != "num_classes"}


def test_the_card_is_filled_from_what_is_known(tmp_path: Path) -> None:
    path, out = saved(tmp_path), tmp_path / "out"
    made = json.loads(path.with_suffix(".json").read_text())["made"]
    options = ["--name", "My model", "--licence", "MIT"]
    assert main(["export", str(path), str(out), *options]) == 0
    text = (out / "MODEL_CARD.md").read_text()
    for words in (
        *(
            "# Model card for My model",
            "Method: toy",
            "Origin: timm:resnet18",
            "learning_rate: `0.125`",
        ),
        *("Data sets: nih14, rsna", "Terms of the data: CC0", "steps: 77", "hours 1.5"),
        *("Terms of the weights: MIT", "Not for clinical use", made["date"]),
        *("images of 32 px", "mean [0.4721, 0.4721, 0.4721]", "seed: not recorded"),
        "Nothing was measured for this card",
    ):
        assert words in text, words
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Model details",
        "## Uses",
        "## Bias, risks and limitations",
        "## How to use",
        "## Training data",
        "## Training procedure",
        "## Preprocessing",
        "## Evaluation",
        "## Compute",
        "## Provenance",
    ]
    # The date of the training stays; the card of the export has its own.
    assert json.loads((out / "model.json").read_text())["trained"] == made


def test_measured_numbers_go_into_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    run, results = tmp_path / "clip" / "version_0", tmp_path / "bench"
    path = saved(run)
    small = "--studies 24 12 16 --image-size 32 --num-workers 0 --min-positives 1"
    words = f"bench --encoder {path} --task phantom_chest {small} --bootstrap 20"
    assert main([*words.split(), "--no-baselines", "--out", str(results)]) == 0
    out = tmp_path / "out"
    assert main(["export", str(path), str(out), "--results", str(results)]) == 0
    text = (out / "MODEL_CARD.md").read_text()
    row = "| phantom_chest | vlp-linear | 100% | macro_auroc | 0."
    assert row in text
    # Results that lie where bench puts those of such a run need not be named.
    assert main(["export", str(run), str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "MODEL_CARD.md").read_text().count(row) == 1
    saved(tmp_path / "other" / "version_0", "resnet10t")
    other = ["export", str(tmp_path / "other" / "version_0"), str(tmp_path / "none")]
    assert main(other) == 0
    assert "Nothing was measured" in (tmp_path / "none" / "MODEL_CARD.md").read_text()
    capsys.readouterr()
    other = ["export", "random:resnet10t", str(out), "--results", str(results)]
    assert main(other) == 1
    assert "run vlpzoo bench on them first" in capsys.readouterr().err


def test_other_kinds_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", f"hf:{tmp_path}", str(tmp_path / "out")]) == 1
    assert "can be evaluated only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_onnx_needs_its_packages_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "onnx" else real(name, *rest),
    )
    out = tmp_path / "out"
    assert main(["export", str(saved(tmp_path)), str(out), "--onnx"]) == 1
    assert "pip install onnx" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_a_graph_gives_both_outputs_for_any_number_of_images(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="it runs the graph")
    file, out = saved(tmp_path), tmp_path / "out"
    assert main(["export", str(file), str(out), "--onnx"]) == 0
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    encoder = load_encoder(str(file))
    drawn = torch.Generator().manual_seed(0)
    for batch in (1, 3):
        images = torch.randn((batch, 3, 32, 32), generator=drawn)
        pooled, tokens = session.run(["pooled", "tokens"], {"images": images.numpy()})
        with torch.no_grad():
            wanted = encoder(images)
        np.testing.assert_allclose(pooled, wanted.pooled.numpy(), atol=1e-5)
        np.testing.assert_allclose(tokens, wanted.tokens.numpy(), atol=1e-5)


def test_a_graph_for_one_number_of_images_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(*_: Any, **__: Any) -> SimpleNamespace:
        images = SimpleNamespace(name="images", shape=[2, 3, 32, 32])
        graph = SimpleNamespace(inputs=[images])
        return SimpleNamespace(model=SimpleNamespace(graph=graph))

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: object())
    monkeypatch.setattr(torch.onnx, "export", export)
    out = tmp_path / "out"
    assert main(["export", str(saved(tmp_path)), str(out), "--onnx"]) == 1
    assert "one whose images are [2, 3, 32, 32] exactly" in capsys.readouterr().err
    assert not list(out.glob("*"))
