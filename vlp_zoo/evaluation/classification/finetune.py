"""``vlp-finetune`` and its relatives: a linear head on a tuned or frozen encoder.

The pooled feature goes through LayerNorm and one linear layer; labels share a masked
binary cross-entropy, classes that exclude each other a softmax, and what is unknown
counts for nothing. The learning rate is chosen once per task, on the validation split,
from the same grid for every encoder, and the step is chosen there too. The number of
trained parameters is stored: "linear" and "fine-tuned" have been mixed up too often.

Published protocols differ in more than numbers, so there is a setting for each habit
that tables were made with; what is wrong with it is said by the preset.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch

from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.classification.classifier import Classifier, Recipe
from vlp_zoo.evaluation.classification.kinds import Kind, MultiLabel, kind_of
from vlp_zoo.evaluation.classification.protocol import Classification
from vlp_zoo.evaluation.classification.scoring import scored
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.fractions import pandas_rows
from vlp_zoo.evaluation.protocol import (
    Candidate,
    Outcome,
    training_cases,
)
from vlp_zoo.evaluation.tasks import Selected, Task
from vlp_zoo.evaluation.training.learner import Plan, Predictions, predict
from vlp_zoo.evaluation.training.loop import fit_best
from vlp_zoo.evaluation.training.settings import Trained, require

__all__ = ["FineTune"]

Array = npt.NDArray[np.float64]
Budget = tuple[int, float, int, int]
"""Steps, learning rate, steps of warm-up, batch size."""

THREE = ("macro_f1", "macro_auroc", "quadratic_kappa")
SELECTIONS = ("headline", "loss", "mean-of-three")


@dataclass(frozen=True)
class FineTune(Trained, Classification):
    """Settings of the preset, beside those of `Trained`.

    Attributes:
        steps: Optimiser steps at label fractions up to 1 %, up to 10 % and above.
        learning_rates: Grid of peaks; with more than one the best is chosen on the
            validation split.
        optimiser: ``"adamw"``, ``"adam"`` or ``"sgd"``; see `Plan`.
        layer_decay: Each block of a ViT learns by this factor slower than the one
            above it; CNNs learn at one rate.
        flip: Chance of mirroring; it swaps left and right.
        head: ``"norm-linear"`` or ``"linear"``; see
            `vlp_zoo.evaluation.classification.classifier.Recipe`.
        encoder_rate: Learning rate of the encoder, relative to the head's.
        resize: ``"pad"``, ``"squash"`` or ``"short"``; "" is the encoder's own.
        oversize: Images are fitted into a square so much larger than the encoder's, of
            which a crop is seen.
        norm: Mean and deviation for all channels; () is the encoder's own.
        grey: Take the colour out of photographs.
        budgets: Data set to three rows of steps of the schedule, learning rate, steps
            of warm-up and batch size, for label fractions up to 1 %, up to 10 % and
            above; ``"*"`` is for other data sets. They replace ``steps``,
            ``learning_rates``, ``warmup`` and ``batch_size``.
        epochs: Length in passes over the training cases instead of steps, whatever
            length the schedule was made for; 0 = in steps.
        evaluate_every: Epochs between the looks, where length is in epochs.
        patience: Looks without a better score after which training stops; 0 = none.
        select: What chooses the step: ``"headline"``, the validation ``"loss"``, or
            ``"mean-of-three"`` (macro F1, macro AUROC and quadratic kappa).
        val_drop_last: Leave an incomplete last batch of the validation split out of
            the choice.
        sampler: How a label fraction is drawn: ``"patients"`` (stratified, nested, by
            the seed of the run), or ``"rows"`` (images, as
            ``DataFrame.sample(frac, random_state=42)`` draws them).
    """

    steps: tuple[int, int, int] = (1500, 5000, 20000)
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4)
    optimiser: str = "adamw"
    layer_decay: float = 0.75
    augment: str = "finetune"
    flip: float = 0.0
    head: str = "norm-linear"
    encoder_rate: float = 1.0
    resize: str = ""
    oversize: float = 1.0
    norm: tuple[float, ...] = ()
    grey: bool = False
    budgets: tuple[tuple[str, tuple[Budget, Budget, Budget]], ...] = ()
    epochs: int = 0
    evaluate_every: int = 1
    patience: int = 0
    select: str = "headline"
    val_drop_last: bool = False
    sampler: str = "patients"
    name: str = "vlp-finetune"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.steps) == 3, "three numbers of steps", self.steps)
        require(bool(self.learning_rates), "a learning rate", self.learning_rates)
        require(
            all(
                len(rows) == 3 and all(len(row) == 4 for row in rows)
                for _, rows in self.budgets
            ),
            "budgets of three rows of four",
            self.budgets,
        )
        require(
            self.select in SELECTIONS,
            f"select among {', '.join(SELECTIONS)}",
            self.select,
        )
        require(
            self.sampler in ("patients", "rows"),
            "sampler patients or rows",
            self.sampler,
        )
        self.recipe(MultiLabel())

    def recipe(self, kind: Kind) -> Recipe:
        """What is trained, and what it is shown."""
        shared = {entry.name for entry in fields(Recipe)} - {"kind", "low_rank"}
        return Recipe(**{name: getattr(self, name) for name in shared}, kind=kind)

    def plans(self, task: str, cases: int) -> list[Plan]:
        """Length and speed at the protocol's label fraction, one for each rate.

        Args:
            task: Name of the task, which starts with that of its data set.
            cases: Training cases.
        """
        made, rates = self.of_fraction(self.steps), self.learning_rates
        warmup = self.warmup
        batch_size = self.batch_size
        if self.budgets:
            rows = dict(self.budgets)
            row = rows.get(task.partition(":")[0], rows.get("*"))
            if row is None:
                raise ConfigError(
                    f"a budget of {self.name} for {task}",
                    f"budgets for {', '.join(rows)}",
                    "name the task after its data set, or add a budget for '*'",
                )
            made, rate, rising, batch_size = self.of_fraction(row)
            rates, warmup = (rate,), rising / made
        steps, evaluations, length = made, self.evaluations, 0
        if self.epochs:
            steps = self.epochs * max(1, cases // min(batch_size, cases))
            evaluations = max(1, self.epochs // self.evaluate_every)
            length = made if self.budgets else 0
        return [
            self.plan_of(
                steps,
                rate,
                batch_size=batch_size,
                optimiser=self.optimiser,
                warmup=warmup,
                evaluations=evaluations,
                patience=self.patience,
                schedule_steps=length,
            )
            for rate in rates
        ]

    def measure(
        self, candidate: Candidate, task: Task, seed: int, extraction: Extraction
    ) -> Outcome:
        """Train at every learning rate, keep the best, then score the test split."""
        if self.sampler == "rows":
            chosen = pandas_rows(len(task.splits["train"]), self.fraction)
        else:
            chosen = training_cases(task, self.fraction, seed)
        train = Selected(task.splits["train"], [int(i) for i in chosen])
        val = task.splits["val"]
        labels = train.labels
        learnable = (labels == 1).any(0) & (labels == 0).any(0)
        if not learnable.any():
            raise ConfigError(
                "a label with both classes in the training cases",
                f"{len(chosen)} training cases without one",
                "raise --fractions, or give more labelled studies",
            )
        kind = kind_of(task)
        recipe = self.recipe(kind)
        plans = self.plans(task.name, len(train))
        whole = plans[0].batch_size if self.val_drop_last else 0
        score = _Judge(val.labels, learnable, self.select, kind, whole)
        learner, fitted, rates = fit_best(
            lambda: Classifier(candidate.module, labels.shape[1], recipe),
            *(train, val, plans, score, seed, extraction),
            kind.online(val.labels, learnable),
        )
        probabilities = [
            kind.probabilities(
                _logits(predict(learner, task.splits[split], extraction))[:, learnable],
                learnable,
            )
            for split in ("val", "test")
        ]
        untrained, unlearnt = kind.unlearnt(task.label_names, learnable, len(chosen))
        return scored(
            probabilities[1],
            task,
            self,
            seed,
            n_train=len(chosen),
            undefined=untrained,
            details={
                **rates,
                "selected_by": kind.headline
                if self.select == "headline"
                else self.select,
                **fitted.details(),
                **unlearnt,
            },
            validation=probabilities[0],
        )


@dataclass(frozen=True)
class _Judge:
    """Validation predictions to the number that chooses the step; larger is better."""

    labels: npt.NDArray[np.float32]
    learnable: npt.NDArray[np.bool_]
    select: str
    kind: Kind
    whole_batches_of: int

    def __call__(self, predictions: Predictions) -> float:
        logits, labels = _logits(predictions), self.labels
        if self.whole_batches_of:
            # Fewer cases than a batch would leave nothing to choose by.
            size = min(self.whole_batches_of, len(labels))
            kept = len(labels) // size * size
            logits, labels = logits[:kept], labels[:kept]
        if self.select == "loss":
            truth = torch.from_numpy(labels.astype(np.float64))
            return -float(self.kind.loss(torch.from_numpy(logits), truth))
        three = THREE if self.select == "mean-of-three" else ()
        trained = logits[:, self.learnable]
        return self.kind.chosen_by(labels, trained, self.learnable, three)


def _logits(predictions: Predictions) -> Array:
    return np.stack([p["logits"] for p in predictions]).astype(np.float64)
