"""``vlpzoo fit | validate | test | predict``: the heavy half, a LightningCLI.

Every option comes from the type hints and docstrings of the method, the data module,
the callbacks and Lightning's Trainer. This file adds defaults and guards; it knows no
method and no data set.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonargparse
import lightning.pytorch as pl
import torch
import yaml
from jsonargparse import Namespace, get_loader, set_loader
from lightning.pytorch.cli import (
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.distributed.constants import default_pg_timeout

from vlp_zoo.bench.tasks import check_options
from vlp_zoo.callbacks import (
    BestCheckpoint,
    EMAWeights,
    EmbeddingWriter,
    EpochLines,
    ExportEncoder,
    LastCheckpoint,
    Progress,
    RunFolder,
    Stopped,
    Throughput,
    TrainingPictures,
    WholeCheckpointIO,
    run_folder,
)
from vlp_zoo.callbacks.loggers import LoggerName, SameLog, log_place, make_logger
from vlp_zoo.cli.doors import nearest_option
from vlp_zoo.cli.names import Plan, resolve
from vlp_zoo.data.datamodules import PairsDataModule, PhantomChest
from vlp_zoo.errors import ConfigError, DependencyNotFoundError, VLPZooError
from vlp_zoo.files import FINISHED, require_writable, write_whole
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.checkpoints import check_checkpoint

__all__ = ["VLPZooCLI", "planned", "run"]

TRAINER_DEFAULTS: dict[str, Any] = {
    "log_every_n_steps": 10,
    # The data modules shard by themselves, so that a resumed run sees the same order.
    "use_distributed_sampler": False,
    "num_sanity_val_steps": 0,
}

EXCHANGE_TIMEOUT = timedelta(minutes=10)
"""How long processes wait for one another, at the start and in every exchange.

