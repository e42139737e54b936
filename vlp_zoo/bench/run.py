"""The harness: encoders on tasks by protocols, baselines beside them, results kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.bench.encoders import (
    RANDOM_DRAWS,
    encoder_file,
    joints_of,
    named_encoder,
    origin_line,
    seen_lines,
    sources_of,
)
from vlp_zoo.bench.pace import Pace
from vlp_zoo.bench.tasks import PHANTOM_STUDIES, build_task

if TYPE_CHECKING:
    from torch import nn

    from vlp_zoo.bench.presets import SuiteTask
    from vlp_zoo.evaluation.results import Result
    from vlp_zoo.evaluation.tasks import Task

__all__ = ["built_task", "evaluate"]

logger = logging.getLogger(__name__)


def evaluate(
    encoders: Sequence[str] | Mapping[str, str | nn.Module],
    tasks: Sequence[str | SuiteTask],
    out: Path,
    *,
    presets: Sequence[str] = ("vlp-linear",),
    fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    bootstrap: int = 1000,
    baselines: bool = True,
    random_draws: int = RANDOM_DRAWS,
    pooling: str = "global",
    precision: str = "32",
    batch_size: int = 64,
    num_workers: int = 2,
    device: str = "auto",
    devices: int | str = 1,
    command: str = "",
    notify: Callable[[str], None] = logger.info,
    paced: bool = False,
    **settings: Any,
) -> list[Result]:
    """Evaluate encoders on tasks; what was computed before is found in ``out``.

    Args:
        encoders: Specs as `vlp_zoo.encoders.checkpoint.open_encoder` takes them, or
            folders that hold encoder.safetensors; ``NAME=SPEC`` names them. Or names
            with the spec or the loaded encoder of each.
        tasks: Tasks of a suite, or names as `build_task` takes them.
        out: Folder of the results; grows, never shrinks.
        presets: How tasks given by name are evaluated.
        fractions: Shares of training patients whose labels are used, for tasks given by
            name.
        seeds: For tasks given by name: draws of patients at fractions below 1, and of
            new weights.
        bootstrap: Replicates of the intervals; 0 for none.
        baselines: Random init, pixels and prevalence beside the encoders.
        random_draws: How often the weights of a random init are drawn.
        pooling: ``"global"`` or ``"mean"``.
        precision: ``"32"`` or ``"bf16"``.
        batch_size: Images per forward pass.
        num_workers: Reading processes of each device.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        devices: Processes that share the work, each with a GPU or a CPU core of its
            own; ``"auto"`` is all visible GPUs, 1 on CPUs. Results do not depend on it.
        command: What was typed, kept with the results.
        notify: Takes a line about what is worth knowing.
        paced: Say once a minute how much is done and about how long the rest takes.
        **settings: Passed to `build_task`.

    Returns:
        All results, headline and others, encoders before baselines within each task.

    Raises:
        SuiteError: At the end, if runs failed; it carries the results of the others.
    """
    from torch import nn

    from vlp_zoo.bench.presets import SuiteTask, read_preset
    from vlp_zoo.bench.suite import SuiteError, candidates_of, evaluate_task
    from vlp_zoo.encoders.checkpoint import open_encoder
    from vlp_zoo.evaluation.features.devices import count_devices
    from vlp_zoo.evaluation.features.extraction import Extraction
    from vlp_zoo.evaluation.results import ResultStore

    wanted = [
        SuiteTask("", each, settings, tuple(presets), tuple(fractions), tuple(seeds))
        if isinstance(each, str)
        else each
        for each in tasks
    ]
    protocols = {
        name: read_preset(name).protocol for each in wanted for name in each.presets
    }
    for chosen in wanted:
        for fraction in chosen.fractions:
            for name in chosen.presets:
                replace(protocols[name], fraction=fraction, replicates=bootstrap)
    extraction = Extraction(
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        devices=count_devices(devices, device),
        precision=precision,
        pooling=pooling,
    )
    _ = extraction.torch_device
    loaded = {}
    if isinstance(encoders, Mapping):
        named = [(n, spec) for n, spec in encoders.items() if isinstance(spec, str)]
        loaded = {n: e for n, e in encoders.items() if isinstance(e, nn.Module)}
    else:
        named = [named_encoder(spec) for spec in encoders]
    files = [encoder_file(spec) for _, spec in named]
    needs_text = any(protocol.needs_text for protocol in protocols.values())
    candidates = candidates_of(
        [*files, *loaded],
        extraction,
        baselines=baselines,
        random_draws=random_draws,
        load=lambda spec: loaded[spec] if spec in loaded else open_encoder(spec),
        joints=joints_of(files) if needs_text else {},
        names={f: name for f, (name, _) in zip(files, named, strict=True)},
        sources={file: sources_of(file) for file in files},
    )
    for (name, _), file in zip(named, files, strict=True):
        if Path(file).is_file():
            notify(f"encoder {name}: {origin_line(Path(file))}")
    store = ResultStore(Path(out))
    store.read()
    for protocol in protocols.values():
        for issue in protocol.known_issues:
            notify(f"{protocol.name}: known issue: {issue}")
    built = [(chosen, built_task(chosen)) for chosen in wanted]
    results: list[Result] = []
    failures: dict[str, Any] = {}
    pace = Pace(notify)
    with pace if paced else nullcontext():
        for place, (chosen, task) in enumerate(built, 1):
            for line in seen_lines(candidates, task):
                notify(line)
            of = f" (task {place} of {len(built)})" if len(built) > 1 else ""
            try:
                results += evaluate_task(
                    candidates,
                    task,
                    store,
                    extraction,
                    protocols=[protocols[name] for name in chosen.presets],
                    fractions=chosen.fractions,
                    seeds=chosen.seeds,
                    replicates=bootstrap,
                    command=command,
                    notify=notify,
                    progress=partial(_told, pace, of),
                )
            except SuiteError as error:
                results += error.results
                failures |= error.failures
    if failures:
        raise SuiteError(failures, results)
    return results


def _told(pace: Pace, of: str, name: str, done: int, total: int) -> None:
    pace.told(f"{name}{of}", done, total)


def built_task(task: SuiteTask) -> Task:
    """The task that a suite describes, its data opened."""
    options = {key: v for key, v in task.options.items() if key != "root"}
    if isinstance(options.get("studies"), list):
        options["studies"] = dict(zip(PHANTOM_STUDIES, options["studies"], strict=True))
    return build_task(task.data, title=task.name or None, **options)
