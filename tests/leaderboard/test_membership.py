from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.rows import BLANK
from vlp_zoo.evaluation.results import Cases, Result, ResultStore
from vlp_zoo.leaderboard.boards import Board, make_boards
from vlp_zoo.leaderboard.curves import make_curves
from vlp_zoo.leaderboard.provenance import provenance_of
from vlp_zoo.leaderboard.remade import statistic_of
from vlp_zoo.leaderboard.runs import read_runs
from vlp_zoo.leaderboard.text import board_title, caption, csv_text, markdown

LABELS = ("a", "b", "c")
TRUTH = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
# AUROC by counting pairs: a 4 of 4, b 2 of 4, c 2 of 3.
FIRST = [[0.9, 0.9, 0.5], [0.8, 0.2, 0.9], [0.2, 0.1, 0.1], [0.1, 0.3, 0.2]]
# a 3 of 4, b 2 of 4; c was not learnt.
SECOND = [[0.9, 0.1, np.nan], [0.1, 0.2, np.nan], [0.2, 0.9, np.nan]]
SECOND += [[0.05, 0.3, np.nan]]
LOST = {"c": "one class only in 9 training cases"}


def _run(seed: int, scores: Sequence[Any], value: float, **changes: Any) -> Result:
    cases = Cases(list("wxyz"), list("pqrs"), LABELS, TRUTH, np.array(scores))
    row = replace(
        BLANK,
        key=f"{changes.get('encoder', 'mine')} {seed}",
        encoder="mine",
        encoder_sha256=str(changes.get("encoder", "mine")),
        settings={"replicates": 10},
        fraction=0.01,
        seed=seed,
        value=value,
        n=4,
        n_patients=4,
        n_train=9,
        per_label=dict.fromkeys(LABELS, 0.5),
        commit="c0ffee",
        date="2026-01-01T00:00:00+00:00",
        cases=cases,
    )
    return replace(row, **changes)


FULL = _run(0, FIRST, (1 + 0.5 + 2 / 3) / 3)
LESS = _run(1, SECOND, (0.75 + 0.5) / 2, undefined=LOST)


def _boards(folder: Path, *rows: Result, replicates: int = 20) -> list[Board]:
    store = ResultStore(folder)
    for row in rows:
        store.add([row])
    return make_boards(read_runs([folder]), replicates=replicates)


def test_a_label_that_one_draw_lost_counts_in_none(tmp_path: Path) -> None:
    more = [replace(r, metric="macro_ece", value=0.4, cases=None) for r in (FULL, LESS)]
    (board,) = _boards(tmp_path, FULL, LESS, *more)
    (entry,) = board.entries
    # Without c the first draw has 1 and 1 / 2, the second 3 / 4 and 1 / 2.
    assert [each.value for each in entry.drawn] == pytest.approx([0.75, 0.625])
    score = entry.scores["macro_auroc"]
    assert score.value == pytest.approx(0.6875)
    assert score.sd == pytest.approx(0.125 / np.sqrt(2))
    assert (score.draws, score.covers) == (2, "draws and patients")
    # What cannot be made again is not averaged over different labels.
    assert entry.scores["macro_ece"].value is None
    assert board.shown == ()
    assert not {"disagrees"} & set(entry.flags)
    assert f"left out: c (draw 1: {LOST['c']})" in caption(board)
    assert "(draws 0, 1; 2 of 3 labels)" in board_title(board)
    first, second = provenance_of(board, entry)["runs"]
    assert first["value"].startswith("0.750 [")
    assert ("stored value", "0.722, over 3 of 3 labels") in first["facts"]
    assert second["value"] == "0.625"
    assert "stored value" not in dict(second["facts"])


