"""Several processes encode and predict what one does, and fail as one does."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluation.alignment.test_space import BlockJoint, spoken_task
from tests.evaluation.segmentation.stubs import ShapeSource
from tests.evaluation.stubs import BlockSource, block_task
from vlp_zoo.bench.presets import read_preset
from vlp_zoo.cli import main
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, DataRejectedError
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.devices import (
    count_devices,
    find_device,
    share_batches,
    spread,
)
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.segmentation.mask_truth import MaskRule
from vlp_zoo.evaluation.segmentation.segmentation import Segment
from vlp_zoo.evaluation.segmentation.segmenter import Segmenter, overlap_of
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.training.learner import predict
from vlp_zoo.types import Study

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vit() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder("micro").eval()


def extraction(**settings: Any) -> Extraction:
    return Extraction(
        progress=False, cache=FeatureCache(None), device="cpu", **settings
    )


@pytest.mark.parametrize("cases", [1, 6, 7, 23])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_parts_are_whole_batches_in_order(
    cases: int, batch_size: int, processes: int
) -> None:
    parts = share_batches(list(range(cases)), batch_size, processes)
    assert [case for part in parts for case in part] == list(range(cases))
    assert len(parts) <= processes
    assert all(part[0] % batch_size == 0 for part in parts)


def test_without_cases_there_is_one_empty_part() -> None:
    assert share_batches([], 4, 2) == [[]]


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 23])
@pytest.mark.parametrize("workers", [0, 1])
def test_features_of_two_processes_are_those_of_one_bit_by_bit(
    vit: ImageEncoder, batch_size: int, workers: int
) -> None:
    source = BlockSource("test", 23)
    settings = {"batch_size": batch_size, "num_workers": workers}
    threads = torch.get_num_threads()
    try:
        # One thread, as the others have: another number rounds otherwise.
        torch.set_num_threads(1)
        one = extraction(**settings).get(vit, source)
    finally:
        torch.set_num_threads(threads)
    for devices in (2, 3):
        more = extraction(**settings, devices=devices).get(vit, source)
        assert np.array_equal(one, more)
    assert torch.get_num_threads() == threads
    assert not vit.training


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", ["vlp-linear", pytest.param("vlp-knn", marks=pytest.mark.slow)]
)
def test_probes_find_the_same_on_any_devices_and_batches(
    vit: ImageEncoder, preset: str
) -> None:
    protocol, task = read_preset(preset).protocol, block_task()
    found = []
    for devices, batch_size in ((1, 64), (2, 64), (2, 1), (2, 7)):
        how = extraction(devices=devices, batch_size=batch_size)
        who = Candidate(subject_of(vit, "m", "encoder", how), vit)
        outcome = protocol.measure(who, task, 0, how)
        found.append([m.value for m in outcome.measures[:3]])
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-6)


@pytest.mark.slow
def test_retrieval_finds_the_same_on_two_devices() -> None:
    protocol, task = read_preset("vlp-retrieval").protocol, spoken_task()
    joint: Any = BlockJoint()
    found = []
    for devices, batch_size in ((1, 80), (2, 7), (2, 1)):
        how = extraction(devices=devices, batch_size=batch_size)
        who = Candidate(subject_of(joint, "m", "encoder", how), joint, joint=joint)
        outcome = protocol.measure(who, task, 0, how)
        found.append([m.value for m in outcome.measures])
    assert found[1] == found[2] == found[0]


@pytest.mark.slow
def test_masks_are_the_same_on_two_devices(vit: ImageEncoder) -> None:
    torch.manual_seed(0)
    rule = MaskRule(("corner", "disc"))
    learner = Segmenter(vit, rule, Segment(decoder="linear", size=0))
    source = ShapeSource("test", 12)
    one, two = (
        overlap_of(predict(learner, source, extraction(devices=n, batch_size=5)))
        for n in (1, 2)
    )
    for name in ("predicted", "actual", "both", "pixels"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


# Failures ------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [2, 19])
def test_a_broken_image_is_the_same_message(vit: ImageEncoder, broken: int) -> None:
    messages = []
    for devices in (1, 2):
        source = BlockSource("test", 20, broken=broken)
        with pytest.raises(DataRejectedError) as caught:
            extraction(devices=devices, batch_size=4).get(vit, source)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "truncated" in messages[0]


class OutOfMemory(BlockSource):
    """A study that kills the process that reads it."""

    def __getitem__(self, index: int) -> Study:
        if index == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_killed_process_is_noticed(vit: ImageEncoder) -> None:
    with pytest.raises(Exception, match="SIGKILL"):
        extraction(devices=2, batch_size=4).get(vit, OutOfMemory("test", 12))


def test_other_errors_keep_their_traceback() -> None:
    def fails(cases: Any, device: torch.device) -> None:
        raise KeyError("nothing of this name")

    with pytest.raises(RuntimeError, match=r"(?s)KeyError.*in fails"):
        spread(fails, [[0], [1]], CPU)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_devices(3, "cpu") == 3
    assert count_devices("auto", "cpu") == 1
    with pytest.raises(ConfigError, match="a number of devices"):
        count_devices("many", "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert count_devices("auto", "auto") == 2
    assert count_devices("auto", "cuda:1") == 1
    assert find_device("cuda", 2) == torch.device("cuda")
    with pytest.raises(ConfigError, match="3 CUDA devices"):
        find_device("auto", 3)
    with pytest.raises(ConfigError, match="devices of one kind"):
        find_device("cuda:1", 2)


# From the command line -------------------------------------------------------------

SMALL = (
    *("--task", "phantom_chest", "--studies", "24", "12", "16", "--image-size", "32"),
    *("--min-positives", "1", "--bootstrap", "20", "--num-workers", "0"),
    *("--batch-size", "5", "--device", "cpu", "--preset", "vlp-knn"),
)


@pytest.mark.slow
def test_bench_on_two_processes_writes_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    command = ["bench", "--encoder", "random:micro", *SMALL, "--devices"]
    for devices in ("1", "2"):
        monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / devices))
        assert main([*command, devices, "--out", str(tmp_path / f"out{devices}")]) == 0
        rows.append(ResultStore(tmp_path / f"out{devices}").read())
    assert {row.device for row in rows[1]} == {"cpu x 2"}
    for one, two in zip(*rows, strict=True):
        assert (one.key, one.metric) == (two.key, two.metric)
        assert one.value == pytest.approx(two.value, abs=1e-6)
    # What two made is found by one.
    capsys.readouterr()
    assert main([*command, "1", "--out", str(tmp_path / "out2")]) == 0
    assert "found in" in capsys.readouterr().err
    assert ResultStore(tmp_path / "out2").read() == rows[1]


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (("--devices", "0"), {}, "neither auto nor 1 or more"),
        (("--devices", "2", "--device", "cuda"), {}, "CUDA devices"),
        ((), {"WORLD_SIZE": "2"}, "torchrun started 2"),
        ((), {"SLURM_STEP_NUM_TASKS": "4"}, "--devices 4"),
    ],
)
def test_mistakes_are_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    environment: dict[str, str],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out"
    command = ["bench", "--encoder", "random:micro", *SMALL, *options]
    assert main([*command, "--out", str(out)]) != 0
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert not out.exists()
