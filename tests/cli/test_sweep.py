from __future__ import annotations

import csv
import importlib
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.evaluation.rows import BLANK
from tests.fakes.commands import in_a_process
from vlp_zoo.cli import main
from vlp_zoo.cli.bench.options import bench_parser
from vlp_zoo.cli.names import config_names
from vlp_zoo.cli.sweep import sweep_names, sweep_path
from vlp_zoo.errors import ConfigError, DependencyNotFoundError, VLPZooError
from vlp_zoo.evaluation.results import Cases, Result, ResultStore
from vlp_zoo.evaluation.statistics.intervals import paired_difference
from vlp_zoo.sweeps.engine import carry_out, write_summary
from vlp_zoo.sweeps.executors import LocalExecutor, SlurmExecutor
from vlp_zoo.sweeps.objective import Objective
from vlp_zoo.sweeps.plan import Sweep
from vlp_zoo.sweeps.reading import read_sweep
from vlp_zoo.sweeps.summary import summarise

# Stands for vlp_zoo: fit leaves a checkpoint and an encoder, bench a row of results.
PROGRAM = """
import json, os, sys, time
from pathlib import Path

command, *words = sys.argv[1:]
flags = dict(word[2:].split("=", 1) for word in words if "=" in word)
out = Path(flags["out"])
with (Path(__file__).parent / "calls.txt").open("a") as file:
    file.write(f"{command} {out.parent.name}\\n")
print(command, "on", os.environ.get("CUDA_VISIBLE_DEVICES", "no device"))
if command == "fit":
    run = out / "toy" / "version_0"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    if "ckpt_path" in flags:
        print("continuing")
        flags = json.loads((run / "config.yaml").read_text())
    elif "wait" in flags:
        (run / "config.yaml").write_text(json.dumps(flags))
        (run / "checkpoints" / "last.ckpt").write_text(str(os.getpid()))
        time.sleep(60)
    if flags.get("crash") == "true":
        print("something broke")
        sys.exit(3)
    value = 0.5 + float(flags.get("x", 0)) / 10 + int(flags.get("seed", 0)) / 100
    (run / "encoder.safetensors").write_text(str(value))
else:
    value = float(Path(flags["encoder"]).read_text())
    row = ROW
    # On test patients everything turns out the other way round.
    rows = [
        row | {"metric": "macro_auroc", "value": 1 - value, "split": "test"},
        row | {"metric": "val_macro_auroc", "value": value, "split": "val"},
    ]
    out.mkdir(exist_ok=True)
    (out / "results.jsonl").write_text("\\n".join(map(json.dumps, rows)) + "\\n")
"""
ROW = json.loads(BLANK.to_json())

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a sweep of the stand-in program and returns its path."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("ROW", repr(ROW)))

    def written(**content: Any) -> Path:
        path = tmp_path / "toy.yaml"
        full = {
            "program": [sys.executable, str(program)],
            "evaluate": {"task": "toy"},
            "seed_flag": "seed",
            **content,
        }
        path.write_text(yaml.safe_dump(full, sort_keys=False))
        return path

    return written


def calls(path: Path) -> list[str]:
    file = path.parent / "calls.txt"
    return file.read_text().splitlines() if file.exists() else []


def run(path: Path, *more: str) -> int:
    return main(["sweep", str(path), "--out", str(path.parent / "out"), *more])


def words_of(sweep: Sweep) -> list[list[list[str]]]:
    return [each.order.commands for each in sweep.runs(Path("out"))]


