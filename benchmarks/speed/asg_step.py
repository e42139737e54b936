"""Cost of an ASG training step at paper scale, as a multiple of a plain ViT-B/16.

    python benchmarks/speed/asg_step.py [--rounds 5] [--threads 2]

A step is ViT-B/16 at 224 px, the 6-layer report encoder on 112 tokens, region-sentence
alignment over 23 slots, the tag decoder and AdamW over all 183 million parameters, at
batch 8 in float32. The yardstick, forward and backward of timm's ViT-B/16 at 224 px and
batch 8, runs in the same process between the steps, so that a busy machine slows both.
Each variant has a process of its own, whose peak memory is printed with it. On a
machine with other work, ``--threads 1`` is steadier: threads that wait for each other
burn CPU time.

``losses`` repeats the first steps with the loops of the released code in place of our
matrices (gathered sentences, torchvision's RoI align, one pass of a loop for every
token) and prints the largest difference.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "full reports": {"real": 112},
    "full reports, official flags": {"real": 112, "official": True},
    "reports of 80 tokens": {"real": 80},
    "full reports, tags every step": {"real": 112, "tags": True},
}
"""Name to settings; ``tags`` runs the frozen tag encoder in every step, 40 strings
padded to 128 tokens through 12 layers, as the released code does."""

BATCH, TOKENS, REGIONS = 8, 112, 23


def make_batch(real: int, vocab_size: int = 30000) -> dict[str, Any]:
    """A random batch of the paper's shape."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Any:
        return torch.rand(shape, generator=generator)

    present = torch.arange(TOKENS).expand(BATCH, -1) < real
    continues = (draw(BATCH, TOKENS) < 0.15) & present
    continues[:, :2] = False
    corners = 224 * draw(BATCH, REGIONS, 2, 2).sort(2).values
    number = torch.randint(4, 15, (BATCH, 1), generator=generator)
    slots = torch.arange(REGIONS).expand(BATCH, -1)
    words = draw(BATCH, REGIONS, TOKENS - 1) < 0.1
    return {
        "uid": [str(i) for i in range(BATCH)],
        "image": (256 * draw(BATCH, 1, 224, 224)).byte(),
        "input_ids": (5 + (vocab_size - 5) * draw(BATCH, TOKENS)).long() * present,
        "attention_mask": present,
        "continuation_mask": continues,
        "tags": (draw(BATCH, 40) < 0.1).float(),
        "region_boxes": corners.flatten(2),
        "region_groups": slots.where(slots < number, torch.tensor(-1)),
        "sentence_words": words.byte(),
        "report_text": [""] * BATCH,
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


def asg_step(settings: dict[str, Any]) -> Callable[[], float]:
    """A function that runs one training step and returns its loss."""
    import torch

    from vlp_zoo.methods.base import parameter_groups

    module = build(bool(settings.get("official")))
    optimizer = torch.optim.AdamW(
        parameter_groups(module.named_parameters(), 0.05), lr=4e-5, fused=True
    )
    batch: Any = make_batch(settings["real"])
    tags = tag_step() if settings.get("tags") else None

    def step() -> float:
        if tags is not None:
            tags()
        total = torch.stack(list(module.losses(batch).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return float(total.detach())

    return step


def yardstick_step() -> Callable[[], float]:
    """Forward and backward of a stock ViT-B/16."""
    import timm
    import torch

    model = timm.create_model("vit_base_patch16_224", num_classes=0)
    images = torch.randn(BATCH, 3, 224, 224)

    def step() -> float:
        model.zero_grad()
        loss = model(images).square().mean()
        loss.backward()
        return float(loss.detach())

    return step


def clock(step: Callable[[], float]) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """Time one variant in this process."""
    import torch

    from vlp_zoo.cli.training import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step = asg_step(VARIANTS[name])
    first, second = step(), step()
    step()  # the allocator's pool is complete by now
    # Peak memory of the step alone: before the yardstick allocates anything.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yardstick = yardstick_step()
    yardstick()
    ours, base = [], []
    for _ in range(rounds):
        base.append(clock(yardstick))
        ours.append(clock(step))
    ratios = [o[0] / b[0] for o, b in zip(ours, base, strict=True)]
    cpu_ratios = [o[1] / b[1] for o, b in zip(ours, base, strict=True)]
    return {
        "variant": name,
        "ratio": statistics.median(ratios),
        "cpu_ratio": statistics.median(cpu_ratios),
        "step_s": statistics.median(o[0] for o in ours),
        "yardstick_s": statistics.median(b[0] for b in base),
        "peak_rss_gib": peak,
        "losses": [first, second],
        "rounds": rounds,
        "threads": threads,
    }


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


def compare(threads: int) -> dict[str, float]:
    """Largest relative difference of each loss between our way and the slow one."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    module, batch = build(official=True), make_batch(90)
    pixels = module.image_encoder.normalise(batch["image"].expand(-1, 3, -1, -1))
    fields = ("input_ids", "attention_mask", "continuation_mask")
    with torch.no_grad():
        run = module.run(pixels, *(batch[name] for name in fields))
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


def main() -> int:
    """Measure the variants one after the other, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    parser.add_argument("--json", action="store_true", help="one JSON line each")
    parser.add_argument("--here", action="store_true", help="no child process")
    parser.add_argument("--losses", action="store_true", help="compare losses only")
    options = parser.parse_args()
    if options.losses:
        print(json.dumps(compare(options.threads)))
        return 0
    names = options.variant or list(VARIANTS)
    if options.here:
        print(json.dumps(measure(names[0], options.rounds, options.threads)))
        return 0
    if not options.json:
        print(f"{'variant':<32}{'yardsticks':>10}{'(cpu)':>8}{'s/step':>8}{'GiB':>7}")
    for name in names:
        command = [sys.executable, __file__, "--here", "--variant", name]
        command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
        # As `vlpzoo fit` does: threads that spin while they wait burn CPU time.
        calm = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=calm
        )
        line = done.stdout.strip().splitlines()[-1]
        if options.json:
            print(line, flush=True)
            continue
        row = json.loads(line)
        print(
            f"{name:<32}{row['ratio']:>10.2f}{row['cpu_ratio']:>8.2f}"
            f"{row['step_s']:>8.2f}{row['peak_rss_gib']:>7.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
