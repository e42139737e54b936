"""Cost of an MRM training step at paper scale, as a multiple of a plain ViT-B/16.

    python benchmarks/speed/mrm_step.py [--rounds 5] [--threads 2]

A step is ViT-B/16 with the paper's decoder and text encoder on 448 px images and reports of
100 tokens of which 60 are real, batch 4, float32, forward, backward and AdamW. What the
released code could have spared: words that are hidden alone need scores over the vocabulary,
padding needs nothing (``all positions`` is its loss), maps of attention need not be made.
`steps` says how it is measured.
"""

from __future__ import annotations

from functools import partial

from steps import (
    Step,
    Variants,
    images,
    run,
    token_fields,
    training_step,
    unfused_attention,
)


def mrm_step(batch: int, variant: str = "corrected", fused: bool = True) -> Step:
    """One training step on so many studies."""
    from vlp_zoo.methods.mrm.mrm import MRM

    if not fused:
        unfused_attention()
    fields = {**token_fields(batch, 100, 60), "image": images(batch, 448)}
    return training_step(MRM(variant=variant), fields)


VARIANTS: Variants = {
    "ours": mrm_step,
    "all positions": partial(mrm_step, variant="official"),
    "all positions, attention unfused": partial(
        mrm_step, variant="official", fused=False
    ),
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__, VARIANTS, ("vit_base_patch16_224", 224), 4))
