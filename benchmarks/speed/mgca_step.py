"""Cost of an MGCA training step at paper scale, as a multiple of a plain ViT-B/16.

    python benchmarks/speed/mgca_step.py [--rounds 5] [--threads 2]

A step is ViT-B/16 at 224 px, 6 layers of BERT on reports of 112 tokens of which 60 are
real, the three alignments, backward and AdamW, batch 8, float32. What the released code
could have spared: it computes padding, makes whole maps of attention, and merges word
pieces in a loop that asks for one number a token, which a GPU waits for and a CPU does not.
`steps` says how it is measured.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from steps import (
    Step,
    Variants,
    images,
    run,
    token_fields,
    training_step,
    unfused_attention,
)


def mgca_step(batch: int, padding: bool = False, loops: bool = False) -> Step:
    """One training step on so many studies."""
    from vlp_zoo.methods.mgca import mgca

    if loops:
        unfused_attention()
        module: Any = mgca
        module.merge_words = merge_in_a_loop
    fields = {**token_fields(batch, 112, 60), "image": images(batch, 224)}
    if padding:
        fields["longest"] = 112
    return training_step(mgca.MGCA(mask_padding=not padding), fields)


def merge_in_a_loop(pieces: Any, slots: Any) -> Any:
    """`merge_words`, a piece at a time."""
    import torch

    words = []
    for row, places in zip(pieces, slots, strict=True):
        found = [row.new_zeros(row.shape[1])] * slots.shape[1]
        for piece, place in zip(row, places, strict=False):
            if (slot := int(place.item())) < slots.shape[1]:
                found[slot] = found[slot] + piece
        words.append(torch.stack(found))
    return torch.stack(words)


VARIANTS: Variants = {
    "ours": mgca_step,
    "padding computed": partial(mgca_step, padding=True),
    "padding, attention unfused, words in a loop": partial(
        mgca_step, padding=True, loops=True
    ),
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__, VARIANTS, ("vit_base_patch16_224", 224), 8))
