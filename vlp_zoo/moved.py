"""Where modules stood in 0.1 and 0.2: what imports them there goes on working, with a warning."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

__all__ = ["MOVED", "follow"]

_JUDGED = "beyond_ranking calibration grade_metrics operating_points"
_SOLVED = "logistic softmax"
_FOLDERS: dict[tuple[str, str], str] = {
    ("cli.", "bench."): "encoders joint pace tasks",
    ("cli.bench_", "cli.bench."): "options plan",
    ("cli.", "cli.encoder."): "convert embed export show",
    ("cli.", "cli.results."): "compare leaderboard",
    ("data.phantom.", "data.phantom.chest."): (
        "acquisition anatomy boilerplate devices facts findings frontal history lateral "
        "mimic_layout phrases radiograph reports sheet"
    ),
    ("data.phantom_fundus.", "data.phantom.fundus."): (
        "anatomy camera diagnoses drawing facts history lesions phrases reports retina "
        "sheet"
    ),
    ("data.", "data.store."): "prepare raw_sets",
    ("data.store_", "data.store."): "index verify",
    ("encoders.", "encoders.published."): (
        "adapted medklip open_clip_models timm_files transformers_models"
    ),
    ("evaluation.", "evaluation.classification."): (
        "classes classifier few_shot finetune knn linear_probe shortcuts"
    ),
    ("evaluation.", "evaluation.classification.metrics."): _JUDGED,
    ("evaluation.", "evaluation.classification.solvers."): _SOLVED,
    ("evaluation.classification.", "evaluation.classification.metrics."): _JUDGED,
    ("evaluation.classification.", "evaluation.classification.solvers."): _SOLVED,
    ("evaluation.box_", "evaluation.detection."): "cases metrics",
    ("evaluation.", "evaluation.training."): "decoders learner",
    ("evaluation.", "evaluation.features."): "devices encoder_input joint",
    ("evaluation.", "evaluation.segmentation."): "mask_truth segmenter",
    ("evaluation.", "evaluation.statistics."): "metric_names metrics subgroups",
    ("evaluation.", "bench."): "presets suite table",
    ("evaluation.report_", "evaluation.reports."): (
        "decoder generation judging pieces scores writer"
    ),
    ("methods.asg_", "methods.asg."): (
        "losses networks options pictures regions transform"
    ),
    ("methods.ecamp_", "methods.ecamp."): (
        "networks options pictures text text_marks text_rules window"
    ),
    ("methods.imitate_", "methods.imitate."): (
        "losses networks options pictures schedules views"
    ),
    ("methods.paired_", "methods.paired."): "sentences towers",
    ("methods.place_", "methods.place."): "matching networks options pictures",
    ("reports.", "reports.words."): (
        "alignment anatomy cues entities headings lexicon notation region_atlas tags"
    ),
    ("reports.", "reports.contexts."): "chat context endpoint prompt",
}
"""How module paths below ``vlp_zoo`` began and begin now, and the ends that they kept."""

_RENAMED = {
    "data.phantom.chest.pairs_layout": "data.phantom.table",
    "data.phantom.fundus.pairs_layout": "data.phantom.table",
    "data.phantom.pairs_layout": "data.phantom.table",
    "data.phantom_fundus": "data.phantom.fundus",
    "data.phantom_fundus.fundus": "data.phantom.fundus.source",
    "data.phantom_fundus.pairs_layout": "data.phantom.table",
    "data.prepare_slice": "data.store.slices",
    "encoders.foreign": "encoders.published.official",
    "encoders.official_networks": "encoders.published.networks",
    "evaluation.comparison": "evaluation.statistics.significance",
    "evaluation.detector": "evaluation.detection.detector",
    "evaluation.feature_cache": "evaluation.features.cache",
    "evaluation.floors": "evaluation.baselines",
    "evaluation.grounding_metrics": "evaluation.grounding.metrics",
    "evaluation.overlap_metrics": "evaluation.segmentation.metrics",
    "evaluation.prompts": "evaluation.alignment.prompts",
    "evaluation.retrieval": "evaluation.alignment.ranks",
    "evaluation.schedules": "schedules",
    "evaluation.similarity_maps": "evaluation.grounding.similarity_maps",
    "evaluation.text_metrics": "evaluation.reports.text_metrics",
    "evaluation.training.schedules": "schedules",
    "evaluation.zero_shot": "evaluation.alignment.prompts",
    "methods.asg_loss_parity": "parity.asg.losses",
    "methods.asg_parity": "parity.asg.replay",
    "methods.asg_pipeline_parity": "parity.asg.pipeline",
    "methods.asg_recording": "parity.asg.recording",
    "methods.comparison": "parity.comparison",
    "methods.ecamp_flags": "methods.ecamp.options",
    "methods.ecamp_parity": "parity.ecamp.replay",
    "methods.ecamp_text_parity": "parity.ecamp.text",
    "methods.imitate_loss_parity": "parity.imitate.losses",
    "methods.imitate_parity": "parity.imitate.replay",
    "methods.imitate_recording": "parity.imitate.recording",
    "methods.imitate_text": "methods.paired.frozen_text",
}

MOVED: dict[str, str] = {
    f"vlp_zoo.{old}": f"vlp_zoo.{new}"
    for old, new in (
        *_RENAMED.items(),
        *(
            (before + name, now + name)
            for (before, now), names in _FOLDERS.items()
            for name in names.split()
        ),
    )
}
"""Old module path to the new one."""


class _Alias(Loader):
    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        place = MOVED[module.__name__]
        warnings.warn(
            f"{module.__name__} is now {place}", DeprecationWarning, stacklevel=2
        )
        # The import system hands out what stands here when this returns.
        sys.modules[module.__name__] = importlib.import_module(place)


class _Finder(MetaPathFinder):
    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, _Alias()) if fullname in MOVED else None


def follow() -> None:
    """Let old module paths lead to the new modules."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # First: below a folder that moved, files would be found and imported twice.
        sys.meta_path.insert(0, _Finder())
