"""Who carries runs out: processes of this machine, or the queue of a cluster.

Both give one outcome per run, report each run as it starts and ends, and let no run's
failure touch another's.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from typing import Any, Protocol

from vlp_zoo.errors import ConfigError, DependencyNotFoundError
from vlp_zoo.sweeps.objective import Objective
from vlp_zoo.sweeps.plan import Run
from vlp_zoo.sweeps.runs import Launcher, Outcome, execute

__all__ = ["Executor", "LocalExecutor", "Reporter", "SlurmExecutor"]


class Reporter(Protocol):
    """Is told what happens, from any thread."""

    def started(self, run: Run) -> None:
        """A run begins, or enters the queue."""

    def ended(self, run: Run, outcome: Outcome) -> None:
        """A run has ended, in whatever way."""


class Executor(Protocol):
    """Carries out prepared runs."""

    width: int
    """How many runs go on at a time."""

    def carry_out(
        self, runs: Sequence[Run], objective: Objective, reporter: Reporter
    ) -> dict[str, Outcome]:
        """Run all; outcomes by `Run.name`.

        Raises:
            KeyboardInterrupt: On Ctrl-C, after everything started was stopped.
        """


@dataclass
class LocalExecutor:
    """Processes of this machine.

    Args:
        width: Runs at a time.
        gpus: Devices to deal out through ``CUDA_VISIBLE_DEVICES``; empty leaves the
            variable alone.
        gpus_per_run: How many a run gets.
        environment: Further variables.
    """

    width: int = 1
    gpus: Sequence[str] = ()
    gpus_per_run: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.width < 1 or self.gpus_per_run < 1:
            raise ConfigError(
                "--jobs and --gpus-per-run of 1 or more",
                f"{self.width} and {self.gpus_per_run}",
                "correct them",
            )
        if self.gpus and len(self.gpus) < self.width * self.gpus_per_run:
            raise ConfigError(
                f"{self.width * self.gpus_per_run} GPUs for --jobs {self.width} with "
                f"--gpus-per-run {self.gpus_per_run}",
                f"--gpus {' '.join(self.gpus)}",
                f"use --jobs {max(1, len(self.gpus) // self.gpus_per_run)}",
            )

    def carry_out(
        self, runs: Sequence[Run], objective: Objective, reporter: Reporter
    ) -> dict[str, Outcome]:
        """See `Executor`."""
        launcher, slots = Launcher(), self._slots()

        def work(run: Run) -> Outcome:
            devices = slots.get()
            try:
                if launcher.stopped:
                    return Outcome("stopped")
                reporter.started(run)
                environment = {**self._threads(), **self.environment, **devices}
                outcome = execute(run.folder, objective, environment, launcher)
            finally:
                slots.put(devices)
            reporter.ended(run, outcome)
            return outcome

        with ThreadPoolExecutor(self.width) as pool:
            futures = {pool.submit(work, run): run for run in runs}
            try:
                waiting: set[Future[Outcome]] = set(futures)
                while waiting:
                    # Short waits: a wait without end would not see Ctrl-C.
                    _, waiting = wait(waiting, 0.2, FIRST_COMPLETED)
            except BaseException:
                for future in futures:
                    future.cancel()
                launcher.stop()
                raise
        return {run.name: future.result() for future, run in futures.items()}

    def _slots(self) -> queue.SimpleQueue[dict[str, str]]:
        slots: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        for slot in range(self.width):
            first = slot * self.gpus_per_run
            devices = self.gpus[first : first + self.gpus_per_run]
            slots.put({"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {})
        return slots

    def _threads(self) -> dict[str, str]:
        """Runs share the cores instead of each taking all of them."""
        if self.width == 1 or "OMP_NUM_THREADS" in os.environ:
            return {}
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.width))}


@dataclass
class SlurmExecutor:
    """Jobs of a SLURM cluster through submitit, one per run, each on one node.

    The folder of the runs has to be on a file system that the nodes share.

    Args:
        folder: Where submitit keeps its scripts and logs.
        width: Jobs at a time.
        parameters: For ``submitit.AutoExecutor.update_parameters``: ``timeout_min``,
            ``slurm_partition``, ``gpus_per_node``, ``cpus_per_task``, ``mem_gb``, ...
        cluster: ``"slurm"``, or ``"local"`` for processes that stand for jobs.
        environment: Further variables of the commands.
        poll: Seconds between two looks at the queue.
    """

    folder: Path
    width: int = 16
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = "slurm"
    environment: Mapping[str, str] = field(default_factory=dict)
    poll: float = 10.0

    def carry_out(
        self, runs: Sequence[Run], objective: Objective, reporter: Reporter
    ) -> dict[str, Outcome]:
        """See `Executor`; jobs that were submitted are cancelled on Ctrl-C."""
        if not runs:
            return {}
        executor = self._executor()
        # With these names Lightning starts its own processes, as --trainer.devices
        # says, where it would else ask SLURM for one task per device.
        environment = {"SLURM_JOB_NAME": "interactive", **self.environment}
        with _known_errors(), executor.batch():
            jobs = [
                executor.submit(execute, run.folder.resolve(), objective, environment)
                for run in runs
            ]
        open_jobs = dict(zip([run.name for run in runs], jobs, strict=True))
        named = {run.name: run for run in runs}
        for run in runs:
            reporter.started(run)
        outcomes: dict[str, Outcome] = {}
        try:
            while open_jobs:
                for name, job in list(open_jobs.items()):
                    if job.done():
                        outcomes[name] = _outcome(job)
                        reporter.ended(named[name], outcomes[name])
                        del open_jobs[name]
                if open_jobs:
                    sleep(self.poll)
        except BaseException:
            for job in open_jobs.values():
                job.cancel(check=False)
            raise
        return outcomes

    def _executor(self) -> Any:
        try:
            import submitit
        except ImportError as error:
            raise DependencyNotFoundError(
                "submitit, to hand runs to SLURM",
                "not installed",
                "pip install 'vlp-zoo[sweep]', or use --executor local",
            ) from error
        with _known_errors():
            executor = submitit.AutoExecutor(self.folder, cluster=self.cluster)
            slurm = self.cluster == "slurm"
            limit = {"slurm_array_parallelism": self.width} if slurm else {}
            executor.update_parameters(**{**limit, **self.parameters})
        return executor


@contextmanager
def _known_errors() -> Iterator[None]:
    """What submitit says about a missing cluster or a wrong option, as one message."""
    import submitit

    utils = submitit.core.utils
    failed = (utils.FailedJobError, utils.FailedSubmissionError)
    try:
        yield
    except (RuntimeError, NameError, ValueError, OSError, *failed) as error:
        raise ConfigError(
            "a SLURM cluster that takes these jobs",
            str(error),
            "run this where sbatch works, and check the options; or --executor local",
        ) from error


def _outcome(job: Any) -> Outcome:
    import submitit

    try:
        outcome: Outcome = job.result()
    except submitit.core.utils.UncompletedJobError as error:
        reason = " ".join(str(error).split())[:300]
    except Exception as error:  # noqa: BLE001  # submitit raises the job's own error
        reason = f"{type(error).__name__}: {error}"
    else:
        return outcome
    return Outcome("failed", None, f"job {job.job_id}: {reason}")
