"""Cost of a FLAIR training step at paper scale, as a multiple of a plain ResNet-50.

    python benchmarks/speed/flair_step.py [--rounds 5] [--threads 2]

A step is ResNet-50 at 512 px, BERT-base on captions of 14 tokens, variation on the device,
the loss, backward and AdamW, batch 4, float32. What the released code could have spared:
colour images come as floats of 64 bits, captions are embedded with their padding (to the
longest of a batch; here to 40 tokens), and their classes are compared as strings, pair by
pair. `steps` says how it is measured.
"""

from __future__ import annotations

from functools import partial

from steps import Step, Variants, images, run, token_fields, training_step

PADDED, REAL, WORDS = 40, 14, 32


def flair_step(batch: int, padding: bool = False) -> Step:
    """One training step on so many photographs."""
    import torch

    from vlp_zoo.methods.flair.flair import FLAIR

    fields = {**token_fields(batch, PADDED, REAL), "image": images(batch, 512)}
    fields["image"] = fields["image"].expand(-1, 3, -1, -1).clone()
    fields["word_keys"] = torch.zeros(batch, WORDS, dtype=torch.int64)
    fields["word_keys"][:, 0] = fields["report_key"]
    if padding:
        fields["longest"] = PADDED
    return training_step(FLAIR(pool_padding=padding), fields)


VARIANTS: Variants = {
    "ours": flair_step,
    "padding computed": partial(flair_step, padding=True),
}

if __name__ == "__main__":
    raise SystemExit(run(__doc__, VARIANTS, ("resnet50", 512), 4))
