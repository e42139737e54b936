"""What a search may draw: the section ``search:`` of a sweep file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vlp_zoo.errors import ConfigError

if TYPE_CHECKING:
    import optuna

__all__ = ["Search"]

DIRECTIONS = ("maximize", "minimize")
SAMPLERS = ("tpe", "random")
NUMBERS = ("low", "high", "step", "log", "int")


@dataclass(frozen=True)
class Search:
    """The section ``search:`` of a sweep file.

    Attributes:
        parameters: Flag to its range: ``{low, high, step, log, int}`` or
            ``{choices: [...]}``.
        trials: How many.
        direction: ``"maximize"`` or ``"minimize"``.
        seed: Seed of the sampler.
        sampler: ``"tpe"`` or ``"random"``.
    """

    parameters: dict[str, dict[str, Any]]
    trials: int = 20
    direction: str = "maximize"
    seed: int = 0
    sampler: str = "tpe"

    def __post_init__(self) -> None:
        found = (self.direction, self.sampler, self.trials, self.seed)
        good = self.direction in DIRECTIONS and self.sampler in SAMPLERS
        if not good or type(self.trials) is not int or type(self.seed) is not int:
            raise ConfigError(
                f"search: direction among {', '.join(DIRECTIONS)}; sampler among "
                f"{', '.join(SAMPLERS)}; trials and seed whole numbers",
                ", ".join(map(repr, found)),
                "correct the sweep file",
            )
        if not self.parameters or not isinstance(self.parameters, dict):
            raise ConfigError(
                "search: parameters: FLAG: {low, high} or {choices}",
                repr(self.parameters),
                "name at least one",
            )
        for flag, given in self.parameters.items():
            _check(flag, given)

    def distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """The ranges as Optuna has them."""
        from optuna import distributions as kinds

        found: dict[str, optuna.distributions.BaseDistribution] = {}
        for flag, given in self.parameters.items():
            if "choices" in given:
                found[flag] = kinds.CategoricalDistribution(given["choices"])
                continue
            low, high = float(given["low"]), float(given["high"])
            log, step = bool(given.get("log", False)), given.get("step")
            try:
                if given.get("int"):
                    whole = int(low), int(high), log, int(step or 1)
                    found[flag] = kinds.IntDistribution(*whole)
                else:
                    part = None if step is None else float(step)
                    found[flag] = kinds.FloatDistribution(low, high, log, part)
            except ValueError as error:
                raise ConfigError(
                    f"a range for {flag} under search: parameters",
                    str(error),
                    "correct low, high, step or log",
                ) from error
        return found


def _check(flag: str, given: Any) -> None:
    if isinstance(given, dict):
        choices = given.get("choices")
        if isinstance(choices, list) and choices and len(given) == 1:
            return
        try:
            # PyYAML takes 1e-4 for a word.
            low, high = float(given["low"]), float(given["high"])
            if low < high and not set(given) - set(NUMBERS):
                return
        except (KeyError, TypeError, ValueError):
            pass
    raise ConfigError(
        f"{{low, high, {', '.join(NUMBERS[2:])}}} or {{choices: [...]}} for {flag}",
        repr(given),
        "correct it under search: parameters",
    )
