"""Every method on every paired source, through the command a user types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vlp_zoo.cli import main
from vlp_zoo.cli.lightning_cli import run
from vlp_zoo.cli.names import expand
from vlp_zoo.methods import METHODS

QUICK = [
    *("--trainer.max_steps", "2", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_model_summary", "false", "--evaluate", "[]"),
    *("--data.batch_size", "4", "--data.num_workers", "0"),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("drawn")
    found = {
        "phantom": [
            *("--data.train_studies", "12", "--data.val_studies", "6"),
            *("--data.image_size", "64"),
        ]
    }
    for layout, name, option in (
        ("pairs", "pairs", "path"),
        ("mimic-cxr", "mimic_cxr", "root"),
    ):
        out = folder / layout
        words = ["synth", "chest", "--layout", layout, "--studies", "40"]
        assert main([*words, "--image-size", "64", "--out", str(out)]) == 0
        place = out / "pairs.csv" if layout == "pairs" else out
        found[name] = ["--data", name, f"--data.{option}", str(place)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "source"),
    [
        *((name, "pairs") for name in sorted(METHODS)),
        ("ecamp", "mimic_cxr"),
        *(
            pytest.param(name, "mimic_cxr", marks=pytest.mark.slow)
            for name in sorted(METHODS)
            if name != "ecamp"
        ),
    ],
)
def test_every_method_trains_on_every_paired_source(
    method: str, source: str, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    config = ["--config", f"demo/{method}"]
    command = ["fit", *config, *sources[source], *QUICK, "--out", str(tmp_path)]
    if method == "asg":
        # These tables hold no boxes of regions: the packaged atlas has to be named.
        command += ["--model.region_atlas", "phantom"]
    assert main(command) == 0
    (card,) = tmp_path.rglob("version_*/encoder.json")
    written = json.loads(card.read_text())
    assert (written["method"], written["steps"]) == (method, 2)


def logged(folder: Path, name: str) -> float:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return float(events.Scalars(name)[-1].value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        name if name in ("ecamp", "mae") else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(METHODS)
    ],
)
def test_validate_gives_what_the_fit_logged(
    method: str, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    command = [
        *("fit", "--config", f"demo/{method}", *sources["phantom"], *QUICK),
        *("--trainer.max_epochs", "2", "--trainer.max_steps", "-1"),
        *("--out", str(tmp_path)),
    ]
    if method == "ecamp":
        # The warm-up of the window ends between the first and the last validation.
        command += ["--model.window_warmup_steps", "4"]
    assert main(command) == 0
    (card,) = tmp_path.rglob("version_*/encoder.json")
    assert json.loads(card.read_text())["method"] == method
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    again = run(expand(["validate", "--ckpt_path", str(checkpoint)])).trainer
    names = [name for name in again.callback_metrics if name.startswith("val/")]
    assert "val/loss" in names
    module: Any = again.lightning_module
    assert ("val/i2t_recall@10" in names) == module.has_text_head
    for name in names:
        then = logged(checkpoint.parents[1], name)
        now = float(again.callback_metrics[name])
        # A gain is the difference of two losses, and rounds as they do.
        rounding = 1e-6 if "gain/" in name else 0.0
        assert now == pytest.approx(then, rel=1e-5, abs=rounding), name


@pytest.mark.parametrize(
    ("method", "least"),
    [
        ("clip", 2),
        ("flair", 2),
        ("imitate", 2),
        ("medclip", 2),
        ("mflag", 2),
        ("asg", 2),
        ("mgca", 2),
        ("place", 1),
        ("mae", 1),
        ("ecamp", 1),
        ("mrm", 1),
        ("gloria", 2),
    ],
)
def test_a_batch_with_nothing_to_compare_is_refused_before_data_are_read(
    method: str, least: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = ["--data", "pairs", "--data.path", str(tmp_path / "absent.csv")]
    command = [
        *("fit", "--config", f"demo/{method}", *absent, *QUICK),
        *("--data.batch_size", "1", "--out", str(tmp_path)),
    ]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert ("can compare" in said) == (least == 2)
    assert ("absent.csv" in said) == (least == 1)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_precisions_that_no_method_runs_in_are_refused_by_name(
    precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = ["--data", "pairs", "--data.path", str(tmp_path / "absent.csv")]
    command = [
        *("fit", "--config", "demo/mae", *absent, *QUICK),
        *("--trainer.precision", precision, "--out", str(tmp_path)),
    ]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert precision in said
    assert "bf16-mixed" in said
