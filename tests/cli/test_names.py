from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vlp_zoo.cli.names import config_names, config_path, expand, resolve
from vlp_zoo.errors import ConfigError, UnknownNameError

ECAMP = "vlp_zoo.methods.ecamp.ECAMP"
PAIRS = "vlp_zoo.data.datamodules.Pairs"


def test_short_names_become_class_paths() -> None:
    assert resolve("model", "ecamp") == ECAMP
    assert resolve("data", "pairs") == PAIRS
    assert resolve("model", "my.package.Method") == "my.package.Method"


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        expand(["fit", "--model", "ecmap"])
    assert "ecamp" in caught.value.found
    assert "did you mean 'ecamp'" in caught.value.do_this


def test_a_bare_fit_takes_the_demo_config_and_says_so() -> None:
    plan = expand(["fit", "--model", "ecamp", "--trainer.max_epochs", "2"])
    assert plan.arguments[1:3] == ["--config", str(config_path("demo/ecamp"))]
    # Before everything else, so that the user's own flags win.
    assert plan.arguments[3:] == ["--trainer.max_epochs=2"]
    assert any("demo/ecamp" in note for note in plan.notes)


def test_data_without_config_means_paper_scale() -> None:
    plan = expand(["fit", "--model=ecamp", "--data=pairs", "--data.path", "a.csv"])
    assert str(config_path("methods/ecamp")) in plan.arguments
    assert plan.arguments[-2:] == [f"--data={PAIRS}", "--data.path=a.csv"]


def test_a_named_config_is_found_and_later_flags_follow() -> None:
    plan = expand(["fit", "--config", "demo/ecamp", "--data", "pairs"])
    assert plan.arguments == [
        "fit",
        f"--config={config_path('demo/ecamp')}",
        f"--data={PAIRS}",
    ]
    assert plan.notes == []


def test_a_file_called_like_a_method_is_not_taken_for_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ecamp").write_text("not: a config")
    plan = expand(["fit", "--model", "ecamp", "--config", "demo/ecamp"])
    assert f"--model={ECAMP}" in plan.arguments


def test_help_of_a_class_takes_short_names() -> None:
    assert expand(["fit", "--model.help", "ecamp"]).arguments == [
        "fit",
        f"--model.help={ECAMP}",
    ]


def test_no_method_at_all_is_an_error_that_names_them() -> None:
    with pytest.raises(ConfigError) as caught:
        expand(["fit", "--trainer.max_epochs", "1"])
    assert "ecamp" in caught.value.do_this


def test_ckpt_path_last_is_the_newest_run_of_the_method(tmp_path: Path) -> None:
    for age, version in enumerate(("version_0", "version_2", "version_1")):
        folder = tmp_path / "ecamp" / version
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "config.yaml").write_text("x: 1")
        file = folder / "checkpoints" / "last.ckpt"
        file.write_bytes(b"")
        stamp = time.time() - 100 + age
        os.utime(file, (stamp, stamp))
    plan = expand(
        ["fit", "--model", "ecamp", "--ckpt_path", "last", "--out", str(tmp_path)]
    )
    newest = tmp_path / "ecamp" / "version_1"
    assert plan.run_folder == newest
    assert f"--ckpt_path={newest / 'checkpoints' / 'last.ckpt'}" in plan.arguments
    # The run goes on with its own config, not with the demo's.
    assert plan.arguments[1:3] == ["--config", str(newest / "config.yaml")]


def test_ckpt_path_last_without_any_run_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(
            ["fit", "--model", "ecamp", "--ckpt_path", "last", "--out", str(tmp_path)]
        )
    assert str(tmp_path) in caught.value.looked_for


def test_every_method_has_a_demo_and_a_paper_config() -> None:
    from vlp_zoo.methods import METHODS

    for name in METHODS:
        assert {f"demo/{name}", f"methods/{name}"} <= set(config_names())


def test_help_of_a_kind_is_that_of_what_is_named_beside_it() -> None:
    plan = expand(["fit", "--model", "ecamp", "--model.help"])
    assert f"--model.help={ECAMP}" in plan.arguments
    with pytest.raises(ConfigError, match=r"the names: .*ecamp"):
        expand(["fit", "--model.help"])
