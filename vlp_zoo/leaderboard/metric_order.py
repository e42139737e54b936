"""What the name of a metric says: which way is better, and what comes first."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["higher_is_better", "shown_first"]

LOWER = {
    *("assd", "brier", "distance", "ece", "error", "false", "gap", "hd95", "loss"),
    *("mae", "rank"),
}
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


def higher_is_better(metric: str) -> bool:
    """Whether more of it is better.

    Example:
        >>> higher_is_better("macro_auroc"), higher_is_better("i2t_median_rank")
        (True, False)
        >>> higher_is_better("hd95_mm"), higher_is_better("surface_dice@2mm")
        (False, True)
    """
    return not LOWER & set(metric.split("_"))
