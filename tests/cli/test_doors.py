"""What comes in damaged, foreign or mistyped: one message, and nothing is swallowed."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vlp_zoo.cli import main
from vlp_zoo.cli.names import config_names, config_path
from vlp_zoo.cli.parser import Parser, StrictParser, nearest
from vlp_zoo.errors import ConfigError, VLPZooError
from vlp_zoo.methods.checkpoints import check_checkpoint
from vlp_zoo.reading.yamls import parse_yaml

CHECKPOINT = {
    "state_dict": {"weight": torch.arange(4096.0)},
    "hyper_parameters": {"_class_path": "a.B"},
    "epoch": 1,
    "global_step": 2,
    "loops": {},
}


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def _raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(argv: list[str]) -> int:
        raise error

    monkeypatch.setattr(importlib.import_module("vlp_zoo.cli.info"), "main", broken)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("boom\nand more"), OSError(28, "No space left"), MemoryError(), KeyError("x")],
    ids=repr,
)  # fmt: skip
def test_an_unforeseen_error_is_one_message_and_a_trace_in_a_file(
    error: Exception,
    traces: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _raise(monkeypatch, error)
    assert main(["info"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert type(error).__name__ in said
    (trace,) = traces.glob("vlpzoo-info-*.txt")
    assert str(trace) in said
    assert "Traceback" in trace.read_text()
    assert main(["info", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("error", [SystemExit(7), GeneratorExit()])
def test_what_is_no_error_passes_the_guard(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    _raise(monkeypatch, error)
    with pytest.raises(type(error)):
        main(["info"])


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, KeyboardInterrupt())
    assert main(["info"]) == 130


@pytest.mark.parametrize(
    "words",
    [
        "fit --model mae --config demo/mae --out {}",
        "bench --encoder gone.safetensors --task phantom_chest --out {}",
        "sweep smoke --out {}",
        "prepare nih14 --root gone --out {}",
        "synth chest --layout pairs --studies 2 --out {}",
        "synth chest --contact-sheet {}/sheet.png",
        "export gone.safetensors {}",
        "convert official:mae:gone.pth {}",
        "annotate --reports gone.csv --out {}/contexts.jsonl",
        "audit --data phantom_chest --out {}",
        "leaderboard --out {}",
    ],
    ids=lambda words: words.split()[0],
)
def test_a_place_that_cannot_be_written_is_refused_at_the_start(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What the other words name is not there: this has to be noticed before it.
    file = tmp_path / "file"
    file.write_text("mine")
    assert main(words.format(file / "runs").split()) == 1
    said = capsys.readouterr().err
    assert f"{file} is a file; nothing was computed" in said
    assert said.count("looked for") == 1
    assert file.read_text() == "mine"


def test_sigterm_is_143_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    children: list[int] = []

    def terminated(argv: list[str]) -> int:
        forked = os.fork()
        if not forked:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        children.append(os.waitpid(forked, 0)[1])
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(importlib.import_module("vlp_zoo.cli.info"), "main", terminated)
    assert main(["info"]) == 143
    assert "run the same command to go on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    # A process that the command forked dies of the signal, without a word.
    assert os.WTERMSIG(children[0]) == signal.SIGTERM


@pytest.mark.parametrize("word", ["a\0b", "a\udcffb"])
def test_a_word_that_is_no_text_is_refused(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", word]) == 1
    assert "UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_name_that_the_terminal_cannot_show_is_escaped(locale: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vlp_zoo", "info", "größe"],
        env={
            **os.environ,
            "LC_ALL": locale,
            "PYTHONUTF8": "1",
            "PYTHONIOENCODING": "ascii",
        },
        capture_output=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
    assert b"gr\\xf6" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\n\tb: 2\n", "YAML"),
        (b"a: \0\n", "YAML"),
        ("a: größe\n".encode("latin-1"), "UTF-8"),
        ("a: 1\n".encode("utf-16"), "UTF-8"),
        (b"a: !!python/object/apply:os.getcwd []\n", "constructor"),
        (b"a: !Own 1\n", "constructor"),
        (b"a: &x [*x]\n", "inside itself"),
        (b"a: 1\na: 2\n", "twice"),
        (b"[" * 5000, "deeply"),
        (b"", "nothing"),
        (b"- a\n", "list"),
        (b"word\n", "str"),
        (b"a: 1\n---\nb: 2\n", "YAML"),
        (b"#" * (2 << 20), "bytes"),
    ],
    ids=range(14),
)
def test_a_config_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(VLPZooError, match=said) as caught:
        config_path(str(path))
    assert str(path) in str(caught.value)


def test_aliases_are_bounded() -> None:
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(ValueError, match="aliases"):
        parse_yaml("\n".join(lines))
    assert parse_yaml("a: &x [1]\nb: *x\n") == {"a": [1], "b": [1]}


def test_a_folder_and_a_pipe_are_no_configs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(VLPZooError, match="regular file"):
            config_path(str(path))


def test_every_packaged_config_passes() -> None:
    for name in config_names():
        assert config_path(name).is_file()


def test_a_whole_checkpoint_passes(tmp_path: Path) -> None:
    torch.save(CHECKPOINT, tmp_path / "last.ckpt")
    check_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    "damage",
    ["empty", "cut", "changed", "zeros", "text", "weights", "list", "class"],
)
def test_a_damaged_or_foreign_checkpoint_is_refused(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(CHECKPOINT, path)
    whole = path.read_bytes()
    place = whole.index(torch.arange(4096.0).numpy().tobytes()[100:200])
    content = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "changed": whole[:place] + b"\xff" + whole[place + 1 :],
        "zeros": bytes(len(whole)),
        "text": b"not a checkpoint",
    }.get(damage)
    if content is not None:
        path.write_bytes(content)
    elif damage == "weights":
        torch.save({"weight": torch.zeros(2)}, path)
    elif damage == "list":
        torch.save([1], path)
    else:
        torch.save({**CHECKPOINT, "x": argparse.Namespace()}, path)
    with pytest.raises(ConfigError, match="checkpoint of vlpzoo fit"):
        check_checkpoint(path)


def test_the_nearest_option_is_named_and_no_abbreviation_is_taken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for kind in (Parser, StrictParser):
        parser = kind(prog="vlpzoo x")
        parser.add_argument("--batch-size", type=int)
        for word in ("--batch_size", "--batch-siz", "--batch"):
            if kind is StrictParser:
                with pytest.raises(ConfigError) as caught:
                    parser.parse_args([word, "3"])
                said = caught.value.found
            else:
                with pytest.raises(SystemExit) as stop:
                    parser.parse_args([word, "3"])
                assert stop.value.code == 2
                said = capsys.readouterr().err
            assert ("did you mean --batch-size?" in said) == (word != "--batch")
    options = ["--data.batch_size", "--model.mask_ratio", "--out"]
    assert nearest("--batch_size", options) == "--data.batch_size"
    assert nearest("--model.mask_ration", options) == "--model.mask_ratio"
    assert nearest("--nonsense", options) is None


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["bench", "--suite", "fantom-chest"], "phantom-chest"),
        (["bench", "--task", "phantom_chest", "--preset", "vlp-liner"], "vlp-linear"),
        (["fitt"], "fit"),
        (["fit", "--model", "ecmap"], "ecamp"),
    ],
)
def test_names_with_a_slip_get_the_nearest(
    words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "bench":
        words = [*words, "--encoder", "random:tiny", "--dry-run"]
    assert main(words) == 1
    assert f"did you mean {near!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "near"),
    [
        ("--model.mask_ration=0.5", "--model.mask_ratio"),
        ("--batch_size=4", "--data.batch_size"),
        ("--trainer.max_epoch=1", "--trainer.max_epochs"),
    ],
)
def test_options_of_a_training_with_a_slip_get_the_nearest(
    flag: str, near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--model", "ecamp", flag, "--out", str(tmp_path)]) == 1
    assert f"did you mean {near}?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_logger_without_its_package_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed here")
    words = ["fit", "--model", "ecamp", "--trainer.logger", "WandbLogger"]
    assert main([*words, "--out", str(tmp_path)]) == 1
    assert "wandb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["compare", "a", "b", "--bootstrap", "0"], 1, "must be 1 or more, not 0"),
        (["leaderboard", "--bootstrap", "-1"], 1, "must be 0 or more, not -1"),
        (["synth", "chest", "--studies", "0"], 2, "must be 1 or more, not 0"),
        (["prepare", "nih14", "--workers", "-2"], 2, "must be 0 or more, not -2"),
        (["prepare", "nih14", "--size", "big"], 2, "invalid number value: 'big'"),
    ],
)
def test_a_number_out_of_its_range_is_refused(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended = main(words)
    except SystemExit as error:
        ended = int(error.code or 0)
    assert ended == code
    assert said in capsys.readouterr().err
