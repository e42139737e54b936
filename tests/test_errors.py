from __future__ import annotations

from typing import NoReturn

import pytest
from torch.utils.data import DataLoader, Dataset

from vlp_zoo.errors import DataRejectedError, VLPZooError


class Broken(Dataset[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> NoReturn:
        raise DataRejectedError("an image", "half an image", "copy it\nagain")


def test_an_error_of_a_loader_process_keeps_its_clauses() -> None:
    loader = DataLoader(Broken(), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(DataRejectedError) as caught:
        next(iter(loader))
    assert caught.value.looked_for == "an image"
    assert caught.value.found == "half an image"
    assert caught.value.do_this.startswith("copy it")
    assert "Traceback" not in str(caught.value)


def test_the_message_has_three_clauses() -> None:
    error = VLPZooError("a", "b", "c")
    assert str(error).splitlines() == [
        "looked for: a",
        "found:      b",
        "do this:    c",
    ]
