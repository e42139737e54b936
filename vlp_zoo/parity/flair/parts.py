"""FLAIR's loss and its data pipeline alone: recorded inputs in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vlp_zoo.loading import Draw
from vlp_zoo.methods.flair import FLAIR
from vlp_zoo.methods.flair.options import FLAIROptions
from vlp_zoo.parity.comparison import (
    RELATIVE_NORM,
    Comparison,
    relative,
    same,
    tensor,
    within,
)
from vlp_zoo.parity.flair.recording import class_keys
from vlp_zoo.parity.replay import Read, Recording, count_inputs, under
from vlp_zoo.reports.captions import Lexicon, Words, fill
from vlp_zoo.variation import canvas, mirror, turn, vary

__all__ = ["replay_losses", "replay_pipeline"]

EXACT = 1e-6
AFFINE = 5e-5
"""Two ways to interpolate between the same pixels, in float32."""


def replay_losses(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Targets, logits, both losses and gradients from recorded embeddings."""
    tensors, cases = recording.tensors("loss_level"), recording.facts("loss_level")
    module = FLAIR(variant="official")
    for name, case in cases["cases"].items():
        title = f"loss_level.{name}"
        leaves = {
            side: tensors[f"{name}.{side}_raw"].to(dtype).requires_grad_()
            for side in ("image", "text")
        }
        start = torch.tensor(case["logit_scale_in"], dtype=dtype)
        scale = module.log_scale = nn.Parameter(start)
        keys = class_keys(case["categories"])
        forth, back = module.contrast(leaves["image"], leaves["text"], keys)
        total = (forth + back) / 2
        yield relative(f"{title}.caption_loss", forth, case["caption_loss"])
        yield relative(f"{title}.image_loss", back, case["image_loss"])
        yield relative(f"{title}.loss", total, case["loss"])
        yield relative(f"{title}.logit_scale", scale, case["logit_scale_after"])
        target, _ = module.targets(keys) or (None, None)
        yield tensor(f"{title}.target", target, tensors[f"{name}.target"], EXACT)
        units = [nn.functional.normalize(leaf, dim=1) for leaf in leaves.values()]
        logits = scale.detach().exp() * units[0] @ units[1].T
        recorded = tensors[f"{name}.logits_per_image"]
        tolerance = EXACT * float(scale.detach().exp())
        yield tensor(f"{title}.logits", logits, recorded, tolerance)
        slopes = torch.autograd.grad(total, [*leaves.values(), scale])
        for side, slope in zip(leaves, slopes[:2], strict=True):
            recorded = tensors[f"{name}.grad.{side}_raw"]
            yield within(f"{title}.grad.{side}", slope, recorded)
        slope = case["grad_logit_scale"]
        tolerance = RELATIVE_NORM * max(abs(slope), 1e-2)
        wanted = torch.tensor(slope)
        yield tensor(f"{title}.grad.logit_scale", slopes[-1], wanted, tolerance)
    yield count_inputs({"loss_level.": tensors})


