"""Scorers of reports by other packages: RadEval's, others, and those of plug-ins.

RadEval (extra ``radeval``) brings RadGraph F1, F1 by CheXbert, RaTEScore, GREEN and
BERTScore; each of them loads weights from the hub. A package makes its own scorer known
by an entry point of the group ``vlp_zoo.report_metrics``: the name of the score to a
function without arguments that loads what it needs and returns a `Scorer`. Larger
scores are better.

Of RadEval nothing is asked that sends reports to somebody's server.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

import numpy as np

from vlp_zoo.errors import ConfigError, DependencyNotFoundError, unknown_name
from vlp_zoo.evaluation.reports.scores import FINDINGS, Array, Labels, Scorer
from vlp_zoo.evaluation.reports.text_metrics import finding_counts

__all__ = ["GROUP", "SCORERS", "load_scorer", "scorer_names", "scorer_version"]

GROUP = "vlp_zoo.report_metrics"
"""Entry points of packages that bring a scorer."""


def scorer_names() -> list[str]:
    """Names of all scorers: those of other installed packages too."""
    return [*SCORERS, *sorted({e.name for e in entry_points(group=GROUP)} - {*SCORERS})]


def scorer_version(name: str) -> str:
    """The package that a score is by, with its version: what a number hangs on."""
    if name not in SCORERS:
        (found,) = entry_points(group=GROUP, name=name)
        return f"{found.dist.name} {found.dist.version}" if found.dist else "unknown"
    package = SCORERS[name][0]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package}, version unknown"


def load_scorer(name: str) -> Scorer:
    """A scorer, its weights loaded.

    Args:
        name: One of `scorer_names`.

    Raises:
        UnknownNameError: If there is no such scorer, or several packages bring it.
        DependencyNotFoundError: If the package or its weights are missing.
    """
    plugs = [] if name in SCORERS else list(entry_points(group=GROUP, name=name))
    if name not in SCORERS and len(plugs) != 1:
        raise unknown_name("scorer of reports", name, scorer_names(), "check it")
    package = plugs[0].value if plugs else SCORERS[name][0]
    try:
        # RadEval silences the warnings of everybody.
        with warnings.catch_warnings():
            scorer = plugs[0].load()() if plugs else _made(name)
    except ImportError as error:
        raise DependencyNotFoundError(
            f"the package {package} for the scores of {name}",
            str(error),
            f"{_install(package)}, or do without {name} (scorers of a preset, --scorer)",
        ) from error
    except Exception as error:  # what a failed download raises is anything
        raise DependencyNotFoundError(
            f"the weights of {package} for the scores of {name}",
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}",
            f"load them once while on line, or do without {name} (scorers of a preset, "
            "--scorer)",
        ) from error
    return partial(_checked, name, scorer)


def _install(package: str) -> str:
    mine = package == "radeval"
    return "pip install 'vlp-zoo[radeval]'" if mine else f"install {package}"


def _made(name: str) -> Scorer:
    package, attribute, adapt, options = SCORERS[name]
    module = importlib.import_module(package)
    if package == "radeval":
        # Release 2.2.1 calls itself RadEval within RadGraph, which Linux tells apart.
        sys.modules.setdefault("RadEval", module)
    return partial(adapt, getattr(module, attribute)(**options))


def _checked(
    name: str, scorer: Scorer, generated: Sequence[str], references: Sequence[str]
) -> Array:
    """What a scorer gives, refused where it is not one value or count for each case."""
    with warnings.catch_warnings():
        values = np.asarray(scorer(list(generated), list(references)), np.float64)
    count = len(generated)
    if values.shape not in ((count,), (3, count, len(FINDINGS))):
        raise ConfigError(
            f"of the scorer {name} {count} values, or counts of (3, {count}, "
            f"{len(FINDINGS)})",
            f"an array of {values.shape}",
            "mend the plug-in",
        )
    return values


# What other packages give as values (N,) or counts (3, N, 14) -----------------------


def _chexbert(model: Any, generated: Sequence[str], references: Sequence[str]) -> Array:
    """Counts by CheXbert's labels; its doubt counts as presence, as in the package."""

    def labels(texts: Sequence[str]) -> list[list[int]]:
        return [model.get_label(text, mode="rrg") for text in texts]

    return _counted(model.target_names, labels(references), labels(generated))


def _radgraph(model: Any, generated: Sequence[str], references: Sequence[str]) -> Array:
    """RadGraph F1 of each case: entities with their labels, and whether related."""
    rewards = model(hyps=list(generated), refs=list(references))[1]
    return np.array(rewards, np.float64).reshape(len(generated))


def _radeval(
    key: str, evaluator: Any, generated: Sequence[str], references: Sequence[str]
) -> Array:
    """One of RadEval's scores for each case; NaN where it gives none."""
    found = evaluator(refs=list(references), hyps=list(generated))
    return np.array(found[key], np.float64)


def _radeval_chexbert(
    evaluator: Any, generated: Sequence[str], references: Sequence[str]
) -> Array:
    """Counts like those of `_chexbert`, which RadEval itself does not give."""
    model = evaluator.f1chexbert_scorer
    both = (model.get_labels(list(texts)) for texts in (references, generated))
    return _counted(model.TARGET_NAMES, *both)


def _counted(
    names: Sequence[str], written: Sequence[Any], generated: Sequence[Any]
) -> Array:
    order = [[str(name) for name in names].index(name) for name in FINDINGS]
    both: list[Labels] = [np.array(rows, np.float32) for rows in (written, generated)]
    return finding_counts(*(rows[:, order] for rows in both))


def _of_radeval(
    metric: str, adapt: Callable[..., Array]
) -> tuple[str, str, Callable[..., Array], dict[str, Any]]:
    options = {"metrics": [metric], "per_sample": True, "show_progress": False}
    return ("radeval", "RadEval", adapt, options)


SCORERS: dict[str, tuple[str, str, Callable[..., Array], dict[str, Any]]] = {
    "chexbert": ("f1chexbert", "F1CheXbert", _chexbert, {}),
    "radgraph_f1": ("radgraph", "F1RadGraph", _radgraph, {"reward_level": "partial"}),
    "radeval_bertscore": _of_radeval("bertscore", partial(_radeval, "bertscore")),
    "radeval_chexbert": _of_radeval("f1chexbert", _radeval_chexbert),
    "radeval_green": _of_radeval("green", partial(_radeval, "green")),
    "radeval_radgraph": _of_radeval("radgraph", partial(_radeval, "radgraph_partial")),
    "radeval_ratescore": _of_radeval("ratescore", partial(_radeval, "ratescore")),
}
"""Name to package, class, what makes counts or values of it, and its options."""
