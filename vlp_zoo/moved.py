"""Where modules stood in 0.1: what imports them there goes on working, with a warning."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

__all__ = ["MOVED", "follow"]

MOVED: dict[str, str] = {
    "vlp_zoo.cli.encoders": "vlp_zoo.bench.encoders",
    "vlp_zoo.cli.joint": "vlp_zoo.bench.joint",
    "vlp_zoo.cli.pace": "vlp_zoo.bench.pace",
    "vlp_zoo.cli.tasks": "vlp_zoo.bench.tasks",
    "vlp_zoo.data.phantom.acquisition": "vlp_zoo.data.phantom.chest.acquisition",
    "vlp_zoo.data.phantom.anatomy": "vlp_zoo.data.phantom.chest.anatomy",
    "vlp_zoo.data.phantom.boilerplate": "vlp_zoo.data.phantom.chest.boilerplate",
    "vlp_zoo.data.phantom.devices": "vlp_zoo.data.phantom.chest.devices",
    "vlp_zoo.data.phantom.facts": "vlp_zoo.data.phantom.chest.facts",
    "vlp_zoo.data.phantom.findings": "vlp_zoo.data.phantom.chest.findings",
    "vlp_zoo.data.phantom.frontal": "vlp_zoo.data.phantom.chest.frontal",
    "vlp_zoo.data.phantom.history": "vlp_zoo.data.phantom.chest.history",
    "vlp_zoo.data.phantom.lateral": "vlp_zoo.data.phantom.chest.lateral",
    "vlp_zoo.data.phantom.mimic_layout": "vlp_zoo.data.phantom.chest.mimic_layout",
    "vlp_zoo.data.phantom.pairs_layout": "vlp_zoo.data.phantom.chest.pairs_layout",
    "vlp_zoo.data.phantom.phrases": "vlp_zoo.data.phantom.chest.phrases",
    "vlp_zoo.data.phantom.radiograph": "vlp_zoo.data.phantom.chest.radiograph",
    "vlp_zoo.data.phantom.reports": "vlp_zoo.data.phantom.chest.reports",
    "vlp_zoo.data.phantom.sheet": "vlp_zoo.data.phantom.chest.sheet",
    "vlp_zoo.data.phantom_fundus": "vlp_zoo.data.phantom.fundus",
    "vlp_zoo.data.phantom_fundus.anatomy": "vlp_zoo.data.phantom.fundus.anatomy",
    "vlp_zoo.data.phantom_fundus.camera": "vlp_zoo.data.phantom.fundus.camera",
    "vlp_zoo.data.phantom_fundus.diagnoses": "vlp_zoo.data.phantom.fundus.diagnoses",
    "vlp_zoo.data.phantom_fundus.drawing": "vlp_zoo.data.phantom.fundus.drawing",
    "vlp_zoo.data.phantom_fundus.facts": "vlp_zoo.data.phantom.fundus.facts",
    "vlp_zoo.data.phantom_fundus.fundus": "vlp_zoo.data.phantom.fundus.source",
    "vlp_zoo.data.phantom_fundus.history": "vlp_zoo.data.phantom.fundus.history",
    "vlp_zoo.data.phantom_fundus.lesions": "vlp_zoo.data.phantom.fundus.lesions",
    "vlp_zoo.data.phantom_fundus.pairs_layout": "vlp_zoo.data.phantom.fundus.pairs_layout",
    "vlp_zoo.data.phantom_fundus.phrases": "vlp_zoo.data.phantom.fundus.phrases",
    "vlp_zoo.data.phantom_fundus.reports": "vlp_zoo.data.phantom.fundus.reports",
    "vlp_zoo.data.phantom_fundus.retina": "vlp_zoo.data.phantom.fundus.retina",
    "vlp_zoo.data.phantom_fundus.sheet": "vlp_zoo.data.phantom.fundus.sheet",
    "vlp_zoo.data.prepare": "vlp_zoo.data.store.prepare",
    "vlp_zoo.data.prepare_slice": "vlp_zoo.data.store.slices",
    "vlp_zoo.data.raw_sets": "vlp_zoo.data.store.raw_sets",
    "vlp_zoo.data.store_index": "vlp_zoo.data.store.index",
    "vlp_zoo.data.store_verify": "vlp_zoo.data.store.verify",
    "vlp_zoo.encoders.adapted": "vlp_zoo.encoders.published.adapted",
    "vlp_zoo.encoders.foreign": "vlp_zoo.encoders.published.official",
    "vlp_zoo.encoders.medklip": "vlp_zoo.encoders.published.medklip",
    "vlp_zoo.encoders.official_networks": "vlp_zoo.encoders.published.networks",
    "vlp_zoo.encoders.open_clip_models": "vlp_zoo.encoders.published.open_clip_models",
    "vlp_zoo.encoders.timm_files": "vlp_zoo.encoders.published.timm_files",
    "vlp_zoo.encoders.transformers_models": "vlp_zoo.encoders.published.transformers_models",
    "vlp_zoo.evaluation.beyond_ranking": "vlp_zoo.evaluation.classification.beyond_ranking",
    "vlp_zoo.evaluation.box_cases": "vlp_zoo.evaluation.detection.cases",
    "vlp_zoo.evaluation.box_metrics": "vlp_zoo.evaluation.detection.metrics",
    "vlp_zoo.evaluation.calibration": "vlp_zoo.evaluation.classification.calibration",
    "vlp_zoo.evaluation.classes": "vlp_zoo.evaluation.classification.classes",
    "vlp_zoo.evaluation.classifier": "vlp_zoo.evaluation.classification.classifier",
    "vlp_zoo.evaluation.comparison": "vlp_zoo.evaluation.statistics.significance",
    "vlp_zoo.evaluation.decoders": "vlp_zoo.evaluation.training.decoders",
    "vlp_zoo.evaluation.detector": "vlp_zoo.evaluation.detection.detector",
    "vlp_zoo.evaluation.devices": "vlp_zoo.evaluation.features.devices",
    "vlp_zoo.evaluation.encoder_input": "vlp_zoo.evaluation.features.encoder_input",
    "vlp_zoo.evaluation.feature_cache": "vlp_zoo.evaluation.features.cache",
    "vlp_zoo.evaluation.few_shot": "vlp_zoo.evaluation.classification.few_shot",
    "vlp_zoo.evaluation.finetune": "vlp_zoo.evaluation.classification.finetune",
    "vlp_zoo.evaluation.grade_metrics": "vlp_zoo.evaluation.classification.grade_metrics",
    "vlp_zoo.evaluation.grounding_metrics": "vlp_zoo.evaluation.grounding.metrics",
    "vlp_zoo.evaluation.joint": "vlp_zoo.evaluation.features.joint",
    "vlp_zoo.evaluation.knn": "vlp_zoo.evaluation.classification.knn",
    "vlp_zoo.evaluation.learner": "vlp_zoo.evaluation.training.learner",
    "vlp_zoo.evaluation.linear_probe": "vlp_zoo.evaluation.classification.linear_probe",
    "vlp_zoo.evaluation.logistic": "vlp_zoo.evaluation.classification.logistic",
    "vlp_zoo.evaluation.mask_truth": "vlp_zoo.evaluation.segmentation.mask_truth",
    "vlp_zoo.evaluation.metric_names": "vlp_zoo.evaluation.statistics.metric_names",
    "vlp_zoo.evaluation.metrics": "vlp_zoo.evaluation.statistics.metrics",
    "vlp_zoo.evaluation.operating_points": "vlp_zoo.evaluation.classification.operating_points",
    "vlp_zoo.evaluation.overlap_metrics": "vlp_zoo.evaluation.segmentation.metrics",
    "vlp_zoo.evaluation.presets": "vlp_zoo.bench.presets",
    "vlp_zoo.evaluation.prompts": "vlp_zoo.evaluation.alignment.prompts",
    "vlp_zoo.evaluation.report_decoder": "vlp_zoo.evaluation.reports.decoder",
    "vlp_zoo.evaluation.report_generation": "vlp_zoo.evaluation.reports.generation",
    "vlp_zoo.evaluation.report_judging": "vlp_zoo.evaluation.reports.judging",
    "vlp_zoo.evaluation.report_pieces": "vlp_zoo.evaluation.reports.pieces",
    "vlp_zoo.evaluation.report_scores": "vlp_zoo.evaluation.reports.scores",
    "vlp_zoo.evaluation.report_writer": "vlp_zoo.evaluation.reports.writer",
    "vlp_zoo.evaluation.retrieval": "vlp_zoo.evaluation.alignment.ranks",
    "vlp_zoo.evaluation.schedules": "vlp_zoo.evaluation.training.schedules",
    "vlp_zoo.evaluation.segmenter": "vlp_zoo.evaluation.segmentation.segmenter",
    "vlp_zoo.evaluation.shortcuts": "vlp_zoo.evaluation.classification.shortcuts",
    "vlp_zoo.evaluation.similarity_maps": "vlp_zoo.evaluation.grounding.similarity_maps",
    "vlp_zoo.evaluation.softmax": "vlp_zoo.evaluation.classification.softmax",
    "vlp_zoo.evaluation.subgroups": "vlp_zoo.evaluation.statistics.subgroups",
    "vlp_zoo.evaluation.suite": "vlp_zoo.bench.suite",
    "vlp_zoo.evaluation.table": "vlp_zoo.bench.table",
    "vlp_zoo.evaluation.text_metrics": "vlp_zoo.evaluation.reports.text_metrics",
    "vlp_zoo.evaluation.zero_shot": "vlp_zoo.evaluation.alignment.prompts",
    "vlp_zoo.methods.asg_loss_parity": "vlp_zoo.parity.asg.losses",
    "vlp_zoo.methods.asg_losses": "vlp_zoo.methods.asg.losses",
    "vlp_zoo.methods.asg_networks": "vlp_zoo.methods.asg.networks",
    "vlp_zoo.methods.asg_options": "vlp_zoo.methods.asg.options",
    "vlp_zoo.methods.asg_parity": "vlp_zoo.parity.asg.replay",
    "vlp_zoo.methods.asg_pictures": "vlp_zoo.methods.asg.pictures",
    "vlp_zoo.methods.asg_pipeline_parity": "vlp_zoo.parity.asg.pipeline",
    "vlp_zoo.methods.asg_recording": "vlp_zoo.parity.asg.recording",
    "vlp_zoo.methods.asg_regions": "vlp_zoo.methods.asg.regions",
    "vlp_zoo.methods.asg_transform": "vlp_zoo.methods.asg.transform",
    "vlp_zoo.methods.comparison": "vlp_zoo.parity.comparison",
    "vlp_zoo.methods.ecamp_flags": "vlp_zoo.methods.ecamp.options",
    "vlp_zoo.methods.ecamp_networks": "vlp_zoo.methods.ecamp.networks",
    "vlp_zoo.methods.ecamp_options": "vlp_zoo.methods.ecamp.options",
    "vlp_zoo.methods.ecamp_parity": "vlp_zoo.parity.ecamp.replay",
    "vlp_zoo.methods.ecamp_pictures": "vlp_zoo.methods.ecamp.pictures",
    "vlp_zoo.methods.ecamp_text": "vlp_zoo.methods.ecamp.text",
    "vlp_zoo.methods.ecamp_text_marks": "vlp_zoo.methods.ecamp.text_marks",
    "vlp_zoo.methods.ecamp_text_parity": "vlp_zoo.parity.ecamp.text",
    "vlp_zoo.methods.ecamp_text_rules": "vlp_zoo.methods.ecamp.text_rules",
    "vlp_zoo.methods.ecamp_window": "vlp_zoo.methods.ecamp.window",
    "vlp_zoo.methods.imitate_loss_parity": "vlp_zoo.parity.imitate.losses",
    "vlp_zoo.methods.imitate_losses": "vlp_zoo.methods.imitate.losses",
    "vlp_zoo.methods.imitate_networks": "vlp_zoo.methods.imitate.networks",
    "vlp_zoo.methods.imitate_options": "vlp_zoo.methods.imitate.options",
    "vlp_zoo.methods.imitate_parity": "vlp_zoo.parity.imitate.replay",
    "vlp_zoo.methods.imitate_pictures": "vlp_zoo.methods.imitate.pictures",
    "vlp_zoo.methods.imitate_recording": "vlp_zoo.parity.imitate.recording",
    "vlp_zoo.methods.imitate_schedules": "vlp_zoo.methods.imitate.schedules",
    "vlp_zoo.methods.imitate_text": "vlp_zoo.methods.imitate.text",
    "vlp_zoo.methods.imitate_views": "vlp_zoo.methods.imitate.views",
    "vlp_zoo.methods.paired_sentences": "vlp_zoo.methods.paired.sentences",
    "vlp_zoo.methods.paired_towers": "vlp_zoo.methods.paired.towers",
    "vlp_zoo.methods.place_matching": "vlp_zoo.methods.place.matching",
    "vlp_zoo.methods.place_networks": "vlp_zoo.methods.place.networks",
    "vlp_zoo.methods.place_options": "vlp_zoo.methods.place.options",
    "vlp_zoo.methods.place_pictures": "vlp_zoo.methods.place.pictures",
    "vlp_zoo.reports.alignment": "vlp_zoo.reports.words.alignment",
    "vlp_zoo.reports.anatomy": "vlp_zoo.reports.words.anatomy",
    "vlp_zoo.reports.chat": "vlp_zoo.reports.contexts.chat",
    "vlp_zoo.reports.context": "vlp_zoo.reports.contexts.context",
    "vlp_zoo.reports.cues": "vlp_zoo.reports.words.cues",
    "vlp_zoo.reports.endpoint": "vlp_zoo.reports.contexts.endpoint",
    "vlp_zoo.reports.entities": "vlp_zoo.reports.words.entities",
    "vlp_zoo.reports.headings": "vlp_zoo.reports.words.headings",
    "vlp_zoo.reports.lexicon": "vlp_zoo.reports.words.lexicon",
    "vlp_zoo.reports.notation": "vlp_zoo.reports.words.notation",
    "vlp_zoo.reports.prompt": "vlp_zoo.reports.contexts.prompt",
    "vlp_zoo.reports.region_atlas": "vlp_zoo.reports.words.region_atlas",
    "vlp_zoo.reports.tags": "vlp_zoo.reports.words.tags",
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
