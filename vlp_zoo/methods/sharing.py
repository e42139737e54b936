"""Weights shared out among processes: each keeps a part and borrows the rest.

Zhao et al., PyTorch FSDP, arXiv 2304.11277, in its second form (``fully_shard``). A
transformer block is put together when its turn comes and taken apart after it; what is
in no block stays whole from the start of a step to its end. Gradients are averaged over
processes, as DDP does it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer

from vlp_zoo.errors import ConfigError
from vlp_zoo.recomputing import blocks_of, run_otherwise

__all__ = ["SharedOut", "check_sharing", "share_out"]

ENTRIES = ("losses", "pictures", "predict_step", "embed_images", "embed_texts")
"""Methods of a module that run networks without its ``forward``."""


class SharedOut(ModelParallelStrategy):
    """``--trainer.strategy fsdp2``: every process of the run keeps an equal part.

    Checkpoints are whole files as those of other strategies, which any number of
    processes can go on from.

    Args:
        process_group_backend: Torch's backend; by default the device's.
        timeout: How long processes wait for one another.
    """

    def __init__(
        self,
        process_group_backend: str | None = None,
        timeout: timedelta | None = timedelta(minutes=10),
    ) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        """Share the weights out among all processes of all machines."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """A whole optimiser's state, numbered as the optimiser itself does it.

        Lightning numbers parameters in the module's order: another strategy would give
        them one another's averages.
        """
        state: dict[str, Any] = get_optimizer_state_dict(
            self._whole(), _bare(optimizer), options=WHOLE
        )
        if not state:  # other processes than the first
            return state
        numbers = {name: i for i, name in enumerate(self._names(optimizer))}
        return _renamed(state, numbers)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a whole checkpoint of any strategy; nothing that it names is imported."""
        file: dict[str, Any] = torch.load(
            checkpoint_path, map_location="cpu", mmap=True, weights_only=True
        )
        set_model_state_dict(self._whole(), file.pop("state_dict"), options=WHOLE)
        for optimizer, state in zip(
            self.optimizers, file["optimizer_states"], strict=True
        ):
            names = dict(enumerate(self._names(optimizer)))
            set_optimizer_state_dict(
                self._whole(), _bare(optimizer), _renamed(state, names), options=WHOLE
            )
        return file

    def _whole(self) -> nn.Module:
        module: Any = self.model
        return module  # type: ignore[no-any-return]

    def _names(self, optimizer: Optimizer) -> list[str]:
        """Names of an optimiser's parameters, in its order."""
        names = {id(value): name for name, value in self._whole().named_parameters()}
        groups = _bare(optimizer).param_groups
        return [names[id(value)] for group in groups for value in group["params"]]


WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""States as one process alone would have them."""


def _bare(optimizer: Any) -> Optimizer:
    return (
        optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
    )


def _renamed(state: Mapping[str, Any], names: Mapping[Any, Any]) -> dict[str, Any]:
    """An optimiser's state with other names for its parameters."""
    groups = [
        {**group, "params": [names[value] for value in group["params"]]}
        for group in state["param_groups"]
    ]
    values = {names[name]: value for name, value in state["state"].items()}
    return {"state": values, "param_groups": groups}


StrategyRegistry.register("fsdp2", SharedOut, description="weights shared out")


def check_sharing(trainer: pl.Trainer) -> None:
    """Refuse what needs whole weights on every process.

    Args:
        trainer: The trainer of the run.

    Raises:
        ConfigError: If weights are averaged as well.
    """
    averages = any(isinstance(c, EMAWeightAveraging) for c in trainer.callbacks)  # type: ignore[attr-defined]
    if isinstance(trainer.strategy, SharedOut) and averages:
        raise ConfigError(
            "whole weights to average (--ema_decay)",
            "--trainer.strategy fsdp2, which shares them out",
            "leave --ema_decay out, or use ddp",
        )


def share_out(module: nn.Module, mesh: DeviceMesh) -> None:
    """Share a method's weights out, block by block.

    Args:
        module: Built networks, the same on every process.
        mesh: The strategy's, with its axis ``data_parallel``.
    """
    across = mesh["data_parallel"]
    # Convolutions keep their weights channels last, in which form none is shared out.
    module.to(memory_format=torch.contiguous_format)
    block: Any
    for block in blocks_of(module):
        fully_shard(block, mesh=across)
        block.run_otherwise = types.MethodType(run_otherwise, block)
        register_fsdp_forward_method(block, "run_otherwise")
    fully_shard(module, mesh=across)
    for entry in ENTRIES:
        register_fsdp_forward_method(module, entry)
