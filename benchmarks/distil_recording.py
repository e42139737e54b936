"""Make a recording of IMITATE's released code small enough to travel with the tests.

    python benchmarks/distil_recording.py FOLDER tests/golden/imitate

Inputs, drawn channels, losses, norms of all gradients, sampled gradients and the three
steps of the optimiser stay as they are; large intermediates, outputs and their gradients
are left out. Its weights are generated from a seed, so they need no place.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

INPUTS = ("in/", "mask/", "eval/channel_mask/")
MOST = {"eval/": 8192}
"""Largest tensors of a part, in bytes; elsewhere `OTHERWISE`."""
OTHERWISE = 4096


def main() -> None:
    """Copy ``model.json`` and the small tensors beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = {
        name: tensor
        for name, tensor in load_file(options.folder / "model.safetensors").items()
        if name.startswith(INPUTS) or tensor.nbytes <= _most(name)
    }
    save_file(kept, options.out / "model.safetensors")
    shutil.copyfile(options.folder / "model.json", options.out / "model.json")


def _most(name: str) -> int:
    return next((m for part, m in MOST.items() if name.startswith(part)), OTHERWISE)


if __name__ == "__main__":
    main()