def replay_pipeline(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Which images are kept and drawn, captions, canvas, variation."""
    card, tensors = recording.facts("pipeline"), recording.tensors("pipeline")
    yield from _sets(card)
    yield from _captions(card)
    yield from _canvases(card["scale"], tensors)
    if "aug.in_u8" in tensors:
        yield from _variation(tensors, dtype)
    # No side may lose its last pixel to rounding; the other side is rounded down.
    shown = FLAIROptions().image_size
    short = sum(int(side / (side / shown)) < shown for side in range(1, 6001))
    recorded = card["longest_sides_that_become_511"]
    yield same("pipeline.scale.short sides", short, recorded["count_up_to_6000"])
    crop = "the foreground is found by `content_box` here, by Li's threshold there"
    yield count_inputs(
        {
            "pipeline.": tensors,
            "card.": (card, lambda name: name != "samples_are"),
        },
        {"pipeline.crop.in": crop, "pipeline.crop.out": crop},
    )


def _lexicon(card: Mapping[str, Any]) -> Lexicon:
    flags = FLAIROptions(variant="official").flags
    return Lexicon(
        FLAIROptions().template,
        descriptions=card["definitions"],
        banned=flags.banned,
        ban_parts=flags.ban_parts,
        free_text=flags.free_text,
    )


def _sets(card: Read[Any]) -> Iterator[Comparison]:
    """The ban, and the turns of the sets."""
    lexicon = _lexicon(card)
    yield same("pipeline.banned", set(lexicon.banned) != set(card["banned_words"]), 0)
    rows = [row for name in sorted(card["sets"]) for row in card["sets"][name]]
    found = [
        lexicon.words({**row, "source": row["image"].split("/")[0]}, []) for row in rows
    ]
    yield same("pipeline.kept_without_ban", len(rows), card["kept_without_ban"])
    pairs = zip(rows, found, strict=True)
    kept = [row["image"] for row, words in pairs if not lexicon.is_banned(words)]
    yield same("pipeline.kept_after_ban", kept != card["kept_after_ban"], 0)
    uniform, folders = card["uniform"], [name.split("/")[0] for name in kept]
    draw = Draw.of(range(len(kept)), folders)
    counts = Counter(folders)
    names = sorted(counts)
    yield same("pipeline.sets", names != uniform["keys"], 0)
    numbers = [counts[name] for name in names]
    yield same("pipeline.numbers", numbers != uniform["numbers"], 0)
    yield same("pipeline.length", len(draw), uniform["length"])
    turns = [names[group] for group in draw.turns()]
    yield same("pipeline.turns", turns != uniform["index_to_set"], 0)
    drawn = [folders[index] for index in draw(np.random.default_rng(0))]
    yield same("pipeline.shares", Counter(drawn) != Counter(turns), 0)


def _captions(card: Read[Any]) -> Iterator[Comparison]:
    """Captions from the recorded draws, in the order in which they were made."""
    lexicon = _lexicon(card)
    for index, case in enumerate(card["caption_cases"]):
        title, draws = f"pipeline.caption{index}", list(case["draws"])
        words = Words(tuple(case["categories"]), tuple(case["attributes"]))
        words = words._replace(source=case["folder"])
        attribute = draws.pop(0) if words.attributes else ""
        category = draws.pop(0) if words.categories else ""
        plain = fill(lexicon.template, attribute, category)
        choices = lexicon.described(plain, category, words.source)
        replaced = case["replaced"]
        yield same(f"{title}.before", plain != case["caption_before"], 0)
        # What may be drawn, and that something may be drawn at all.
        texts = [category, *lexicon.descriptions.get(category, ())]
        chosen = texts.index(draws.pop(0)) if draws else 0
        free = len(choices) if replaced is not None else 1
        yield same(f"{title}.choices", len(choices), free)
        yield same(f"{title}.after", choices[chosen] != case["caption"], 0)
        # The transform itself, with the same draws.
        made, own, _ = lexicon.caption(words, _replayed(case["draws"], texts))
        yield same(f"{title}.made", made != case["caption"], 0)
        yield same(f"{title}.class", own != case["sel_category"], 0)


def _replayed(draws: list[str], texts: list[str]) -> Any:
    """A generator that draws what was drawn."""
    left = iter(draws)
    return SimpleNamespace(
        choice=lambda options: next(w for w in [next(left)] if w in options),
        integers=lambda count: texts.index(next(left)) if count > 1 else 0,
    )


def _canvases(card: Mapping[str, Any], tensors: Read[Tensor]) -> Iterator[Comparison]:
    cases = {name.split(".")[1] for name in tensors if name.startswith("scale.")}
    for case in sorted(cases):
        pixels = tensors[f"scale.{case}.raw"].permute(2, 0, 1).double() / 255
        for kind in under(tensors, f"scale.{case}."):
            if kind != "raw":
                ours = canvas(pixels, card["size"], stretch=kind == "stretched")
                name = f"scale.{case}.{kind}"
                yield tensor(f"pipeline.{name}", ours, tensors[name], EXACT)


def _variation(tensors: Read[Tensor], dtype: torch.dtype) -> Iterator[Comparison]:
    """Mirrored, turned, varied: each from the recorded output of the one before."""
    images = tensors["aug.in_u8"].to(dtype) / 255
    chosen = [tensors[f"aug.params{step}.batch_prob"] > 0 for step in range(3)]

    def of(step: int, name: str, neutral: float) -> Tensor:
        """A parameter of all images; where it was not drawn the neutral one."""
        drawn = tensors[f"aug.params{step}.{name}"].to(dtype)
        everyone = torch.full((len(images),), neutral, dtype=dtype)
        everyone[chosen[step]] = drawn[:, 0] if drawn.ndim > 1 else drawn
        return everyone

    order = tensors["aug.params2.order"].tolist()
    early = torch.full((len(images),), order.index(1) < order.index(0))
    steps: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda x: mirror(x, chosen[0]),
        lambda x: turn(x, of(1, "angle", 0.0), of(1, "scale", 1.0)),
        lambda x: vary(
            x, of(2, "brightness_factor", 1.0), of(2, "contrast_factor", 1.0), early
        ),
    )
    for step, (change, tolerance) in enumerate(
        zip(steps, (EXACT, AFFINE, EXACT), strict=True)
    ):
        shape = torch.tensor(images.shape)
        recorded = tensors[f"aug.params{step}.forward_input_shape"]
        yield tensor(f"pipeline.aug{step}.shape", shape, recorded, 0.0)
        where = chosen[step][:, None, None, None]
        ours = change(images).where(where, images)
        images = tensors[f"aug.out{step}"].to(dtype)
        yield tensor(f"pipeline.aug{step}", ours, images, tolerance)
    size = torch.tensor(images.shape[-2:]).flip(0)
    middle = ((size - 1) / 2).expand(int(chosen[1].sum()), 2)
    neutral = {
        "1.center": middle,
        "1.shear_x": torch.zeros(1),
        "1.shear_y": torch.zeros(1),
        "1.translations": torch.zeros(1),
        "2.hue_factor": torch.zeros(1),
        "2.saturation_factor": torch.ones(1),
    }
    for name, value in neutral.items():
        recorded = tensors[f"aug.params{name}"]
        if not len(recorded):
            continue  # the batch had nothing to turn, or to vary
        ours = value.expand_as(recorded)
        yield tensor(f"pipeline.aug{name}", ours, recorded, EXACT)
