"""Reports made of labels, for studies that have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlp_zoo.types import Example, Report, Study

__all__ = ["LabelPrompts", "label_sentences"]


def label_sentences(names: Sequence[str], labels: Sequence[float]) -> Iterator[str]:
    """What is known of a study's labels, a sentence each; unknown ones are left out.

    Example:
        >>> list(label_sentences(["Edema", "Fracture", "Mass"], [0, 1, float("nan")]))
        ['There is no edema.', 'There is fracture.']
    """
    for name, label in zip(names, labels, strict=True):
        if label in (0, 1):
            yield f"There is {'' if label else 'no '}{name.lower()}."


@dataclass(frozen=True)
class LabelPrompts:
    """Reads the labels of studies without a report in its place.

    Args:
        look: What makes the fields of a study with a report.
        names: Names of the label columns, in order.
    """

    look: Callable[[Study, np.random.Generator], Example]
    names: tuple[str, ...]

    def __call__(self, study: Study, rng: np.random.Generator) -> Example:
        """Fields of one example."""
        if not study.report.body.strip():
            said = " ".join(label_sentences(self.names, study.labels.tolist()))
            study = replace(study, report=Report(said))
        return self.look(study, rng)
