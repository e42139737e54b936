"""The frame of the step scripts: training steps of a method, in turns with a yardstick.

The yardstick, forward and backward of a stock encoder on as many images, runs in the same
process between the steps, so that a busy machine slows both. Each variant has a process of
its own, whose peak memory is printed with it. On a machine with other work, ``--threads 1``
is steadier: threads that wait for each other burn CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "Step",
    "Variants",
    "frozen_bert",
    "images",
    "plain_step",
    "run",
    "texts",
    "token_fields",
    "training_step",
    "unfused_attention",
]

Step = Callable[[], float]
"""Runs one step and returns its loss."""

Variants = Mapping[str, Callable[[int], Step]]
"""Name to what makes a step of so many studies."""

VOCABULARY = 28996
"""Words of `frozen_bert`, as many as those of BioClinicalBERT."""


def images(count: int, side: int) -> Any:
    """Random grey images, (count, 1, side, side) uint8."""
    import torch

    generator = torch.Generator().manual_seed(0)
    shape = (count, 1, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def token_fields(
    count: int, tokens: int, real: int, vocabulary: int = 30000
) -> dict[str, Any]:
    """Fields of random reports: ids, which of them are tokens, and which continue words.

    Args:
        count: Reports.
        tokens: Tokens T that they are padded to.
        real: Tokens of each.
        vocabulary: Size of the vocabulary.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    present = torch.arange(tokens).expand(count, -1) < real
    ids = torch.randint(5, vocabulary, (count, tokens), generator=generator)
    continues = (torch.rand((count, tokens), generator=generator) < 0.15) & present
    continues[:, :2] = False
    return {
        "uid": [str(i) for i in range(count)],
        "noise_key": torch.arange(count),
        "report_key": torch.arange(count),
        "input_ids": ids * present,
        "attention_mask": present,
        "continuation_mask": continues,
        "report_text": [""] * count,
    }


def texts(count: int, words: int) -> list[str]:
    """Random texts of the words of `frozen_bert`, a token each."""
    import torch

    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 20000, (count, words), generator=generator)
    return [" ".join(map(_word, row)) for row in numbers.tolist()]


def frozen_bert(folder: Path) -> str:
    """Write BERT-base of random weights, with a word a token; the folder's name."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=VOCABULARY)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(_word(i) for i in range(VOCABULARY - len(special)))]
    (folder / "vocab.txt").write_text("\n".join(words))
    names = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return str(folder)


def _word(number: int) -> str:
    letters = ""
    for _ in range(4):
        number, letter = divmod(number, 26)
        letters += chr(ord("a") + letter)
    return letters


def unfused_attention() -> None:
    """Make whole maps of attention from now on, as code before fused kernels did."""
    import torch
    from torch.nn import functional

    def attend(query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> Any:
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        mask = more.get("attn_mask", rest[0] if rest else None)
        if mask is not None:
            zero = torch.zeros((), dtype=scores.dtype)
            scores = scores + torch.where(mask, zero, -torch.inf)
        weights = functional.dropout(scores.softmax(-1), more.get("dropout_p", 0.0))
        return weights @ value

    functional.scaled_dot_product_attention = attend


def training_step(module: Any, batch: Mapping[str, Any], bf16: bool = False) -> Step:
    """Forward, backward and AdamW of a method on one batch.

    Args:
        module: The method; its networks are built here unless they are there.
        batch: What its losses read.
        bf16: Autocast.
    """
    import torch

    from vlp_zoo.methods.base import parameter_groups

    module.configure_model()
    module.train()
    optimizer = torch.optim.AdamW(
        parameter_groups(module.named_parameters(), 0.05), lr=1e-5, fused=True
    )

    def step() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            total = torch.stack(list(module.losses(batch).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return float(total.detach())

    return step


def plain_step(name: str, count: int, side: int) -> Step:
    """Forward and backward of a stock timm network."""
    import timm
    import torch

    sized: dict[str, Any] = {}
    if name.startswith(("vit", "swin")):
        sized["img_size"] = side
    model = timm.create_model(name, num_classes=0, **sized)
    pixels = torch.randn(count, 3, side, side)

    def step() -> float:
        model.zero_grad()
        loss = model(pixels).square().mean()
        loss.backward()
        return float(loss.detach())

    return step


def _clock(step: Step) -> tuple[float, float]:
    """Wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - wall, time.process_time() - cpu


