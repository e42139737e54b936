"""Cost of an IMITATE training step at paper scale, as a multiple of a plain ResNet-50.

    python benchmarks/speed/imitate_step.py [--rounds 5] [--threads 2]

A step is both views of 8 images of 224 px through ResNet-50 and the branches, eight
loss terms, backward and AdamW, in float32. Texts are findings of 128 and impressions of
64 tokens for a frozen BERT-base of random weights (vocabulary 28,996): either embedded
before (``cached``, with the cost of embedding them shown apart) or in every step
(``uncached``). The yardstick, forward and backward of timm's ResNet-50 on 8 images, runs
in the same process between the steps, so that a busy machine slows both. Each variant
has a process of its own. The released code needs about 6.0 yardsticks.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIANTS: dict[str, dict[str, Any]] = {
    "text cached": {"cached": True},
    "text uncached": {"cached": False},
}
"""Name to settings."""

BATCH, FINDINGS, IMPRESSION, VOCABULARY = 8, 128, 64, 28996
OFFICIAL = 6.0
"""Yardsticks of the released code, from measurements of it on two cores."""


def make_bert(folder: Path) -> None:
    """BERT-base as transformers configures it, with a word a token."""
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


def _word(number: int) -> str:
    letters = ""
    for _ in range(4):
        number, letter = divmod(number, 26)
        letters += chr(ord("a") + letter)
    return letters


def make_batch() -> dict[str, Any]:
    """A random batch of the paper's shape; lengths count the two special tokens."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def texts(length: int) -> list[str]:
        numbers = torch.randint(0, 20000, (BATCH, length - 2), generator=generator)
        return [" ".join(map(_word, row)) for row in numbers.tolist()]

    def images() -> torch.Tensor:
        shape = (BATCH, 1, 224, 224)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)

    return {
        "uid": [str(i) for i in range(BATCH)],
        "image": images(),
        "image_view2": images(),
        "noise_key": torch.arange(BATCH),
        "findings_text": texts(FINDINGS),
        "impression_text": texts(IMPRESSION),
        "has_findings": torch.ones(BATCH, dtype=torch.bool),
        "has_impression": torch.ones(BATCH, dtype=torch.bool),
    }


def imitate_step(cached: bool, bert: Path) -> tuple[Callable[[], float], float]:
    """A function that runs one training step, and the seconds to embed its texts."""
    import torch

    from vlp_zoo.methods.imitate.imitate import IMITATE

    module = IMITATE(text_model=str(bert), cache_text=cached)
    module.configure_model()
    module.train()
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=2e-4, weight_decay=0.05, fused=True
    )
    batch: Any = make_batch()
    texts = [*batch["findings_text"], *batch["impression_text"]]
    start = time.perf_counter()
    if cached:
        module.frozen().fill(texts)
    embedding = time.perf_counter() - start

    def step() -> float:
        total = torch.stack(list(module.losses(batch).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return float(total.detach())

    return step, embedding


def yardstick_step() -> Callable[[], float]:
    """Forward and backward of a stock ResNet-50."""
    import timm
    import torch

    model = timm.create_model("resnet50", num_classes=0)
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


def measure(name: str, rounds: int, threads: int, bert: Path) -> dict[str, Any]:
    """Time one variant in this process."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step, embedding = imitate_step(VARIANTS[name]["cached"], bert)
    loss = step()
    step()
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
    yard = statistics.median(b[0] for b in base)
    return {
        "variant": name,
        "ratio": statistics.median(ratios),
        "cpu_ratio": statistics.median(cpu_ratios),
        "of_official": statistics.median(ratios) / OFFICIAL,
        "embedding_once": embedding / yard,
        "step_s": statistics.median(o[0] for o in ours),
        "yardstick_s": yard,
        "peak_rss_gib": peak,
        "first_loss": loss,
        "rounds": rounds,
        "threads": threads,
    }


def main() -> int:
    """Measure the variants one after the other, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variant", choices=VARIANTS, action="append")
    parser.add_argument("--json", action="store_true", help="one JSON line each")
    parser.add_argument("--here", type=Path, metavar="BERT", help="no child process")
    options = parser.parse_args()
    names = options.variant or list(VARIANTS)
    if options.here:
        row = measure(names[0], options.rounds, options.threads, options.here)
        print(json.dumps(row))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        bert = Path(folder) / "bert"
        make_bert(bert)
        if not options.json:
            print(
                f"{'variant':<15}{'yardsticks':>11}{'(cpu)':>7}{'/official':>10}"
                f"{'embed once':>11}{'s/step':>8}{'GiB':>6}"
            )
        for name in names:
            command = [sys.executable, __file__, "--here", str(bert), "--variant", name]
            command += ["--rounds", str(options.rounds)]
            command += ["--threads", str(options.threads)]
            # A cache of its own: embedding is measured, never found.
            own = {**os.environ, "VLPZOO_CACHE": str(Path(folder) / "cache")}
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=own
            )
            line = done.stdout.strip().splitlines()[-1]
            if options.json:
                print(line, flush=True)
                continue
            row = json.loads(line)
            print(
                f"{name:<15}{row['ratio']:>11.2f}{row['cpu_ratio']:>7.2f}"
                f"{row['of_official']:>10.2f}{row['embedding_once']:>11.2f}"
                f"{row['step_s']:>8.2f}{row['peak_rss_gib']:>6.2f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
