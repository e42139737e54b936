"""Cost of an ECAMP training step at paper scale, as a multiple of a plain ViT-B/16.

    python benchmarks/speed/ecamp_step.py [--rounds 5] [--threads 2] [--bf16]

A step is ViT-B/16 with the paper's decoder and text encoder on 448 px images, 256
tokens of which 110 are real, batch 4, float32, forward, backward and AdamW. The
yardstick, forward and backward of timm's ViT-B/16 at 224 px and batch 4, runs in the
same process between the steps, so that a busy machine slows both. Each variant has a
process of its own, whose peak memory is printed with it. On a machine with other
work, ``--threads 1`` is steadier: threads that wait for each other burn CPU time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "official": {"variant": "official"},
    "official, bf16": {"variant": "official", "bf16": True},
    "official, trimmed": {"variant": "official", "trim": True},
    "official, trimmed, bf16": {"variant": "official", "trim": True, "bf16": True},
    "corrected": {"variant": "corrected"},
    "corrected, trimmed": {"variant": "corrected", "trim": True},
    "corrected, trimmed, bf16": {"variant": "corrected", "trim": True, "bf16": True},
}
"""Name to settings; ``trim`` cuts padding, ``bf16`` is autocast."""

BATCH, TOKENS, REAL = 4, 256, 110


def make_batch(vocab_size: int = 30000) -> dict[str, Any]:
    """A random batch of the paper's shape."""
    import torch

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, vocab_size, (BATCH, TOKENS), generator=generator)
    present = torch.arange(TOKENS).expand(BATCH, -1) < REAL
    marks = torch.rand((4, BATCH, TOKENS), generator=generator) < 0.05
    return {
        "uid": [str(i) for i in range(BATCH)],
        "image": torch.randint(
            0, 256, (BATCH, 1, 448, 448), dtype=torch.uint8, generator=generator
        ),
        "noise_key": torch.arange(BATCH),
        "input_ids": ids * present,
        "attention_mask": present,
        "entity_mask": marks[0] & present,
        "descriptor_mask": marks[1] & present,
        "template_mask": marks[2] & present,
        "continuation_mask": marks[3] & present,
        "report_text": [""] * BATCH,
    }


def ecamp_step(settings: dict[str, Any]) -> Callable[[], float]:
    """A function that runs one training step and returns its loss."""
    import torch

    from vlp_zoo.methods.base import parameter_groups
    from vlp_zoo.methods.ecamp.ecamp import ECAMP

    module = ECAMP(
        variant=settings["variant"],
        trim_padding=bool(settings.get("trim")),
        window_warmup_steps=0,
    )
    module.configure_model()
    module.train()
    optimizer = torch.optim.AdamW(
        parameter_groups(module.named_parameters(), 0.05),
        lr=1.5e-4,
        betas=(0.9, 0.95),
        fused=bool(settings.get("fused", True)),
    )
    batch: Any = make_batch()

    def step() -> float:
        autocast = torch.autocast(
            "cpu", dtype=torch.bfloat16, enabled=bool(settings.get("bf16"))
        )
        with autocast:
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
    settings = VARIANTS[name]
    step = ecamp_step(settings)
    step()
    loss = step()
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
        "loss": loss,
        "rounds": rounds,
        "threads": threads,
    }


def main() -> int:
    """Measure the variants one after the other, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    parser.add_argument(
        "--bf16", action="store_true", help="autocast too (slow where CPUs lack it)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line each")
    parser.add_argument("--here", action="store_true", help="no child process")
    options = parser.parse_args()
    plain = [name for name in VARIANTS if options.bf16 or "bf16" not in name]
    names = options.variant or plain
    if options.here:
        print(json.dumps(measure(names[0], options.rounds, options.threads)))
        return 0
    if not options.json:
        print(f"{'variant':<26}{'yardsticks':>10}{'(cpu)':>8}{'s/step':>8}{'GiB':>7}")
    for name in names:
        command = [sys.executable, __file__, "--here", "--variant", name]
        command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        line = done.stdout.strip().splitlines()[-1]
        if options.json:
            print(line, flush=True)
            continue
        row = json.loads(line)
        print(
            f"{name:<26}{row['ratio']:>10.2f}{row['cpu_ratio']:>8.2f}"
            f"{row['step_s']:>8.2f}{row['peak_rss_gib']:>7.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
