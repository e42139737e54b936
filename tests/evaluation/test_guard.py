"""The test split is closed while something learns."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tests.evaluation.stubs import block_task
from vlp_zoo.evaluation.guard import Guarded, TestAccessError, learning
from vlp_zoo.evaluation.tasks import Selected
from vlp_zoo.types import StudySource


def test_pixels_labels_and_reports_are_closed_while_something_learns() -> None:
    task = block_task()
    test = task.splits["test"]
    assert isinstance(test, Guarded)
    assert isinstance(test, StudySource)
    labels = test.labels
    with learning("a probe"):
        for look in (
            lambda: test[0],
            lambda: test.labels,
            lambda: list(test.reports()),
            lambda: Selected(test, [0, 1])[0],
        ):
            with pytest.raises(TestAccessError, match="while a probe learns"):
                look()
        assert len(test) == len(test.uids)
        assert task.splits["train"][0] is not None
        assert task.splits["val"].labels is not None
    assert np.array_equal(test.labels, labels, equal_nan=True)
    assert test[0].uid == test.uids[0]


def test_what_sources_know_beyond_the_contract_is_passed_on() -> None:
    task = block_task()
    test = task.splits["test"]
    assert test.images.shape[0] == len(test)  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(test))
    assert again.uids == test.uids
    with pytest.raises(AttributeError):
        _ = test.nothing_of_that_name  # type: ignore[attr-defined]
