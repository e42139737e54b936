"""`vlpzoo embed`: a folder of images as a table."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import vlp_zoo as vz
from vlp_zoo.cli import main
from vlp_zoo.pixels import read_grey


def test_a_folder_becomes_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images" / "below"
    images.mkdir(parents=True)
    for i in range(3):
        pixels = np.random.default_rng(i).integers(256, size=(40, 50), dtype=np.uint8)
        cv2.imwrite(str(images / f"{i}.png"), pixels)
    (images.parent / "broken.jpg").write_bytes(b"no image")
    (images.parent / "notes.txt").write_text("no image either", encoding="utf-8")
    out, logs = tmp_path / "there" / "found.parquet", tmp_path / "projector"
    words = ["embed", str(images.parent), "--encoder", "random:test_vit"]
    assert main([*words, "--out", str(out), "--projector", str(logs)]) == 0
    said = capsys.readouterr()
    assert "left out, as they cannot be read: 1" in said.out
    assert "broken.jpg" in said.err
    table = pd.read_parquet(out)
    assert table["image"].tolist() == [f"below/{i}.png" for i in range(3)]
    wanted = vz.embed([images / f"{i}.png" for i in range(3)], "random:test_vit")
    np.testing.assert_allclose(np.stack(table["embedding"].tolist()), wanted, rtol=1e-5)
    (names,) = logs.rglob("metadata.tsv")
    assert names.read_text(encoding="utf-8").split() == table["image"].tolist()
    assert len(list(logs.rglob("sprite.png"))) == 1


def test_each_image_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, told = tmp_path / "images", tmp_path / "told.txt"
    images.mkdir()
    for i in range(3):
        cv2.imwrite(str(images / f"{i}.png"), np.full((40, 50), 60 * i, np.uint8))

    def told_grey(path: Path) -> np.ndarray:
        with told.open("a") as file:  # from whichever process reads it
            file.write(f"{Path(path).name}\n")
        return read_grey(path)

    monkeypatch.setattr("vlp_zoo.bench.pictures.read_grey", told_grey)
    words = ["--encoder", "random:test_vit", "--out", str(tmp_path / "out.parquet")]
    assert main(["embed", str(images), *words]) == 0
    assert sorted(told.read_text().split()) == ["0.png", "1.png", "2.png"]


def test_a_folder_without_images_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    words = ["--encoder", "random:test_vit", "--out", str(tmp_path / "out.parquet")]
    assert main(["embed", str(tmp_path), *words]) == 1
    assert "1 files that end as images do, none readable" in capsys.readouterr().err
    assert not (tmp_path / "out.parquet").exists()
    assert main(["embed", str(tmp_path / "nowhere"), *words]) == 1
    assert "no such folder" in capsys.readouterr().err
