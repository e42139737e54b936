"""VLP Zoo: pre-train, compare and benchmark medical vision-language methods.

Map of the package, top to bottom (a room may import only from rooms below it):

    cli          commands: fit, validate, bench, synth, annotate, parity, convert, info
    parity       recordings of released code, replayed
    methods      one folder per published method, a LightningModule each
    data         studies on disk or drawn, and their DataModules
    evaluation   downstream protocols, statistics and results
    callbacks    what happens around a training run
    encoders     image and text encoders, their files, foreign checkpoints
    reports      report text: sections, sentences, entities, distilled context
    transforms   pixels: decode, crop, normalise
    losses       pure loss functions          modules   shared network parts
    types errors what all of them agree on
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
