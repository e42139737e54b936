"""Pre-training methods: one folder, or file, per published method.

``METHODS`` maps the name typed after ``--model`` to the class. Values are import
paths, so that listing methods imports nothing heavy. A third-party package adds its
own by the entry-point group ``vlp_zoo.methods``.
"""

from importlib.metadata import entry_points

__all__ = ["METHODS", "known_methods"]

METHODS: dict[str, str] = {
    "asg": "vlp_zoo.methods.asg.ASG",
    "clip": "vlp_zoo.methods.clip.CLIP",
    "ecamp": "vlp_zoo.methods.ecamp.ECAMP",
    "flair": "vlp_zoo.methods.flair.FLAIR",
    "gloria": "vlp_zoo.methods.gloria.GLoRIA",
    "imitate": "vlp_zoo.methods.imitate.IMITATE",
    "mae": "vlp_zoo.methods.mae.MAE",
    "medclip": "vlp_zoo.methods.medclip.MedCLIP",
    "mflag": "vlp_zoo.methods.mflag.MFLAG",
    "mgca": "vlp_zoo.methods.mgca.MGCA",
    "mrm": "vlp_zoo.methods.mrm.MRM",
    "place": "vlp_zoo.methods.place.PLACE",
}


def known_methods() -> dict[str, str]:
    """Name to class path of all methods: those of other installed packages too."""
    found = entry_points(group="vlp_zoo.methods")
    return {**{entry.name: entry.value.replace(":", ".") for entry in found}, **METHODS}
