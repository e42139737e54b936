"""Python's search for circles of objects rests while tables are read, and only then."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.pairs import write_pairs
from vlp_zoo.allocator import uncollected
from vlp_zoo.data.datamodules import Pairs


def test_the_search_rests_while_a_table_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Pairs(str(write_pairs(tmp_path)[0]))
    read, seen = data._read, []

    def watched() -> Any:
        seen.append(gc.isenabled())
        return read()

    monkeypatch.setattr(data, "_read", watched)
    data.setup()
    assert seen == [False]
    assert gc.isenabled()


def test_it_goes_on_after_an_error_and_stays_off_where_it_was() -> None:
    with pytest.raises(KeyError), uncollected():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
