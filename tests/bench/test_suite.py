from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.stubs import BlockSource, StubEncoder, block_task
from vlp_zoo.bench import suite
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.bench.table import result_tables, verdicts
from vlp_zoo.encoders.image import ImageEncoder
from vlp_zoo.errors import ConfigError, EncoderLoadError
from vlp_zoo.evaluation.baselines import (
    Acquisition,
    PixelEncoder,
    Prevalence,
    random_copy,
)
from vlp_zoo.evaluation.classification.finetune import FineTune
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.cache import FeatureCache
from vlp_zoo.evaluation.features.cost import BATCH, PASSES
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.protocol import Candidate
from vlp_zoo.evaluation.results import Result, ResultStore
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.evaluation.tasks import SPLITS, Task
from vlp_zoo.pixels import ACQUISITION

BASELINES = ("pixels", "acquisition", "prevalence")

DIFFERENCE = "macro_auroc_difference"


def _extraction() -> Extraction:
    return Extraction(progress=False, cache=FeatureCache(None))


def _evaluate(
    folder: Path, task: Task, encoder: StubEncoder, **options: object
) -> list[Result]:
    extraction = _extraction()
    candidates = candidates_of(["stub"], extraction, load=lambda spec: encoder)
    return evaluate_task(
        candidates,
        task,
        ResultStore(folder),
        extraction,
        replicates=50,
        **options,  # type: ignore[arg-type]
    )


def _by(results: list[Result], metric: str = "macro_auroc") -> dict[str, float | None]:
    return {row.encoder: row.value for row in results if row.metric == metric}


def test_encoder_and_baselines_share_a_table(tmp_path: Path) -> None:
    results = _evaluate(tmp_path, block_task(), StubEncoder())
    aurocs = _by(results)
    assert list(aurocs) == ["stub", "pixels", "acquisition", "prevalence"]
    assert aurocs["prevalence"] == 0.5
    assert aurocs["pixels"] is not None
    assert aurocs["pixels"] > 0.95
    gaps = {row.baseline_name: row for row in results if row.metric == DIFFERENCE}
    assert list(gaps) == ["pixels", "acquisition"]
    for baseline, gap in gaps.items():
        expected = (aurocs["stub"] or 0) - (aurocs[baseline or ""] or 0)
        assert gap.value == pytest.approx(expected)
        assert gap.low is not None
        assert gap.high is not None
        assert gap.value is not None
        assert gap.low <= gap.value <= gap.high


def test_prevalence_has_the_auprc_and_brier_of_the_base_rate(tmp_path: Path) -> None:
    task = block_task(200)
    results = _evaluate(tmp_path, task, StubEncoder())
    rate = task.splits["test"].labels.mean(0)
    trained = task.splits["train"].labels.mean(0)
    assert _by(results, "macro_auprc")["prevalence"] == pytest.approx(rate.mean())
    brier = rate * (1 - trained) ** 2 + (1 - rate) * trained**2
    assert _by(results, "macro_brier")["prevalence"] == pytest.approx(brier.mean())


def test_a_second_run_finds_everything(tmp_path: Path) -> None:
    encoder = StubEncoder()
    first = _evaluate(tmp_path, block_task(), encoder)
    seen, lines = encoder.images, ResultStore(tmp_path).path.read_text()
    task = block_task()
    again = _evaluate(tmp_path, task, encoder)
    # The others tell what an image costs: one, and batches of which two are not timed.
    assert encoder.images == seen == 300 + 1 + BATCH * (PASSES + 2)
    assert all(task.splits[split].read == 0 for split in SPLITS)  # type: ignore[attr-defined]
    assert ResultStore(tmp_path).path.read_text() == lines
    assert [(r.key, r.metric, r.value) for r in again] == [
        (r.key, r.metric, r.value) for r in first
    ]


