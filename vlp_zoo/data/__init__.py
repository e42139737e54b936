"""Studies: read from disk or drawn, and served as batches.

``DATASETS`` maps the name of a data set that is read in its official layout to the
module that has its ``CARD``; ``DATAMODULES`` maps every name that may follow ``--data``
to a class. Both are import paths: nothing is imported before it is asked for.
"""

__all__ = ["DATAMODULES", "DATASETS"]

DATASETS: dict[str, str] = {
    "nih14": "vlp_zoo.data.chest.nih14",
    "chexpert": "vlp_zoo.data.chest.chexpert",
    "chexlocalize": "vlp_zoo.data.chest.chexlocalize",
    "rsna": "vlp_zoo.data.chest.rsna",
    "siim": "vlp_zoo.data.chest.siim",
    "covidx": "vlp_zoo.data.chest.covidx",
    "covidx_cxr": "vlp_zoo.data.chest.covidx_cxr",
    "ms_cxr": "vlp_zoo.data.chest.ms_cxr",
    "vindr": "vlp_zoo.data.chest.vindr",
    "object_cxr": "vlp_zoo.data.chest.object_cxr",
    "tbx11k": "vlp_zoo.data.chest.tbx11k",
    "openi": "vlp_zoo.data.chest.openi",
    "padchest": "vlp_zoo.data.chest.padchest",
    "chexpert_plus": "vlp_zoo.data.chest.chexpert_plus",
    "mimic_cxr": "vlp_zoo.data.chest.mimic_cxr",
    "aptos": "vlp_zoo.data.fundus.aptos",
    "odir": "vlp_zoo.data.fundus.odir",
    "mured": "vlp_zoo.data.fundus.mured",
    "riga": "vlp_zoo.data.fundus.riga",
    "idrid": "vlp_zoo.data.fundus.idrid",
    "messidor2": "vlp_zoo.data.fundus.messidor2",
    "eyepacs": "vlp_zoo.data.fundus.eyepacs",
    "refuge": "vlp_zoo.data.fundus.refuge",
    "drive": "vlp_zoo.data.fundus.drive",
    "ffa_ir": "vlp_zoo.data.fundus.ffa_ir",
    "mm_retinal": "vlp_zoo.data.fundus.mm_retinal",
    "flair": "vlp_zoo.data.fundus.flair",
}

DATAMODULES: dict[str, str] = {
    "phantom_chest": "vlp_zoo.data.datamodules.PhantomChest",
    "phantom_fundus": "vlp_zoo.data.datamodules.PhantomFundus",
    "pairs": "vlp_zoo.data.datamodules.Pairs",
    "mimic_cxr": "vlp_zoo.data.official.MIMICCXR",
    "own": "vlp_zoo.data.official.Own",
    "prepared": "vlp_zoo.data.store.datamodule.Prepared",
}
DATAMODULES |= {
    name: f"vlp_zoo.data.official.{name}"
    for name in DATASETS
    if name not in DATAMODULES
}
