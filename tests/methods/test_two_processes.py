"""Two processes make the gradients of one, whatever is left out, in accumulation too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.methods import paired, test_clip, test_gloria, test_mae
from tests.methods.asg import test_asg
from tests.methods.ecamp import test_ecamp
from tests.methods.imitate import test_imitate
from tests.methods.place import test_place
from vlp_zoo.encoders.tokenizer import ReportTokenizer

CASES: list[tuple[str, dict[str, Any]]] = [
    ("asg", {}),
    ("asg", {"ira_weight": 0.0}),
    ("asg", {"arsa_weight": 0.0}),
    ("asg", {"irl_weight": 0.0}),
    ("asg", {"erl_weight": 0.0}),
    ("clip", {}),
    ("clip", {"image_weight": 0.0}),
    ("clip", {"image_weight": 1.0}),
    ("ecamp", {}),
    ("ecamp", {"mim_weight": 0.0}),
    ("ecamp", {"res_weight": 0.0}),
    ("ecamp", {"mlm_weight": 0.0, "window_source": "centre"}),
    ("gloria", {}),
    ("gloria", {"local_weight": 0.0}),
    ("gloria", {"global_weight": 0.0}),
    ("imitate", {}),
    ("imitate", {"view_weight": 0.0}),
    ("imitate", {"smoothing": "none"}),
    ("mae", {}),
    ("mae", {"norm_pix": False}),
    ("place", {}),
    ("place", {"itc_weight": 0.0}),
    ("place", {"pcma_weight": 0.0}),
    ("place", {"cce_weight": 0.0}),
    ("place", {"diversity_weight": 0.0}),
]


def build(name: str, flags: dict[str, Any]) -> tuple[Any, Any]:
    """A small module in double precision, and what makes its batches."""
    if name == "ecamp":
        tokenizer = ReportTokenizer.train(paired.REPORTS * 5, 160)
        return test_ecamp.build(tokenizer, text_dropout=0.0, **flags), test_ecamp
    if name == "imitate":
        return test_imitate.build(**flags), test_imitate
    files: dict[str, Any] = {
        "asg": test_asg,
        "clip": test_clip,
        "gloria": test_gloria,
        "mae": test_mae,
    }
    return files.get(name, test_place).build(**flags), paired


def batch_of(module: Any, file: Any, count: int) -> Any:
    studies: Any = count
    if file is test_imitate:
        studies = [file.study(index) for index in range(count)]
    batch = file.batch_of(module, studies)
    # Batch norm makes some gradients small sums of large numbers.
    for field in module.image_fields:
        batch[field] = batch[field].double() / 255
    return batch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags"),
    CASES,
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "all",
)
def test_two_processes_make_the_gradients_of_one(
    name: str,
    flags: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLPZOO_CACHE", str(tmp_path / "cache"))
    module, file = build(name, flags)
    module.double().train()
    # The second batch is a smaller one, as at the end of an epoch.
    batches = [batch_of(module, file, count) for count in (8, 4)]
    (tmp_path / "meet").mkdir()
    paired.assert_two_processes_equal_one(
        module, batches[0], tmp_path / "meet", batches[1]
    )
