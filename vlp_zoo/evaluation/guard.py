"""The test split is closed while anything learns or is chosen.

`learning` marks the time in which weights, regularisation, thresholds or steps are
decided. A task hands out its test split behind `Guarded`, which refuses to be read in
that time: a protocol that peeks fails in its first run and not in a review.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from vlp_zoo.errors import ConfigError
from vlp_zoo.types import Report, Study, StudySource

__all__ = ["Guarded", "TestAccessError", "learning"]

_LEARNING: ContextVar[str] = ContextVar("learning", default="")


class TestAccessError(ConfigError):
    """The test split was read while something was still being chosen."""

    __test__ = False  # no test class, whatever its name begins with


@contextmanager
def learning(what: str) -> Iterator[None]:
    """Close the test splits of all tasks.

    Args:
        what: Who learns, for the message.
    """
    token = _LEARNING.set(what)
    try:
        yield
    finally:
        _LEARNING.reset(token)


class Guarded:
    """A source that cannot be read while something learns.

    Args:
        source: The test split.
    """

    def __init__(self, source: StudySource) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Study:
        self._check()
        return self._source[index]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._check()
        return getattr(self._source, name)

    def __reduce__(self) -> tuple[type[Guarded], tuple[StudySource]]:
        return Guarded, (self._source,)

    # Written out, so that a guarded source is a source for the type checker too.

    @property
    def name(self) -> str:
        """Name of the source; it is no secret."""
        return self._source.name

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the source's labels; no label value is in them."""
        return self._source.label_names

    @property
    def uids(self) -> Sequence[str]:
        """Identifiers of the studies; they tell nothing of labels or pixels."""
        return self._source.uids

    @property
    def patient_ids(self) -> Sequence[str]:
        """Identifiers of the patients; they tell nothing of labels or pixels."""
        return self._source.patient_ids

    @property
    def labels(self) -> Any:
        """(N, K), NaN = unknown; closed while something learns."""
        self._check()
        return self._source.labels

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the source will yield."""
        return self._source.fingerprint

    def reports(self) -> Iterator[Report]:
        """All reports in order; closed while something learns."""
        self._check()
        return self._source.reports()

    def _check(self) -> None:
        what = _LEARNING.get()
        if what:
            raise TestAccessError(
                f"the test split untouched while {what} learns",
                f"{self._source.name} was read",
                "choose everything on the validation split, then score the test split",
            )
