"""Make recordings of the released code small enough to travel with the tests.

    python benchmarks/distil_recording.py imitate FOLDER tests/golden/imitate
    python benchmarks/distil_recording.py asg FOLDER tests/golden/asg
    python benchmarks/distil_recording.py gloria FOLDER tests/golden/gloria
    python benchmarks/distil_recording.py ecamp IMAGES TEXT tests/golden/ecamp
    python benchmarks/distil_recording.py medclip FOLDER tests/golden/medclip
    python benchmarks/distil_recording.py mflag FOLDER tests/golden/mflag
    python benchmarks/distil_recording.py mgca FOLDER tests/golden/mgca
    python benchmarks/distil_recording.py mrm FOLDER tests/golden/mrm
    python benchmarks/distil_recording.py flair FOLDER tests/golden/flair

Recorded numbers are selected, never computed: IMITATE keeps its model, whose weights are
generated from a seed; M-FLAG keeps all but large gradients and two of three equal channels;
ASG, ECAMP, GLoRIA, MedCLIP, MGCA and MRM keep what their losses are made of; FLAIR keeps its losses, its
captions and two canvases. The README.md of each folder says what it proves.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

INPUTS = ("in/", "mask/", "eval/channel_mask/")
MOST = {"eval/": 8192}
"""Largest tensors of a part of IMITATE's, in bytes; elsewhere `OTHERWISE`."""
OTHERWISE = 4096

IMAGES = (1, 3)
"""ASG's images that are kept: a wide one, and one with a region in every slot."""

IMAGE = "batch.image"
SLOPE = 1024
"""Largest gradient of M-FLAG's that is kept, in bytes."""

CANVASES = ("scale.0.", "scale.2.")
"""FLAIR's that are kept: a small image, stretched too, and a wide one."""

HEAD = "bert_encoder.model.cls."
CORNER = 32
"""Side of ECAMP's super-resolved corner in pixels."""


def imitate(folder: Path, out: Path) -> None:
    """The model's facts, inputs and draws, and the small ones of its other tensors."""
    kept = {
        name: tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
        if name.startswith(INPUTS) or tensor.nbytes <= _most(name)
    }
    save_file(kept, out / "model.safetensors")
    shutil.copyfile(folder / "model.json", out / "model.json")


def _most(name: str) -> int:
    return next((m for part, m in MOST.items() if name.startswith(part)), OTHERWISE)


def asg(folder: Path, out: Path) -> None:
    """Losses on embeddings, word merging, the schedule, captions and two images."""
    for file in ("meta.json", "loss_level.json", "loss_level.safetensors"):
        shutil.copyfile(folder / file, out / file)
    shutil.copyfile(folder / "pipeline.json", out / "pipeline.json")
    _write(
        out / "expected.json", {"lr_curve": _json(folder / "expected.json")["lr_curve"]}
    )
    for name in ("intermediates", "pipeline"):
        kept = {
            key: tensor
            for key, tensor in load_file(folder / f"{name}.safetensors").items()
            if key.startswith(("agg.", "caption_ids."))
            or key.endswith(tuple(f".{image}" for image in IMAGES))
        }
        save_file(kept, out / f"{name}.safetensors")


def ecamp(images: Path, text: Path, out: Path) -> None:
    """What the losses of image and text are made of, each from one recorded run."""
    seen, read = (load_file(f / "tensors.safetensors") for f in (images, text))
    vision, words = _json(images / "meta.json"), _json(text / "meta.json")
    hidden = seen["mid.mask"].bool()
    shown = hidden.clone()
    shown[0] = True
    side = vision["vision"]["patch_size"]
    low = seen["mid.image_low"].unfold(2, side, side).unfold(3, side, side)
    patches = low.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    kept: dict[str, Tensor] = {
        "in.mask_noise": seen["in.mask_noise"],
        "mid.mask": seen["mid.mask"],
        "mid.decoder_pred": seen["mid.decoder_pred"][shown],
        "mid.image_low.patches": patches[hidden],
        "mid.super_res_out": seen["mid.super_res_out"][0, :, :CORNER, :CORNER],
        "mid.text_last_hidden": read["mid.text_last_hidden"],
    }
    kept |= {
        f"in.{n}": read[f"in.{n}"] for n in ("labels", "attention_mask", "weights")
    }
    for prefix, tensors in (("super_res.", seen), (HEAD, read)):
        kept |= {k: v for k, v in tensors.items() if k.startswith(f"state.{prefix}")}
    kept |= {k: v for k, v in read.items() if k.startswith(f"grad.{HEAD}")}
    save_file(
        {name: tensor.contiguous() for name, tensor in kept.items()},
        out / "parts.safetensors",
    )
    by_loss = vision["grad_norms_by_loss"]["mim"], words["grad_norms_by_loss"]["mlm"]
    facts = {
        "sources": {"image": vision["name"], "text": words["name"]},
        "vision": vision["vision"],
        "text": words["text"],
        "mask_ratio": vision["mask_ratio"],
        "losses": {"mim": vision["losses"]["mim"], "mlm": words["losses"]["mlm"]},
        "grad_norms_by_loss": {
            "mim": {"decoder_pred.bias": by_loss[0]["decoder_pred.bias"]},
            "mlm": {k: v for k, v in by_loss[1].items() if k.startswith(HEAD)},
        },
    }
    _write(out / "parts.json", facts)


