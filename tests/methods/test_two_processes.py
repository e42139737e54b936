"""Two processes make the gradients of one, whatever is left out, in accumulation too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.methods import paired
from tests.methods.cases import BUILDERS
from tests.methods.ecamp import test_ecamp
from tests.methods.imitate import test_imitate

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


def batch_of(name: str, module: Any, count: int) -> Any:
    if name == "imitate":
        studies = [test_imitate.study(index) for index in range(count)]
        batch = test_imitate.batch_of(module, studies)
    else:
        batch = (test_ecamp if name == "ecamp" else paired).batch_of(module, count)
    # Batch norm makes some gradients small sums of large numbers.
    for field in batch.keys() & set(module.image_fields):
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
    still = {"text_dropout": 0.0} if name == "ecamp" else {}
    module = BUILDERS[name](**still, **flags).double().train()
    # The second batch is a smaller one, as at the end of an epoch.
    batches = [batch_of(name, module, count) for count in (8, 4)]
    (tmp_path / "meet").mkdir()
    paired.assert_two_processes_equal_one(
        module, batches[0], tmp_path / "meet", batches[1]
    )
