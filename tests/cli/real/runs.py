"""Training and evaluation on real images, as a user would ask for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from small_sets import SPLIT

from vlp_zoo.cli import main
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.files import write_whole

MASKS = ["vlp-seg-linear-quick"]


def trained(folder: Path, name: str, table: Path, epochs: int, *more: str) -> Path:
    """A CLIP with the demo's network, trained on the pairs of a table."""
    flags = {
        "config": "demo/clip",
        "data": "pairs",
        "data.path": table,
        "data.batch_size": 32,
        "data.num_workers": 1,
        "data.keep_studies": 4000,
        **{f"data.{key}": value for key, value in SPLIT.items()},
        "trainer.max_epochs": epochs,
        "evaluate": "[]",
        "out": folder / name,
    }
    words = [f"--{key}={value}" for key, value in flags.items()]
    assert main(["fit", *words, *more]) == 0
    (encoder,) = (folder / name).rglob("version_*/encoder.safetensors")
    return encoder.parent


def evaluated(
    folder: Path,
    encoder: Path,
    name: str,
    table: Path,
    presets: Sequence[str],
    split: Mapping[str, float] = SPLIT,
) -> dict[str, dict[str, Result]]:
    """Preset to the headline of each encoder and baseline, and to differences.

    Differences stand under ``minus`` and the name of the baseline.
    """
    options = {"root": str(table), **split, "colour": "fundus" in name}
    task = {"name": name, "data": "pairs", "options": options, "presets": presets}
    suite = folder / f"{name}.suite.yaml"
    write_whole(suite, json.dumps({"summary": name, "tasks": [task]}))
    out = folder / f"{name}.results"
    words = ["bench", f"--encoder=mine={encoder}", f"--suite={suite}", f"--out={out}"]
    assert main([*words, "--num-workers=0", "--random-draws=1"]) == 0
    found: dict[str, dict[str, Result]] = {}
    for row in ResultStore(out).read():
        rows = found.setdefault(row.protocol, {})
        if row.baseline is not None:
            rows[f"minus {row.baseline_name}"] = row
        else:
            rows.setdefault(row.encoder, row)
    return found
