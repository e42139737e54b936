"""The benchmark harness as a library; `vlp_zoo.cli.bench` is its command.

`evaluate` takes encoders, tasks and presets, and returns results with intervals, baselines
beside them. The parts: tasks by name (`tasks`), encoders and their joint spaces
(`encoders`, `joint`), presets and suites (`presets`), one task for many encoders
(`suite`), and what is printed (`table`).
"""

from vlp_zoo.bench.run import evaluate
from vlp_zoo.bench.tasks import build_task

__all__ = ["build_task", "evaluate"]
