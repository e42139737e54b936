"""What the name of a metric says: how it is spelt, and which way is better."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlp_zoo.evaluation.table import ACRONYMS

__all__ = ["higher_is_better", "metric_title", "shown_first"]

LOWER = {"brier", "distance", "ece", "error", "false", "gap", "loss", "mae", "rank"}
"""Words in the names of metrics of which less is better."""

ASIDE = {"above", "centre", "gap", "rank", "scaled", "uniform", "val", "worst"}
"""Words in the names of metrics that explain others."""
MOST = 3


def shown_first(metrics: Sequence[str]) -> tuple[str, ...]:
    """The few metrics beside the headline that a table shows without being asked.

    Args:
        metrics: The headline first, in the order of the protocol.

    Example:
        >>> shown_first(["box_ap", "box_ap_gap", "box_ap50", "f1@val", "froc"])
        ('box_ap50', 'froc')
    """
    plain = [m for m in metrics[1:] if not ASIDE & set(re.split(r"[_@ ]", m))]
    return tuple(plain[:MOST])


def metric_title(metric: str) -> str:
    """A metric as people write it.

    Example:
        >>> metric_title("macro_auroc"), metric_title("i2t_recall@10")
        ('macro AUROC', 'I2T recall@10')
    """
    words = metric.replace("_", " ").replace("@", " @").split()
    titled = " ".join(
        w.upper() if w in ACRONYMS else w.replace("brier", "Brier") for w in words
    )
    return titled.replace(" @", "@")


def higher_is_better(metric: str) -> bool:
    """Whether more of it is better.

    Example:
        >>> higher_is_better("macro_auroc"), higher_is_better("i2t_median_rank")
        (True, False)
    """
    return not LOWER & set(metric.split("_"))
