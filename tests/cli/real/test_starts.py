"""Real starts on real studies: fit from installed weights, move the folder, evaluate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import require_shared
from vlp_zoo.cli import main
from vlp_zoo.encoders.wheels import IMAGENET, KIND, WHEELS, Wheel, missing
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.methods.stored import load_method

pytestmark = pytest.mark.real

BERT = "wheel:minilm"
GONE = Wheel("weights", "a_package_that_is_not_installed", "nowhere")
SMALL = {"image_encoder": "tiny_resnet", "image_size": "48"}
STARTS: dict[str, dict[str, str]] = {
    "clip from ImageNet": {
        "image_encoder": "tf_efficientnet_lite0",
        "image_size": "64",
        "warm_start": IMAGENET,
        "keep_normalisation": "true",
    },
    "clip": {**SMALL, "text_model": BERT, "max_tokens": "32"},
    "place": {**SMALL, "text_model": BERT, "max_tokens": "32", "feature_level": "-1"},
    "imitate": {**SMALL, "text_model": BERT, "max_tokens": "32"},
    "asg": {
        **SMALL,
        "text_model": BERT,
        "text_depth": "2",
        "tag_text": BERT,
        "tag_width": "384",
        "max_tokens": "32",
        "text_positions": "512",
        "region_atlas": "phantom",
    },
}
"""Options over those of the demo config; the first word is the method."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handful of studies, the same share of which has each side of the split."""
    for spec, text in ((IMAGENET, False), (BERT, True)):
        if why := missing(spec, text):
            pytest.skip(why)
    path = require_shared("realdata", "cxr_text", "pairs.csv")
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = rows[rows["view"] == "Frontal"].head(48)
    rows["image"] = [str(path.parent / name) for name in rows["image"]]
    rows["split"] = ["train", "train", "val", "test"] * 12
    kept = tmp_path_factory.mktemp("starts") / "pairs.csv"
    rows.to_csv(kept, index=False)
    return kept


@pytest.fixture(autouse=True)
def cache(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Shared, so that texts are embedded once.
    monkeypatch.setenv("VLPZOO_CACHE", str(table.parent / "cache"))


@pytest.mark.parametrize("start", sorted(STARTS))
def test_a_run_from_real_weights_is_evaluated_where_it_was_moved(
    start: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = start.partition(" ")[0]
    flags: dict[str, Any] = {
        "config": f"demo/{method}",
        "data": "pairs",
        "data.path": table,
        "data.batch_size": 8,
        "data.num_workers": 0,
        **{f"model.{name}": value for name, value in STARTS[start].items()},
        "trainer.max_epochs": 1,
        "trainer.enable_model_summary": "false",
        "evaluate": "[]",
        "out": tmp_path / "here",
    }
    assert main(["fit", *(f"--{name}={value}" for name, value in flags.items())]) == 0
    shutil.move(tmp_path / "here" / method / "version_0", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")

    words = [f"--encoder=mine={tmp_path / 'there'}", f"--task=pairs:{table}"]
    words += ["--preset=vlp-linear", "--min-positives=1", "--bootstrap=20"]
    out = tmp_path / "results"
    assert main(["bench", *words, "--num-workers=0", f"--out={out}"]) == 0
    rows = [row for row in ResultStore(out).read() if row.role == "encoder"]
    assert {row.encoder for row in rows} == {"mine"}
    (head,) = (r for r in rows if r.metric == "macro_auroc" and r.baseline is None)
    assert head.value is not None
    assert head.n == 12

    # The card says where the weights come from, and checkpoints need no package.
    card = json.loads((tmp_path / "there" / "encoder.json").read_text())
    options = STARTS[start]
    assert card["origin"] == options.get("warm_start", "random initialisation")
    for spec in (IMAGENET, BERT):
        monkeypatch.setitem(WHEELS, spec.removeprefix(KIND), GONE)
    module = load_method(tmp_path / "there" / "checkpoints" / "last.ckpt")
    if module.has_text_head and "text_model" in options:
        assert module.embed_texts(["Small left effusion."]).isfinite().all()
