"""VLP Zoo: pre-train, compare and benchmark medical vision-language methods.

Map of the package, top to bottom (a room may import only from rooms below it):

    api          what the commands do, as functions; the names below lead there
    cli          commands: fit, validate, bench, synth, annotate, parity, convert, info
    parity       recordings of released code, replayed
    methods      one folder per published method, a LightningModule each
    data         studies on disk or synthetic, and their DataModules
    evaluation   downstream protocols, statistics and results
    callbacks    what happens around a training run
    encoders     image and text encoders, their files, foreign checkpoints
    reports      report text: sections, sentences, entities, distilled context
    transforms   pixels: decode, crop, normalise
    losses       pure loss functions          modules   shared network parts
    types errors what all of them agree on

The names in `__all__` are imported when they are first asked for (`docs/python.md`), so
that ``import vlp_zoo`` alone costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from vlp_zoo.moved import follow

if TYPE_CHECKING:
    from vlp_zoo.api import embed, evaluate, from_pretrained, load_encoder, load_method
    from vlp_zoo.data.datamodules import Pairs, PhantomChest, PhantomFundus, Prepared
    from vlp_zoo.data.official import MIMICCXR
    from vlp_zoo.methods.asg import ASG
    from vlp_zoo.methods.clip import CLIP
    from vlp_zoo.methods.ecamp import ECAMP
    from vlp_zoo.methods.flair import FLAIR
    from vlp_zoo.methods.gloria import GLoRIA
    from vlp_zoo.methods.imitate import IMITATE
    from vlp_zoo.methods.mae import MAE
    from vlp_zoo.methods.medclip import MedCLIP
    from vlp_zoo.methods.mflag import MFLAG
    from vlp_zoo.methods.mgca import MGCA
    from vlp_zoo.methods.mrm import MRM
    from vlp_zoo.methods.place import PLACE

__all__ = [
    "ASG",
    "CLIP",
    "ECAMP",
    "FLAIR",
    "IMITATE",
    "MAE",
    "MFLAG",
    "MGCA",
    "MIMICCXR",
    "MRM",
    "PLACE",
    "GLoRIA",
    "MedCLIP",
    "Pairs",
    "PhantomChest",
    "PhantomFundus",
    "Prepared",
    "__version__",
    "embed",
    "evaluate",
    "from_pretrained",
    "load_encoder",
    "load_method",
]

__version__ = "0.2.0"

PUBLIC: dict[str, str] = {
    "ASG": "vlp_zoo.methods.asg",
    "CLIP": "vlp_zoo.methods.clip",
    "ECAMP": "vlp_zoo.methods.ecamp",
    "FLAIR": "vlp_zoo.methods.flair",
    "GLoRIA": "vlp_zoo.methods.gloria",
    "IMITATE": "vlp_zoo.methods.imitate",
    "MAE": "vlp_zoo.methods.mae",
    "MGCA": "vlp_zoo.methods.mgca",
    "MIMICCXR": "vlp_zoo.data.official",
    "MedCLIP": "vlp_zoo.methods.medclip",
    "MFLAG": "vlp_zoo.methods.mflag",
    "MRM": "vlp_zoo.methods.mrm",
    "PLACE": "vlp_zoo.methods.place",
    "Pairs": "vlp_zoo.data.datamodules",
    "PhantomChest": "vlp_zoo.data.datamodules",
    "PhantomFundus": "vlp_zoo.data.datamodules",
    "Prepared": "vlp_zoo.data.datamodules",
    "embed": "vlp_zoo.api",
    "evaluate": "vlp_zoo.api",
    "from_pretrained": "vlp_zoo.api",
    "load_encoder": "vlp_zoo.api",
    "load_method": "vlp_zoo.api",
}
"""Public name to the module that has it."""


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *PUBLIC]


follow()
