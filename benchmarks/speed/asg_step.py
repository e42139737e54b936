"""Cost of an ASG training step at paper scale, as a multiple of a plain ViT-B/16.

    python benchmarks/speed/asg_step.py [--rounds 5] [--threads 2]
    python benchmarks/speed/asg_step.py --losses

A step is ViT-B/16 at 224 px, the 6-layer report encoder on 112 tokens, region-sentence
alignment over 23 slots, the tag decoder and AdamW over all 183 million parameters, at
batch 8 in float32; ``tags every step`` runs the frozen tag encoder in every step, 40
strings padded to 128 tokens through 12 layers, as the released code does. `steps` says
how it is measured.

``--losses`` repeats a pass with the loops of the released code in place of our matrices
(gathered sentences, torchvision's RoI align, one pass of a loop for every token) and
prints the largest difference.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from steps import Step, Variants, images, run, token_fields, training_step

BATCH, TOKENS, REGIONS = 8, 112, 23


def make_batch(batch: int, real: int) -> dict[str, Any]:
    """A random batch of the paper's shape."""
    import torch

    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Any:
        return torch.rand(shape, generator=generator)

    corners = 224 * draw(batch, REGIONS, 2, 2).sort(2).values
    number = torch.randint(4, 15, (batch, 1), generator=generator)
    slots = torch.arange(REGIONS).expand(batch, -1)
    words = draw(batch, REGIONS, TOKENS - 1) < 0.1
    return {
        **token_fields(batch, TOKENS, real),
        "image": images(batch, 224),
        "tags": (draw(batch, 40) < 0.1).float(),
        "region_boxes": corners.flatten(2),
        "region_groups": slots.where(slots < number, torch.tensor(-1)),
        "sentence_words": words.byte(),
    }


def build(official: bool) -> Any:
    """ASG at paper scale with a drawn vocabulary, in training mode."""
    import torch

    from vlp_zoo.methods.asg.asg import ASG

    flags: dict[str, Any] = {}
    if official:
        flags = {
            "official_positions": True,
            "roi_aligned": False,
            "shared_positives": False,
            "negatives": "local",
            "sync_bn": False,
        }
    module = ASG(max_regions=REGIONS, tag_dropout=0.0, **flags)
    module.known_tags = torch.randn(40, 768, generator=torch.Generator().manual_seed(1))
    module.configure_model()
    return module.train()


def tag_step() -> Callable[[], None]:
    """What the released code spends on tag features in every step."""
    import torch

    from vlp_zoo.encoders.text import TextEncoder

    encoder = TextEncoder(28996, 768, 12, 12, 3072, max_positions=512).eval()
    ids = torch.randint(5, 28996, (40, 128))
    mask = torch.arange(128).expand(40, -1) < 6

    def run() -> None:
        with torch.no_grad():
            encoder(ids, mask)

    return run


def asg_step(
    batch: int, real: int = TOKENS, official: bool = False, tags: bool = False
) -> Step:
    """One training step on so many studies."""
    step = training_step(build(official), make_batch(batch, real))
    if not tags:
        return step
    encode = tag_step()

    def both() -> float:
        encode()
        return step()

    return both


def slow_terms(module: Any, run: Any, batch: Any) -> dict[str, Any]:
    """The losses of a pass with loops and indices, written independently."""
    import torch
    from torch.nn import functional
    from torchvision.ops import roi_align

    rows, columns = module.grid
    maps = run.patch_embeddings.transpose(1, 2).reshape(BATCH, -1, rows, columns)
    boxes = batch["region_boxes"] * rows / module.options.image_size
    index = torch.arange(float(BATCH)).repeat_interleave(REGIONS)[:, None]
    rois = torch.cat([index, boxes.flatten(0, 1)], dim=1)
    regions = roi_align(maps, rois, 1, aligned=module.options.roi_aligned)
    regions = regions.view(BATCH, REGIONS, -1)
    loss, number = torch.zeros(()), 0
    for b in range(BATCH):
        sentences = []
        valid = int((batch["region_groups"][b] >= 0).sum())
        for r in range(valid):
            chosen = batch["sentence_words"][b, r].nonzero()[:, 0]
            sentences.append(run.word_embeddings[b, chosen].mean(0))
        scores = (
            regions[b, :valid] @ torch.stack(sentences).T / module.options.temperature
        )
        own = torch.arange(valid)
        for side in (scores, scores.T):
            loss = loss + functional.cross_entropy(side, own, reduction="sum")
        number += valid
    scores = run.image @ run.report.T / module.options.temperature
    own = torch.arange(BATCH)
    sides = (scores, scores.T)
    tags = functional.normalize(batch["tags"], dim=1)
    labels = 0.8 * torch.eye(BATCH) + 0.2 * tags @ tags.T + 1e-6
    labels = functional.normalize(labels, p=1, dim=1)
    soft = torch.zeros(())
    for side in sides:
        found = side.softmax(1)
        soft = soft + functional.kl_div(side.log_softmax(1), labels, reduction="sum")
        soft = soft + functional.kl_div(labels.log(), found, reduction="sum")
    return {
        "ira": torch.stack([functional.cross_entropy(s, own) for s in sides]).sum(),
        "arsa": loss / number,
        "irl": functional.binary_cross_entropy(run.tag_logits.sigmoid(), batch["tags"]),
        "erl": soft / 4 / BATCH,
    }


def slow_words(module: Any, batch: Any) -> Any:
    """Word features with all padding computed and a loop over the tokens."""
    import torch

    ids, mask = batch["input_ids"], batch["attention_mask"]
    places = torch.zeros_like(ids) if module.options.official_positions else None
    bert = module.text_encoder.bert
    hidden = bert.embeddings(ids, position_ids=places)
    hidden = bert.encoder(hidden, attention_mask=mask[:, None, None]).last_hidden_state
    words = torch.zeros_like(hidden)
    for b in range(BATCH):
        slot = -1
        for t in range(int(mask[b].sum())):
            slot += not bool(batch["continuation_mask"][b, t])
            words[b, slot] += hidden[b, t]
    return words


def compare() -> dict[str, float]:
    """Largest relative difference of each loss between our way and the slow one."""
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    module, batch = build(official=True), make_batch(BATCH, 90)
    with torch.no_grad():
        run = module.pass_of(batch)
        ours = module.terms(run, batch)
        words = slow_words(module, batch)
        run = run._replace(
            report=functional.normalize(module.report_head(words[:, 0]), dim=1),
            word_embeddings=functional.normalize(module.word_head(words[:, 1:]), dim=2),
        )
        slow = slow_terms(module, run, batch)
    return {
        name: float((value - slow[name]).abs() / slow[name].abs())
        for name, value in ours.items()
    }


VARIANTS: Variants = {
    "full reports": asg_step,
    "full reports, official flags": partial(asg_step, official=True),
    "reports of 80 tokens": partial(asg_step, real=80),
    "full reports, tags every step": partial(asg_step, tags=True),
}

if __name__ == "__main__":
    if sys.argv[1:] == ["--losses"]:
        print(json.dumps(compare()))
        raise SystemExit
    raise SystemExit(run(__doc__, VARIANTS, ("vit_base_patch16_224", 224), BATCH))
