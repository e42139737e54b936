"""Cost of a MedCLIP training step at paper scale, as a multiple of a plain Swin-T.

    python benchmarks/speed/medclip_step.py [--rounds 5] [--threads 2]

A step is Swin-T at 224 px, BERT-base on sentences of 20 tokens and their varied copies, the
loss, backward and AdamW, batch 8, float32. What the released code could have spared: it
computes padding (here to its 77 tokens), and counts it. `steps` says how it is measured.
"""

from __future__ import annotations

from functools import partial

from steps import Step, Variants, images, run, token_fields, training_step

TOKENS, REAL = 77, 20


def medclip_step(batch: int, padding: bool = False) -> Step:
    """One training step on so many studies."""
    import torch

    from vlp_zoo.methods.medclip.medclip import MedCLIP

    fields = {**token_fields(batch, TOKENS, REAL), "image": images(batch, 224)}
    fields |= {
        "second_ids": fields["input_ids"],
        "second_mask": fields["attention_mask"],
        "second_text": fields["report_text"],
        "labels_of_image": torch.eye(batch, 14),
        "labels_of_text": torch.eye(batch, 14),
    }
    if padding:
        fields["longest"] = TOKENS
    return training_step(MedCLIP(pool_padding=padding), fields)


VARIANTS: Variants = {
    "ours": medclip_step,
    "padding computed": partial(medclip_step, padding=True),
}

if __name__ == "__main__":
    yardstick = ("swin_tiny_patch4_window7_224", 224)
    raise SystemExit(run(__doc__, VARIANTS, yardstick, 8))
