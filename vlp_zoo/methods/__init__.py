"""Pre-training methods: one file per published method.

``METHODS`` maps the name typed after ``--model`` to the class. Values are import
paths, so that listing methods imports nothing heavy. A third-party package adds its
own by the entry-point group ``vlp_zoo.methods``.
"""

__all__ = ["METHODS"]

METHODS: dict[str, str] = {
    "asg": "vlp_zoo.methods.asg.ASG",
    "clip": "vlp_zoo.methods.clip.CLIP",
    "ecamp": "vlp_zoo.methods.ecamp.ECAMP",
    "imitate": "vlp_zoo.methods.imitate.IMITATE",
    "mae": "vlp_zoo.methods.mae.MAE",
    "place": "vlp_zoo.methods.place.PLACE",
}
