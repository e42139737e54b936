"""Cost of an ECAMP training step at paper scale, as a multiple of a plain ViT-B/16.

    python benchmarks/speed/ecamp_step.py [--rounds 5] [--threads 2] [--bf16]

A step is ViT-B/16 with the paper's decoder and text encoder on 448 px images, 256
tokens of which 110 are real, batch 4, float32, forward, backward and AdamW; ``trimmed``
cuts padding. `steps` says how it is measured.
"""

from __future__ import annotations

from functools import partial

from steps import Step, Variants, images, run, token_fields, training_step

TOKENS, REAL = 256, 110


def ecamp_step(
    batch: int, variant: str, trim: bool = False, bf16: bool = False
) -> Step:
    """One training step on so many studies."""
    import torch

    from vlp_zoo.methods.ecamp.ecamp import ECAMP

    module = ECAMP(variant=variant, trim_padding=trim, window_warmup_steps=0)
    fields = token_fields(batch, TOKENS, REAL)
    present = fields["attention_mask"]
    marks = torch.rand((3, batch, TOKENS)) < 0.05
    kinds = ("entity_mask", "descriptor_mask", "template_mask")
    fields |= {kind: mark & present for kind, mark in zip(kinds, marks, strict=True)}
    fields["image"] = images(batch, 448)
    return training_step(module, fields, bf16)


VARIANTS: Variants = {
    "official": partial(ecamp_step, variant="official"),
    "official, bf16": partial(ecamp_step, variant="official", bf16=True),
    "official, trimmed": partial(ecamp_step, variant="official", trim=True),
    "official, trimmed, bf16": partial(
        ecamp_step, variant="official", trim=True, bf16=True
    ),
    "corrected": partial(ecamp_step, variant="corrected"),
    "corrected, trimmed": partial(ecamp_step, variant="corrected", trim=True),
    "corrected, trimmed, bf16": partial(
        ecamp_step, variant="corrected", trim=True, bf16=True
    ),
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__, VARIANTS, ("vit_base_patch16_224", 224), 4))
