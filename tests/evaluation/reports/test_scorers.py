"""Scorers of other packages: RadEval by its own signature, plug-ins, stored texts."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.evaluation.reports.test_generation import (
    QUICK,
    SAID,
    SquareSource,
    extraction,
    micro,
    squares,
)
from vlp_zoo.bench.suite import Candidate, evaluate_task
from vlp_zoo.cli import main
from vlp_zoo.errors import (
    ConfigError,
    DependencyNotFoundError,
    UnknownNameError,
)
from vlp_zoo.evaluation.reports.generation import WriteReport
from vlp_zoo.evaluation.reports.judging import judge_reports
from vlp_zoo.evaluation.reports.scorers import (
    load_scorer,
    scorer_names,
    scorer_version,
)
from vlp_zoo.evaluation.reports.scores import BASELINES, FINDINGS
from vlp_zoo.evaluation.results import ResultStore
from vlp_zoo.evaluation.statistics.intervals import case_means, interval
from vlp_zoo.evaluation.subject import subject_of
from vlp_zoo.leaderboard.boards import make_boards
from vlp_zoo.leaderboard.runs import read_runs

RADEVAL = sorted(name for name in scorer_names() if name.startswith("radeval"))
SHARED_WORDS = """
import numpy as np
def load():
    return score
def score(generated, references):
    pairs = zip(generated, references, strict=True)
    words = [(set(a.split()), set(b.split())) for a, b in pairs]
    return np.array([len(a & b) / len(a | b) for a, b in words])
def flat():
    return lambda generated, references: np.zeros(3)
