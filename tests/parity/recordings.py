"""What is expected of the replays of recordings: quantities met, and wrong numbers found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.conftest import require_shared
from vlp_zoo.parity import REPLAYS
from vlp_zoo.parity.comparison import Comparison
from vlp_zoo.parity.replay import Replay

__all__ = [
    "EXCUSED",
    "QUANTITIES",
    "WRONG",
    "copied",
    "met",
    "quantities",
    "recorded",
    "replay_of",
    "rewrite",
]


def recorded(method: str, name: str) -> Path:
    """A recording of a method's official code."""
    return require_shared("golden", method, name)


def replay_of(method: str) -> Replay:
    """The replay of a method's recordings."""
    module, _, function = REPLAYS[method].rpartition(".")
    replay: Replay = getattr(import_module(module), function)
    return replay


def copied(source: Path, to: Path, *stems: str) -> Path:
    """A copy of a recording that may be written to; only the files of some stems."""
    to.mkdir()
    for file in source.iterdir():
        if not stems or file.stem in stems:
            shutil.copyfile(file, to / file.name)
    return to


def met(method: str, name: str, dtype: torch.dtype) -> list[Comparison]:
    """What a replay compares, all of which agrees with the recording."""
    rows = replay_of(method)(recorded(method, name), dtype)
    assert [row for row in rows if not row.ok] == []
    return rows


def quantities(rows: Iterable[Comparison]) -> set[str]:
    """Their names, without the number of values."""
    return {row.quantity.partition(" ")[0] for row in rows}


def rewrite(file: Path, change: Callable[[Any], object]) -> None:
    """Change the entries of a JSON file in place."""
    facts = json.loads(file.read_text())
    change(facts)
    file.write_text(json.dumps(facts))


QUANTITIES: dict[str, set[str]] = {
    "flair": {
        *("loss.total", "grad_norm.total", "step3.total", "steady2.total"),
        *("lr_curve2", "prototypes.domain_knowledge", "adapt.tip_f_weight_final"),
        *("loss_level.clamp_low.loss", "pipeline.turns", "pipeline.aug2"),
    },
    "gloria": {
        *("loss.total", "mid.attn_map.0", "eval.total", "agg_words"),
        *("variant_text_normalised.total", "variant_no_token_merging.grad_norm_total"),
        *("clipped.step4.total", "unclipped.step4.total", "trainer.step9"),
        *("pipeline.batch.ids", "pipeline.word_count", "zero_shot.Edema.drawn"),
        "zero_shot.released.class_scores",
    },
    "imitate": {
        *("loss.total", "grad_norm.total", "step3.loss", "step1.parameters"),
        *("out/find_emb1_m2", "eval/scale3_find", "B4/exp0.2/t0.07/grad_x"),
    },
    "medclip": {
        *("train_reference.total", "hard_clip.total", "without_augmented_text.text"),
        *("grad_norm.float64", "step7.loss", "final.parameters", "zero_shot.mean"),
        *("loss_level.soft_aug.loss", "pipeline.split.0.other", "pipeline.texts"),
        *("mid.bert.hidden_2", "mean_includes_padding.cosine", "lr_curve"),
    },
    "mflag": {
        *("loss.total", "grad_norm.total", "eval.orthogonal", "step5.total"),
        *("mid.train.text_hidden", "loss_level.case0.align", "final.parameters"),
        *("pipeline.0.other", "views.RandomRotation.other", "trajectory.T_0"),
    },
    "mgca": {
        *("train_reference.total", "train_use_local_atten.cta", "eval.cpa"),
        *("grad_norm.total", "step9.total", "mid.agg.attn_out", "words", "lr_curve"),
        *("loss_level.cnn_local_atten.cta", "sinkhorn.codes_two_processes"),
        *("pipeline.0.input_ids", "pipeline.big.out_u8"),
    },
    "mrm": {
        *("loss.total", "grad_norm.total", "step5.total", "epoch.4.report"),
        *("report_loss.masked_only", "mask_ratio_0.9.hidden", "rate.epoch199.9"),
        "pipeline.0.masked_ids",
    },
}
"""Method to some of the quantities that a replay of its whole recording compares."""


