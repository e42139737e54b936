from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.evaluation.stubs import BlockSource, block_task
from vlp_zoo.errors import DataRejectedError, DatasetNotFoundError, PatientLeakError
from vlp_zoo.evaluation.tasks import SPLITS, Task, with_known_labels


def _splits() -> dict[str, BlockSource]:
    return {split: BlockSource(split, 20) for split in SPLITS}


def test_a_patient_in_two_splits_is_named() -> None:
    splits = _splits()
    splits["test"].patient_ids[3] = splits["train"].patient_ids[0]
    with pytest.raises(PatientLeakError) as caught:
        Task("blocks", splits)
    assert isinstance(caught.value, DataRejectedError)
    assert "train-p0" in str(caught.value)
    assert "train and test" in str(caught.value)


def test_a_legacy_split_may_leak_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    splits = _splits()
    splits["test"].patient_ids[3] = splits["train"].patient_ids[0]
    splits["val"].patient_ids[0] = splits["train"].patient_ids[2]
    task = Task("blocks", splits, legacy="published lists, split by image")
    assert task.shared_patients == {
        ("train", "val"): ["train-p1"],
        ("train", "test"): ["train-p0"],
    }
    assert "1 patients in both train and test" in caplog.text
    assert "published lists, split by image" in caplog.text
    assert Task("blocks", _splits()).shared_patients == {}


def _no_labels(splits: dict[str, BlockSource]) -> None:
    for source in splits.values():
        source.label_names, source.labels = (), source.labels[:, :0]


def _half(splits: dict[str, BlockSource]) -> None:
    splits["val"].labels[4, 1] = 0.5


def _twice(splits: dict[str, BlockSource]) -> None:
    splits["train"].uids[1] = splits["train"].uids[0]


def _other_names(splits: dict[str, BlockSource]) -> None:
    splits["test"].label_names = ("a", "b", "c")


def _missing(splits: dict[str, BlockSource]) -> None:
    del splits["val"]


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (_no_labels, DatasetNotFoundError, "label columns"),
        (_half, DataRejectedError, "0.5 for finding 1 of val-0004"),
        (_twice, DataRejectedError, "train-0000"),
        (_other_names, DataRejectedError, "finding 0"),
        (_missing, DatasetNotFoundError, "val"),
    ],
)
def test_unusable_tasks_are_refused(
    spoil: Callable[[dict[str, BlockSource]], None],
    error: type[Exception],
    words: str,
) -> None:
    splits = _splits()
    spoil(splits)
    with pytest.raises(error, match=words):
        Task("blocks", splits)


def test_the_split_hash_names_the_split_and_not_its_order() -> None:
    splits = _splits()
    first = Task("blocks", splits).split_sha256
    splits["train"].uids.reverse()
    assert Task("blocks", splits).split_sha256 == first
    splits["train"].uids[0], splits["val"].uids[0] = "val-0000", "train-0019"
    assert Task("blocks", splits).split_sha256 != first


def test_a_changed_label_changes_the_data_hash_only() -> None:
    one, two = block_task(20), block_task(20)
    two.splits["train"].labels[0, 0] = 1 - two.splits["train"].labels[0, 0]
    assert one.split_sha256 == two.split_sha256
    assert one.data_sha256 != two.data_sha256


def test_rare_labels_are_excluded_with_their_counts() -> None:
    splits = _splits()
    splits["test"].labels[:, 1] = 0
    splits["test"].labels[:4, 1] = 1
    splits["test"].labels[4:8, 1] = np.nan
    task = Task("blocks", splits, min_positives=5)
    assert task.excluded == {"finding 1": "4 positives, 12 negatives in test"}
    assert not Task("blocks", splits, min_positives=4).excluded


def test_studies_without_any_label_are_left_out() -> None:
    source = BlockSource("train", 6)
    assert with_known_labels(source) is source
    source.labels[[1, 4]] = np.nan
    source.labels[2, 0] = np.nan
    kept = with_known_labels(source)
    assert kept.uids == [source.uids[i] for i in (0, 2, 3, 5)]
    assert kept[1].uid == source.uids[2]
    assert kept.fingerprint != source.fingerprint
    assert len(list(kept.reports())) == len(kept) == 4