"""


class Labeller:
    TARGET_NAMES = FINDINGS[::-1]

    def get_labels(
        self, reports: list[str], mode: str = "rrg", on_batch_done: Any = None
    ) -> list[list[int]]:
        return [
            [int(name.split()[0].lower() in text) for name in self.TARGET_NAMES]
            for text in reports
        ]


class RadEval:
    """What release 2.2.1 shows; its scores tell which of the texts came first."""

    def __init__(
        self,
        metrics: Any = None,
        openai_api_key: str | None = None,
        gemini_api_key: str | None = None,
        per_sample: bool = False,
        detailed: bool = False,
        show_progress: bool = True,
        cache_dir: str | None = None,
    ) -> None:
        warnings.filterwarnings("ignore")
        assert per_sample
        assert not show_progress
        (self.metric,) = metrics
        if self.metric == "green":
            raise Exception("Cannot download the file")  # noqa: TRY002  # as it does
        self.f1chexbert_scorer = Labeller()

    def __call__(self, refs: list[str], hyps: list[str]) -> dict[str, list[Any]]:
        assert isinstance(refs, list)
        assert isinstance(hyps, list)
        values: list[Any] = [len(r) + 10 * len(h) for r, h in zip(refs, hyps)]  # noqa: B905
        if self.metric == "ratescore":
            values[0] = None
        name = "radgraph_partial" if self.metric == "radgraph" else self.metric
        return {name: values, "radgraph_simple": [0.0] * len(refs)}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("radeval")
    module.RadEval = RadEval  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "radeval", module)
    monkeypatch.delitem(sys.modules, "RadEval", raising=False)


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with two scorers, one of which gives nonsense."""
    place = tmp_path / "site"
    about = place / "shared_words-1.5.dist-info"
    about.mkdir(parents=True)
    (place / "shared_words.py").write_text(SHARED_WORDS)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: shared_words\nVersion: 1.5\n"
    )
    (about / "entry_points.txt").write_text(
        "[vlp_zoo.report_metrics]\njaccard = shared_words:load\n"
        "flat = shared_words:flat\n"
    )
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.delitem(sys.modules, "shared_words", raising=False)
    importlib.invalidate_caches()


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    """A run of report generation as it is stored, its texts made by hand."""
    source = SquareSource("test", 40)
    references = [report.text for report in source.reports()]
    generated = [SAID[(kind + i % 4 // 3) % 3] for i, kind in enumerate(source.kinds)]
    outcome = judge_reports(
        generated, references, list(SAID), source, replicates=20, seed=0
    )
    how, encoder = extraction(), micro()
    candidate = Candidate(subject_of(encoder, "mine", "encoder", how), encoder)
    store = ResultStore(tmp_path / "bench")
    store.add(WriteReport(**QUICK).rows(outcome, candidate, squares(), 0))
    return store


@pytest.mark.usefixtures("fake")
def test_radeval_gives_a_value_for_each_case() -> None:
    names = ("bertscore", "chexbert", "green", "radgraph", "ratescore")
    assert [f"radeval_{name}" for name in names] == RADEVAL
    before = list(warnings.filters)
    for name in ("radeval_bertscore", "radeval_radgraph"):
        found = load_scorer(name)(["ab", "c"], ["a", "abc"])
        assert found.tolist() == [21.0, 13.0]
    assert np.isnan(load_scorer("radeval_ratescore")(["ab", "c"], ["a", "b"])).tolist()[
        0
    ]
    counts = load_scorer("radeval_chexbert")(["edema", "fracture"], ["edema", "edema"])
    assert counts.shape == (3, 2, 14)
    edema, fracture = (FINDINGS.index(name) for name in ("Edema", "Fracture"))
    assert counts[:, :, edema].tolist() == [[1, 0], [0, 0], [0, 1]]
    assert counts[:, :, fracture].tolist() == [[0, 0], [0, 1], [0, 0]]
    # What it silences for everybody stays as it was.
    assert warnings.filters == before
    # Within RadGraph it calls itself by another spelling.
    assert sys.modules["RadEval"] is sys.modules["radeval"]


@pytest.mark.usefixtures("fake")
def test_missing_weights_are_one_message() -> None:
    with pytest.raises(
        DependencyNotFoundError, match="the weights of radeval"
    ) as found:
        load_scorer("radeval_green")
    assert "Cannot download the file" in str(found.value)


def test_a_missing_package_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "radeval", None)
    for name in RADEVAL:
        with pytest.raises(DependencyNotFoundError, match=r"vlp-zoo\[radeval\]"):
            load_scorer(name)


def test_the_real_radeval_has_the_signature_of_the_fake() -> None:
    real = pytest.importorskip("radeval").RadEval
    for method in ("__init__", "__call__"):
        asked, there = (
            list(inspect.signature(getattr(each, method)).parameters)
            for each in (RadEval, real)
        )
        assert asked == there
    evaluator = real(metrics=["bleu"], per_sample=True, show_progress=False)
    found = evaluator(refs=["no effusion seen", "edema"], hyps=["no effusion", "mass"])
    assert len(found["bleu"]) == 2


@pytest.mark.usefixtures("plug_in")
def test_scorers_of_other_packages_are_known_by_entry_points() -> None:
    assert {"jaccard", "flat"} <= set(scorer_names())
    assert scorer_version("jaccard") == "shared_words 1.5"
    assert load_scorer("jaccard")(["a b"], ["a c"]).tolist() == [pytest.approx(1 / 3)]
    assert WriteReport(**QUICK, scorers=("jaccard",)).scorers == ("jaccard",)
    with pytest.raises(ConfigError, match=r"of the scorer flat 2 values"):
        load_scorer("flat")(["a", "b"], ["a", "b"])
    with pytest.raises(UnknownNameError, match="jaccard"):
        load_scorer("jacard")


@pytest.mark.usefixtures("plug_in")
def test_stored_texts_are_scored_with_intervals_and_baselines(
    results: ResultStore, capsys: pytest.CaptureFixture[str]
) -> None:
    before = results.path.read_bytes()
    words = ["score", "--results", str(results.folder)]
    assert main([*words, "--scorer", "jaccard"]) == 0
    assert "mine on squares, vlp-rrg: jaccard 0." in capsys.readouterr().out
    after = results.path.read_bytes()
    assert after.startswith(before)
    rows = [json.loads(line) for line in after.removeprefix(before).splitlines()]
    assert [row["metric"] for row in rows] == [
        "jaccard",
        *(f"{baseline}_jaccard" for baseline in BASELINES),
    ]
    (run,) = read_runs([results.folder])
    cases = run.cases()
    assert cases is not None
    score = load_scorer("jaccard")
    texts = [list(cases.columns[name]) for name in ("generated", "reference")]
    values = score(*texts)
    assert 0 < values.mean() < 1
    assert cases.columns["jaccard"].tolist() == values.tolist()
    wanted = interval(
        case_means(values), cases.patient_ids, replicates=QUICK["replicates"], seed=0
    )
    row = run.rows["jaccard"]
    assert (row.value, row.low, row.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )
    assert row.details["scored_by"] == {"jaccard": "shared_words 1.5"}
    assert row.details["chance"] == max(row.details["floors"].values())
    # One run: a board shows it beside the others, made again from its cases.
    (board,) = make_boards([run], replicates=20)
    (entry,) = board.entries
    assert not {"disagrees", "other cases"} & set(entry.flags)
    assert entry.scores["jaccard"].value == pytest.approx(wanted.value)
    assert board.headline == "f1_14_macro"
    # Asked again, it is there; and the run is found by bench as it was.
    assert main([*words, "--scorer", "jaccard"]) == 0
    assert "jaccard is there" in capsys.readouterr().err
    assert results.path.read_bytes() == after


@pytest.mark.usefixtures("plug_in")
def test_what_was_scored_before_one_fails_is_kept(
    results: ResultStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "radeval", None)
    words = ["--scorer", "jaccard", "--scorer", "radeval_radgraph"]
    assert main(["score", "--results", str(results.folder), *words]) == 1
    said = capsys.readouterr()
    assert "vlp-zoo[radeval]" in said.err
    assert "Traceback" not in said.err
    (run,) = read_runs([results.folder])
    assert "jaccard" in run.rows
    assert {"f1_14_macro", "cider_d", "bleu_4"} <= run.rows.keys()


@pytest.mark.usefixtures("fake")
def test_findings_and_cases_without_a_score(results: ResultStore) -> None:
    words = ["--scorer", "radeval_chexbert", "--scorer", "radeval_ratescore"]
    assert main(["score", "--results", str(results.folder), *words]) == 0
    (run,) = read_runs([results.folder])
    assert {"radeval_chexbert_f1_14_macro", "radeval_chexbert_f1_5_micro"} <= {
        *run.rows
    }
    cases = run.cases()
    assert cases is not None
    assert "radeval_chexbert_invented" in cases.columns
    row = run.rows["radeval_ratescore"]
    assert row.details["cases_without_score"] == 1
    assert "cases_without_score" not in run.rows["radeval_chexbert_f1_14_macro"].details


@pytest.mark.usefixtures("fake")
def test_a_run_that_was_scored_is_not_computed_anew(results: ResultStore) -> None:
    words = ["score", "--results", str(results.folder), "--scorer", "radeval_bertscore"]
    assert main(words) == 0
    content = results.path.read_bytes()
    how, encoder = extraction(), micro()
    candidate = Candidate(subject_of(encoder, "mine", "encoder", how), encoder)
    found = evaluate_task(
        [candidate],
        squares(),
        results,
        how,
        protocols=[WriteReport(**QUICK)],
        replicates=20,
    )
    assert results.path.read_bytes() == content
    assert "radeval_bertscore" in {row.metric for row in found}


def test_no_texts_and_no_scorer_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score"]) == 1
    assert "at least one --scorer" in capsys.readouterr().err
    assert main(["score", "--scorer", "chexbert", "--results", str(tmp_path)]) == 1
    assert "results.jsonl" in capsys.readouterr().err
