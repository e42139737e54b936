"""The matched comparison: what is said to be equal across methods is equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.cli.test_packaged_configs import built
from vlp_zoo.cli.names import config_files, config_names
from vlp_zoo.files import configs_folder
from vlp_zoo.methods import METHODS

SCALES = ("laptop", "paper")
STARTS = ("image_encoder", "encoder_sizes", "image_size", "warm_start")
AUGMENTATION = (
    *("crop_scale", "flip", "jitter", "perspective"),
    *("horizontal_flip", "vertical_flip", "autocontrast", "sentence_dropout"),
)
SCHEDULE = (
    *("learning_rate", "weight_decay", "betas", "warmup_epochs"),
    *("schedule_epochs", "restart_steps", "decay_vectors", "official_schedule"),
    "schedule",
)
TEXT = (
    *("text_width", "text_heads", "text_ffn", "text_dropout", "max_tokens"),
    *("text_model", "tokenizer_name", "vocab_size"),
)

Parse = Callable[[list[str]], Any]


def parsed(scale: str, parse: Parse) -> dict[str, Any]:
    """Method to its whole config."""
    return {m: parse(["fit", "--config", f"matched/{scale}/{m}"]) for m in METHODS}


@pytest.fixture(scope="module", params=SCALES)
def configs(request: pytest.FixtureRequest, parse: Parse) -> dict[str, Any]:
    return parsed(request.param, parse)


def options(config: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of the options that the method has."""
    chosen = built(config["model"]).options
    return {name: getattr(chosen, name) for name in names if hasattr(chosen, name)}


def assert_agree(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Values that are equal wherever they are; all of them together."""
    whole: dict[str, Any] = {}
    for method, values in found.items():
        for name, value in values.items():
            assert whole.setdefault(name, value) == value, (method, name)
    return whole


def test_every_method_is_compared_at_every_scale() -> None:
    wanted = {f"matched/{scale}/{method}" for scale in SCALES for method in METHODS}
    found = {name for name in config_names() if name.startswith("matched/")}
    assert found == wanted


def test_one_image_start_and_one_augmentation(configs: dict[str, Any]) -> None:
    start = assert_agree({m: options(c, STARTS) for m, c in configs.items()})
    assert set(start) == set(STARTS)
    chance = assert_agree({m: options(c, AUGMENTATION) for m, c in configs.items()})
    assert chance.pop("crop_scale") == 0.6
    assert set(chance.values()) == {0.0}
    # Either a largest angle or least and largest.
    turns = [options(c, ("rotation",)).get("rotation", 0.0) for c in configs.values()]
    assert all(turn in (0.0, [0.0, 0.0]) for turn in turns)
    assert all("crop_scale" in options(c, AUGMENTATION) for c in configs.values())


def test_one_budget_and_one_schedule(configs: dict[str, Any]) -> None:
    for section in ("data", "trainer", "seed_everything"):
        first, *others = (config[section] for config in configs.values())
        assert all(other == first for other in others), section
    trainer = next(iter(configs.values()))["trainer"]
    # Images seen are steps x devices x batch, whatever the size of the data set.
    assert trainer["max_steps"] > 0
    assert trainer["max_epochs"] == -1
    assert isinstance(trainer["devices"], int | str)
    assert str(trainer["devices"]) != "auto"
    schedule = assert_agree({m: options(c, SCHEDULE) for m, c in configs.items()})
    assert schedule["schedule_epochs"] is None
    assert schedule["restart_steps"] is None
    assert not schedule["decay_vectors"]
    assert not schedule["official_schedule"]
    assert schedule["schedule"] == "cosine"


@pytest.mark.slow
def test_one_size_of_text(parse: Parse) -> None:
    laptop = parsed("laptop", parse)
    towers = {
        m: options(laptop[m], TEXT)
        for m in ("clip", "place", "asg", "ecamp", "gloria", "medclip", "mgca", "mrm")
    }
    assert assert_agree(towers)["vocab_size"] == 1000
    # ECAMP's fusion layer comes before those of text_depth.
    depths = {m: built(laptop[m]["model"]).options.text_depth for m in towers}
    assert depths.pop("ecamp") == 1
    assert set(depths.values()) == {2}
    for frozen in ("imitate", "mflag"):
        found = options(laptop[frozen], ("text_model", "text_width"))
        assert found == {"text_model": "corpus", "text_width": 128}

    paper = parsed("paper", parse)
    names = {
        m: options(paper[m], ("text_model",))["text_model"]
        for m in (
            "clip",
            "place",
            "asg",
            "gloria",
            "imitate",
            "medclip",
            "mflag",
            "mgca",
        )
    }
    (bert,) = set(names.values())
    ecamp = built(paper["ecamp"]["model"]).options
    assert ecamp.tokenizer == bert
    assert (ecamp.text_width, ecamp.text_depth + 1) == (768, 12)
    assert (ecamp.text_heads, ecamp.text_ffn) == (12, 3072)
    mrm = built(paper["mrm"]["model"]).options
    assert mrm.tokenizer == bert
    assert (mrm.text_width, mrm.text_depth) == (768, 12)
    # These take the first layers of what they start from.
    assert built(paper["asg"]["model"]).options.text_depth == 12
    assert built(paper["gloria"]["model"]).options.text_depth == 12
    assert built(paper["mgca"]["model"]).options.text_depth == 12
    tokens = {m: options(c, ("max_tokens",)) for m, c in paper.items()}
    assert assert_agree(tokens) == {"max_tokens": 256}


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_shared_is_said_once(scale: str) -> None:
    folder = configs_folder() / "matched" / scale
    shared = yaml.safe_load((folder / "shared.yaml").read_text())
    for method in METHODS:
        own = yaml.safe_load((folder / f"{method}.yaml").read_text())
        assert set(own) == {"model"}
        assert own["model"]["class_path"] == method
        given = own["model"].get("init_args", {})
        assert not given.keys() & shared["model"]["init_args"].keys()
        # By name and by path, so that neither is another run than the other.
        both = [folder / f"{method}.yaml", folder / "shared.yaml"]
        for word in (f"matched/{scale}/{method}", str(both[0])):
            assert [p.resolve() for p in config_files(word)] == [
                p.resolve() for p in both
            ]
