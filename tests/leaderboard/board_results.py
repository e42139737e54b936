"""Results of two encoders and their baselines, written by the real suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from tests.evaluation.stubs import StubEncoder, block_task
from vlp_zoo.bench.suite import candidates_of, evaluate_task
from vlp_zoo.evaluation.classification.knn import NearestNeighbours
from vlp_zoo.evaluation.classification.linear_probe import LinearProbe
from vlp_zoo.evaluation.features.extraction import Extraction
from vlp_zoo.evaluation.results import ResultStore

__all__ = ["HOSTILE", "stub_results"]

HOSTILE = "<script>document.title='owned'</script>|`x`"


def stub_results(folder: Path, **settings: Any) -> ResultStore:
    """Fractions 0.5 and 1, draws 0 and 1, ``vlp-linear`` and ``vlp-knn``.

    The encoders are called "wide" and `HOSTILE`; the first is the better one.
    """
    made: dict[str, nn.Module] = {
        "wide": StubEncoder(32, seed=1),
        HOSTILE: StubEncoder(2, seed=2),
    }
    extraction = Extraction(batch_size=64, num_workers=0, device="cpu")
    store = ResultStore(folder)
    evaluate_task(
        candidates_of(list(made), extraction, load=made.__getitem__),
        block_task(settings.pop("n", 60), **settings),
        store,
        extraction,
        protocols=[
            LinearProbe(c_grid=(0.01, 1.0), known_issues=("too <b>small</b>",)),
            NearestNeighbours(k_grid=(1, 5)),
        ],
        fractions=(0.5, 1.0),
        seeds=(0, 1),
        replicates=40,
    )
    return store
