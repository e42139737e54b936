"""Search by Optuna: trials instead of a grid, found again like everything else.

The study lives in ``search.journal``. Trial n is drawn by a sampler seeded with the
search's seed plus n, so that a search which was stopped draws on as if it had not been.
Trials come in batches of as many as run at a time; trials of one batch do not know of
each other, so ``--jobs`` changes which ones are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_zoo.errors import ConfigError, DependencyNotFoundError
from vlp_zoo.sweeps.executors import Executor, Reporter
from vlp_zoo.sweeps.objective import Objective
from vlp_zoo.sweeps.plan import Run, Sweep, Variant
from vlp_zoo.sweeps.ranges import Search
from vlp_zoo.sweeps.runs import Outcome, held, prepare, read_record, state_of

if TYPE_CHECKING:
    import optuna

__all__ = ["search"]


@dataclass
class _State:
    """What a search knows while it runs."""

    sweep: Sweep
    out: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def runs_of(self, trial: optuna.trial.FrozenTrial | optuna.Trial) -> list[Run]:
        variant = variant_of(trial.number, trial.params)
        return self.sweep.runs(self.out, [variant])

    def busy(self) -> set[str]:
        """Names of the runs that another process is at."""
        return {name for name, o in self.outcomes.items() if o.status == "busy"}


def variant_of(number: int, parameters: Mapping[str, Any]) -> Variant:
    """A trial as a variant."""
    return Variant(f"trial {number:04d}", dict(parameters), dict(parameters))


def search(
    sweep: Sweep, out: Path, executor: Executor, reporter: Reporter
) -> tuple[list[Variant], dict[str, Outcome]]:
    """Run the trials that are missing.

    Args:
        sweep: A sweep with a section ``search``.
        out: Folder of all sweeps.
        executor: Carries the runs out.
        reporter: Is told.

    Returns:
        All trials as variants, in order, and the outcomes of this time's runs.

    Raises:
        DependencyNotFoundError: Without Optuna.
        ConfigError: If trials of before had other commands, or another process is at
            this search.
    """
    plan = sweep.search
    if plan is None:
        return [], {}
    _require_optuna()
    state = _State(sweep, out)
    folder = out / sweep.name
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder) as handle:
        if handle is None:
            raise ConfigError(
                f"a search that nobody else runs: {folder}",
                f"process {(folder / 'lock').read_text(encoding='utf-8').strip()}",
                "wait for it, or choose another --out",
            )
        study = _study(plan, folder, sweep.name)
        _one_objective(study, sweep.objective, sweep.name)
        for trial in study.get_trials(deepcopy=False):
            for run in state.runs_of(trial):
                state_of(run)
        busy = False
        while not busy:
            batch = _batch(study, plan, executor.width, len(sweep.seeds) or 1)
            if not batch:
                break
            runs = [
                run for number in batch for run in state.runs_of(_trial(study, number))
            ]
            todo = [run for run in runs if state_of(run) != "finished"]
            for run in todo:
                prepare(run)
            state.outcomes |= executor.carry_out(todo, sweep.objective, reporter)
            busy = bool(state.busy())
            for number in batch:
                _tell(study, number, state)
        variants = [
            variant_of(trial.number, trial.params)
            for trial in study.get_trials(deepcopy=False)
            if trial.params
        ]
    return variants, state.outcomes


def _require_optuna() -> None:
    try:
        import optuna
    except ImportError as error:
        raise DependencyNotFoundError(
            "optuna, for search:", "not installed", "pip install 'vlp-zoo[sweep]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _study(plan: Search, folder: Path, name: str) -> optuna.Study:
    from optuna import create_study
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    from optuna.study import StudyDirection

    journal = str(folder / "search.journal")
    # Symbolic links, the default lock, are not everywhere; our own lock is held anyway.
    backend = JournalFileBackend(journal, JournalFileOpenLock(journal))
    study = create_study(
        storage=JournalStorage(backend),
        study_name=name,
        direction=StudyDirection[plan.direction.upper()],
        load_if_exists=True,
    )
    begun = study.direction.name.lower()
    if begun != plan.direction:
        raise ConfigError(
            f"a search that was begun with direction: {plan.direction}",
            begun,
            "choose another name:",
        )
    return study


def _one_objective(study: optuna.Study, objective: Objective, name: str) -> None:
    """Trials that were judged in different ways do not choose the next ones together.

    Raises:
        ConfigError: If earlier trials had another objective.
    """
    given = asdict(objective)
    before = study.user_attrs.get("objective")
    if before is None and study.get_trials(deepcopy=False):
        # Searches of versions that knew of test rows alone.
        before = {**given, "split": "test"}
    if before is not None and before != given:
        raise ConfigError(
            f"a search that was begun by {Objective(**before).described}",
            objective.described,
            f"choose another name than {name}, or name the old objective (split: "
            f"{before['split']})",
        )
    study.set_user_attr("objective", given)


def _batch(study: optuna.Study, plan: Search, width: int, seeds: int) -> list[int]:
    """Numbers of the trials to run next: those left over, then new ones."""
    from optuna.samplers import RandomSampler, TPESampler
    from optuna.trial import TrialState

    samplers = {"tpe": TPESampler, "random": RandomSampler}
    batch = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if set(trial.params) == set(plan.parameters):
            batch.append(trial.number)
        else:
            # Killed between its birth and its draws.
            study.tell(trial.number, state=TrialState.FAIL)
    room = max(1, width // seeds)
    total = len(study.get_trials(deepcopy=False))
    ranges = plan.distributions()
    while len(batch) < room and total < plan.trials:
        study.sampler = samplers[plan.sampler](seed=plan.seed + total)
        batch.append(study.ask(ranges).number)
        total += 1
    return batch


def _trial(study: optuna.Study, number: int) -> optuna.trial.FrozenTrial:
    return study.get_trials(deepcopy=False)[number]


def _tell(study: optuna.Study, number: int, state: _State) -> None:
    """Hand a trial's value to the study; leave it open if another process is at it."""
    from optuna.trial import TrialState

    runs = state.runs_of(_trial(study, number))
    records = [read_record(run, state.sweep.objective) for run in runs]
    values = [record.value for record in records if record is not None]
    if len(values) == len(runs):
        study.tell(number, sum(values) / len(values))
    elif not {run.name for run in runs} & state.busy():
        study.tell(number, state=TrialState.FAIL)
