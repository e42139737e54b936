"""``vlpzoo plan``, as a user types it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes.processes import alone
from vlp_zoo.cli import main
from vlp_zoo.costs.gpus import GPUS
from vlp_zoo.methods import METHODS

SMALL = ["--data.train_studies", "64", "--data.val_studies", "4"]


@alone
def test_a_plan_says_what_a_run_needs(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--config", "demo/mae", *SMALL, "--data.batch_size", "8"]
    more = ["--trainer.devices", "4", "--trainer.accumulate_grad_batches", "2"]
    assert main([*words, *more, "--trainer.precision", "16-mixed"]) == 0
    said = capsys.readouterr().out
    assert "8 studies x 4 device(s) x 2 accumulated = 64 a step, 16-mixed" in said
    # 64 studies are two batches of each of 4 devices: a step an epoch.
    epochs = re.search(r"2 batches of each device an epoch, (\d+) steps in (\d+)", said)
    assert epochs is not None
    assert epochs[1] == epochs[2]
    assert "gradients to exchange" in said
    assert "checkpoint_activations" in said
    assert all(re.search(rf"{name} .* yes ", said) for name in GPUS)


def test_a_gpu_that_is_not_known_is_refused_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--config", "demo/mae", "--gpu", "a100"]) == 1
    said = capsys.readouterr().err
    assert "a GPU called 'a100'" in said
    assert "a100-40, a100-80, h100-80" in said


@alone
def test_without_data_the_number_of_studies_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = ["--data.root", str(tmp_path / "absent")]
    assert main(["plan", "--config", "methods/ecamp", *absent]) == 1
    said = capsys.readouterr().err
    assert "the number of training studies" in said
    assert "add --studies N" in said
    words = ["plan", "--config", "methods/ecamp", "--studies", "1000"]
    assert main([*words, "--trainer.devices", "8"]) == 1
    assert "2,048 training studies or more" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["tasks: [phantom_chest]\n", "- a list\n"])
def test_a_file_that_is_no_config_of_a_fit_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(content)
    assert main(["plan", "--config", str(path)]) == 1
    said = capsys.readouterr().err
    assert said.count("looked for:") == 1
    assert "options" in said


@alone
def test_shares_and_lengths_that_cannot_be_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "--config", "demo/mae", "--share", "35"]) == 1
    assert "above 0 and at most 1" in capsys.readouterr().err
    endless = ["--trainer.max_epochs", "-1"]
    assert main(["plan", "--config", "demo/mae", *SMALL, *endless]) == 1
    assert "a training that ends" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
@alone
def test_configs_at_paper_scale_are_planned_without_a_network(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a plan went on line")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    words = ["plan", "--config", f"methods/{name}", "--studies", "368960"]
    assert main([*words, "--gpu", "h200-141"]) == 0
    said = capsys.readouterr().out
    assert "368,960 training studies" in said
    most = re.search(r"largest batch that fits h200-141: ([\d,]+)", said)
    assert most is not None
    assert int(most[1].replace(",", "")) >= 256
