"""Studies: read from disk or drawn, and served as batches.

``DATAMODULES`` maps the name typed after ``--data`` to the class, as an import path.
"""

__all__ = ["DATAMODULES"]

DATAMODULES: dict[str, str] = {
    "phantom_chest": "vlp_zoo.data.datamodules.PhantomChest",
    "pairs": "vlp_zoo.data.datamodules.Pairs",
    "mimic_cxr": "vlp_zoo.data.datamodules.MIMICCXR",
}
