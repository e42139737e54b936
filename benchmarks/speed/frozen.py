"""What it saves to encode each image once where the encoder is frozen.

The decoder of ``vlp-rrg-quick`` is trained for as many steps twice, on the outputs that
`vlp_zoo.evaluation.features.encoder_input.EachOnce` keeps and on outputs made in every step. Both
take turns, so that a busy machine slows both. Images are noise: only time is compared,
and that the losses are equal.

Run from the top of the checkout::

    OMP_NUM_THREADS=1 python benchmarks/speed/frozen.py
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import cast

import torch

from vlp_zoo.bench.presets import read_preset
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.evaluation.reports.generation import WriteReport
from vlp_zoo.evaluation.reports.pieces import PAD, ReportPieces
from vlp_zoo.evaluation.reports.writer import Writer

WORDS = [
    "the",
    "heart",
    "is",
    "large",
    "no",
    "effusion",
    "left",
    "right",
    "lung",
    "clear",
    "opacity",
    "at",
    "base",
]


def train(once: bool, spec: str, images: int, steps: int) -> tuple[float, float]:
    """Seconds of processor time, and the last loss."""
    protocol = cast(WriteReport, read_preset("vlp-rrg-quick").protocol)
    generator = torch.Generator().manual_seed(0)
    encoder = load_encoder(spec)
    torch.manual_seed(0)
    texts = [
        " ".join(WORDS[i] for i in torch.randint(0, 12, (30,), generator=generator))
        for _ in range(images)
    ]
    pieces = ReportPieces.train(texts, 400)
    writer = Writer(encoder, pieces, protocol, 30.0)
    if not once:
        writer.each_once = None
    side = int(writer.preprocessing["image_size"])
    shape = (images, 1, side, side)
    pixels = torch.randint(0, 256, shape, generator=generator).byte()
    ids = torch.full((images, protocol.length), PAD)
    for row, text in zip(ids, texts, strict=True):
        found = torch.as_tensor(pieces.encode(text, protocol.length))
        row[: len(found)] = found
    optimiser = torch.optim.AdamW(writer.parameter_groups(1e-3))
    loss = torch.zeros(())
    started = time.process_time()
    for _ in range(steps):
        chosen = torch.randint(0, images, (16,), generator=generator)
        loss = writer.loss({"image": pixels[chosen], "ids": ids[chosen]})
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return time.process_time() - started, loss.item()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="random:tiny_resnet")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        again, plain = train(False, options.encoder, options.images, options.steps)
        kept, mine = train(True, options.encoder, options.images, options.steps)
        ratios.append(again / kept)
        print(
            f"encoded in every step {again:.1f} s, once {kept:.1f} s; "
            f"last losses {plain:.4f} and {mine:.4f}"
        )
    print(f"ratio {median(ratios):.2f} (median of {options.rounds})")


if __name__ == "__main__":
    main()