EXCUSED = {
    "flair": "pipeline.crop.in (the foreground is found by `content_box` here",
    "medclip": "card.sentence_dict (sentences are labelled by rules here",
    "mflag": "card.both_missing (no text there; here the study counts for nothing",
    "mgca": "batch.token_type_ids (the official report encoder has no table",
    "mrm": "pipeline.raw.0 (crops are area averages here",
}
"""Method to an input that is not replayed, with its reason; others replay every input."""


class Wrong(NamedTuple):
    """A recording with wrong numbers, which must fail by name."""

    name: str
    stems: tuple[str, ...]  # of the files that are needed; none = all
    changes: dict[str, Callable[[Any], object]]  # by file
    failed: list[str]  # how the names of all that fails begin


def _scaled(*keys: str | int, factor: float) -> Callable[[Any], None]:
    """Multiply the number that the keys lead to."""

    def change(facts: Any) -> None:
        *path, last = keys
        for key in path:
            facts = facts[key]
        facts[last] *= factor

    return change


def _all(*changes: Callable[[Any], object]) -> Callable[[Any], None]:
    def change(facts: Any) -> None:
        for each in changes:
            each(facts)

    return change


def _other_capital(facts: Any) -> None:
    # Another capital is another class: what folds case is not the released code.
    categories = facts["cases"]["clamp_low"]["categories"]
    assert categories[-1] == "A"
    categories[-1] = "a"


WRONG: dict[str, Wrong] = {
    "asg": Wrong(
        "public_a",
        (),
        {
            "expected.json": _scaled(
                "train_reference", "losses", "loss_arsa", factor=1.0001
            )
        },
        ["loss.arsa"],
    ),
    "ecamp": Wrong(
        "public_a",
        (),
        {"meta.json": _scaled("losses", "res", factor=1.0001)},
        ["loss.res"],
    ),
    "flair": Wrong(
        "public_a",
        ("loss_level", "pipeline"),
        {
            "loss_level.json": _other_capital,
            "pipeline.json": lambda card: card["kept_after_ban"].pop(),
        },
        ["loss_level.clamp_low.", "pipeline.kept_after_ban"],
    ),
    "gloria": Wrong(
        "public_b",
        ("loss_level",),
        {
            "loss_level.json": _all(
                _scaled("zero_words", "local_text_rows", factor=1.001),
                _scaled("small_scale", "temps", 0, factor=1.01),
            )
        },
        ["loss_level.zero_words.local_text_rows", "loss_level.small_scale."],
    ),
    "imitate": Wrong(
        "public_a",
        ("losses",),
        {"losses.json": _scaled("cases", 0, "loss_f64", factor=1.001)},
        ["loss.B2/exp0.2/t0.07"],
    ),
    "medclip": Wrong(
        "public_b",
        ("loss_level", "pipeline", "meta"),
        {
            "loss_level.json": _scaled("rectangular", "loss", factor=1.001),
            "pipeline.json": lambda card: card["split"][3].update(segments=["nothing"]),
        },
        ["loss_level.rectangular.loss", "pipeline.split.3.other"],
    ),
    "mflag": Wrong(
        "public_a",
        (),
        {
            "expected.json": _scaled("trajectory", "steps", 3, "total", factor=1.001),
            "loss_level.json": lambda facts: facts["wide"].update(align=2.41),
            "pipeline.json": lambda facts: facts["texts"].__setitem__(0, "Other."),
        },
        ["step3.total", "loss_level.wide.align", "pipeline.0.other text"],
    ),
    "mgca": Wrong(
        "public_a",
        (),
        {
            "expected.json": _all(
                _scaled("trajectory", "steps", 9, "proto", factor=1.01),
                _scaled("train_attention_aligned", "losses", "local", factor=1.001),
            )
        },
        ["train_attention_aligned.cta", "step9.proto"],
    ),
    "mrm": Wrong(
        "public_a",
        # All but the pipeline, whose vocabulary lies beside the folder.
        (
            *("meta", "expected", "inputs", "epoch_noise", "state_dict"),
            *("intermediates", "gradients", "loss_level"),
        ),
        {
            "expected.json": _all(
                _scaled("epoch_loop", "logged", 7, "loss2", factor=1.01),
                _scaled("report_loss_other_reductions", "masked_only", factor=1.001),
            )
        },
        ["report_loss.masked_only", "epoch.2.report"],
    ),
}
"""Method to a recording of it that is off."""