A process that dies ends the others on its machine at once; this is for those that wait
for a lost machine. Lightning's default is 30 minutes.
"""

_plain_yaml = get_loader("yaml")


def _load_yaml(text: str) -> Any:
    """YAML in which ``model: ecamp`` and ``data: pairs`` may be short names."""
    loaded = _plain_yaml(text)
    if isinstance(loaded, dict):
        for option in ("model", "data"):
            value = loaded.get(option)
            if isinstance(value, str):
                loaded[option] = resolve(option, value)
            elif isinstance(value, dict) and isinstance(value.get("class_path"), str):
                value["class_path"] = resolve(option, value["class_path"])
    return loaded


class VLPZooCLI(LightningCLI):
    """LightningCLI with the project's callbacks, run folders and guards.

    Args:
        plan: The expanded command line.
        kwargs: Passed to LightningCLI.
    """

    def __init__(self, plan: Plan, **kwargs: Any) -> None:
        self.plan = plan
        super().__init__(args=plan.arguments, **kwargs)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The command that was asked for: the options of all four take a second more."""
        asked = self.plan.arguments[0]
        return {asked: LightningCLI.subcommands()[asked]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options beside trainer, model and data."""
        parser.link_arguments("seed_everything", "data.init_args.seed", _as_seed)
        parser.add_argument(
            "--out", type=str, default="runs", help="Folder that holds all runs."
        )
        parser.add_argument(
            "--logger",
            type=LoggerName,
            default="tensorboard",
            help="Where fit logs; --trainer.logger false logs nothing.",
        )
        parser.add_argument(
            "--evaluate",
            type=list[str],
            default=[],
            help="Tasks to probe the encoder on after fit, as in `vlpzoo bench`.",
        )
        parser.add_argument(
            "--ema_decay",
            type=float,
            default=0.0,
            help="Decay of an exponential moving average of the weights; 0 = none.",
        )
        for key, callback in {
            "best": BestCheckpoint,
            "last": LastCheckpoint,
            "export": ExportEncoder,
            "pictures": TrainingPictures,
            "throughput": Throughput,
        }.items():
            parser.add_lightning_class_args(callback, key)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; a user's mistake becomes one message without a screen of usage."""
        try:
            with warnings.catch_warnings():
                # A changed class drops the old one's own options, as it should.
                warnings.simplefilter("ignore")
                self.config = parser.parse_args(args)
        except jsonargparse.ArgumentError as error:
            near = nearest_option(str(error), parser, args)
            raise ConfigError(*_clauses(str(error), args[0], near)) from error

    def instantiate_classes(self) -> None:
        """Build data, method and trainer; an error of theirs stays what it is."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            # jsonargparse wraps what a constructor raises, message upon message.
            inner: BaseException | None = error
            while inner and not isinstance(inner, VLPZooError | ImportError):
                inner = inner.__cause__ or inner.__context__
            if isinstance(inner, VLPZooError):
                raise inner from None
            if inner is not None:
                # Lightning's own text is the command that installs the package.
                raise DependencyNotFoundError(
                    "a package that an option of the Trainer, such as its logger, needs",
                    " ".join(str(inner).split())[:400],
                    "install it, or choose another one",
                ) from error
            found = VLPZooError(str(error))
            if found.do_this:
                raise found from error
            raise ConfigError(*_clauses(str(error), self.plan.arguments[0])) from error

    def _parse_ckpt_path(self) -> None:
        """Take the method's values from the checkpoint; refuse contradicting flags.

        Lightning lets the checkpoint win over the command line without a word, so
        ``--model.mask_ratio 0.9`` would evaluate at the stored ratio.
        """
        before = self._model_values()
        super()._parse_ckpt_path()
        after = self._model_values()
        for argument in self.plan.arguments:
            match = re.match(r"--model\.(?:init_args\.)?([\w.]+)=", argument)
            if match is None or match[1] not in before:
                continue
            name = match[1]
            if before[name] != after.get(name):
                raise ConfigError(
                    f"--model.{name} {before[name]}",
                    f"{name} = {after.get(name)} in the checkpoint, which decides",
                    "drop the flag, or start a new run without --ckpt_path",
                )

    def _model_values(self) -> dict[str, Any]:
        model = self.config[self.config["subcommand"]].get("model")
        values = model.get("init_args") if isinstance(model, Namespace) else None
        return dict(vars(values)) if values is not None else {}

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Trainer with a run folder (``runs/METHOD/version_N``) and a progress bar."""
        trainer = self._get(self.config_init, "trainer", default={})
        extra: list[pl.Callback] = []
        if self.subcommand == "fit":
            for task in self._get(self.config, "evaluate"):
                check_options([task], ())
            folder = self._new_or_resumed()
            require_writable(folder)
            extra += [RunFolder(folder), SameLog()]
            named = self._get(self.config, "logger")
            if trainer.get("logger") in (None, True):
                kwargs["logger"] = make_logger(named, folder)
            elif trainer.get("logger") and named != "tensorboard":
                raise ConfigError(
                    "one logger", f"--logger {named} and --trainer.logger", "drop one"
                )
        elif self._asked("logger"):
            raise ConfigError(
                "vlpzoo fit, which --logger is for",
                f"vlpzoo {self.subcommand} logs nothing",
                "drop --logger, or give --trainer.logger",
            )
        elif trainer.get("logger") is None:
            kwargs["logger"] = False
        extra += trainer.get("callbacks") or []
        if trainer.get("enable_progress_bar") is not False:
            terminal = sys.stdout.isatty()
            # The lines stay above the bar, which is gone after each epoch.
            extra += [Progress(), EpochLines()] if terminal else [EpochLines()]
            kwargs["enable_progress_bar"] = terminal
        if self.subcommand == "fit" and (decay := self._get(self.config, "ema_decay")):
            extra.append(EMAWeights(decay))
        if self.subcommand == "predict":
            require_writable(self._folder())
            extra.append(EmbeddingWriter(self._folder()))
        if self.subcommand != "fit":
            self.save_config_callback = None  # it would write into the working folder
        kwargs["callbacks"] = extra
        built: pl.Trainer = super().instantiate_trainer(**kwargs)
        # Strategies that write in their own way, such as FSDP's shards, go on to.
        if type(built.strategy.checkpoint_io) is TorchCheckpointIO:
            built.strategy.checkpoint_io = WholeCheckpointIO()
        strategy: Any = built.strategy
        if getattr(strategy, "_timeout", None) == default_pg_timeout:
            strategy._timeout = EXCHANGE_TIMEOUT  # a name such as "ddp" takes none
        return built

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Arguments of the Trainer's method; checkpoints are never unpickled freely."""
        kwargs: dict[str, Any] = super()._prepare_subcommand_kwargs(subcommand)
        if kwargs.get("weights_only") is None:
            kwargs["weights_only"] = True
        place = kwargs.get("ckpt_path")
        if place is not None and Path(place).is_file():
            # Known from the start, so that vocabulary and text model come from there.
            self.trainer.ckpt_path = kwargs.pop("ckpt_path")
        return kwargs

    def _asked(self, option: str) -> bool:
        """Whether an option stands on the command line itself."""
        return any(word.startswith(f"--{option}=") for word in self.plan.arguments)

    def _folder(self) -> Path:
        if self.plan.run_folder is not None:
            return self.plan.run_folder
        return Path(self._get(self.config, "out"))

    def _new_or_resumed(self) -> Path:
        """The folder of the run: the one that goes on, else the next version."""
        if self.plan.run_folder is not None:
            return self.plan.run_folder
        name = type(self.model).__name__.lower()
        methods = Path(self._get(self.config, "out")) / name
        numbers = [
            int(path.name.removeprefix("version_"))
            for path in methods.glob("version_*")
            if path.name.removeprefix("version_").isdecimal()
        ]
        return methods / f"version_{max(numbers, default=-1) + 1}"

    def after_fit(self) -> None:
        """Mark the run as finished, say where things are, probe the encoder."""
        trainer: Any = self.trainer
        self.plan.finished = True
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        folder = run_folder(trainer)
        mark_finished(folder, trainer)
        for callback in trainer.callbacks:
            if isinstance(callback, LastCheckpoint) and callback.watch.received:
                raise Stopped(callback.watch.received, callback.path)
        exported = [
            callback.path
            for callback in trainer.callbacks
            if isinstance(callback, ExportEncoder) and callback.path is not None
        ]
        if not exported:
            return
        print(f"encoder:  {exported[0]}")
        for logger in trainer.loggers:
            if place := log_place(logger, folder):
                print(place)
        tasks = self._get(self.config, "evaluate")
        synthetic = isinstance(self.datamodule, PhantomChest)
        if "phantom_chest" in tasks and not synthetic and not self._asked("evaluate"):
            # A demo config's closing evaluation belongs to the data of that config.
            tasks = [task for task in tasks if task != "phantom_chest"]
            print(f"evaluate: vlpzoo bench --encoder {exported[0]} --task TASK")
        if tasks:
            from vlp_zoo.bench import evaluate
            from vlp_zoo.cli.bench import note, print_table

            results = evaluate(
                [str(exported[0])],
                tasks,
                folder / "bench",
                notify=note,
                paced=not sys.stderr.isatty(),
            )
            print_table(results)


class KeptConfig(SaveConfigCallback):
    """Writes ``config.yaml``, the plan of the run, once.

    What a resume was started with goes beside it, as ``config.resume-N.yaml``: the run
    goes on to its own end when it is resumed again without flags.
    """

    def save_config(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str
    ) -> None:
        """Write the config on the main process."""
        folder = run_folder(trainer)
        path, number = folder / "config.yaml", 0
        while path.exists():
            number += 1
            path = folder / f"config.resume-{number}.yaml"
        write_whole(path, self.parser.dump(self.config, skip_none=False))


def mark_finished(folder: Path, trainer: Any) -> None:
    """Write ``finished.json``: the training has come to its own end."""
    content = {"epochs": trainer.current_epoch, "steps": trainer.global_step}
    write_whole(folder / FINISHED, json.dumps(content) + "\n")


def _as_seed(value: bool | int) -> int:
    return int(value)


QUIET_WARNINGS = (
    ".*args parameter is intended.*",  # ours are sys.argv's
    ".*does not have many workers.*",  # a demo of minutes needs none
    ".*isinstance.treespec, LeafSpec.*",  # Lightning's own call
    ".*smaller than the logging interval.*",
    ".*exists and is not empty.*",  # continuing a run is meant to find it so
)
QUIET_NOTES = ("Tip:", "Loading `train_dataloader`", "TPU available")


def _quieten() -> None:
    """Leave out start-up lines that tell a user nothing to act on."""
    for pattern in QUIET_WARNINGS:
        warnings.filterwarnings("ignore", message=pattern)

    def tells(record: logging.LogRecord) -> bool:
        return not any(note in record.getMessage() for note in QUIET_NOTES)

    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(tells)


def _clauses(message: str, command: str, near: str = "") -> tuple[str, str, str]:
    """Jsonargparse's text as looked for, found, do this."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    return (
        f"options that vlpzoo {command} understands",
        " ".join(lines)[:600],
        (
            f"{near}vlpzoo {command} --help lists all options, "
            f"vlpzoo {command} --model.help NAME a method's"
        ),
    )


class PlannedCLI(VLPZooCLI):
    """Builds method and data as ``fit`` would; there is no trainer and nothing runs."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """None: a trainer would want the devices that the run is planned for."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def planned(plan: Plan) -> tuple[VLPModule[Any], PairsDataModule, dict[str, Any]]:
    """The method, its data and all options of a fit, parsed and not run.

    Args:
        plan: The expanded command line of ``vlpzoo fit``.
    """
    cli: Any = run(plan, PlannedCLI)
    return cli.model, cli.datamodule, cli.config["fit"].as_dict()


def run(plan: Plan, kind: type[VLPZooCLI] = VLPZooCLI) -> VLPZooCLI:
    """Parse and run one Trainer command.

    Args:
        plan: The expanded command line.
        kind: What parses it, and runs it or not.

    Returns:
        The CLI with its trainer, model and data module, for tests and notebooks.
    """
    # With its exceptions, words that are no YAML stay words: a path may have brackets.
    set_loader("yaml", _load_yaml, exceptions=(yaml.YAMLError,))
    # Two numbers after the point of a matrix product are enough for training, and
    # tensor cores are idle otherwise.
    torch.set_float32_matmul_precision("high")
    # An abbreviation would come to mean another option when one more is added.
    exact = {"exit_on_error": False, "allow_abbrev": False}
    checkpoint = next(
        (word for word in plan.arguments if word.startswith("--ckpt_path=")), None
    )
    if checkpoint is not None:
        check_checkpoint(Path(checkpoint.partition("=")[2]))
    _quieten()
    return kind(
        plan,
        model_class=VLPModule,
        datamodule_class=PairsDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        trainer_defaults=TRAINER_DEFAULTS,
        seed_everything_default=0,
        save_config_callback=KeptConfig,
        save_config_kwargs={"save_to_log_dir": False},
        parser_kwargs={**exact, plan.arguments[0]: exact},
    )
