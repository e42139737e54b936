"""Which structures a study was annotated for: no mask is not the same as an empty one.

An empty mask says that somebody looked and found nothing; it counts as a negative. A
missing one may only say that nobody drew this structure in this part of the data, and
must count for nothing. `MaskRule` decides, for each structure of a study:

1. A mask that is there is known, and without pixels it is empty. Readers of data sets
   in which every image was looked at give explicit empty masks (IDRiD).
2. Else ``facts["annotated"]`` decides, where the study has it: True = all structures
   were looked for, so what is missing is empty; False = none was; or the names of
   those that were.
3. Else a label of the same name decides: 0 = empty (a chest without pneumothorax has
   no mask of one). With 1 or unknown, the mask is unknown.
4. Else the preset's ``absent`` decides, by default ``"unknown"``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.tasks import Selected
from vlp_zoo.types import Study, StudySource

__all__ = ["MaskRule", "mask_names", "structures_of", "unwrapped"]

Flags = npt.NDArray[np.bool_]

_FOUND: dict[str, list[tuple[str, ...]]] = {}
"""Names by fingerprint: every encoder of a suite asks for the same."""


@dataclass(frozen=True)
class MaskRule:
    """What is known of the masks of a study.

    Attributes:
        structures: Names of the S structures.
        label_names: Names of the K label columns.
        absent: ``"unknown"`` or ``"empty"``: a missing mask of which nothing else is
            known.

    Raises:
        ConfigError: If there are no structures, or ``absent`` is something else.
    """

    structures: tuple[str, ...]
    label_names: tuple[str, ...] = ()
    absent: str = "unknown"

    def __post_init__(self) -> None:
        if not self.structures or self.absent not in ("unknown", "empty"):
            raise ConfigError(
                "a structure with a mask in the training split, and absent: unknown "
                "or empty",
                f"{len(self.structures)} structures, absent: {self.absent}",
                "give studies with masks, or correct the preset",
            )

    def known(
        self,
        names: Collection[str],
        labels: npt.NDArray[np.float32],
        facts: Mapping[str, Any],
    ) -> Flags:
        """(S,) which structures of a study are known, empty ones included.

        Args:
            names: Names of the masks that the study has.
            labels: (K,) of the study.
            facts: Facts of the study, such as ``annotated``.

        Example:
            >>> rule = MaskRule(("disc", "cup"))
            >>> rule.known(["disc"], np.empty(0, np.float32), {}).tolist()
            [True, False]
            >>> rule.known([], np.empty(0, np.float32), {"annotated": True}).tolist()
            [True, True]
        """
        looked = facts.get("annotated")
        if looked is None:
            empty = self._empty_by_label(labels)
            if self.absent == "empty":
                empty |= ~self._has_label
        elif isinstance(looked, bool | np.bool_):
            empty = np.full(len(self.structures), bool(looked))
        else:
            empty = np.array([name in looked for name in self.structures])
        there = np.array([name in names for name in self.structures])
        return np.asarray(empty | there)

    def known_in(self, source: StudySource, index: int) -> Flags:
        """(S,) of one study of a source; decoded only where its source makes it so."""
        inner, place = unwrapped(source, index)
        names, facts = (getattr(inner, n, None) for n in ("mask_names", "facts_of"))
        if callable(names) and callable(facts):
            return self.known(names(place), source.labels[index], facts(place))
        study = inner[place]
        return self.known(study.masks, source.labels[index], study.facts)

    def masks(self, study: Study) -> Flags:
        """(S, H, W) masks, without pixels where missing."""
        nothing = np.zeros(study.image.shape[:2], np.bool_)
        return np.stack([study.masks.get(name, nothing) for name in self.structures])

    def _empty_by_label(self, labels: npt.NDArray[np.float32]) -> Flags:
        columns = {_plain(name): k for k, name in enumerate(self.label_names)}
        places = [columns.get(_plain(name)) for name in self.structures]
        return np.array([k is not None and labels[k] == 0 for k in places])

    @property
    def _has_label(self) -> Flags:
        columns = {_plain(name) for name in self.label_names}
        return np.array([_plain(name) in columns for name in self.structures])


def structures_of(source: StudySource) -> tuple[str, ...]:
    """Names of all masks of a source, sorted; images are decoded where they must be."""
    return tuple(sorted({name for names in mask_names(source) for name in names}))


def mask_names(source: StudySource) -> list[tuple[str, ...]]:
    """Names of the masks of each study, from the table where the source knows them."""
    if isinstance(source, Selected):
        every = mask_names(source.source)
        return [every[i] for i in source.indices]
    found = _FOUND.get(source.fingerprint)
    if found is None or len(found) != len(source):
        own = getattr(source, "mask_names", None)
        found = [
            tuple(own(i) if callable(own) else source[i].masks)
            for i in range(len(source))
        ]
        _FOUND[source.fingerprint] = found
    return found


def unwrapped(source: StudySource, index: int) -> tuple[StudySource, int]:
    """The source that a selection was made of, and the index there."""
    if isinstance(source, Selected):
        return unwrapped(source.source, source.indices[index])
    return source, index


def _plain(name: str) -> str:
    return name.lower().replace("_", " ")