def test_two_runs_at_once_do_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, ran = suite._run, []

    def run(cell: suite.Cell, *rest: object) -> list[Result]:
        ran.append(cell.key)
        if len(ran) == 1:  # in the middle of it a second process does all the others
            _evaluate(tmp_path, block_task(), StubEncoder())
        return plain(cell, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(suite, "_run", run)
    results = _evaluate(tmp_path, block_task(), StubEncoder())
    # Four runs; the one that both had begun is made by both.
    assert len(ran) == 5
    assert len(set(ran)) == len(_by(results)) == 4


def test_an_interrupted_run_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = suite._run, 0

    def stop(*args: object) -> list[Result]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(suite, "_run", stop)
    with pytest.raises(KeyboardInterrupt):
        _evaluate(tmp_path, block_task(), StubEncoder())
    assert {row.encoder for row in ResultStore(tmp_path).read()} == {"stub"}
    monkeypatch.setattr(suite, "_run", plain)
    encoder = StubEncoder()
    results = _evaluate(tmp_path, block_task(), encoder)
    assert encoder.images == 0
    assert len(_by(results)) == 4
    assert any(row.metric == DIFFERENCE for row in results)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["weights", "labels", "split", "replicates"])
def test_changed_inputs_are_computed_anew(tmp_path: Path, change: str) -> None:
    _evaluate(tmp_path, block_task(), StubEncoder())
    rows = len(ResultStore(tmp_path).read())
    task, encoder = block_task(), StubEncoder(seed=int(change == "weights"))
    if change == "labels":
        task.splits["train"].labels[0] = 1 - task.splits["train"].labels[0]
    elif change == "split":
        task = block_task(122)
    if change == "replicates":
        extraction = _extraction()
        candidates = candidates_of(["stub"], extraction, load=lambda spec: encoder)
        store = ResultStore(tmp_path)
        evaluate_task(candidates, task, store, extraction, replicates=51)
    else:
        _evaluate(tmp_path, task, encoder)
    assert len(ResultStore(tmp_path).read()) > rows


@pytest.mark.slow
def test_seeds_are_draws_of_patients_and_all_labels_need_one(tmp_path: Path) -> None:
    results = _evaluate(
        tmp_path, block_task(), StubEncoder(), fractions=(0.2, 1.0), seeds=(0, 1)
    )
    runs = {(row.fraction, row.seed) for row in results}
    assert runs == {(0.2, 0), (0.2, 1), (1.0, 0)}
    assert len(result_tables(results)) == 3


def test_random_init_is_a_baseline_of_each_architecture(tmp_path: Path) -> None:
    torch.manual_seed(3)
    encoder = ImageEncoder("micro").eval()
    extraction = _extraction()
    candidates = candidates_of(
        ["a", "b"], extraction, load=lambda spec: encoder, random_draws=1
    )
    names = [c.subject.name for c in candidates]
    # One set of weights under two names is one encoder.
    assert names == ["a", "random init of a", *BASELINES]
    state = torch.random.get_rng_state()
    one, two = random_copy(encoder), random_copy(encoder)
    assert torch.equal(torch.random.get_rng_state(), state)
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert any(
        not torch.equal(ours, theirs)
        for ours, theirs in zip(one.parameters(), encoder.parameters(), strict=True)
    )
    assert one.preprocessing == encoder.preprocessing
    task = block_task(60)
    results = evaluate_task(
        candidates, task, ResultStore(tmp_path), extraction, replicates=20
    )
    gaps = {row.baseline_name for row in results if row.metric == DIFFERENCE}
    assert gaps == {"random init of a", "pixels", "acquisition"}
    # Both vits, the pixels: one reading.
    assert all(task.splits[s].read == len(task.splits[s]) for s in SPLITS)  # type: ignore[attr-defined]
    baseline = candidates_of(
        ["r"], extraction, load=lambda spec: random_copy(encoder), random_draws=1
    )
    assert [c.subject.name for c in baseline] == ["r", *BASELINES]
    alone = candidates_of(["a"], extraction, baselines=False, load=lambda spec: encoder)
    assert [c.subject.name for c in alone] == ["a"]


def test_what_a_loader_raises_becomes_one_message() -> None:
    def fail(spec: str) -> ImageEncoder:
        raise OSError("no route to host")

    with pytest.raises(EncoderLoadError, match="no route to host"):
        candidates_of(["timm:x"], _extraction(), load=fail)


def test_the_pixel_baseline_is_the_image_whatever_the_pooling() -> None:
    source = BlockSource("val", 2)
    for pooling in ("global", "mean"):
        extraction = Extraction(
            progress=False, pooling=pooling, cache=FeatureCache(None)
        )
        features = extraction.get(PixelEncoder(), source)
        assert features.shape == (2, 1024)
        rows = features.reshape(2, 32, 32)
        # Column 1 of the blocks becomes columns 4 to 7.
        expected = source.images[:, :, 1].mean(1) / 255
        np.testing.assert_allclose(rows[:, :, 5].mean(1), expected, atol=0.15)
        assert not extraction.get(Prevalence(), source).any()


