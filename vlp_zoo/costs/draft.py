"""A method's networks with shapes and no numbers, and a batch of any size for them."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from vlp_zoo.costs.counting import Step, count_step
from vlp_zoo.data.base import PairsDataModule
from vlp_zoo.encoders.drafts import drafting, vocabulary_of_size
from vlp_zoo.encoders.tokenizer import ReportTokenizer
from vlp_zoo.methods.base import VLPModule
from vlp_zoo.methods.options import ReportOptions
from vlp_zoo.recomputing import recompute_blocks

__all__ = ["Draft"]

EXAMPLES = 64
"""Studies that are read for a batch; larger batches repeat them."""


class Draft:
    """A method as it would be built, on tensors that hold nothing.

    No weight is read or downloaded: names of pretrained models give their sizes.

    Activations are not checkpointed, whatever the method's options say, until `recompute`.

    Args:
        method: Not built yet; it is from now on, and of no use for training.
        data: What it would be trained on, or the like; its batches are small from now on.
        stands_in: Whether the data stand in for others, whose vocabulary would be
            full and whose longest report would be as long as may be.

    Attributes:
        parameters: How many there are.
        trained: Those that have a gradient.
        side: Pixels that the method reads of an image.
    """

    def __init__(
        self, method: VLPModule[Any], data: PairsDataModule, stands_in: bool
    ) -> None:
        self.method: Any = method
        method.trainer = SimpleNamespace(  # type: ignore[assignment]
            datamodule=data,
            ckpt_path=None,
            current_epoch=0,
            global_step=0,
            global_rank=0,
        )
        options = method.options = replace(method.options, checkpoint_activations=False)
        with drafting(data.corpus):
            if stands_in and isinstance(options, ReportOptions):
                self._fill_vocabulary(options)
            method.setup("fit")
            with torch.device("meta"):
                method.configure_model()
        every = list(method.parameters())
        self.parameters = sum(each.numel() for each in every)
        self.trained = sum(each.numel() for each in every if each.requires_grad)
        self._examples = self._read(data)
        if stands_in and "input_ids" in self._examples:
            self._examples["longest"] = self._examples["input_ids"].shape[1]
        self.side = int(self._examples["image"].shape[-1])
        # Tokens keep their values, of which shapes hang: how many are no padding.
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        with self._fake:
            method.to_empty(device="cpu")

    def _fill_vocabulary(self, options: ReportOptions) -> None:
        if options.tokenizer_name == "corpus":
            spec = vocabulary_of_size(options.vocab_size)
            self.method.use_tokenizer(ReportTokenizer(spec))

    def _read(self, data: PairsDataModule) -> dict[str, Any]:
        """The first studies of the first epoch, as a device would get them."""
        data.batch_size = min(data.batch_size, EXAMPLES)
        loader = data.make_loader(
            "train",
            self.method.make_transform(train=True),
            train=True,
            collate=getattr(self.method, "collate", None),
        )
        batch = next(iter(loader))
        return dict(data.on_before_batch_transfer(batch, 0))

    def recompute(self) -> None:
        """Let blocks forget their activations, as ``checkpoint_activations`` does.

        Raises:
            ConfigError: If there are none that can.
        """
        recompute_blocks(self.method)

    def batch(self, size: int) -> dict[str, Any]:
        """The examples, repeated or cut to a size; images without their pixels."""
        count = len(self._examples["uid"])
        copies = math.ceil(size / count)

        def sized(value: Any) -> Any:
            if isinstance(value, list):
                return (value * copies)[:size]
            if not isinstance(value, Tensor):
                return value
            if value.is_floating_point() or value.dtype == torch.uint8:
                with self._fake:
                    return torch.empty((size, *value.shape[1:]), dtype=value.dtype)
            return value.repeat(copies, *[1] * (value.ndim - 1))[:size]

        return {name: sized(value) for name, value in self._examples.items()}

    def step(
        self,
        size: int,
        precision: str = "32-true",
        keeps_gradients: bool = False,
        on_gpu: bool = True,
    ) -> Step:
        """Count the step of a batch.

        Args:
            size: Studies.
            precision: The Trainer's.
            keeps_gradients: Gradients of earlier batches are there from the start, as
                where they are accumulated.
            on_gpu: Count what a GPU would run, not what the CPU runs.
        """
        for parameter in self.method.parameters():
            parameter.grad = None
            if keeps_gradients and parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
        return count_step(self.method, self.batch(size), precision, on_gpu)
