"""Prepared stores: a raw data set shrunk and indexed once, then read fast."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlp_zoo.data.store.reading import (
        PreparedStudies,
        describe,
        is_store,
        open_store,
    )

__all__ = ["PreparedStudies", "describe", "is_store", "open_store"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: ``vlpzoo info`` looks into this folder, and decodes nothing.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vlp_zoo.data.store import reading

    return getattr(reading, name)