def gloria(folder: Path, out: Path) -> None:
    """Losses on embeddings, word merging, sentences, captions and two images."""
    files = ("meta.json", "loss_level.json", "loss_level.safetensors", "pipeline.json")
    for file in files:
        shutil.copyfile(folder / file, out / file)
    facts = _json(folder / "expected.json")
    counts = facts["train_reference"]["cap_lens"]
    kept = {name: facts[name] for name in ("agg_words", "agg_tokens")}
    _write(out / "expected.json", {**kept, "train_reference": {"cap_lens": counts}})
    for name in ("inputs", "intermediates", "pipeline"):
        tensors = load_file(folder / f"{name}.safetensors")
        some = {
            key: tensor
            for key, tensor in tensors.items()
            if key.startswith(("agg.", "batch.caption_ids"))
            or (name == "pipeline" and key.endswith((".0", ".3")))
        }
        save_file(some, out / f"{name}.safetensors")


def mgca(folder: Path, out: Path) -> None:
    """Losses on embeddings, word merging, the schedule, captions and two images."""
    for file in ("meta", "loss_level", "pipeline"):
        shutil.copyfile(folder / f"{file}.json", out / f"{file}.json")
    shutil.copyfile(folder / "loss_level.safetensors", out / "loss_level.safetensors")
    facts = _json(folder / "expected.json")
    _write(out / "expected.json", {k: facts[k] for k in ("lr_curve", "agg_words")})
    for name, ends in (("intermediates", ""), ("pipeline", (".0", ".1"))):
        kept = {
            key: tensor
            for key, tensor in load_file(folder / f"{name}.safetensors").items()
            if (key.endswith(ends) if ends else key.startswith("agg."))
        }
        save_file(kept, out / f"{name}.safetensors")


def mrm(folder: Path, out: Path) -> None:
    """The report loss, and the image loss on standardised patches, with gradients."""
    facts, without = _json(folder / "loss_level.json"), "image_norm_pix_False"
    del facts[without]
    _write(out / "loss_level.json", facts)
    kept = {
        name: tensor
        for name, tensor in load_file(folder / "loss_level.safetensors").items()
        if without not in name
    }
    save_file(kept, out / "loss_level.safetensors")


def medclip(folder: Path, out: Path) -> None:
    """Losses with their gradients, and the sentences of reports."""
    for name in ("loss_level.json", "loss_level.safetensors", "meta.json"):
        shutil.copyfile(folder / name, out / name)
    shutil.copyfile(folder / "pipeline.json", out / "pipeline.json")
    pixels = load_file(folder / "pipeline.safetensors")
    kept = {name: t for name, t in pixels.items() if not name.startswith("image.")}
    save_file(kept, out / "pipeline.safetensors")


def mflag(folder: Path, out: Path) -> None:
    """All of it, but for large gradients and for two of three equal channels."""
    for path in folder.iterdir():
        if path.suffix == ".json":
            shutil.copyfile(path, out / path.name)
            continue
        kept = load_file(path)
        if path.stem == "inputs" and (kept[IMAGE] == kept[IMAGE][:, :1]).all():
            kept[IMAGE] = kept[IMAGE][:, :1].contiguous()
        if path.stem == "gradients":
            kept = {n: t for n, t in kept.items() if t.nbytes <= SLOPE}
        save_file(kept, out / path.name)


def flair(folder: Path, out: Path) -> None:
    """Losses, captions, ban and turns, and two of the canvases."""
    for file in ("loss_level.json", "loss_level.safetensors", "pipeline.json"):
        shutil.copyfile(folder / file, out / file)
    kept = {
        name: tensor
        for name, tensor in load_file(folder / "pipeline.safetensors").items()
        if name.startswith(CANVASES)
    }
    save_file(kept, out / "pipeline.safetensors")


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Distil one recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "method",
        choices=(
            "asg",
            "ecamp",
            "flair",
            "gloria",
            "imitate",
            "medclip",
            "mflag",
            "mgca",
            "mrm",
        ),
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.method == "ecamp":
        images, text = options.folders
        ecamp(images, text, options.out)
    else:
        (folder,) = options.folders
        parts = {"asg": asg, "flair": flair, "gloria": gloria, "imitate": imitate}
        parts |= {"medclip": medclip, "mflag": mflag, "mgca": mgca, "mrm": mrm}
        parts[options.method](folder, options.out)


if __name__ == "__main__":
    main()
