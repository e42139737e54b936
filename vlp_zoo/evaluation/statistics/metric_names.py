"""Metrics as people write them."""

from __future__ import annotations

import re

__all__ = ["metric_title", "on_validation"]

CAPITALS = frozenset(
    (
        *("ap", "ap50", "assd", "auprc", "auroc", "bleu", "cnr", "ece", "f1", "froc"),
        *("hd95", "i2t", "mcc", "mrr", "qwk", "t2i"),
    )
)
ECE = {"": "equal-mass_ece", "_width": "equal-width_ece"}
"""What parts the bins, said with the name."""
SPELT = {
    "bertscore": "BERTScore",
    "brier": "Brier",
    "chexbert": "CheXbert",
    "cider": "CIDEr",
    "dice": "Dice",
    "green": "GREEN",
    "iou": "IoU",
    "meteor": "METEOR",
    "miou": "mIoU",
    "platt": "Platt",
    "radeval": "RadEval",
    "radgraph": "RadGraph",
    "ratescore": "RaTEScore",
    "rouge": "ROUGE",
    "rsna": "RSNA",
}


def on_validation(metric: str) -> str:
    """The name under which a headline of the validation split is stored.

    Example:
        >>> on_validation("macro_auroc")
        'val_macro_auroc'
    """
    return f"val_{metric}"


def metric_title(metric: str) -> str:
    """The name of a metric in the results, as people write it.

    Example:
        >>> metric_title("macro_auroc"), metric_title("i2t_recall@10")
        ('macro AUROC', 'I2T recall@10')
        >>> metric_title("dice_positive"), metric_title("f1_14_macro")
        ('Dice positive', 'F1 14 macro')
        >>> metric_title("hd95_px"), metric_title("surface_dice@2px")
        ('HD95 px', 'surface Dice@2px')
        >>> metric_title("macro_ece"), metric_title("ece_width")
        ('macro equal-mass ECE', 'equal-width ECE')
    """
    plain = re.sub(r"ece(_width)?", lambda m: ECE[m[1] or ""], metric)
    words = plain.replace("_", " ").replace("@", " @").split()
    titled = [SPELT.get(w, w.upper() if w in CAPITALS else w) for w in words]
    return " ".join(titled).replace(" @", "@")
