"""Replay of GLoRIA's recorded zero-shot classification by prompts."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vlp_zoo.methods.gloria.gloria import GLoRIA
from vlp_zoo.methods.gloria.losses import Scales, Words, prompt_scores
from vlp_zoo.methods.paired.captions import official_sentences
from vlp_zoo.methods.paired.words import Pieces
from vlp_zoo.parity.comparison import Comparison, close, same, tensor
from vlp_zoo.parity.gloria.recording import (
    gloria_name,
    official_module,
    official_transform,
)
from vlp_zoo.parity.replay import Recording, count_inputs, under

__all__ = ["class_scores", "replay_zero_shot"]

SCALES = Scales(4.0, 5.0, 1.0)
"""The released code has these there, whatever the model was trained with."""
SCORE, STANDARD = 1e-4, 2e-3
"""Tolerances of scores, and of scores in units of their deviation."""
SEED = 6


def class_scores(scores: Mapping[str, Tensor]) -> Tensor:
    """The best prompt of each class, standardised over the images if there are several.

    Args:
        scores: Class to the scores of images with its prompts (B, N).

    Returns:
        (B, classes), in the order of the mapping.
    """
    best = torch.stack([found.amax(1) for found in scores.values()], dim=1)
    if len(best) == 1:
        return best
    return (best - best.mean(0)) / best.std(0, correction=0)


@torch.no_grad()
def replay_zero_shot(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    """Scores of the recorded images with the recorded prompts."""
    facts, tensors = recording.facts("zero_shot"), recording.tensors("zero_shot")
    module = official_module(recording, dtype).eval()
    state = {
        gloria_name(key) or "": value
        for key, value in under(recording.tensors("intermediates"), "bn_after.").items()
    }
    module.load_state_dict({**module.state_dict(), **state})
    images = recording.tensors("inputs")["batch.imgs"].to(dtype)
    yield from _prompts(recording)
    wanted = tensors["eval.img_emb_g"]
    _, whole, _ = module.encode_images(images)
    yield close("zero_shot.img_emb_g", whole, wanted, 1e-5)
    # The released code leaves the image tower in training mode, so its batch norms use
    # the images' own statistics.
    for mode in ("eval", "released"):
        module.image_encoder.train(mode == "released")
        found = _all_scores(module, recording, images)
        both = {name: (scores[0] + scores[1]) / 2 for name, scores in found.items()}
        key = f"{mode}.class_scores"
        yield close(
            f"zero_shot.{key}",
            class_scores(both),
            tensors[key],
            STANDARD,
            absolute=True,
        )
        if mode == "released":
            continue
        one = class_scores({name: scores[:1] for name, scores in both.items()})
        key = "eval.class_scores_one_image"
        yield close(f"zero_shot.{key}", one, tensors[key], SCORE, absolute=True)
        for name, (total, local, repaired) in found.items():
            ours = {
                "global": total,
                "local": local,
                "both": both[name],
                "local_with_word_counts": repaired,
            }
            for kind, scores in ours.items():
                key = f"eval.{name}.{kind}"
                recorded = tensors[key]
                yield close(f"zero_shot.{key}", scores, recorded, SCORE, absolute=True)
    yield count_inputs(
        {
            "zero_shot.": tensors,
            "zero_shot.json.": (facts, lambda name: name in ("prompts", "classes")),
        },
    )


def _all_scores(
    module: GLoRIA, recording: Recording, images: Tensor
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """By class: global scores, local ones as released, and with words counted."""
    facts, tensors = recording.facts("zero_shot"), recording.tensors("zero_shot")
    _, whole, places = module.encode_images(images)
    assert places is not None
    marks = torch.from_numpy(module.known_tokenizer().continuation)
    found = {}
    for name, lengths in facts["classes"].items():
        ids = tensors[f"eval.{name}.ids"]
        words, text = module.read(Pieces(ids, ids != 0, marks[ids]))
        scores = []
        # Letters are counted there: padding takes part, whose words are zero.
        for key in ("cap_lens_released", "word_counts"):
            counts = torch.tensor(lengths[key]) + 1
            read = Words(words, counts)
            scores.append(prompt_scores(whole, places, text, read, SCALES))
        found[name] = (scores[0][0], scores[0][1], scores[1][1])
    return found


def _prompts(recording: Recording) -> Iterator[Comparison]:
    """Tokens of the prompts, their lengths, and the drawn prompts of the real lists."""
    facts, tensors = recording.facts("zero_shot"), recording.tensors("zero_shot")
    transform = official_transform(recording, max_tokens=facts["word_num"])
    tokenizer = transform.tokenizer
    for name, prompts in facts["prompts"].items():
        rows, pieces, words, letters = [], [], [], []
        for prompt in prompts:
            fields = transform.tokens(official_sentences(prompt))
            rows.append(torch.from_numpy(fields["input_ids"]))
            pieces.append([tokenizer.tokens[i] for i in rows[-1].tolist() if i])
            words.append(int(fields["word_count"]) - 1)
            letters.append(sum(letter != "[" for letter in prompt))
        recorded = facts["classes"][name]
        ids = tensors[f"eval.{name}.ids"]
        yield tensor(f"zero_shot.{name}.ids", torch.stack(rows), ids, 0.0)
        title = f"zero_shot.{name}.tokens"
        yield same(title, float(pieces == facts["tokens"][name]), 1.0)
        for key, found in (("word_counts", words), ("cap_lens_released", letters)):
            wanted = torch.tensor(recorded[key])
            yield tensor(f"zero_shot.{name}.{key}", torch.tensor(found), wanted, 0.0)
    lists = recording.folder.parent / "common" / "prompts.json"
    if lists.is_file():
        classes = json.loads(lists.read_text(encoding="utf-8"))["classes"]
        yield from _drawn(classes, facts)


def _drawn(
    classes: Mapping[str, Mapping[str, Sequence[str]]], facts: Mapping[str, Any]
) -> Iterator[Comparison]:
    """Numbers of prompts, and five of each class as the released code draws them."""
    draws = random.Random(SEED)
    for name, parts in classes.items():
        prompts = [
            " ".join(three)
            for three in itertools.product(*(parts[axis] for axis in parts["axes"]))
        ]
        title, recorded = f"zero_shot.{name}", facts["seed6_five_per_class"][name]
        yield same(f"{title}.prompts", len(prompts), facts["prompt_counts"][name])
        yield same(f"{title}.drawn", float(draws.sample(prompts, 5) == recorded), 1.0)