def test_a_grid_becomes_runs_with_seeds(write: Write) -> None:
    sweep = read_sweep(
        write(
            program=None,
            seed_flag=None,
            options={"trainer.max_epochs": 2, "config": "demo/clip"},
            grid={"model.x": [0.1, None], "data.views": [["FRONTAL"], True]},
            seeds=[0, 7],
            evaluate={
                "task": ["a", "b"],
                "preset": "vlp-knn",
                "fractions": [0.01, 1.0],
                "no-baselines": True,
            },
        )
    )
    names = [variant.name for variant in sweep.variants()]
    assert names[:2] == ['x=0.1, views=["FRONTAL"]', "x=0.1, views=true"]
    runs = sweep.runs(Path("out"))
    assert len({run.folder for run in runs}) == len(runs) == 2 * 2 * 2
    assert runs[1].name == 'x=0.1, views=["FRONTAL"], seed 7'
    assert runs[-1].folder == Path("out/toy/x=null-views=true-seed7")
    fit, evaluation = runs[1].order.commands
    assert fit == [
        "fit",
        "--config=demo/clip",
        "--trainer.max_epochs=2",
        "--model.x=0.1",
        '--data.views=["FRONTAL"]',
        "--seed_everything=7",
        "--out={folder}/fit",
        "--evaluate=[]",
    ]
    assert evaluation == [
        *("bench", "--encoder={encoder}", "--task=a", "--task=b"),
        *(
            "--preset=vlp-knn",
            "--fractions",
            "0.01",
            "1.0",
            "--no-baselines",
            "--out={folder}/bench",
        ),
    ]


def test_labels_set_several_flags_and_bench_is_swept_too(write: Write) -> None:
    sweep = read_sweep(
        write(
            command="bench",
            evaluate=None,
            seed_flag=None,
            options={"task": "phantom_chest"},
            grid={
                "encoder": ["random:tiny", "random:micro"],
                "how": {
                    "as it is": {},
                    "small": {"pooling": "mean", "image-size": 64},
                },
            },
            seeds=[3],
        )
    )
    variants = sweep.variants()
    assert [variant.name for variant in variants][1] == "encoder=random:tiny, small"
    assert variants[1].axes == {"encoder": "random:tiny", "how": "small"}
    assert words_of(sweep)[1] == [
        [
            *("bench", "--task=phantom_chest", "--encoder=random:tiny"),
            *("--pooling=mean", "--image-size=64", "--seeds=3", "--out={folder}/bench"),
        ]
    ]


