"""The Trainer commands as a user types them, on a world of a few drawn studies."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.fakes.commands import in_a_process
from vlp_zoo.cli import main
from vlp_zoo.encoders.checkpoint import load_encoder
from vlp_zoo.encoders.identity import encoder_sha256
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.ecamp import ECAMP, ECAMPBatch
from vlp_zoo.methods.stored import load_method

SMALL = [
    *("--model", "ecamp", "--config", "demo/ecamp"),
    *("--model.image_encoder", "test_vit", "--model.image_size", "64"),
    *("--model.text_width", "48", "--model.text_ffn", "96", "--model.text_depth", "1"),
    *("--model.max_tokens", "64", "--model.vocab_size", "300"),
    *("--model.decoder_width", "48", "--model.decoder_depth", "1"),
    *("--data.train_studies", "24", "--data.val_studies", "8"),
    *("--data.test_studies", "8"),
    *("--data.image_size", "128", "--data.batch_size", "4"),
    *("--data.num_workers", "0", "--evaluate", "[]"),
    *("--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"),
    *("--trainer.log_every_n_steps", "1", "--trainer.enable_model_summary", "false"),
]


def fit(out: Path, *more: str, command: str = "fit") -> int:
    return main([command, *SMALL, "--out", str(out), *more])


def run_folder(out: Path) -> Path:
    return max(out.glob("ecamp/version_*"), key=lambda path: path.stat().st_mtime)


def scalars(folder: Path, name: str) -> list[float]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars(name)]


def state(checkpoint: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights: dict[str, torch.Tensor] = loaded["state_dict"]
    return weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert fit(out) == 0
    return run_folder(out)


def test_a_run_leaves_everything_a_user_looks_for(finished: Path) -> None:
    for name in (
        "config.yaml",
        "encoder.safetensors",
        "encoder.json",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    ):
        assert (finished / name).is_file(), name
    card = json.loads((finished / "encoder.json").read_text())
    assert card["method"] == "ecamp"
    assert card["steps"] == 12
    assert card["pretraining_sources"] == ["phantom_chest"]
    assert card["data"] == "phantom_chest"
    assert card["origin"] == "random initialisation"
    assert card["epoch"] == "last"


def test_the_epoch_of_the_lowest_validation_loss_is_exported_too(
    finished: Path,
) -> None:
    losses = scalars(finished, "val/loss")
    card = json.loads((finished / "best" / "encoder.json").read_text())
    assert card["epoch"] == "lowest val/loss"
    assert card["epochs"] == 1 + losses.index(min(losses))
    method = load_method(finished / "checkpoints" / "best.ckpt")
    assert encoder_sha256(method.image_encoder) == card["sha256"]
    exported = load_encoder(str(finished / "best" / "encoder.safetensors"))
    assert encoder_sha256(exported) == card["sha256"]


@pytest.mark.slow
def test_losses_of_both_splits_are_logged(finished: Path) -> None:
    for split in ("train", "val"):
        for term in ("loss", "loss_mim", "loss_res", "loss_mlm", "embedding_std"):
            values = scalars(finished, f"{split}/{term}")
            assert values
            assert all(math.isfinite(value) for value in values)


def test_speed_memory_and_learning_rate_are_logged(finished: Path) -> None:
    rates = scalars(finished, "learning_rate")
    assert len(rates) == 2
    assert rates[0] > rates[1] == pytest.approx(0.0, abs=1e-9)
    assert min(scalars(finished, "speed/images_per_second")) > 0
    assert min(scalars(finished, "memory/peak_gib")) > 0


def test_tensorboard_holds_the_pictures_of_each_epoch(finished: Path) -> None:
    events = EventAccumulator(str(finished), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    assert len(tags["images"]) >= 1
    assert any("text" in tag or "report" in tag for tag in tags["tensors"])


def test_the_exported_encoder_is_the_trained_one(finished: Path) -> None:
    encoder = load_encoder(str(finished / "encoder.safetensors"))
    trained = load_method(finished / "checkpoints" / "last.ckpt").image_encoder
    for (name, ours), theirs in zip(
        encoder.timm.state_dict().items(),
        trained.timm.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(ours, theirs), name


def test_load_method_finds_the_class_by_itself(finished: Path) -> None:
    module = load_method(finished / "checkpoints" / "last.ckpt")
    assert type(module) is not VLPModule
    assert type(module).__name__ == "ECAMP"
    assert module.tokenizer is not None
    assert not module.training


def test_the_same_command_gives_the_same_weights(
    finished: Path, tmp_path: Path
) -> None:
    assert fit(tmp_path) == 0
    first = state(finished / "checkpoints" / "last.ckpt")
    second = state(run_folder(tmp_path) / "checkpoints" / "last.ckpt")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_run_repeats_from_its_own_config(finished: Path, tmp_path: Path) -> None:
    code = main(
        ["fit", "--config", str(finished / "config.yaml"), "--out", str(tmp_path)]
    )
    assert code == 0
    first = state(finished / "checkpoints" / "last.ckpt")
    second = state(run_folder(tmp_path) / "checkpoints" / "last.ckpt")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["encoder.safetensors", "encoder.json"])
def test_resuming_a_finished_run_writes_the_export_that_is_missing(
    lost: str, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "ecamp" / "version_0"
    shutil.copytree(finished, run)
    plan, card = (run / "config.yaml").read_bytes(), run / "encoder.json"
    (run / lost).unlink()
    command = ["fit", "--config", str(run / "config.yaml"), "--out", str(tmp_path)]
    last = run / "checkpoints" / "last.ckpt"
    assert main([*command, "--ckpt_path", str(last)]) == 0
    weights = (run / "encoder.safetensors").read_bytes()
    assert weights == (finished / "encoder.safetensors").read_bytes()
    written, before = (
        json.loads(path.read_text()) for path in (card, finished / "encoder.json")
    )
    assert (written["epochs"], written["steps"]) == (before["epochs"], before["steps"])
    load_encoder(str(run / "encoder.safetensors"))
    # The plan of the run stays what it was; a resume's own stands beside it.
    assert (run / "config.yaml").read_bytes() == plan
    assert (run / "config.resume-1.yaml").is_file()


@pytest.mark.slow
def test_validate_takes_the_method_and_data_from_the_run(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(finished / "checkpoints" / "last.ckpt")
    assert main(["validate", "--ckpt_path", checkpoint]) == 0
    assert "val/loss_mlm" in capsys.readouterr().out


def test_a_flag_that_contradicts_the_checkpoint_is_an_error(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = str(finished / "checkpoints" / "last.ckpt")
    argv = ["validate", "--ckpt_path", checkpoint, "--model.mask_ratio", "0.9"]
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert "mask_ratio" in error
    assert "mask_ratio = 0.35" in error


def test_predict_writes_one_embedding_a_study(finished: Path) -> None:
    import pandas as pd

    checkpoint = str(finished / "checkpoints" / "last.ckpt")
    assert main(["predict", "--ckpt_path", checkpoint]) == 0
    frame = pd.read_parquet(finished / "embeddings.parquet")
    assert frame["uid"].is_unique
    assert len(frame["embedding"][0]) == 64


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model.mask_rato", "0.5"], "mask_rato"),
        (["--data", "nowhere"], "nowhere"),
        (["--trainer.max_epochs", "many"], "many"),
        # No YAML: words, as they stand.
        (["--trainer.max_epochs", "[1"], "trainer.max_epochs"),
        (["--data", "{a}/b"], "{a}/b"),
    ],
)
def test_a_wrong_flag_is_one_message(
    tmp_path: Path, flags: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path, *flags) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert "usage:" not in error
    assert "runs through" not in error


@pytest.mark.slow
def test_a_demo_does_not_probe_drawn_chests_after_other_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        "vlp_zoo.bench.evaluate",
        lambda encoders, tasks, out, **_: asked.append(tasks),
    )
    monkeypatch.setattr("vlp_zoo.cli.bench.print_table", lambda results: None)
    drawn = tmp_path / "pairs"
    words = ["synth", "chest", "--layout", "pairs", "--studies", "24"]
    assert main([*words, "--image-size", "64", "--out", str(drawn)]) == 0
    short = ["--config", "demo/mae", "--trainer.max_steps", "1"]
    short += ["--data.num_workers", "0", "--data.batch_size", "4"]
    data = ["--data", "pairs", "--data.path", str(drawn / "pairs.csv")]
    for number, more in enumerate(([], ["--evaluate", "[phantom_chest]"])):
        capsys.readouterr()
        out = ["--out", str(tmp_path / str(number))]
        assert main(["fit", *short, *data, *more, *out]) == 0
        assert ("vlpzoo bench --encoder" in capsys.readouterr().out) == (not more)
    assert asked == [["phantom_chest"]]


@pytest.mark.slow
def test_ema_weights_are_exported(tmp_path: Path) -> None:
    assert fit(tmp_path, "--ema_decay", "0.9", "--trainer.max_epochs", "1") == 0
    folder = run_folder(tmp_path)
    assert json.loads((folder / "encoder.json").read_text())["averaged"] is True


@pytest.mark.slow
@pytest.mark.parametrize("config", ["ecamp", "clip"])
def test_an_average_of_the_newest_weights_alone_is_the_plain_run(
    config: str, tmp_path: Path
) -> None:
    short = ["--config", f"demo/{config}", "--trainer.max_epochs", "1"]
    short += ["--data.train_studies", "8", "--data.val_studies", "4"]
    short += ["--data.batch_size", "4", "--data.num_workers", "0"]
    short += ["--model.image_encoder", "micro", "--model.image_size", "32"]
    short += ["--evaluate", "[]"]
    weights = []
    for name, decay in (("plain", "0"), ("averaged", "1e-12")):
        out = ["--out", str(tmp_path / name), "--ema_decay", decay]
        assert main(["fit", *short, *out]) == 0
        (file,) = (tmp_path / name).rglob("version_0/encoder.safetensors")
        weights.append(load_file(file))
    plain, averaged = weights
    assert plain.keys() == averaged.keys()
    # Networks that were built before the method was set up would start elsewhere.
    for key, value in plain.items():
        torch.testing.assert_close(averaged[key], value)


@pytest.mark.slow
def test_accumulation_bf16_and_clipping_run(tmp_path: Path) -> None:
    flags = ["--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1"]
    flags += ["--trainer.accumulate_grad_batches", "2"]
    assert fit(tmp_path, *flags, "--trainer.gradient_clip_val", "0.5") == 0
    card = json.loads((run_folder(tmp_path) / "encoder.json").read_text())
    assert card["steps"] == 3


def fit_killed_at_step(step: int, out: Path, more: list[str]) -> int:
    """Train, and end by SIGKILL where the given step begins."""
    trained = ECAMP.training_step

    def training_step(method: ECAMP, batch: ECAMPBatch, index: int) -> torch.Tensor:
        if method.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return trained(method, batch, index)

    pytest.MonkeyPatch().setattr(ECAMP, "training_step", training_step)
    return fit(out, *more)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "decay"),
    [("0", "0.9"), pytest.param("2", "0", marks=pytest.mark.slow)],
)
def test_killed_and_resumed_ends_with_the_same_weights(
    tmp_path: Path, workers: str, decay: str
) -> None:
    more = ["--last.every_n_steps", "4", "--data.num_workers", workers]
    more += ["--ema_decay", decay]
    assert fit(tmp_path / "whole", *more) == 0
    parts, log = tmp_path / "parts", tmp_path / "log.txt"
    with in_a_process(fit_killed_at_step, 5, parts, more, log=log) as killed:
        killed.join(120)
        assert killed.exitcode == -signal.SIGKILL, log.read_text()
    checkpoint = parts / "ecamp" / "version_0" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 4
    again = ["fit", "--model", "ecamp", "--ckpt_path", "last", "--out", str(parts)]
    assert main(again) == 0
    whole = state(run_folder(tmp_path / "whole") / "checkpoints" / "last.ckpt")
    resumed = state(checkpoint)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_ctrl_c_ends_with_130_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "ecamp" / "version_0" / "checkpoints" / "last.ckpt"
    log = tmp_path / "log.txt"
    deadline = time.monotonic() + 120
    with in_a_process(fit, tmp_path, "--trainer.max_epochs", "999", log=log) as run:
        assert run.pid
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        # Native code may drop an interrupt that arrives inside it: press again, as one
        # does, but not so soon that it hits the end of a slow process.
        while run.is_alive() and time.monotonic() < deadline:
            os.kill(run.pid, signal.SIGINT)
            run.join(30)
    output = log.read_text()
    assert run.exitcode == 130, output
    assert "--ckpt_path last" in output
    assert "Traceback" not in output
    assert state(checkpoint)


@pytest.mark.slow
def test_two_processes_equal_one_on_the_same_global_batch(tmp_path: Path) -> None:
    no_dropout = ["--model.text_dropout", "0.0", "--trainer.max_epochs", "1"]
    assert fit(tmp_path / "one", *no_dropout) == 0
    two = [*no_dropout, "--data.batch_size", "2"]
    two += ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
    # The launcher of the second process repeats the command of the first one.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vlp_zoo", "fit", *SMALL),
            *("--out", str(tmp_path / "two"), *two),
        ],
        env={**os.environ, "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = run_folder(tmp_path / "one"), run_folder(tmp_path / "two")
    for name in ("train/loss", "train/loss_mim", "train/loss_res", "train/loss_mlm"):
        assert scalars(one, name) == pytest.approx(scalars(other, name), rel=1e-4)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
@pytest.mark.parametrize("reading", [False, True])
def test_a_signal_before_the_training_says_that_nothing_was_trained(
    number: signal.Signals,
    code: int,
    word: str,
    reading: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from vlp_zoo.data.datamodules import PhantomChest

    def stop(*args: object, **kwargs: object) -> None:
        os.kill(os.getpid(), number)

    # While Lightning reads the data, or while the command builds what it needs.
    if reading:
        monkeypatch.setattr(PhantomChest, "setup", stop)
    else:
        monkeypatch.setattr("vlp_zoo.cli.lightning_cli.require_writable", stop)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert fit(tmp_path) == code
    finally:
        # Lightning leaves it ignored in a process that it expects to end.
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr().err
    assert word in said
    assert said.count("nothing was trained yet") == 1
    assert not list(tmp_path.rglob("last.ckpt"))


def test_processes_wait_ten_minutes_for_one_another_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import lightning.pytorch as pl

    waits = []

    def seen(trainer: pl.Trainer, *args: object, **kwargs: object) -> None:
        waits.append(vars(trainer.strategy)["_timeout"])

    monkeypatch.setattr(pl.Trainer, "fit", seen)
    monkeypatch.setattr("vlp_zoo.cli.lightning_cli.VLPZooCLI.after_fit", lambda _: None)
    two = ["--trainer.devices", "2", "--trainer.strategy"]
    assert fit(tmp_path, *two, "ddp") == 0
    given = [
        "lightning.pytorch.strategies.DDPStrategy",
        "--trainer.strategy.timeout=0:01:00",
    ]
    assert fit(tmp_path, *two, *given) == 0
    assert waits == [timedelta(minutes=10), timedelta(minutes=1)]
