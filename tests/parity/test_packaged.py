"""The small recordings of a checkout: replayed without anything else, and able to fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vlp_zoo.cli import main as vlpzoo
from vlp_zoo.methods.asg import asg
from vlp_zoo.methods.ecamp import ecamp
from vlp_zoo.methods.ecamp.networks import SuperResolution
from vlp_zoo.parity import REPLAYS
from vlp_zoo.parity.asg import replay
from vlp_zoo.parity.ecamp.replay import replay_fixture as replay_ecamp

GOLDEN = Path(__file__).parents[1] / "golden"


def test_a_checkout_proves_its_parity_by_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert vlpzoo(["parity", "--json"]) == 0
    printed = capsys.readouterr()
    said = {}
    for line in printed.out.splitlines():
        row = json.loads(line)
        said[row["method"]] = row
    assert said.keys() == REPLAYS.keys()
    assert all(row["ok"] and row["failed"] == [] for row in said.values())
    least = {
        "asg": 60,
        "ecamp": 7,
        "flair": 250,
        "gloria": 100,
        "medclip": 80,
        "imitate": 200,
        "mflag": 180,
        "mgca": 150,
        "mrm": 4,
    }
    assert all(said[method]["compared"] >= number for method, number in least.items())
    assert said["imitate"]["inputs"] == ["inputs replayed: 39 of 39"]
    assert said["ecamp"]["losses"].keys() == {"mim", "mlm"}
    assert {"total", "img_text_impression"} <= said["imitate"]["losses"].keys()
    assert printed.err == ""


@pytest.mark.parametrize("method", sorted(REPLAYS))
def test_a_small_recording_is_small(method: str) -> None:
    files = list((GOLDEN / method).iterdir())
    assert sum(file.stat().st_size for file in files) <= 300 * 1024
    assert GOLDEN / method / "README.md" in files


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_recordings_are_met_in_either_precision(dtype: torch.dtype) -> None:
    rows = replay.replay_fixture(GOLDEN / "asg", dtype)
    rows += replay_ecamp(GOLDEN / "ecamp", dtype)
    assert [row for row in rows if not row.ok] == []


def ones_for_weights(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def text_loss(*given: Any) -> Tensor:
        hidden, matrix, bias, ids, weights, mask = given
        return function(hidden, matrix, bias, ids, torch.ones_like(weights), mask)

    return text_loss


def over_the_other_patches(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def image_loss(
        predicted: Tensor, true: Tensor, hidden: Tensor, over: str
    ) -> Tensor:
        return function(
            predicted, true, hidden, "all" if over == "masked" else "masked"
        )

    return image_loss


@pytest.mark.parametrize(
    ("name", "wrong", "failed"),
    [
        ("weighted_token_ce", ones_for_weights, {"loss.mlm", "grad_norm.mlm"}),
        ("masked_mse", over_the_other_patches, {"loss.mim", "grad_norm.mim"}),
    ],
)
def test_a_wrong_formula_of_ecamp_fails(
    name: str, wrong: Any, failed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecamp, name, wrong(getattr(ecamp, name)))
    rows = replay_ecamp(GOLDEN / "ecamp")
    found = {row.quantity.partition(" ")[0] for row in rows if not row.ok}
    assert failed <= found
    assert len(found) < len(rows) / 2


def test_a_wrong_super_resolution_of_ecamp_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = SuperResolution.forward

    def transposed(self: SuperResolution, image: Tensor, *places: Tensor) -> Tensor:
        return right(self, image.transpose(-1, -2), *places)

    monkeypatch.setattr(SuperResolution, "forward", transposed)
    failed = [row.quantity for row in replay_ecamp(GOLDEN / "ecamp") if not row.ok]
    assert failed == ["mid.super_res_out (3072)"]


@pytest.mark.parametrize(
    ("name", "change", "failed"),
    [
        ("soft_labels", lambda soft: soft.flip(0), "erl"),
        ("sentence_means", lambda means: 1.001 * means, "arsa"),
        ("global_scores", lambda s: s._replace(image=1.001 * s.image), "ira"),
        ("merge_words", lambda words: words / 2, ""),
    ],
)
def test_a_wrong_formula_of_asg_fails(
    name: str,
    change: Callable[[Any], Any],
    failed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = getattr(replay, name)
    for place in (asg, replay):
        # The module itself merges words in what it shares with MGCA.
        if hasattr(place, name):
            monkeypatch.setattr(place, name, lambda *given: change(right(*given)))
    rows = [row.quantity for row in replay.replay_fixture(GOLDEN / "asg") if not row.ok]
    expected = f"loss_level.case0.{failed}" if failed else "mid.agg.out (720)"
    assert expected in rows


@pytest.mark.slow
def test_a_number_that_is_off_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method, file, keys, failed in (
        ("imitate", "model.json", ("losses_f64", "total"), "loss.total"),
        ("ecamp", "parts.json", ("losses", "mlm"), "loss.mlm"),
        (
            "asg",
            "loss_level.json",
            ("aligned", "total"),
            "loss_level.case1.total",
        ),
    ):
        folder = tmp_path / method
        shutil.copytree(GOLDEN / method, folder)
        facts = json.loads((folder / file).read_text())
        facts[keys[0]][keys[1]] *= 1.01
        (folder / file).write_text(json.dumps(facts))
        assert vlpzoo(["parity", method, "--json", "--fixture", str(folder)]) == 1
        assert json.loads(capsys.readouterr().out)["failed"] == [failed]


def test_a_vocabulary_that_nothing_reads_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.json"
    assert vlpzoo(["parity", "asg", "--tokenizer", str(words)]) == 1
    said = capsys.readouterr()
    assert '"ok": true' in said.out
    assert "leave out --tokenizer" in said.err


def test_a_method_without_a_small_recording_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REPLAYS, "none", REPLAYS["asg"])
    assert vlpzoo(["parity", "none"]) == 1
    assert "--fixture" in capsys.readouterr().err
    assert vlpzoo(["parity", "--fixture", str(GOLDEN / "asg")]) == 1
    assert "METHOD" in capsys.readouterr().err
