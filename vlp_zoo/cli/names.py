"""Short names: what a user may type, and the class or file it stands for.

``expand`` rewrites the arguments of a Trainer command before LightningCLI sees them:
``--model ecamp`` becomes a class path, ``--config demo/ecamp`` a file, ``--ckpt_path
last`` the newest checkpoint; and a command that leaves out the config gets the one
that fits, with a line that says so. Nothing heavy is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from vlp_zoo.data import DATAMODULES
from vlp_zoo.errors import ConfigError, unknown_name
from vlp_zoo.files import configs_folder
from vlp_zoo.methods import METHODS, known_methods
from vlp_zoo.reading.yamls import read_yaml

__all__ = [
    "Plan",
    "config_files",
    "config_names",
    "config_path",
    "configs_folder",
    "expand",
    "help_of_named",
    "known",
    "resolve",
    "short_help",
    "unknown_name",
]

KINDS: dict[str, tuple[str, Mapping[str, str], str]] = {
    "model": ("method", METHODS, "methods"),
    "data": ("data set", DATAMODULES, "datasets"),
}
"""Option to (what it is called, built-in names, list of ``vlpzoo info``)."""

TRAINING = ("demo", "matched", "methods", "recipes")
"""Folders of configs that ``fit`` reads; the others hold presets, suites and sweeps."""

SHARED = "shared"
"""Name of a packaged file with what all configs of its folder have in common."""


def known(option: str) -> dict[str, str]:
    """Names for ``--model`` or ``--data``, plug-ins of other packages included."""
    if option == "model":
        return known_methods()
    plugins = entry_points(group="vlp_zoo.data")
    return {**{e.name: e.value.replace(":", ".") for e in plugins}, **DATAMODULES}


def resolve(option: str, value: str) -> str:
    """The class path for a short name; class paths and class names pass unchanged.

    Args:
        option: ``"model"`` or ``"data"``.
        value: What the user wrote.

    Raises:
        UnknownNameError: If it is neither.
    """
    kind, built_in, topic = KINDS[option]
    if value in built_in:  # before plug-ins, which are looked for in every package
        return built_in[value]
    if "." in value:
        return value
    names = known(option)
    if value in names:
        return names[value]
    if value[:1].isupper():
        return value
    raise unknown_name(kind, value, names, f"vlpzoo info {topic} lists them")


def config_names() -> list[str]:
    """Names of the packaged configs of training, such as ``demo/ecamp``."""
    folder = configs_folder()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for scale in TRAINING
        for path in (folder / scale).rglob("*.yaml")
        if path.stem != SHARED
    )


def config_path(value: str) -> Path:
    """The file for ``--config``: a path as it is, else a packaged name.

    Raises:
        UnknownNameError: If there is neither.
        DatasetNotFoundError: If the path is a folder, a device or a pipe.
        ConfigError: If the file is no YAML with options.
    """
    path = Path(value)
    if value in config_names() and not path.is_file():
        path = configs_folder() / f"{value}.yaml"
    elif not os.path.lexists(path):
        kind = "config file or packaged config"
        raise unknown_name(kind, value, config_names(), "check the spelling")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(
            f"options and their values in {path}",
            "nothing" if content is None else f"a {type(content).__name__}",
            "write OPTION: VALUE lines, as the packaged configs have",
        )
    return path


def config_files(value: str) -> list[Path]:
    """What to read for ``--config``: the file, then what its packaged folder shares.

    The shared part comes second, since its options of the method are those of a class
    that the first one names.

    Raises:
        VLPZooError: If there is no such config; see `config_path`.
    """
    path = config_path(value)
    shared = path.with_name(f"{SHARED}.yaml").resolve()
    packaged = shared.is_relative_to(configs_folder().resolve())
    return [path, shared] if packaged and shared.is_file() else [path]


@dataclass
class Plan:
    """Arguments as LightningCLI understands them, and what to tell the user.

    Attributes:
        arguments: Sub-command and options.
        notes: One line for each decision taken in the user's place.
        run_folder: Folder of the run that ``--ckpt_path`` continues.
        finished: Whether the training has come to its end by now.
    """

    arguments: list[str]
    notes: list[str] = field(default_factory=list)
    run_folder: Path | None = None
    finished: bool = False


def _split(argv: list[str]) -> list[tuple[str, str | None]]:
    """Options with their values, ``--a b`` and ``--a=b`` alike, in order."""
    pairs: list[tuple[str, str | None]] = []
    position = 0
    while position < len(argv):
        token = argv[position]
        if token.startswith("-") and "=" in token:
            name, _, value = token.partition("=")
            pairs.append((name, value))
        elif (
            token.startswith("--")
            and position + 1 < len(argv)
            and not _is_option(argv[position + 1])
        ):
            pairs.append((token, argv[position + 1]))
            position += 1
        elif token == "-c" and position + 1 < len(argv):
            pairs.append(("--config", argv[position + 1]))
            position += 1
        else:
            pairs.append((token, None))
        position += 1
    return pairs


def _is_option(token: str) -> bool:
    # A negative number is a value.
    return token.startswith("-") and not token[1:2].isdigit() and token != "-"


def _last_checkpoint(out: Path, method: str | None) -> Path:
    pattern = f"{method or '*'}/version_*/checkpoints/last.ckpt"
    found = sorted(out.glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigError(
            f"a checkpoint to continue from: {out / pattern}",
            "no such file",
            "start without --ckpt_path, or give the file itself",
        )
    return found[-1]


def expand(argv: list[str]) -> Plan:
    """Rewrite a Trainer command's arguments.

    Args:
        argv: Sub-command first.

    Returns:
        The rewritten arguments; see ``Plan``.

    Raises:
        UnknownNameError: For a name that nothing has.
        ConfigError: If no method is named at all, or a checkpoint is missing.
    """
    command, pairs = argv[0], _split(argv[1:])
    given = dict(pairs)
    plan = Plan([command])
    method = given.get("--model")
    out = Path(given.get("--out") or "runs")
    wants_help = any("help" in name for name, _ in pairs)

    checkpoint = given.get("--ckpt_path")
    if checkpoint is not None:
        path = Path(checkpoint)
        if checkpoint == "last":
            path = _last_checkpoint(out, method)
            plan.notes.append(f"continuing from {path}")
        if not path.is_file():
            raise ConfigError(
                f"--ckpt_path {checkpoint}",
                "no regular file" if os.path.lexists(path) else "no such file",
                "give a .ckpt file that vlpzoo fit wrote, or the word last",
            )
        pairs = [p if p[0] != "--ckpt_path" else (p[0], str(path)) for p in pairs]
        folder = path.resolve().parent.parent
        if (folder / "config.yaml").is_file():
            plan.run_folder = folder
            if "--config" not in given:
                plan.arguments += ["--config", str(folder / "config.yaml")]
                pairs = [pair for pair in pairs if pair[0] != "--model"]
                plan.notes.append(f"using the run's own {folder / 'config.yaml'}")

    has_config = "--config" in given or len(plan.arguments) > 1
    if not has_config and not wants_help:
        if method is None:
            raise ConfigError(
                "a method or a config",
                "neither --model nor --config",
                f"vlpzoo {command} --model NAME; the names: {', '.join(METHODS)}",
            )
        resolve("model", method)
        scale = "demo" if "--data" not in given else "methods"
        name = f"{scale}/{method}"
        if name in config_names():
            plan.arguments += ["--config", str(config_path(name))]
            pairs = [pair for pair in pairs if pair[0] != "--model"]
            what = (
                "tiny networks, synthetic (phantom) data, minutes on a laptop"
                if scale == "demo"
                else "paper scale; --config demo/... is the small one"
            )
            plan.notes.append(f"no --config given: using {name} ({what})")
    plan.arguments += _rewritten(pairs)
    return plan


def _rewritten(pairs: list[tuple[str, str | None]]) -> list[str]:
    arguments: list[str] = []
    given = dict(pairs)
    for name, value in pairs:
        option, _, rest = name.removeprefix("--").partition(".")
        if option in KINDS and rest == "help" and value is None:
            # Alone it would list the base class, whose options are no flags.
            value = given.get(f"--{option}")
            if value is None:
                kind = KINDS[option][0]
                raise ConfigError(
                    f"a {kind} whose options are listed",
                    f"{name} alone",
                    f"{name} NAME; the names: {', '.join(KINDS[option][1])}",
                )
        if option in KINDS and rest in ("", "help") and value is not None:
            value = resolve(option, value)
        elif name == "--config" and value is not None:
            arguments += [f"{name}={path}" for path in config_files(value)]
            continue
        arguments.append(name if value is None else f"{name}={value}")
    return arguments


def help_of_named(argv: list[str]) -> list[str]:
    """Flags that list the options of the method and the data set that are named.

    Example:
        >>> help_of_named(["fit", "--model", "clip", "--help"])
        ['--model.help=clip']
    """
    given = dict(_split([word for word in argv[1:] if word != "--help"]))
    named = {option: given.get(f"--{option}") for option in KINDS}
    return [f"--{option}.help={name}" for option, name in named.items() if name]


def short_help(command: str) -> str:
    """Help of a Trainer command that needs no import of torch."""
    from vlp_zoo.cli import COMMANDS

    return f"""usage: vlpzoo {command} --model NAME [--config NAME] [--data NAME] \
[--KEY VALUE ...]

{COMMANDS[command][1]}.

  --model NAME     {", ".join(sorted(known("model")))}
  --data NAME      {", ".join(sorted(known("data")))}
  --config NAME    {", ".join(config_names())}, or a file
  --ckpt_path P    a .ckpt file, or last: continue the newest run
  --out DIR        folder of runs (runs)
  --logger NAME    tensorboard, csv, wandb or mlflow (tensorboard)
  --print_config   show every value that would be used

With neither --config nor --data the demo config is used; with --data alone
the paper-scale one. Later flags override earlier ones.

all options:       vlpzoo {command} --help
of what you name:  vlpzoo {command} --model NAME --data NAME --help
a method's:        vlpzoo fit --model.help ecamp
a data set's:      vlpzoo fit --data.help pairs"""
