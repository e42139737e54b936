"""Cost of a GLoRIA training step at paper scale, as a multiple of a plain ResNet-50.

    python benchmarks/speed/gloria_step.py [--rounds 5] [--threads 2]

A step is ResNet-50 at 224 px, BERT-base on sentences of 14 tokens, both losses, backward
and AdamW, batch 8, float32. What the released code could have spared: sentences are padded
to 97 tokens, images of 224 px are enlarged to 299 (which its default has for its 19 x 19
places), and the local loss goes through texts in a loop that repeats each for every image.
`steps` says how it is measured.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from steps import Step, Variants, images, run, token_fields, training_step

TOKENS, REAL = 97, 14


def gloria_step(
    batch: int, padding: bool = False, loops: bool = False, side: int = 224
) -> Step:
    """One training step on so many studies."""
    import torch

    from vlp_zoo.methods.gloria import losses
    from vlp_zoo.methods.gloria.gloria import GLoRIA

    if loops:
        losses.match = match_in_a_loop
    fields = {**token_fields(batch, TOKENS, REAL), "image": images(batch, 224)}
    fields["word_count"] = torch.full((batch,), REAL - 1)
    fields["continuation_mask"] = torch.zeros(batch, TOKENS, dtype=torch.bool)
    if padding:
        fields["longest"] = TOKENS
    return training_step(GLoRIA(image_size=side, crop_size=224), fields)


def match_in_a_loop(places: Any, words: Any, scales: Any, pool: str = "sum") -> Any:
    """`match` as the released code has it, a text at a time."""
    import torch
    from torch.nn import functional

    found = []
    for features, count in zip(words.features, words.counts, strict=True):
        own = features[:count].expand(len(places), -1, -1)
        products = own @ places.transpose(1, 2)
        looks = (scales.attention * products.softmax(1)).softmax(2)
        cosines = functional.cosine_similarity(own, looks @ places, dim=2)
        found.append((scales.words * cosines).logsumexp(1))
    return torch.stack(found, 1)


VARIANTS: Variants = {
    "ours": gloria_step,
    "ours at 299 px": partial(gloria_step, side=299),
    "299 px, padding computed": partial(gloria_step, side=299, padding=True),
    "299 px, padding, texts in a loop": partial(
        gloria_step, side=299, padding=True, loops=True
    ),
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__, VARIANTS, ("resnet50", 224), 8))
