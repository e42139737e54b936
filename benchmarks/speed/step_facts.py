"""What a training step of each method asks of a machine, beside its arithmetic.

    python benchmarks/speed/step_facts.py [METHODS ...]

One step of each demo config, 8 synthetic studies, float32, after one that fills caches:

- waits: times that the host needs a value of a tensor (`int(tensor)`, a boolean index,
  `.cpu()`) or hands one over, in losses and backward. On a GPU each may stop the queue.
- breaks: places at which torch.compile has to leave a graph of the losses.
- saved: MiB kept from forward for backward, parameters left out.

It counts in the code of whatever `vlp_zoo` is found: with ``PYTHONPATH`` a worktree of
another version is measured by the same file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

VALUES = {
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"),
    *("aten::_unique2", "aten::unique_consecutive", "aten::is_nonzero", "aten::equal"),
    # A constant of the host, on its way to the device.
    "aten::lift_fresh",
}
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_")
COPIES = ("cpu", "tolist")


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators that need, or bring, a value of the host."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count, and compute as ever."""
        name = function._schema.name
        flags = (torch.bool, torch.uint8)
        self.found[name] += name in VALUES or (
            name in INDEXED and any(i is not None and i.dtype in flags for i in args[1])
        )
        return function(*args, **(kwargs or {}))


def _counted(name: str, found: Counter[str]) -> Any:
    usual = getattr(torch.Tensor, name)

    def copied(*args: Any, **kwargs: Any) -> Any:
        found[name] += 1
        return usual(*args, **kwargs)

    return copied


def facts(module: Any, batch: Any) -> dict[str, Any]:
    """Waits, graph breaks and saved MiB of one step."""
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with Waits() as waits, ExitStack() as patches:
        for name in COPIES:
            counted = _counted(name, waits.found)
            patches.enter_context(mock.patch.object(torch.Tensor, name, counted))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            terms = module.losses(batch)
            total = torch.stack([term.float() for term in terms.values()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
    explained = torch._dynamo.explain(module.losses)(batch)
    return {
        "waits": waits.found.total(),
        "breaks": explained.graph_break_count,
        "saved": round(sum(kept.values()) / 2**20, 1),
    }


def measure(method: str) -> None:
    """Train until the second step, and print what it asks for."""
    from vlp_zoo.cli import main as vlpzoo
    from vlp_zoo.methods.base import VLPModule

    if method == "place" and find_spec("vlp_zoo.methods.place.assignment"):
        from vlp_zoo.methods.place import matching
        from vlp_zoo.methods.place.assignment import assign_together

        # By the way of GPUs; on CPUs SciPy pairs.
        matching.assign = assign_together  # type: ignore[attr-defined]

    usual = VLPModule.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 0:
            return usual(self, batch, batch_idx)
        print(json.dumps(facts(self, batch)), flush=True)
        os._exit(0)

    VLPModule.training_step = training_step  # type: ignore[method-assign]
    world = "phantom_fundus" if method == "flair" else "phantom_chest"
    with tempfile.TemporaryDirectory() as out:
        vlpzoo(
            [
                *("fit", f"--config=demo/{method}", f"--data={world}"),
                *("--data.train_studies=64", "--data.val_studies=32"),
                *("--data.batch_size=8", "--data.num_workers=0"),
                *("--trainer.precision=32-true", "--trainer.max_steps=2"),
                *("--trainer.limit_val_batches=0", "--evaluate=[]", f"--out={out}"),
            ]
        )


def main() -> None:
    """A row for each method, measured in a process of its own."""
    if sys.argv[1:2] == ["--one"]:
        measure(sys.argv[2])
        return
    from vlp_zoo.methods import METHODS

    for method in sys.argv[1:] or sorted(METHODS):
        words = [sys.executable, __file__, "--one", method]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        if done.returncode or not lines:
            sys.exit(f"{method}: {done.stderr[-2000:]}")
        found = json.loads(lines[-1])
        print(method, *(f"{name} {value}" for name, value in found.items()), sep="\t")


if __name__ == "__main__":
    main()
