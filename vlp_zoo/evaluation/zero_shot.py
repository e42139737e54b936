"""Zero-shot classification: which of two sentences an image is closer to.

For each finding a sentence that affirms it and one that denies it are embedded; the
score is the difference of the two cosines. Nothing is fitted and no threshold chosen:
the score is ranked (AUROC), never cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["prompts", "zero_shot_scores"]

Array = npt.NDArray[np.floating]

AFFIRM, DENY = "There is {}.", "There is no {}."


def prompts(label_names: Sequence[str]) -> tuple[list[str], list[str]]:
    """A sentence that affirms and one that denies each finding.

    Example:
        >>> prompts(["Pleural_Effusion"])
        (['There is pleural effusion.'], ['There is no pleural effusion.'])
    """
    words = [name.replace("_", " ").lower() for name in label_names]
    return [AFFIRM.format(w) for w in words], [DENY.format(w) for w in words]


def zero_shot_scores(
    images: Array, affirming: Array, denying: Array
) -> npt.NDArray[np.float64]:
    """How much closer each image is to the affirming sentence.

    Args:
        images: (N, E) unit length.
        affirming: (K, E) unit length.
        denying: (K, E) unit length.

    Returns:
        (N, K) differences of cosines, larger = present.
    """
    wide = images.astype(np.float64)
    scores: npt.NDArray[np.float64] = wide @ (affirming - denying).astype(np.float64).T
    return scores