def test_options_are_changed_and_left_out(write: Write) -> None:
    path = write(options={"config": "demo/clip", "trainer.max_epochs": 2}, seeds=[0])
    changes = {"config": "methods/clip", "evaluate.task": "b", "seeds": [1]}
    sweep = read_sweep(path, changes, ["trainer.max_epochs"])
    ((fit, evaluation),) = words_of(sweep)
    assert fit[1] == "--config=methods/clip"
    assert not any("max_epochs" in word for word in fit)
    assert "--seed=1" in fit
    assert "--task=b" in evaluation
    with pytest.raises(ConfigError, match=r"trainer\.epochs"):
        read_sweep(path, {}, ["trainer.epochs"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"grids": {}}, "grids"),
        ({"command": "fti"}, "fit or bench"),
        ({"name": "a/b"}, "a-b"),
        ({"seeds": ["a"]}, "whole numbers"),
        ({"grid": {"x": 3}}, "grid: x"),
        ({"grid": {"x": {"label": 3}}}, "x: label"),
        ({"grid": {"a": {"l": {"f": 1}}, "f": [1, 2]}}, "f set twice"),
        ({"grid": {"x": [1, 1.0]}, "seeds": []}, None),
        ({"grid": {"x": {"a b": {}, "a-b": {}}}}, "different folders"),
        ({"grid": {"x": [1, 2]}, "baseline": "x=3"}, "x=1; x=2"),
        ({"options": {"out": "here"}}, "out"),
        ({"options": {"seed": 1}, "seeds": [0]}, "seed"),
        ({"options": {"evaluate": []}}, "evaluate"),
        ({"evaluate": {"encoder": "x"}}, "encoder"),
        ({"evaluate": None, "objective": {"metric": "macro_auprc"}}, "add evaluate"),
        ({"objective": {"metrik": "a"}}, "metrik"),
        ({"objective": {"logged": "a", "take": "best"}}, "best"),
        ({"objective": {"logged": "a", "split": "test"}}, "either logged"),
        ({"objective": {"split": "train"}}, "train"),
        ({"grid": {"x": [1]}, "search": {"parameters": {"y": {}}}}, "either a grid"),
        ({"command": "bench"}, "move it to options"),
        ({"program": "python"}, "list of words"),
    ],
    ids=str,
)
def test_a_mistake_in_the_file_is_one_message(
    write: Write, content: dict[str, Any], words: str | None
) -> None:
    path = write(**content)
    if words is None:
        assert len(read_sweep(path).runs(Path("out"))) == 2
        return
    with pytest.raises(ConfigError) as caught:
        read_sweep(path).runs(Path("out"))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none"], "ecamp_ablation"),
        (["ecamp_ablaton"], "did you mean 'ecamp_ablation'"),
        (["smoke", "--set", "x"], "equals sign"),
        (["smoke", "--jobs", "0"], "--jobs"),
        (["smoke", "--jobs", "3", "--gpus", "0", "1"], "--jobs 2"),
        (["smoke", "--gpus-per-run", "2"], "--gpus"),
        (["smoke", "--partition", "a"], "--executor slurm"),
        (["smoke", "--executor", "slurm", "--gpus", "1"], "--gpus-per-run"),
        (["smoke", "--frobnicate"], "--frobnicate"),
    ],
    ids=str,
)
def test_a_mistake_in_the_command_is_one_message(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert main(["sweep", *arguments, "--out", str(out), "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not out.exists()


@pytest.mark.slow
def test_a_crash_stays_local_and_only_it_is_tried_again(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"parts": {"all": {"x": 1}, "broken": {"crash": True}, "none": {"x": 0}}}
    path = write(grid=grid, seeds=[0, 1])
    assert run(path, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "broken, seed 1: new" in shown
    assert shown.count("bench '--encoder") == shown.count(" fit --") == 6
    assert calls(path) == []

    assert run(path, "--jobs", "2") == 1
    printed = capsys.readouterr()
    assert "2 of 6 runs failed" in printed.err
    assert "broken, seed 0: failed (exit code 3)" in printed.err
    assert "| something broke" in printed.err
    assert "| all | 2 | 0.605 ± 0.007 | baseline |" in printed.out
    assert "| none | 2 | 0.505 ± 0.007 | -0.100 |" in printed.out
    assert len(calls(path)) == 6 + 4
    folder = path.parent / "out" / "toy"
    result = json.loads((folder / "all-seed1" / "result.json").read_text())
    assert result["value"] == pytest.approx(0.61)
    assert result["encoder"] == "fit/toy/version_0/encoder.safetensors"
    assert not (folder / "broken-seed0" / "result.json").exists()
    rows = list(csv.DictReader((folder / "table.csv").open()))
    assert [row["variant"] for row in rows] == ["all", "none"]
    assert float(rows[1]["difference"]) == pytest.approx(-0.1)
    assert "none" in (folder / "plot.svg").read_text()

    assert run(path) == 1
    assert "4 of 6 runs were finished before" in capsys.readouterr().err
    assert calls(path)[10:] == ["fit broken-seed0", "fit broken-seed1"]


def test_a_name_with_another_command_is_refused_before_anything_starts(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write(options={"y": 1}, grid={"x": [0]})) == 0
    before = len(calls(write()))
    path = write(options={"y": 2}, grid={"x": [1, 0]})
    assert run(path) == 1
    error = capsys.readouterr().err
    assert "then --y=1; now --y=2" in error
    assert len(calls(path)) == before


def start(path: Path, *more: str) -> AbstractContextManager[BaseProcess]:
    words = ["sweep", str(path), "--out", str(path.parent / "out"), *more]
    return in_a_process(main, words, log=path.parent / "log.txt")


def child_of(path: Path) -> int:
    """Process id of the training, once it has written its checkpoint."""
    pattern = "out/toy/*/fit/toy/version_0/checkpoints/last.ckpt"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for file in path.parent.glob(pattern):
            if text := file.read_text():
                return int(text)
        time.sleep(0.02)
    raise TimeoutError(pattern)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_after_kill_9_the_training_goes_on(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(options={"wait": True}, grid={"x": [2]})
    with start(path):
        child = child_of(path)
    # Killed at the end of the block.
    # The training outlives its sweep; a second one in its folder would spoil it.
    assert is_alive(child)
    assert run(path) == 1
    assert "is still at it" in capsys.readouterr().err
    os.kill(child, signal.SIGKILL)
    while is_alive(child):
        time.sleep(0.02)
    assert run(path) == 0
    assert "0.700" in capsys.readouterr().out
    log = (path.parent / "out" / "toy" / "x=2" / "log.txt").read_text()
    assert "checkpoints/last.ckpt" in log
    assert "continuing" in log
    assert calls(path) == ["fit x=2", "fit x=2", "bench x=2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_children_and_says_how_to_go_on(
    write: Write, number: signal.Signals
) -> None:
    path = write(options={"wait": True}, grid={"x": [1, 2]})
    with start(path, "--jobs", "2") as sweep:
        child = child_of(path)
        assert sweep.pid
        os.kill(sweep.pid, number)
        sweep.join(30)
    output = (path.parent / "log.txt").read_text()
    assert sweep.exitcode == 128 + number, output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    assert not is_alive(child)
    assert not list(path.parent.glob("out/toy/*/result.json"))


def test_devices_are_dealt_out(write: Write) -> None:
    path = write(grid={"x": [1, 2, 3, 4]})
    assert run(path, "--jobs", "2", "--gpus", "4", "5", "6", "7") == 0
    logs = [log.read_text() for log in path.parent.glob("out/toy/*/log.txt")]
    seen = {line for log in logs for line in re.findall(r"fit on (\S+)", log)}
    assert seen <= {"4", "5"}
    assert len(logs) == 4
    both = write(name="pairs", grid={"x": [1]})
    assert run(both, "--gpus", "6", "7", "--gpus-per-run", "2") == 0
    log = path.parent / "out" / "pairs" / "x=1" / "log.txt"
    assert "fit on 6,7" in log.read_text()


@pytest.mark.slow
def test_jobs_of_submitit_give_the_same(write: Write) -> None:
    path = write(grid={"x": [1], "parts": {"all": {}, "broken": {"crash": True}}})
    out = path.parent / "out"
    executor = SlurmExecutor(
        out / "toy" / "slurm", 2, {"timeout_min": 2}, "local", poll=0.1
    )
    report = carry_out(read_sweep(path), out, executor)
    assert {name: o.status for name, o in report.outcomes.items()} == {
        "x=1, all": "finished",
        "x=1, broken": "failed",
    }
    assert summarise(read_sweep(path), out)[0].mean == pytest.approx(0.6)


@pytest.mark.slow
def test_ctrl_c_cancels_the_jobs(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(grid={"x": [1]}, options={"wait": True})
    children = []

    def interrupt(seconds: float) -> None:
        monkeypatch.undo()
        children.append(child_of(path))
        raise KeyboardInterrupt

    out = path.parent / "out"
    executor = SlurmExecutor(out / "toy" / "slurm", 1, {}, "local", poll=0.125)
    monkeypatch.setattr("vlp_zoo.sweeps.executors.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        carry_out(read_sweep(path), out, executor)
    deadline = time.monotonic() + 90
    while is_alive(children[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(children[0])


def test_without_a_cluster_slurm_is_one_message(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "")
    path = write(grid={"x": [1]})
    assert run(path, "--executor", "slurm", "--slurm", "account=a") == 1
    assert "--executor local" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["submitit", "optuna", "matplotlib"])
def test_extras_that_are_missing_are_named(
    module: str,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    ranges = {"x": {"low": 0, "high": 1}}
    if module == "optuna":
        path = write(search={"trials": 1, "parameters": ranges})
    else:
        path = write(grid={"x": [1]})
    more = ["--executor", "slurm"] if module == "submitit" else []
    # A table without its picture is still a result.
    assert run(path, *more) == (0 if module == "matplotlib" else 1)
    error = capsys.readouterr().err
    assert "pip install 'vlp-zoo[" in error
    assert module in error


def trials_of(path: Path, count: int, stop_at: int = 0) -> list[dict[str, str]]:
    for trials in (stop_at, count) if stop_at else (count,):
        assert run(path, "--set", f"search.trials={trials}") == 0
    return list(csv.DictReader((path.parent / "out" / "toy" / "table.csv").open()))


@pytest.mark.slow
def test_a_search_is_seeded_and_goes_on_without_repeating(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = {
        "x": {"low": "1e-3", "high": 1, "log": True},
        "n": {"low": 1, "high": 3, "int": True},
        "how": {"choices": ["a", "b"]},
    }
    search = {"parameters": ranges, "sampler": "random", "seed": 3}
    path = write(search=search, seeds=[0, 1])
    parts = trials_of(path, 5, stop_at=3)
    assert len(calls(path)) == 5 * 2 * 2
    assert len(parts) == 5
    assert len({row["x"] for row in parts}) == 5
    best = max(parts, key=lambda row: float(row["mean"]))
    assert f"Best of 5: {best['variant']}" in capsys.readouterr().out
    assert best["x"] == max((row["x"] for row in parts), key=float)

    (tmp_path / "out").rename(tmp_path / "before")
    whole = trials_of(path, 5)
    kept = ("variant", "x", "n", "how", "mean")
    assert [[row[k] for k in kept] for row in whole] == [
        [row[k] for k in kept] for row in parts
    ]
    count = len(calls(path))
    assert run(path, "--set", "search.trials=5") == 0
    assert len(calls(path)) == count
    assert run(write(search={**search, "direction": "minimize"})) == 1
    assert "begun with" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_chooses_by_validation_patients(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    # The stand-in's test values fall where its validation values rise.
    search = {"parameters": {"x": {"low": 0, "high": 1}}, "sampler": "random"}
    path = write(search={**search, "trials": 3})
    assert run(path) == 0
    table = path.parent / "out" / "toy" / "table.md"
    parts = list(csv.DictReader(table.with_suffix(".csv").open()))
    assert {row["split"] for row in parts} == {"val"}
    best = max(parts, key=lambda row: float(row["x"]))["variant"]
    assert f"Best of 3: {best} " in table.read_text()
    assert ", by macro_auroc of the validation split." in table.read_text()
    assert "## macro_auroc of the validation split: toy, p" in table.read_text()
    assert "optimistic" not in capsys.readouterr().err
    # Values of two kinds never share a search.
    by_test = {"split": "test"}
    assert run(write(search={**search, "trials": 4}, objective=by_test)) == 1
    assert "begun by macro_auroc of the validation split" in capsys.readouterr().err
    # By test patients only where that is said, and then it is said back.
    other = write(search={**search, "trials": 3}, objective=by_test, name="test")
    assert run(other) == 0
    assert "chosen by macro_auroc of the test split" in capsys.readouterr().err
    text = (path.parent / "out" / "test" / "table.md").read_text()
    assert "Note: chosen by macro_auroc of the test split" in text
    assert f"Best of 3: {best} " not in text


def test_runs_without_validation_rows_are_not_judged_by_test_rows(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(grid={"x": [0, 1]})
    assert run(path) == 0
    for file in (path.parent / "out" / "toy").glob("*/bench/results.jsonl"):
        # As it was written before rows named their split.
        row = json.loads(file.read_text().splitlines()[0])
        del row["split"]
        file.write_text(json.dumps(row) + "\n")
        (file.parent.parent / "result.json").unlink()
    capsys.readouterr()
    assert run(path) == 1
    assert "macro_auroc of the validation split" in capsys.readouterr().err
    assert run(write(grid={"x": [0, 1]}, objective={"split": "test"})) == 0


def test_a_killed_search_finishes_its_open_trial(write: Write) -> None:
    search = {"parameters": {"x": {"low": 0, "high": 1}}, "trials": 2}
    path = write(search=search, options={"wait": True})
    with start(path):
        child = child_of(path)
    # Killed at the end of the block.
    os.kill(child, signal.SIGKILL)
    while is_alive(child):
        time.sleep(0.02)
    # A second trial would wait for a minute: the first is all that is asked for.
    assert run(path, "--set", "search.trials=1") == 0
    assert calls(path) == ["fit trial-0000", "fit trial-0000", "bench trial-0000"]


@pytest.mark.parametrize(
    "search",
    [
        {"parameters": {}},
        {"parameters": {"x": {"low": 2, "high": 1}}},
        {"parameters": {"x": {"low": 0, "hgih": 1}}},
        {"parameters": {"x": {"choices": []}}},
        {"parameters": {"x": {"low": 0, "high": 1}}, "direction": "up"},
        {"parameters": {"x": {"low": 0, "high": 1}}, "trials": "many"},
        {"parameters": {"x": {"low": 0, "high": 1, "log": True}}},
    ],
    ids=str,
)
def test_an_impossible_search_is_refused(
    write: Write, search: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write(search=search)) == 1
    assert "search" in capsys.readouterr().err


def row_of(cases: Cases, seed: int, value: float, encoder: str) -> Result:
    named = {"encoder": encoder, "encoder_sha256": encoder, "key": f"{encoder}{seed}"}
    run = {"task": "t", "fraction": 0.1, "seed": seed, "settings": {"replicates": 200}}
    fields: dict[str, Any] = {**ROW, **named, **run, "value": value, "cases": cases}
    return Result(**fields)


@pytest.mark.slow
def test_differences_are_paired_over_seeds_draws_and_patients(write: Write) -> None:
    path = write(grid={"x": [0, 1]}, seeds=[0, 1])
    out = path.parent / "out"
    assert run(path) == 0
    rng = np.random.default_rng(0)
    uids = [f"u{i}" for i in range(60)]
    patients = [f"p{i // 2}" for i in range(60)]
    labels = rng.integers(0, 2, (60, 2)).astype(np.float32)
    scores: dict[str, list[Any]] = {"x=0": [], "x=1": []}
    for name, found in scores.items():
        for seed in (0, 1):
            folder = out / "toy" / f"{name}-seed{seed}"
            (folder / "bench" / "results.jsonl").unlink()
            store = ResultStore(folder / "bench")
            for draw in (0, 1):
                noise = rng.normal(size=(60, 2)) * (1 if name == "x=1" else 3)
                found.append(labels + noise)
                cases = Cases(uids, patients, ("a", "b"), labels, labels + noise)
                store.add([row_of(cases, draw, 0.5, name)])
    # Another objective: the numbers are read anew, nothing is run again.
    count = len(calls(path))
    changed = write(
        grid={"x": [0, 1]}, seeds=[0, 1], objective={"fraction": 0.1, "split": "test"}
    )
    assert run(changed) == 0
    assert len(calls(path)) == count
    base, line = summarise(read_sweep(changed), out)
    assert base.difference is None
    assert line.group == "t, p, 10 % of labels"
    wanted = paired_difference(
        "macro_auroc",
        np.hstack([labels] * 4),
        np.hstack(scores["x=1"]),
        np.hstack(scores["x=0"]),
        patients,
        replicates=200,
    )
    assert line.difference is not None
    assert line.difference.seeds == 2
    assert line.difference.value == pytest.approx(wanted.value)
    assert line.difference.value > 0.1
    assert (line.difference.low, line.difference.high) == (wanted.low, wanted.high)
    one = paired_difference(
        "macro_auroc", labels, scores["x=1"][0], scores["x=0"][0], patients
    )
    # Narrower than one training's: differences of four are averaged.
    assert wanted.high - wanted.low < one.high - one.low


def test_logged_values_are_read_last_least_or_greatest(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    folder = tmp_path / "fit" / "toy" / "version_0"
    with SummaryWriter(str(folder)) as writer:
        for step, value in enumerate((3.0, 1.0, 2.0)):
            writer.add_scalar("val/loss", value, step)
    found = [
        Objective(logged="val/loss", take=take).measure(tmp_path)[0].value
        for take in ("last", "min", "max")
    ]
    assert found == [2.0, 1.0, 3.0]
    with pytest.raises(VLPZooError, match="val/los'"):
        Objective(logged="val/los").measure(tmp_path)


@pytest.mark.slow
def test_a_numeric_axis_becomes_lines_and_pictures_repeat(write: Write) -> None:
    path = write(grid={"x": [1, 2, 3], "parts": {"all": {}, "few": {"y": 1}}})
    sweep, out = read_sweep(path), path.parent / "out"
    carry_out(sweep, out, LocalExecutor(2))
    write_summary(sweep, out)
    picture = out / "toy" / "plot.svg"
    first = picture.read_bytes()
    assert b">few<" in first
    assert b"x=1, all" not in first
    write_summary(sweep, out)
    assert picture.read_bytes() == first


def test_packaged_sweeps_are_no_configs_of_fit() -> None:
    assert {"ecamp_ablation", "smoke"} <= set(sweep_names())
    assert not any(name.startswith("sweeps/") for name in config_names())
    assert sweep_path("sweeps/smoke") == sweep_path("smoke")


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep_names())
def test_every_flag_of_a_packaged_sweep_exists(
    name: str, parse: Callable[[list[str]], Any]
) -> None:
    sweep = read_sweep(sweep_path(name))
    if sweep.search is not None:
        ranges = sweep.search.parameters.items()
        flags = {flag: given.get("low") for flag, given in ranges}
        sweep = Sweep(**{**vars(sweep), "options": {**sweep.options, **flags}})
    # Seeds differ in nothing that could be misspelt.
    runs = {run.order.variant: run for run in sweep.runs(Path("out"))}
    for each in runs.values():
        model = parse(each.order.commands[0])["model"]
        module, _, method = model["class_path"].rpartition(".")
        # Values that contradict each other are refused by the method itself.
        getattr(importlib.import_module(module), method)(**model["init_args"].as_dict())
        for evaluation in each.order.commands[1:]:
            bench_parser().parse_args(evaluation[1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", sweep_names())
def test_commands_in_the_comments_of_a_packaged_sweep_work(
    name: str,
    parse: Callable[[list[str]], Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = sweep_path(name).read_text()
    lines = re.findall(r"^#   vlpzoo (sweep .*)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert main([*words, "--out", str(tmp_path), "--dry-run"]) == 0
        shown = capsys.readouterr().out
        command = next(x for x in shown.splitlines() if x.startswith("  vlpzoo fit"))
        parse(shlex.split(command)[1:])


def test_the_sweep_of_the_guide_is_one(
    tmp_path: Path, parse: Callable[[list[str]], Any]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text()
    whole, search = map(
        yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    )
    path = tmp_path / "guide.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    sweep = read_sweep(path)
    assert len(sweep.runs(tmp_path)) == 3 * 2 * 3
    parse(words_of(sweep)[0][0])
    del whole["grid"], whole["baseline"]
    path.write_text(yaml.safe_dump(whole | search, sort_keys=False))
    ranges = read_sweep(path).search
    assert ranges is not None
    assert ranges.distributions().keys() == ranges.parameters.keys()


@pytest.mark.slow
def test_two_short_trainings_and_their_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    words = ["sweep", "smoke", "--out", str(tmp_path)]
    assert main([*words, "--jobs", "2"]) == 0
    (row,) = [
        x for x in capsys.readouterr().out.splitlines() if "| temperature=0.2 |" in x
    ]
    assert re.search(r"\[[+-]0\.\d{3}, [+-]0\.\d{3}\]", row)
    # A training that was killed after its last step, before anything was noted down.
    folder = tmp_path / "smoke" / "temperature=0.2"
    for file in ("result.json", "done.json"):
        (folder / file).unlink()
    assert main(words) == 0
    assert row.split("|")[3] in capsys.readouterr().out
    assert "--ckpt_path=" in (folder / "log.txt").read_text()


def test_missing_extras_are_errors_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(DependencyNotFoundError, match="sweep"):
        SlurmExecutor(tmp_path)._executor()