def test_pairs_are_of_the_labels_that_count(tmp_path: Path) -> None:
    other = [_run(seed, FIRST, FULL.value or 0, encoder="other") for seed in (0, 1)]
    (board,) = _boards(tmp_path, FULL, LESS, *other)
    values = {e.name: e.scores["macro_auroc"].value for e in board.entries}
    assert values == pytest.approx({"other": 0.75, "mine": 0.6875})
    (pair,) = board.pairs
    assert (pair.first, pair.second) == ("other", "mine")
    assert pair.estimate.value == pytest.approx(0.0625)


def test_what_counts_the_same_labels_needs_no_predictions(tmp_path: Path) -> None:
    bare = _run(1, SECOND, 0.6, encoder="bare", undefined=LOST, cases=None)
    apart = _run(0, FIRST, 0.7, encoder="bare", cases=None)
    boards = _boards(tmp_path, FULL, LESS, bare, apart)
    assert len({board.key for board in boards}) == 2
    names = [{(e.name, e.seeds) for e in board.entries} for board in boards]
    assert {("mine", (0, 1)), ("bare", (1,))} in names
    assert {("bare", (0,))} in names


def test_where_nothing_is_left_draws_stay_apart(tmp_path: Path) -> None:
    rest = _run(1, FIRST, 2 / 3, undefined=dict.fromkeys("ab", "why"))
    last = _run(2, FIRST, 0.75, undefined={"c": "why"})
    boards = _boards(tmp_path, FULL, rest, last)
    assert [len(board.left_out) for board in boards] == [0, 2, 1]


def test_only_what_can_be_counted_anew_joins() -> None:
    cases = FULL.cases
    assert cases is not None
    truth = {"class": np.array([0, 1, 2, 0]), "predicted": np.array([0, 1, 2, 1])}
    columns = replace(cases, columns={**truth, "dice": np.ones(4)})
    for metric in ("balanced_accuracy", "dice"):
        assert statistic_of(metric, columns, ["a"], ["a"]) is not None
        assert statistic_of(metric, columns, ["a"], []) is None
    plain = replace(cases, columns={})
    assert statistic_of("macro_auroc", plain, ["a"], []) is not None
    assert statistic_of("macro_auroc", plain, LABELS, []) is None


def test_phrases_count_by_finding() -> None:
    columns: dict[str, Any] = {
        "finding": np.array(["mass", "mass", "edema", "rare"], object),
        "centre pointing": np.array([1.0, 0.0, 1.0, 0.0]),
    }
    empty = np.empty((4, 0))
    cases = Cases(
        *(list("wxyz"), list("pqrs"), (), empty.astype(np.float32), empty), columns
    )
    once = np.ones((4, 1), np.float32)
    found = statistic_of("centre_pointing", cases, ["rare"])
    assert found is not None
    # Half of the masses, the one edema.
    assert np.nanmean(found(once)) == pytest.approx(0.75)
    everything = statistic_of("centre_pointing", cases, ())
    assert everything is not None
    assert np.nanmean(everything(once)) == pytest.approx(0.5)
    assert statistic_of("finding", cases, ()) is None
    assert statistic_of("centre_pointing", cases, ["mass", "edema", "rare"]) is None


def test_predictions_of_other_numbers_are_not_compared(tmp_path: Path) -> None:
    wrong = replace(FULL, value=0.5, fraction=1.0)
    right = _run(0, FIRST[::-1], 0.2777778, encoder="right", fraction=1.0)
    (board,) = _boards(tmp_path, wrong, right)
    mine, other = sorted(board.entries, key=lambda entry: entry.name)
    assert "a macro_auroc of 0.722222" in mine.flags["disagrees"]
    assert mine.scores["macro_auroc"].value == 0.5
    assert "disagrees" not in other.flags
    # Their difference would be 0.444, that of the numbers shown is 0.222.
    assert not board.pairs


