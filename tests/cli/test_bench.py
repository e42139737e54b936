from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vlp_zoo.bench import evaluate
from vlp_zoo.bench.tasks import build_task
from vlp_zoo.cli import main
from vlp_zoo.cli.bench import print_table
from vlp_zoo.encoders.checkpoint import load_encoder, save_encoder
from vlp_zoo.encoders.layouts import LAYOUTS
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.results import ResultStore

SMALL = (
    *("--studies", "24", "12", "16", "--image-size", "32", "--num-workers", "0"),
    *("--min-positives", "1", "--bootstrap", "20"),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """60 patients; a white image means disease."""
    rng = np.random.default_rng(0)
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "patient_id", "split", "findings", "y_sick", "y_none"])
        for i in range(60):
            sick = i % 2
            pixels = rng.integers(0, 60, (20, 20)) + 150 * sick
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
            split = ("train", "train", "val", "test")[i // 2 % 4]
            rows.writerow([f"{i}.png", f"p{i}", split, "Report.", sick, 0])
    return path


def test_phantom_from_flags_to_table_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench"
    command = ["bench", "--encoder", "random:micro", "--task", "phantom_chest"]
    assert main([*command, *SMALL, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    for words in ("random:micro", "pixels", "prevalence", "0.500", "16 images"):
        assert words in printed.out
    assert "not for clinical use" in printed.out
    assert "(paired 95 % intervals" in printed.out
    written = (out / "results.jsonl").read_text()
    typed = json.loads(written.splitlines()[0])["details"]["command"]
    assert typed.startswith("vlpzoo bench --encoder random:micro --task phantom_chest")
    assert main([*command, *SMALL, "--out", str(out)]) == 0
    assert "found in" in capsys.readouterr().err
    assert (out / "results.jsonl").read_text() == written


def test_the_library_evaluates_a_table_of_pairs(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = evaluate(
        ["random:micro"],
        [f"pairs:{table}"],
        tmp_path / "out",
        bootstrap=20,
        num_workers=0,
        label_prefix="y_",
        min_positives=5,
    )
    row = results[0]
    assert (row.encoder, row.task) == ("random:micro", "pairs:mine.csv")
    assert row.value == 1
    assert row.undefined["none"].startswith("0 positives")
    # Brightness is the disease.
    pixels = next(r for r in results if r.encoder == "pixels")
    assert pixels.value == 1
    assert row.commit is not None
    assert row.versions["torch"]
    assert row.seconds > 0
    store = ResultStore(tmp_path / "out")
    cases = store.cases(store.read()[0])
    assert cases is not None
    assert len(cases.uids) == row.n == 14
    capsys.readouterr()
    print_table(results)
    assert "none (0 positives" in capsys.readouterr().out


def test_a_dry_run_shows_the_split_and_encodes_nothing(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--encoder", "random:micro", "--task", f"pairs:{table}", "--dry-run"]
    out = str(tmp_path / "out")
    code = main(["bench", *arguments, "--label-prefix", "y_", "--out", out])
    assert code == 0
    printed = capsys.readouterr().out
    assert "train 32 images of 32 patients" in printed
    assert "sick: 16 / 32, 7 / 14, 7 / 14" in printed
    assert "left out: 0 positives" in printed
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache" / "features").exists()


def test_a_dry_run_refuses_an_encoder_that_cannot_load(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent.safetensors"
    words = ["bench", "--encoder", "random:micro", "--encoder", f"mine={absent}"]
    assert main([*words, "--task", f"pairs:{table}", "--dry-run"]) == 1
    shown = capsys.readouterr()
    assert "encoder random:micro: 32 features of images of 32 px" in shown.out
    assert shown.err.count("looked for") == 1
    assert "absent.safetensors" in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "layout",
    [
        *("carzero", "cxrclip", "cxrclip_swin", "xrv", "arkplus", "evax"),
        *("retfound_dinov2", "retfound_dinov3", "torchvision"),
    ],
)
def test_a_dry_run_refuses_another_network_in_each_layout(
    layout: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.pth"
    torch.save({"model": {"linear.weight": torch.zeros(2, 2)}}, path)
    words = ["bench", "--encoder", f"official:{layout}:{path}"]
    assert main([*words, "--task", f"pairs:{table}", "--dry-run"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("looked for") == 1
    assert LAYOUTS[layout].line in shown.err
    assert "1 tensors such as linear.weight" in shown.err
    assert "Traceback" not in shown.err


def test_a_dry_run_counts_the_runs_of_each_preset(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    presets = ("vlp-linear", "vlp-finetune", "vlp-seg")
    words = ["bench", "--encoder", "random:micro", "--task", f"pairs:{table}"]
    words += [f"--preset={name}" for name in presets]
    words += ["--label-prefix=y_", "--fractions", "0.5", "1", "--seeds", "0", "1"]
    assert main([*words, "--dry-run"]) == 0
    # With all labels the solved probe has nothing to draw, a trained head has.
    plan = "vlp-linear (3 runs), vlp-finetune (4 runs), vlp-seg left out: no masks"
    assert plan in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--frobnicate"], "--frobnicate"),
        (["--task", "phantom_chest"], "at least one --encoder"),
        (
            ["--encoder", "random:micro"],
            "at least one --encoder, and one --task or --suite",
        ),
        (["--encoder", "random:micro", "--task", "phantm_chest"], "did you mean"),
        (["--encoder", "random:micro", "--task", "pairs"], "pairs:TABLE.csv"),
        (["--encoder", "random:micro", "--task", "pairs:none.csv"], "none.csv"),
        (["--encoder", "none.safetensors", "--task", "phantom_chest"], "no such file"),
        (["--encoder", "random:mirco", "--task", "phantom_chest"], "micro"),
        (
            ["--encoder", "random:micro", "--task", "phantom_chest", "--device", "abc"],
            "abc",
        ),
        (
            [
                *[
                    "--encoder",
                    "random:micro",
                    "--task",
                    "phantom_chest",
                    "--fractions",
                    "2",
                ]
            ],
            "fraction",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_message(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "do this:" in error
    assert "Traceback" not in error


def test_broken_encoders_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ["--task", "phantom_chest"]
    assert main(["bench", "--encoder", str(tmp_path), *task]) == 1
    assert "encoder.safetensors" in capsys.readouterr().err
    (tmp_path / "encoder.safetensors").write_bytes(b"nothing")
    (tmp_path / "encoder.json").write_text("{}")
    assert main(["bench", "--encoder", str(tmp_path), *task]) == 1
    assert "card" in capsys.readouterr().err


def test_a_table_without_labels_is_refused(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--encoder", "random:micro", "--task", f"pairs:{table}"]
    assert main(["bench", *arguments]) == 1
    assert "--label-prefix" in capsys.readouterr().err


def test_phantom_splits_share_nobody() -> None:
    task = build_task("phantom_chest", studies={"train": 30, "val": 10, "test": 20})
    assert len(task.label_names) == 14
    assert {split: len(source) for split, source in task.splits.items()} == {
        "train": 30,
        "val": 10,
        "test": 20,
    }


def test_exclusive_labels_and_another_table_for_the_test(
    table: Path, tmp_path: Path
) -> None:
    lines = table.read_text().replace("y_none", "y_well").splitlines()
    rows = [line.rsplit(",", 2) for line in lines[1:]]
    path = tmp_path / "other.csv"
    fixed = [f"{first},{sick},{1 - int(sick)}" for first, sick, _ in rows]
    path.write_text("\n".join([lines[0], *fixed]))
    options = {"label_prefix": "y_", "exclusive": True}
    task = build_task(f"pairs:{path}->pairs:{path}", **options)  # type: ignore[arg-type]
    assert task.name == "pairs:other.csv->pairs:other.csv"
    assert task.single_label
    assert not task.ordinal
    assert all(p.startswith("pairs:other") for p in task.splits["test"].patient_ids)
    with pytest.raises(ConfigError, match="--split, which would change nothing"):
        build_task(f"pairs:{path}->pairs:{path}", split="official")


def test_a_run_says_where_an_encoder_comes_from_as_the_dry_run_does(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "encoder.safetensors"
    card = {"pretraining_sources": ["nih14"], "origin": "random", "data_licence": "CC0"}
    save_encoder(file, load_encoder("random:micro"), card)
    said = "trained on nih14 from random; terms of the data: CC0"
    words = ["bench", "--encoder", f"mine={file}", "--task", f"pairs:{table}"]
    words += ["--label-prefix", "y_", "--no-baselines", "--bootstrap", "0"]
    words += ["--num-workers", "0", "--out", str(tmp_path / "out")]
    assert main([*words, "--dry-run"]) == 0
    assert f"  {said}" in capsys.readouterr().out
    assert main(words) == 0
    assert f"encoder mine: {said}" in capsys.readouterr().err
