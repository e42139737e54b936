"""Weights shared out among processes: the numbers, files and refusals of a whole run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.test_fit import SMALL, fit, run_folder, scalars, state


def train(out: Path, strategy: str, *more: str) -> None:
    """Two processes, two studies each; with a checkpoint as last word, go on from it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vlp_zoo", "fit", *SMALL, "--out", str(out)),
            *("--model.text_dropout", "0.0", "--data.batch_size", "2"),
            *("--model.schedule_epochs", "2"),
            *("--trainer.devices", "2", "--trainer.strategy", strategy, *more),
        ],
        env={**os.environ, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("again", ["false", "true"])
def test_shared_weights_are_those_of_whole_ones(again: str, tmp_path: Path) -> None:
    more = ("--model.checkpoint_activations", again)
    for strategy in ("ddp", "fsdp2"):
        train(tmp_path / strategy, strategy, *more)
    whole, shared = run_folder(tmp_path / "ddp"), run_folder(tmp_path / "fsdp2")
    for name in ("train/loss_mim", "train/loss_res", "train/loss_mlm"):
        assert scalars(shared, name) == pytest.approx(scalars(whole, name), rel=1e-3)
    files = [load_file(run / "encoder.safetensors") for run in (whole, shared)]
    for name, wanted in files[0].items():
        torch.testing.assert_close(files[1][name], wanted, rtol=0, atol=1e-3)
    # Adam divides by what may be small; its averages show a parameter out of place.
    first, second = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)[
            "optimizer_states"
        ][0]["state"]
        for run in (whole, shared)
    )
    assert first.keys() == second.keys()
    for number, values in first.items():
        torch.testing.assert_close(
            second[number]["exp_avg"], values["exp_avg"], rtol=1e-2, atol=1e-4
        )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="a C++ compiler is needed")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_compiled_networks_in_two_processes_are_those_of_plain_ones(
    strategy: str, tmp_path: Path
) -> None:
    for compiled in ("false", "true"):
        more = ("--model.compile", compiled, "--trainer.max_epochs", "1")
        train(tmp_path / compiled, strategy, *more)
    plain, found = (
        load_file(run_folder(tmp_path / compiled) / "encoder.safetensors")
        for compiled in ("false", "true")
    )
    assert found.keys() == plain.keys()
    for name, wanted in plain.items():
        torch.testing.assert_close(found[name], wanted, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("strategies", [("ddp", "fsdp2"), ("fsdp2", "ddp")])
def test_a_run_goes_on_under_the_other_strategy(
    strategies: tuple[str, str], tmp_path: Path
) -> None:
    train(tmp_path / "whole", "ddp")
    train(tmp_path / "parts", strategies[0], "--trainer.max_epochs", "1")
    last = run_folder(tmp_path / "parts") / "checkpoints" / "last.ckpt"
    train(tmp_path / "parts", strategies[1], "--ckpt_path", str(last))
    wanted = state(run_folder(tmp_path / "whole") / "checkpoints" / "last.ckpt")
    found = state(last)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_shared_weights_start_from_those_of_another_run(tmp_path: Path) -> None:
    train(tmp_path / "first", "ddp", "--trainer.max_epochs", "1")
    start = str(run_folder(tmp_path / "first") / "encoder.safetensors")
    for strategy in ("ddp", "fsdp2"):
        train(tmp_path / strategy, strategy, "--model.warm_start", start)
    whole, shared = (
        load_file(run_folder(tmp_path / strategy) / "encoder.safetensors")
        for strategy in ("ddp", "fsdp2")
    )
    for name, wanted in whole.items():
        torch.testing.assert_close(shared[name], wanted, rtol=0, atol=1e-3)


def test_averaged_weights_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = fit(tmp_path, "--trainer.strategy", "fsdp2", "--ema_decay", "0.9")
    assert code == 1
    assert "--ema_decay" in capsys.readouterr().err