def _measure(make: Callable[[], Step], yard: Callable[[], Step], rounds: int) -> Any:
    """Time one variant in this process."""
    import torch

    from vlp_zoo.cli.training import keep_freed_memory

    keep_freed_memory()
    torch.manual_seed(0)
    step = make()
    losses = [step(), step()]  # the allocator's pool is complete by then
    # Peak memory of the step alone: before the yardstick allocates anything.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yardstick = yard()
    yardstick()
    base, ours = [], []
    for _ in range(rounds):
        base.append(_clock(yardstick))
        ours.append(_clock(step))
    wall, cpu = (
        statistics.median(o[kind] / b[kind] for o, b in zip(ours, base, strict=True))
        for kind in (0, 1)
    )
    return {
        "ratio": wall,
        "cpu_ratio": cpu,
        "step_s": statistics.median(o[0] for o in ours),
        "yardstick_s": statistics.median(b[0] for b in base),
        "peak_rss_gib": peak,
        "losses": losses,
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def run(
    title: str,
    variants: Variants,
    yardstick: tuple[str, int],
    batch: int,
    argv: Sequence[str] | None = None,
) -> int:
    """Measure the variants one after the other, each in its own process.

    Args:
        title: Documentation of the script.
        variants: What is measured.
        yardstick: A stock timm network and the side of its images.
        batch: Studies of a step, unless ``--batch`` says otherwise.
        argv: Words of the command line; None = those of the process.
    """
    parser = argparse.ArgumentParser(description=title.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--variant", choices=variants, action="append")
    parser.add_argument(
        "--bf16", action="store_true", help="autocast too (slow where CPUs lack it)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line each")
    parser.add_argument("--here", action="store_true", help="no child process")
    options = parser.parse_args(argv)
    plain = [name for name in variants if options.bf16 or "bf16" not in name]
    names = options.variant or plain
    if options.here:
        import torch

        torch.set_num_threads(options.threads)
        found = _measure(
            lambda: variants[names[0]](options.batch),
            lambda: plain_step(yardstick[0], options.batch, yardstick[1]),
            options.rounds,
        )
        print(json.dumps({"variant": names[0], "batch": options.batch, **found}))
        return 0
    wide = max(map(len, names)) + 2
    if not options.json:
        print(
            f"yardstick: {yardstick[0]} at {yardstick[1]} px, batch {options.batch}\n"
            f"{'variant':<{wide}}{'yardsticks':>10}{'(cpu)':>8}{'s/step':>8}{'GiB':>7}"
        )
    with tempfile.TemporaryDirectory() as cache:
        # A cache of its own: what is embedded is measured, never found. Threads that
        # spin while they wait burn CPU time, so they do not, as under `vlpzoo fit`.
        calm = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "VLPZOO_CACHE": cache}
        for name in names:
            command = [sys.executable, sys.argv[0], "--here", "--variant", name]
            for word in ("rounds", "threads", "batch"):
                command += [f"--{word}", str(getattr(options, word))]
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=calm
            )
            line = done.stdout.strip().splitlines()[-1]
            if options.json:
                print(line, flush=True)
                continue
            row = json.loads(line)
            print(
                f"{name:<{wide}}{row['ratio']:>10.2f}{row['cpu_ratio']:>8.2f}"
                f"{row['step_s']:>8.2f}{row['peak_rss_gib']:>7.2f}",
                flush=True,
            )
    return 0
