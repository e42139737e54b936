from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vlp_zoo.errors import ConfigError, DatasetNotFoundError
from vlp_zoo.parity.comparison import Comparison, same
from vlp_zoo.parity.replay import (
    Recording,
    Replay,
    count_inputs,
    intermediates,
    take_step,
    under,
)


def doubled(recording: Recording, dtype: torch.dtype) -> Iterator[Comparison]:
    facts, tensors = recording.facts("meta"), recording.tensors("inputs")
    yield same("twice", float(2 * tensors["x"].to(dtype)), facts["twice"])
    inputs = {"inputs.": tensors}
    yield count_inputs(inputs, {"inputs.y": "nothing hangs on it"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "meta.json").write_text('{"twice": 6.0}')
    save_file(
        {"x": torch.tensor(3.0), "y": torch.tensor(1.0)},
        tmp_path / "inputs.safetensors",
    )
    return tmp_path


def test_a_part_is_replayed_where_its_file_is_there(folder: Path) -> None:
    replay = Replay("m", {"meta.json": doubled, "absent.json": doubled})
    twice, inputs = replay(folder, torch.float64)
    assert (twice.ours, twice.ok) == (6.0, True)
    assert inputs.quantity == (
        "inputs replayed: 1 of 2; not replayed: inputs.y (nothing hangs on it)"
    )
    assert inputs.ok
    (folder / "meta.json").write_text('{"twice": 7.0}')
    assert not replay(folder, torch.float64)[0].ok


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"thrice": 1}', "the entry 'twice' in .*meta.json"),
        ("{", "a recorded m run"),
        ("[]", "named entries"),
        (json.dumps({"twice": "six"}), "TypeError"),
    ],
)
def test_a_damaged_part_is_named(folder: Path, content: str, message: str) -> None:
    (folder / "meta.json").write_text(content)
    with pytest.raises(DatasetNotFoundError, match=message):
        Replay("m", {"meta.json": doubled})(folder)


def test_a_folder_without_a_part_is_refused(folder: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"a\.json or b\.json"):
        Replay("m", {"a.json": doubled, "b.json": doubled})(folder)
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        Replay("m", {"meta.json": doubled})(folder / "none")


def test_an_intermediate_without_counterpart_is_refused() -> None:
    recorded = {"a": torch.ones(4), "b.strided": torch.tensor([0.0, 2.0])}
    thin = {"flat_stride": 2, "sum": 6.0, "abs_sum": 6.0, "sq_sum": 14.0}
    ours = {"a": torch.ones(4), "b": torch.arange(4.0)}
    rows = list(intermediates(recorded, ours, 1e-6, {"b": thin}))
    assert [row.quantity for row in rows] == [
        "mid.a (4)",
        "mid.b.sums",
        "mid.b.strided (2)",
    ]
    assert all(row.ok for row in rows)
    with pytest.raises(ConfigError, match="'a'"):
        list(intermediates(recorded, {"b": torch.arange(4.0)}, 1e-6, {"b": thin}))


def test_a_step_is_compared_before_it_is_taken() -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    recorded = {"total": 12.5, "grad_norm": 5.0}
    total = weight.square().sum() / 2
    rows = list(take_step("step0", optimizer, {"total": total}, recorded, 1e-6))
    assert [(row.quantity, row.ok) for row in rows] == [
        ("step0.total", True),
        ("step0.grad_norm", True),
    ]
    assert weight.tolist() == [1.5, 2.0]


def test_entries_under_a_prefix() -> None:
    assert under({"b.y": 2, "a.x": 1, "b.x": 3}, "b.") == {"x": 3, "y": 2}