def _row(results: list[Result], **changes: object) -> list[Result]:
    from dataclasses import replace

    return [
        replace(row, **changes) if row.metric == DIFFERENCE else row  # type: ignore[arg-type]
        for row in results
    ]


def test_verdicts_claim_only_what_the_interval_shows(tmp_path: Path) -> None:
    results = _evaluate(tmp_path, block_task(), StubEncoder())
    above = verdicts(_row(results, low=0.01, high=0.2))
    assert above[0].count("NOT") == 0
    assert "above pixels and acquisition (" in above[0]
    for low in (-0.01, 0.0, None):
        below = verdicts(_row(results, low=low, high=0.2))
        assert "NOT shown to be above pixels or acquisition (" in below[0]
    bare = [row for row in results if row.metric != DIFFERENCE]
    assert "compared with no baseline" in verdicts(bare)[0]


def test_where_nothing_could_be_judged_there_is_advice(tmp_path: Path) -> None:
    results = _evaluate(tmp_path, block_task(), StubEncoder())
    none = [
        replace(row, value=None, undefined={"edema": "2 positives in test"})
        for row in results
        if row.metric == "macro_auroc"
    ]
    (line,) = verdicts(none)[:1]
    assert "edema: 2 positives in test" in line
    assert "--min-positives" in line
    assert "NOT" not in line


def test_equal_weights_that_see_images_differently_are_two_encoders() -> None:
    def load(spec: str) -> ImageEncoder:
        torch.manual_seed(1)
        return ImageEncoder("micro", mean=[float(spec)] * 3).eval()

    found = candidates_of(
        ["0.1", "0.9", "0.1"], _extraction(), load=load, random_draws=1
    )
    assert [candidate.subject.name for candidate in found] == [
        *("0.1", "0.9", "random init of 0.1", "random init of 0.9"),
        *BASELINES,
    ]
    assert found[0].subject.sha256 == found[1].subject.sha256
    assert found[0].baselines != found[1].baselines


def test_equal_weights_that_pool_in_two_ways_are_never_one_encoder(
    tmp_path: Path,
) -> None:
    def load(spec: str) -> ImageEncoder:
        torch.manual_seed(1)
        return ImageEncoder("micro", pooling=spec, mean=[0.5] * 3).eval()

    extraction = _extraction()
    with pytest.raises(ConfigError, match="same weights pooled by avg in the encoder"):
        candidates_of(["avg", "token"], extraction, load=load)
    task = block_task()
    store = ResultStore(tmp_path)
    one, other = (
        candidates_of([spec], extraction, baselines=False, load=load)
        for spec in ("avg", "token")
    )
    for candidates in (one, one):
        evaluate_task(candidates, task, store, extraction, replicates=0)
    with pytest.raises(ConfigError, match=r"results\.jsonl"):
        evaluate_task(other, task, store, extraction, replicates=0)
    # Nor are kept features of the one given to the other.
    source = task.splits["val"]
    first, second = (
        extraction.get(candidates[0].module, source) for candidates in (one, other)
    )
    assert not np.allclose(first, second)


@pytest.mark.parametrize("colour", [False, True])
def test_what_the_size_of_a_file_tells_is_a_baseline(colour: bool) -> None:
    task = block_task(60, labels=1)
    for source in task.splits.values():
        sick = source.labels[:, 0] == 1
        rng = np.random.default_rng(len(source))
        # Noise of two sizes: the hospitals of the sick and of the healthy.
        source.images = [  # type: ignore[attr-defined]
            rng.integers(0, 255, (24 + 8 * int(s), 24, *([3] * colour)), np.uint8)
            for s in sick
        ]
    extraction = _extraction()
    module = Acquisition()
    subject = subject_of(module, "acquisition", "floor", extraction)
    candidate = Candidate(subject, module)
    outcome = LinearProbe(replicates=0).measure(candidate, task, 0, extraction)
    assert outcome.measures[0].value > 0.95
    assert "no network" in (FineTune().refusal(candidate, task) or "")
    # Beside an encoder that sees squares of pixels each image is still read once.
    both = extraction.get_all([StubEncoder(), module], task.splits["train"])
    assert [features.shape for features in both] == [(60, 16), (60, len(ACQUISITION))]
