"""What a stranger brings: an encoder in one flag, a data set in one file and one YAML."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlp_zoo.cli import main
from vlp_zoo.evaluation.results import ResultStore

ROOT = Path(__file__).parents[2]


def block(page: str, language: str, start: str) -> str:
    """The page's code block that begins so: what is written there is what runs."""
    text = (ROOT / page).read_text()
    found = re.search(rf"```{language}\n({re.escape(start)}.*?)```", text, re.DOTALL)
    assert found is not None, start
    return textwrap.dedent(found.group(1))


def write_data(root: Path, patients: int = 90) -> None:
    """Images whose left half is bright where the label says so."""
    (root / "images").mkdir(parents=True)
    lines = ["file,person,nodule"]
    rng = np.random.default_rng(0)
    for i in range(patients):
        pixels = rng.integers(0, 120, (40, 48)).astype(np.uint8)
        pixels[:, :24] += np.uint8(100 * (i % 2))
        Image.fromarray(pixels).save(root / "images" / f"{i}.png")
        lines.append(f"{i}.png,person {i},{i % 2}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_a_data_set_in_one_file_and_one_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    write_data(tmp_path / "my_data")
    Path("my_set.py").write_text(block("docs/data.md", "python", '"""My set'))
    Path("my_suite.yaml").write_text(block("docs/data.md", "yaml", "summary: my"))
    command = ["bench", "--encoder", "random:micro", "--suite", "my_suite.yaml"]
    assert main([*command, "--dry-run"]) == 0
    assert "my_set" in capsys.readouterr().out
    assert main([*command, "--bootstrap", "50"]) == 0
    rows = ResultStore(Path("runs/bench")).read()
    found = {row.encoder: row.value for row in rows if row.metric == "macro_auroc"}
    assert (found["pixels"] or 0) > 0.95
    assert "random:micro" in found


def test_its_reader_serves_training_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    write_data(tmp_path / "my_data", 20)
    Path("my_set.py").write_text(block("docs/data.md", "python", '"""My set'))
    words = (
        "fit --config demo/mae --data own --data.reader my_set.py --data.root my_data"
    )
    options = "--data.batch_size 4 --trainer.max_steps 1 --data.num_workers 0"
    assert main([*words.split(), *options.split(), "--evaluate", "[]"]) == 0
    Path("empty.py").write_text("CARD = 3\n")
    wrong = words.replace("my_set.py", "empty.py")
    assert main([*wrong.split(), *options.split()]) == 1
    assert "CARD" in capsys.readouterr().err


@pytest.mark.slow
def test_an_encoder_in_one_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for spec in re.findall(
        r"--encoder (\S+)",
        block("docs/evaluation.md", "bash", "vlpzoo bench --encoder timm"),
    ):
        kind = spec.partition(":")[0]
        assert kind in ("timm", "hf", "open_clip", "official", "random") or "/" in spec
    command = ["bench", "--encoder", "random:resnet10t", "--task", "phantom_chest"]
    sizes = [
        "--studies",
        "30",
        "20",
        "20",
        "--image-size",
        "32",
        "--min-positives",
        "1",
    ]
    assert main([*command, *sizes, "--bootstrap", "0", "--num-workers", "0"]) == 0
    assert "random:resnet10t" in capsys.readouterr().out
