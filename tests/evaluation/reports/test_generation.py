"""Report generation: what is written, what it is compared with, what changes nothing."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.conftest import require_shared
from tests.evaluation.stubs import StubEncoder
from vlp_zoo.bench.suite import evaluate_task
from vlp_zoo.bench.table import result_tables, verdicts
from vlp_zoo.data.pairs import read_pairs
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, DependencyNotFoundError, TokenizerError
from vlp_zoo.evaluation.baselines import PixelEncoder, Prevalence
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate, Outcome
from vlp_zoo.evaluation.reports.decoder import ReportDecoder
from vlp_zoo.evaluation.reports.generation import WriteReport
from vlp_zoo.evaluation.reports.judging import ThroughVocabulary, judge_reports
from vlp_zoo.evaluation.reports.pieces import BEGIN, END, PAD, ReportPieces
from vlp_zoo.evaluation.reports.scores import (
    FINDINGS,
    baseline_texts,
    most_common_report,
    score_reports,
    stated,
)
from vlp_zoo.evaluation.reports.writer import Writer
from vlp_zoo.evaluation.results import Cases, ResultStore
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import Task
from vlp_zoo.evaluation.training.learner import predict
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.types import Report, Study

SAID = (
    "The lungs are clear. No acute disease.",
    "Small left pleural effusion (1.5 cm).",
    "Large right pneumothorax.",
)
QUICK: dict[str, Any] = {
    "steps": (80, 80, 80),
    "batch_size": 16,
    "evaluations": 4,
    "learning_rate": 1e-2,
    "encoder_learning_rate": 1e-3,
    "augment": "none",
    "vocabulary": 320,
    "length": 40,
    "width": 32,
    "heads": 2,
    "layers": 1,
    "feedforward": 32,
    "dropout": 0.0,
    "replicates": 20,
}


class SquareSource:
    """A bright square on the left or the right, or none, and a sentence about it."""

    label_names: tuple[str, ...] = ()

    def __init__(self, split: str, n: int, mute: int = 0) -> None:
        rng = np.random.default_rng((7, *split.encode()))
        self.name = f"squares {split}"
        self.uids = [f"{split}-{i}" for i in range(n)]
        self.patient_ids = [f"{split}-p{i // 2}" for i in range(n)]
        self.labels: npt.NDArray[np.float32] = np.empty((n, 0), np.float32)
        self.fingerprint = f"squares {split} {n} {mute}"
        self.kinds = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        self.noise = rng.integers(0, 60, (n, 32, 32)).astype(np.uint8)
        self.mute = mute

    def __len__(self) -> int:
        return len(self.uids)

    def report(self, index: int) -> Report:
        text = "" if index < self.mute else SAID[self.kinds[index]]
        return Report(text=text, findings=text)

    def reports(self) -> Iterator[Report]:
        return (self.report(i) for i in range(len(self)))

    def __getitem__(self, index: int) -> Study:
        image = self.noise[index].copy()
        kind = self.kinds[index]
        if kind:
            # The patient's left is on the right of the image.
            image[8:24, 18:30] += np.uint8(150 * (kind == 1))
            image[8:24, 2:14] += np.uint8(150 * (kind == 2))
        uid, patient = self.uids[index], self.patient_ids[index]
        return Study(uid, patient, uid, image, self.report(index))


def squares(mute: int = 0) -> Task:
    sizes = {"train": 96, "val": 24, "test": 40}
    return Task(
        "squares",
        {s: SquareSource(s, n, mute) for s, n in sizes.items()},
        gives=frozenset({"reports"}),
        min_positives=2,
    )


def extraction(**options: Any) -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None), **options)


def micro() -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder("micro").eval()


def measure(task: Task, protocol: WriteReport, **options: Any) -> Outcome:
    how = extraction(**options)
    encoder = micro()
    candidate = Candidate(subject_of(encoder, "m", "encoder", how), encoder)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    outcome = protocol.measure(candidate, task, 0, how)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])
    return outcome


def values(outcome: Outcome) -> dict[str, float]:
    return {m.metric: m.value for m in outcome.measures}


@pytest.fixture(scope="module")
def learnt() -> Outcome:
    return measure(squares(mute=3), WriteReport(**QUICK))


def test_a_simple_mapping_is_learnt_and_beats_every_baseline(learnt: Outcome) -> None:
    found = values(learnt)
    assert learnt.measures[0].metric == WriteReport.headline == "f1_14_macro"
    assert found["f1_14_macro"] > 0.9
    assert found["bleu_4"] > 0.9
    assert found["rouge_l"] > 0.9
    for baseline in ("most_common_report", "random_report", "other_patient"):
        gap = next(
            m for m in learnt.measures if m.metric == f"f1_14_macro_minus_{baseline}"
        )
        assert gap.low is not None
        assert gap.low > 0.2
    # The constant is strong in words and weak in findings: hence the headline.
    assert found["most_common_report_rouge_l"] > 0.4
    assert found["most_common_report_f1_14_macro"] < 0.4


def test_every_number_stands_beside_its_baselines(learnt: Outcome) -> None:
    found = values(learnt)
    own = [m for m in learnt.measures if "floors" in m.details]
    assert [m.metric for m in own] == [
        *(f"f1_{n}_{mean}" for n in (14, 5) for mean in ("macro", "micro")),
        "cider_d",
        "rouge_l",
        *(f"bleu_{n}" for n in range(1, 5)),
    ]
    for one in own:
        assert one.low is not None
        assert one.low <= one.value <= (one.high or 0)
        for baseline, value in one.details["floors"].items():
            assert found[f"{baseline}_{one.metric}"] == value
        assert one.details["chance"] == max(one.details["floors"].values())
    assert learnt.details["most_common_report"] == SAID[0]
    assert 0.4 < learnt.details["most_common_report_share"] < 0.6


def test_reports_that_say_nothing_are_left_out_and_counted(learnt: Outcome) -> None:
    assert learnt.n_train == 96 - 3
    assert learnt.details["without_report_train"] == 3
    assert learnt.details["without_report_test"] == 3
    assert learnt.details["validation_cases"] == 24 - 3
    assert len(learnt.cases.uids) == 40 - 3
    assert learnt.cases.uids[0] == "test-3"
    assert learnt.details["empty_texts"] == 0
    assert learnt.details["distinct_texts"] == 3
    # What the references hardly state is in no mean, and says why.
    assert "Edema" in learnt.undefined
    assert "Pleural Effusion" not in learnt.undefined


def test_everything_can_be_computed_again_from_the_cases(learnt: Outcome) -> None:
    cases = learnt.cases
    used = [k for k, f in enumerate(FINDINGS) if f not in learnt.undefined]
    texts = [str(t) for t in cases.columns["generated"]]
    references = [str(t) for t in cases.columns["reference"]]
    assert set(references) == set(SAID)
    again = score_reports(texts, references, used=used)
    once = np.ones((len(texts), 1), np.float32)
    found = values(learnt)
    for metric, statistic in again.statistics().items():
        assert np.nanmean(statistic(once)) == pytest.approx(found[metric]), metric
        if metric.startswith("f1"):
            remade = statistic_of(metric, cases, learnt.undefined)
            assert remade is not None
            assert np.nanmean(remade(once)) == pytest.approx(found[metric]), metric
    for name, column in again.columns().items():
        assert np.array_equal(cases.columns[name], column), name
    for baseline in ("random_report", "most_common_report", "other_patient"):
        anew = score_reports([str(t) for t in cases.columns[baseline]], references)
        assert anew.means["cider_d"].mean() == pytest.approx(
            found[f"{baseline}_cider_d"]
        )
    gap, per_finding = WriteReport(**QUICK).difference(
        cases, cases, learnt.undefined, 0
    )
    assert gap.value == gap.low == gap.high == 0.0
    assert per_finding["Pleural Effusion"] == 0.0
    assert per_finding["Edema"] is None


def test_the_difference_is_the_headline_of_one_minus_the_other(
    learnt: Outcome,
) -> None:
    cases = learnt.cases
    silent = Cases(
        cases.uids,
        cases.patient_ids,
        cases.label_names,
        cases.labels,
        np.zeros_like(cases.scores),
    )
    gap, _ = WriteReport(**QUICK).difference(cases, silent, learnt.undefined, 0)
    assert gap.value == pytest.approx(learnt.measures[0].value)
    assert gap.low > 0


@pytest.mark.slow
def test_a_suite_stores_texts_and_compares_with_baselines(tmp_path: Path) -> None:
    how = extraction()
    baseline = PixelEncoder()
    pixels = Candidate(subject_of(baseline, "pixels", "floor", how), baseline)
    stub = StubEncoder()
    encoder = Candidate(
        subject_of(stub, "stub", "encoder", how), stub, (pixels.subject.identity,)
    )
    blind = Prevalence()
    nothing = Candidate(subject_of(blind, "prevalence", "floor", how), blind)
    store = ResultStore(tmp_path)
    protocol = WriteReport(**{**QUICK, "steps": (6, 6, 6), "evaluations": 1})
    rows = evaluate_task(
        [encoder, pixels, nothing],
        squares(),
        store,
        how,
        protocols=[protocol],
        replicates=10,
    )
    assert {row.encoder for row in rows} == {"stub", "pixels"}
    assert rows[0].metric == "f1_14_macro"
    assert rows[-1].metric == "f1_14_macro_difference"
    assert rows[-1].baseline_name == "pixels"
    cases = store.cases(store.read()[0])
    assert cases is not None
    assert list(cases.columns["reference"]) == [
        report.text for report in SquareSource("test", 40).reports()
    ]
    assert len(result_tables(store.read())) == 1
    assert "pixels" in verdicts(store.read())[0]


@pytest.mark.slow
def test_two_processes_and_any_batch_write_the_same() -> None:
    task = squares()
    protocol = WriteReport(**{**QUICK, "steps": (45, 45, 45), "evaluations": 2})
    one = measure(task, protocol, batch_size=7)
    two = measure(task, protocol, devices=2, batch_size=64)
    assert list(one.cases.columns["generated"]) == list(two.cases.columns["generated"])
    assert values(one) == pytest.approx(values(two), nan_ok=True)
    assert one.details["best_step"] == two.details["best_step"]


@pytest.mark.slow
def test_what_is_written_hangs_on_the_image_alone() -> None:
    source = SquareSource("test", 16)
    pieces = ReportPieces.train(SAID * 3, 320)
    torch.manual_seed(1)
    writer = Writer(micro(), pieces, WriteReport(**QUICK), 10.0)
    stir(writer.decoder)
    for beams in (1, 3):
        writer.beams = beams
        found = [
            [p["text"] for p in predict(writer, source, how)]
            for how in (extraction(batch_size=size) for size in (1, 7, 16))
        ]
        assert found[0] == found[1] == found[2]
        assert len(set(found[0])) > 3


def test_a_frozen_encoder_trains_the_decoder_alone() -> None:
    pieces = ReportPieces.train(SAID * 3, 320)
    frozen = Writer(micro(), pieces, WriteReport(**QUICK, frozen=True), 10.0).train()
    assert not frozen.encoder.training
    assert not any(p.requires_grad for p in frozen.encoder.parameters())
    trained = {id(p) for g in frozen.parameter_groups(1.0) for p in g["params"]}
    assert trained == {id(p) for p in frozen.decoder.parameters()}
    tuned = Writer(micro(), pieces, WriteReport(**QUICK), 10.0)
    # From the first step on, not from the first look at the validation split on.
    assert tuned.training
    assert tuned.encoder.training
    rates = {g["lr"] for g in tuned.parameter_groups(1e-2)}
    assert rates == {1e-2, 1e-3}
    assert all(p.requires_grad for p in tuned.encoder.parameters())
    # The stub's drop-out and one token only: nothing about it is special.
    Writer(StubEncoder(), pieces, WriteReport(**QUICK), 10.0)


def test_the_loss_is_the_sum_over_pieces_over_the_mean_length() -> None:
    pieces = ReportPieces.train(SAID * 3, 320)
    writer = Writer(micro(), pieces, WriteReport(**QUICK), 10.0).eval()
    source = SquareSource("train", 4)
    transform = writer.make_transform(train=True)
    examples = [transform(source[i], np.random.default_rng(0)) for i in range(4)]
    whole = writer.loss(writer.collate(examples)).detach()
    parts = [writer.loss(writer.collate(examples[i : i + 2])).detach() for i in (0, 2)]
    assert float(whole) == pytest.approx(float(sum(parts)) / 2, rel=1e-5)
    logits = writer.decoder(
        writer.memory(examples[0]["image"][None]),
        torch.tensor([[BEGIN, *examples[0]["ids"][:-1].tolist()]]),
    )
    chances = logits[0].detach().log_softmax(-1)
    ids = examples[0]["ids"]
    by_hand = -sum(float(chances[t, i]) for t, i in enumerate(ids) if i != PAD) / 10
    alone = float(writer.loss(writer.collate(examples[:1])).detach())
    assert alone == pytest.approx(by_hand, rel=1e-5)


# The decoder -------------------------------------------------------------------------


def decoder(length: int = 6, vocabulary: int = 7) -> ReportDecoder:
    torch.manual_seed(3)
    made = ReportDecoder(
        8, 4, vocabulary, length, width=16, heads=2, layers=2, feedforward=16
    )
    return stir(made).eval()


def stir(made: ReportDecoder) -> ReportDecoder:
    """Weights so large that an untrained decoder writes texts of all kinds."""
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.5 * torch.randn_like(weight))
    return made


def likelihood(made: ReportDecoder, memory: torch.Tensor, text: list[int]) -> float:
    """Log-likelihood of a text where `PAD` and `BEGIN` cannot be written."""
    ids = torch.tensor([[BEGIN, *text[:-1]]])
    logits = made(memory, ids)[0]
    logits[:, [PAD, BEGIN]] = -torch.inf
    return float(logits.log_softmax(-1)[range(len(text)), text].sum().detach())


def test_greedy_texts_are_what_teacher_forcing_ranks_first() -> None:
    made = decoder()
    memory = made.memory(torch.randn(5, 4, 8))
    texts = made.generate(memory)
    for case, text in enumerate(texts):
        kept = text[: int((text != PAD).sum())]
        before = torch.cat([torch.tensor([BEGIN]), kept[:-1]])[None]
        logits = made(memory[case : case + 1], before)[0]
        logits[:, [PAD, BEGIN]] = -torch.inf
        assert torch.equal(logits.argmax(-1), kept)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_likeliest_text(penalty: float) -> None:
    made = decoder(length=3, vocabulary=6)
    memory = made.memory(torch.randn(3, 4, 8))
    found = made.generate(memory, beams=64, penalty=penalty)
    free = [3, 4, 5]
    every = [[END]] + [[a, END] for a in free]
    every += [[a, b, c] for a in free for b in free for c in (END, *free)]
    for case in range(3):
        one = memory[case : case + 1]
        ranked = {
            tuple(text): likelihood(made, one, text) / len(text) ** penalty
            for text in every
        }
        best = max(ranked, key=lambda text: ranked[text])
        assert [i for i in found[case].tolist() if i != PAD] == list(best)


# Pieces ------------------------------------------------------------------------------


def test_every_text_comes_back_as_it_went_in() -> None:
    pieces = ReportPieces.train([*SAID] * 2, 320)
    for text in ("t12-l1: 1.5 cm (x-ray), 50%", "naïve 3 × 4", "[end] [pad]", "ünk"):
        assert pieces.decode(pieces.encode(text, 64)) == text
    assert pieces.encode("a", 4).tolist()[1:] == [END, PAD, PAD]
    # What is cut has no end: the decoder must not learn to stop there.
    assert END not in pieces.encode(SAID[0] * 9, 16)
    assert pieces.lengths(["a", SAID[0]])[0] == 2
    again = pickle.loads(pickle.dumps(pieces))
    assert again.encode(SAID[1], 40).tolist() == pieces.encode(SAID[1], 40).tolist()
    assert ReportPieces.train([*SAID[::-1]] * 2, 320).spec == pieces.spec
    with pytest.raises(TokenizerError, match="without text"):
        ReportPieces.train(["", " "], 320)
    with pytest.raises(ConfigError, match="more than 259"):
        ReportPieces.train(SAID, 100)


# Scores and baselines -------------------------------------------------------------------


def test_macro_f1_hangs_on_what_references_state_alone() -> None:
    references = ["Pleural effusion.", "Pleural effusion.", "Pneumothorax."]
    generated = ["Pleural effusion.", "Edema.", "Edema."]
    scores = score_reports(generated, references)
    once = np.ones((3, 1), np.float32)
    found = {k: np.nanmean(s(once)) for k, s in scores.statistics().items()}
    # Effusion: one of two found, F1 2/3; pneumothorax 0; edema is no row of its own.
    assert found["f1_14_macro"] == pytest.approx((2 / 3 + 0) / 2)
    # Both 1, invented 2, omitted 2.
    assert found["f1_14_micro"] == pytest.approx(2 / (2 + 2 + 2))
    assert found["f1_5_micro"] == pytest.approx(2 / (2 + 2 + 1))
    assert found["f1_5_macro"] == pytest.approx(2 / 3)
    assert scores.columns()["invented"].tolist() == [0, 1, 1]
    assert scores.columns()["omitted"].tolist() == [0, 1, 1]
    labels = dict(
        zip(FINDINGS, stated(["Possible edema. No effusion."])[0], strict=True)
    )
    assert np.isnan(labels["Edema"])
    assert labels["Pleural Effusion"] == 0


def test_baselines_know_nothing_of_the_images() -> None:
    train = ["Clear lungs."] * 3 + ["Edema."] * 2 + ["Mass."]
    generated = [f"text {i}" for i in range(6)]
    patients = ["a", "a", "b", "b", "c", "d"]
    baselines = baseline_texts(train, generated, patients, 0)
    assert baselines["most_common_report"] == ["Clear lungs."] * 6
    assert set(baselines["random_report"]) <= set(train)
    owner = dict(zip(generated, patients, strict=True))
    others = [owner[text] for text in baselines["other_patient"]]
    assert all(a != b for a, b in zip(others, patients, strict=True))
    assert set(others) == set(patients)
    assert baselines == baseline_texts(train, generated, patients, 0)
    assert baselines != baseline_texts(train, generated, patients, 1)
    assert "other_patient" not in baseline_texts(train, ["x"], ["a"], 0)
    # All equally common: the one nearest to the others.
    near = ["no acute disease in the chest", "no acute disease", "left rib fracture"]
    assert most_common_report(near, 0) == (near[1], 1)


def test_cut_references_reward_the_unknown_word() -> None:
    seen = ThroughVocabulary.of(["small effusion", "small mass", "small mass"], 2, 3)
    assert seen("Small rare mass, effusion") == "small unk mass"
    assert ThroughVocabulary()("As it is, 1.5 cm.") == "As it is, 1.5 cm."
    source = SquareSource("test", 4)
    references = ["granuloma near hilum"] * 2 + ["small mass"] * 2
    learnt = ["small mass"] * 3
    told: dict[str, list[float]] = {}
    for spelt in (None, ThroughVocabulary.of(learnt, 3, 60)):
        outcome = judge_reports(
            ["unk unk unk"] * 2 + ["small mass"] * 2,
            references,
            learnt,
            source,
            replicates=0,
            seed=0,
            spelt=spelt,
        )
        told.setdefault("bleu_1", []).append(values(outcome)["bleu_1"])
        assert list(outcome.cases.columns["reference"]) == references
    assert told["bleu_1"] == [pytest.approx(0.4), pytest.approx(1.0)]


def test_other_scorers_are_asked_only_where_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, package in (("chexbert", "f1chexbert"), ("radgraph_f1", "radgraph")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DependencyNotFoundError, match=f"install {package}"):
            measure(squares(), WriteReport(**QUICK, scorers=(name,)))

    class Bert:
        target_names = FINDINGS[::-1]

        def get_label(self, text: str, mode: str) -> list[int]:
            assert mode == "rrg"
            return [int(name.split()[0].lower() in text) for name in self.target_names]

    class Graph:
        def __init__(self, reward_level: str) -> None:
            assert reward_level == "partial"

        def __call__(self, hyps: list[str], refs: list[str]) -> tuple[Any, ...]:
            return 0.0, [float(h == r) for h, r in zip(hyps, refs, strict=True)], [], []

    monkeypatch.setitem(sys.modules, "f1chexbert", SimpleNamespace(F1CheXbert=Bert))
    monkeypatch.setitem(sys.modules, "radgraph", SimpleNamespace(F1RadGraph=Graph))
    from vlp_zoo.evaluation.reports.scorers import load_scorer

    scores = score_reports(
        ["edema", "fracture"],
        ["edema", "edema"],
        scorers={name: load_scorer(name) for name in ("chexbert", "radgraph_f1")},
    )
    once = np.ones((2, 1), np.float32)
    found = {k: np.nanmean(s(once)) for k, s in scores.statistics().items()}
    assert found["radgraph_f1"] == 0.5
    assert found["chexbert_f1_14_micro"] == pytest.approx(2 / 4)
    assert found["chexbert_f1_14_macro"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"section": "history"}, "section among body"),
        ({"select": "loss"}, "select cider_d"),
        ({"augment": "flip"}, "augment among none"),
        ({"scorers": ("bertscore",)}, "scorers among"),
        ({"beams": 0}, "beams of 1 or more"),
        ({"width": 30, "heads": 4}, "the heads divide"),
        ({"steps": (1, 2)}, "three numbers of steps"),
        ({"fraction": 0.0}, "label fraction"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        WriteReport(**settings)


def test_a_section_that_nobody_wrote_is_one_message() -> None:
    protocol = WriteReport(**QUICK, section="impression")
    with pytest.raises(ConfigError, match="another section"):
        measure(squares(), protocol)
    report = Report(text="all", findings="f", impression="i")
    assert [
        WriteReport(section=s).said(report) for s in ("body", "findings", "impression")
    ] == ["f i", "f", "i"]


@pytest.mark.slow
def test_real_reports_are_better_than_those_of_anybody() -> None:
    path = require_shared("realdata", "cxr_text", "pairs.csv")
    studies, _ = read_pairs(path, views=["FRONTAL"])
    # One frontal study per patient: any cut is a split by patient.
    places = {"train": range(1600), "val": range(1600, 1700)}
    places["test"] = range(1700, 2000)
    task = Task(
        "cxr_text",
        {s: studies.subset(list(rows), s) for s, rows in places.items()},
        gives=frozenset({"reports"}),
    )
    torch.manual_seed(0)
    encoder = ImageEncoder("tiny", patch_size=16).eval()
    how = extraction(batch_size=64)
    protocol = WriteReport(
        frozen=True,
        steps=(120, 120, 120),
        evaluations=3,
        learning_rate=1e-3,
        augment="none",
        vocabulary=1500,
        length=64,
        width=128,
        heads=4,
        layers=2,
        feedforward=256,
        replicates=200,
    )
    candidate = Candidate(subject_of(encoder, "random", "encoder", how), encoder)
    found = {m.metric: m for m in protocol.measure(candidate, task, 0, how).measures}
    # Two minutes with random weights teach what most reports say, not what they see.
    # That is above a random report, and the constant beside it shows how little it is.
    for metric in ("f1_14_micro", "rouge_l"):
        one = found[metric]
        assert one.low is not None
        assert one.low > one.details["floors"]["random_report"]
    cider = found["cider_d"]
    assert cider.value < cider.details["floors"]["most_common_report"]
