"""Questions about blocks: answers that need the image, and some that do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.evaluation.alignment.test_space import BlockJoint
from tests.evaluation.stubs import BlockSource, StubEncoder
from vlp_zoo.errors import ConfigError
from vlp_zoo.evaluation.baselines import Prevalence
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.evaluation.vqa.answering import word_vectors
from vlp_zoo.evaluation.vqa.vqa import AnswerQuestions, AnswerWithTexts
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.types import Question

NAMES = ("edema", "mass", "hernia")
QUICK = AnswerQuestions(rank=12, replicates=50, c_grid=(1.0, 100.0), least=5)


class AskedSource(BlockSource):
    """Asks of each block whether it is bright, of all images the same modality, and which."""

    def __init__(self, split: str, n: int) -> None:
        super().__init__(split, n)
        truth, self.label_names = self.labels, ()
        self.labels = np.empty((n, 0), np.float32)
        self.facts: list[dict[str, Any]] = []
        for i, row in enumerate(truth):
            asked = [
                Question(
                    f"{split} {i} {name}",
                    f"Is there {name}?",
                    "Yes" if value else "no.",
                    closed=True,
                    kind="presence",
                )
                for name, value in zip(NAMES, row, strict=True)
            ]
            asked += [
                Question(f"{split} {i} m", "Is it MRI?", "No", closed=True, kind="way"),
                Question(
                    f"{split} {i} o",
                    "What is seen first?",
                    NAMES[int(row.argmax())] if row.any() else "nothing",
                    closed=False,
                ),
            ]
            self.facts.append({"questions": tuple(asked)})


def asked_task(n: int = 120) -> Task:
    sizes = {"train": n, "val": n // 2, "test": n}
    return Task(
        "asked",
        {split: AskedSource(split, size) for split, size in sizes.items()},
        gives=frozenset({"questions"}),
    )


def measured(
    protocol: AnswerQuestions, task: Task, module: Any = None, joint: Any = None
) -> Outcome:
    how = Extraction(progress=False, cache=FeatureCache(None))
    module = module or StubEncoder(width=64)
    who = subject_of(module, "m", "encoder", how)
    candidate = Candidate(who, module, joint=joint)
    assert protocol.refusal(candidate, task) is None
    return protocol.measure(candidate, task, 0, how)


def values(outcome: Outcome) -> dict[str, float]:
    return {measure.metric: measure.value for measure in outcome.measures}


def test_what_the_image_adds_is_told_from_what_the_question_says() -> None:
    task = asked_task()
    outcome = measured(QUICK, task)
    found = {m.metric: m for m in outcome.measures}
    assert outcome.measures[0].metric == "accuracy_closed"
    assert found["accuracy_closed"].value > 0.85
    # Six in ten are not there, and it is never MRI: known without looking.
    assert 0.6 < found["accuracy_closed_blind"].value < 0.75
    gain = found["accuracy_closed_gain"]
    assert gain.value == pytest.approx(
        found["accuracy_closed"].value - found["accuracy_closed_blind"].value
    )
    assert gain.low is not None
    assert gain.low > 0
    assert found["accuracy_closed@way"].value == 1
    assert found["accuracy_closed_blind@way"].value == 1
    presence = found["accuracy_closed@presence"]
    assert presence.details["questions"] == 3 * 120
    assert presence.value > found["accuracy_closed_blind@presence"].value + 0.15
    assert found["val_accuracy_closed"].split == "val"
    assert outcome.details["closed_questions"] == [480, 240, 480]
    assert outcome.details["open_questions"] == [120, 60, 120]
    assert found["accuracy_open"].value > found["accuracy_open_blind"].value


def test_without_an_image_both_models_are_one() -> None:
    found = values(measured(QUICK, asked_task(), Prevalence()))
    assert found["accuracy_closed"] == found["accuracy_closed_blind"]
    assert found["accuracy_closed_gain"] == 0


def test_an_image_is_encoded_once_and_stored_cases_give_the_numbers_again() -> None:
    task, module = asked_task(40), StubEncoder(width=64)
    outcome = measured(QUICK, task, module)
    assert module.images == 40 + 20 + 40
    cases = outcome.cases
    once = np.ones((len(cases.uids), 1), np.float32)
    again = 0
    for measure in outcome.measures:
        statistic = statistic_of(measure.metric, cases, ())
        if statistic is not None:
            assert float(statistic(once)[0, 0]) == pytest.approx(measure.value)
            again += 1
    assert again >= 8
    right = cases.columns["said"] == cases.columns["answer"]
    closed = ~np.isnan(cases.columns["accuracy_closed"])
    assert right[closed].mean() == pytest.approx(outcome.measures[0].value)
    other = measured(replace(QUICK, c_grid=(1e-4,)), task)
    gap = QUICK.difference(cases, other.cases, {}, 0)[0]
    expected = outcome.measures[0].value - other.measures[0].value
    assert gap.value == pytest.approx(expected)


def test_an_answer_nobody_gave_in_training_is_wrong_and_counted() -> None:
    task = asked_task(40)
    facts: Any = task.splits["test"].facts  # type: ignore[attr-defined]
    for fact in facts[:7]:
        first, *rest = fact["questions"]
        fact["questions"] = (replace(first, answer="perhaps"), *rest)
    outcome = measured(QUICK, task)
    assert outcome.details["closed_answers_never_trained"] == 7
    assert outcome.details["closed_answers"] == 2
    answers = outcome.cases.columns["answer"] == "perhaps"
    assert outcome.cases.columns["accuracy_closed"][answers].sum() == 0


def test_the_text_side_of_a_joint_space_embeds_questions() -> None:
    protocol = AnswerWithTexts(rank=12, replicates=0, c_grid=(100.0,))
    task = asked_task()
    found = values(measured(protocol, task, joint=BlockJoint()))
    assert found["accuracy_closed_gain"] > 0.1
    how = Extraction(cache=FeatureCache(None))
    module = StubEncoder()
    candidate = Candidate(subject_of(module, "m", "encoder", how), module)
    assert "no space shared" in (protocol.refusal(candidate, task) or "")


def test_fewer_patients_teach_fewer_questions_and_none_are_refused() -> None:
    task = asked_task()
    outcome = measured(replace(QUICK, fraction=0.25), task)
    assert outcome.n_train == 30
    assert outcome.details["closed_questions"][0] == 4 * 30
    for split in ("train", "val", "test"):
        facts: Any = task.splits[split].facts  # type: ignore[attr-defined]
        for fact in facts:
            fact["questions"] = fact["questions"][-1:]
    with pytest.raises(ConfigError, match="closed questions with two answers"):
        measured(QUICK, task)
    with pytest.raises(ConfigError, match="rank and least"):
        AnswerQuestions(rank=0)


def test_words_come_from_training_questions_alone() -> None:
    train, other = word_vectors(["a mass here", "a mass there"], ["a dog", "dog"])
    assert train.shape[1] == 3  # a, mass, "a mass"
    np.testing.assert_allclose(np.linalg.norm(train, axis=1), 1)
    assert np.linalg.norm(other[0]) == pytest.approx(1)
    assert not other[1].any()
    assert not word_vectors(["one"], ["two"])[0].any()