def test_the_newest_run_counts_and_the_others_are_told(tmp_path: Path) -> None:
    older = replace(FULL, fraction=1.0)
    newer = replace(older, commit="beef", date="2026-02-01T00:00:00+00:00")
    rows = {
        "old": older,
        # The same key, another commit.
        "same key": newer,
        # Another key: more replicates, but of older code.
        "other key": replace(
            older, key="k", settings={"replicates": 99}, date="2026-01-02"
        ),
    }
    for name, row in rows.items():
        ResultStore(tmp_path / name).add([row])
    folders = [tmp_path / name for name in rows]
    for order in (folders, folders[::-1], [*folders, *folders]):
        (board,) = make_boards(read_runs(order), replicates=0)
        ((run,),) = (entry.runs for entry in board.entries)
        assert run.head.commit == "beef"
        told = provenance_of(board, board.entries[0])["runs"][0]["others"]
        assert len(told) == 2
        assert "2026-01-02: macro AUROC 0.722, commit c0ffee, 99 replicates" in told[0]
        assert told[1].startswith("2026-01-01")
        assert csv_text([board]).count("macro_auroc") == 1
    # Of one commit the interval with more replicates says more.
    ResultStore(tmp_path / "d").add(
        [replace(newer, key="d", settings={"replicates": 500}, date="2026-01-31")]
    )
    (board,) = make_boards(read_runs([*folders, tmp_path / "d"]), replicates=0)
    assert board.entries[0].runs[0].head.key == "d"


def test_labels_of_a_run_that_does_not_count_are_not_left_out(tmp_path: Path) -> None:
    old = replace(LESS, seed=0, key="old", date="2025", commit="old", fraction=1.0)
    (board,) = _boards(tmp_path, old, replace(FULL, fraction=1.0))
    assert not board.left_out
    assert [run.head.key for run in board.entries[0].runs[0].others] == ["old"]


def test_tables_that_look_alike_say_what_differs(tmp_path: Path) -> None:
    rows = [
        replace(FULL, fraction=fraction, key=f"{least} {fraction}", settings=settings)
        for fraction in (0.5, 1.0)
        for least, settings in (
            ("none", {"replicates": 10}),
            ("more", {"replicates": 10, "min_positives": 10}),
        )
    ]
    boards = _boards(tmp_path, *rows)
    titles = [board_title(board) for board in boards]
    assert len(set(titles)) == 4
    assert sum("min_positives 10" in title for title in titles) == 2
    assert sum("min_positives not set" in title for title in titles) == 2
    heads = [line for line in markdown(boards).splitlines() if line.startswith("## ")]
    assert len(set(heads)) == 4
    assert "tables of the same preset by: min_positives 10" in " ".join(
        line for board in boards for line in caption(board)
    )
    assert len(make_curves(boards)) == 2
    (alone,) = _boards(tmp_path / "one", rows[0])
    assert not alone.apart


def test_a_metric_that_some_draws_lack_is_no_mean(tmp_path: Path) -> None:
    second = replace(FULL, seed=1, key="mine 1")
    more = replace(second, metric="macro_auprc", value=0.9, cases=None)
    (board,) = _boards(tmp_path, FULL, second, more)
    (entry,) = board.entries
    assert entry.scores["macro_auroc"].draws == 2
    assert entry.scores["macro_auprc"].value is None


def test_a_point_is_made_again_of_all_its_draws_or_not_at_all(tmp_path: Path) -> None:
    gone = _run(1, FIRST, FULL.value or 0, encoder="gone", cases=None)
    rows = [FULL, gone, replace(gone, seed=0, key="gone 0", cases=FULL.cases)]
    whole = [
        replace(LESS, seed=0, fraction=1.0, key=f"{name} whole", encoder_sha256=name)
        for name in ("mine", "gone")
    ]
    whole[1] = replace(whole[1], encoder="gone")
    (curve,) = make_curves(_boards(tmp_path, *rows, *whole))
    assert curve.left_out == ("c",)
    assert [f for f, _ in curve.points["mine"]] == [0.01, 1.0]
    assert [f for f, _ in curve.points["gone"]] == [1.0]
    assert curve.missing == ("gone",)
