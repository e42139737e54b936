"""Every data set of the catalogue as a data module: ``--data nih14 --data.root DIR``.

`Official` reads any data set of the catalogue; below stand those of which more is to be
said, and one class for each of the others.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from vlp_zoo.data.base import OnDisk
from vlp_zoo.data.catalogue import card_of, load, policy
from vlp_zoo.data.chest.mimic_cxr import card as mimic_cxr_card
from vlp_zoo.data.records import Card
from vlp_zoo.data.store.datamodule import Prepared
from vlp_zoo.data.store.reading import is_store
from vlp_zoo.data.studies import FileStudies
from vlp_zoo.errors import ConfigError
from vlp_zoo.types import StudySource

__all__ = ["MIMICCXR", "Official", "Own"]


class Official(OnDisk):
    """A data set in its official layout, read as it lies on disk.

    Args:
        root: Folder of the data set, or a store that vlpzoo prepare made of it.
        split: The split rule: canonical (by patient, stratified; what is released is
            kept), official, or one that the data set's card names.
        views: Keep only these views, for example [PA, AP]; None keeps all.
        uncertain: What an uncertain label (-1) becomes: card (what the data set's card
            says), nan, one, zero or half.
        blank: What a label that the data set leaves blank becomes: nan (unknown) or
            zero (what is not mentioned is absent, as in most papers on CheXpert).
        **kwargs: Further options of `OnDisk`.
    """

    dataset: ClassVar[str]

    def __init_subclass__(cls) -> None:
        # A class bears the name of its data set, unless it says another.
        if not hasattr(cls, "dataset"):
            cls.dataset = cls.__name__

    def __init__(
        self,
        root: str,
        *,
        split: str = "canonical",
        views: list[str] | None = None,
        uncertain: str = "card",
        blank: str = "nan",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)
        self.split = split
        self.views = views
        self.policy = policy(self.card, uncertain, blank)
        if is_store(self.root):
            self._refuse_beside_a_store()
        elif split != "canonical":
            self.card.rule(split)
        self.has_reports = "reports" in self.card.gives

    def _refuse_beside_a_store(self) -> None:
        given = [] if self.precheck else ["precheck false"]
        given += ["rejects_path"] if self.rejects_path is not None else []
        if given:
            raise ConfigError(
                "a folder in the official layout, whose files are looked at",
                f"{self.root}, a store that was checked when it was made, and "
                f"{' and '.join(f'--data.{option}' for option in given)}",
                "leave it out; what could not be used is in rejects.csv of the store",
            )

    @cached_property
    def card(self) -> Card:
        """What is known of the data set."""
        return card_of(self.dataset)

    @property
    def licence(self) -> str:
        """Terms of the data, as the card of the data set says."""
        return self.card.licence

    @property
    def legacy(self) -> str:
        """Why patients may be in two splits; "" where they must not."""
        rule = self.card.splits.get(self.split)
        if rule is None or not rule.legacy:
            return ""
        return " ".join(rule.issues) or f"the legacy split {self.split}"

    def _sources(self) -> dict[str, StudySource]:
        if not is_store(self.root):
            return super()._sources()
        prepared = Prepared(
            str(self.root),
            split=self.split,
            views=self.views,
            on_error=self.on_error,
        )
        prepared.policy = self.policy
        prepared.need_report = self.has_reports
        return prepared.sources

    def _read(self) -> tuple[FileStudies, list[str]]:
        return load(
            self.card,
            self.root,
            split=self.split,
            views=self.views,
            uncertain=self.policy,
        )


class MIMICCXR(Official):
    """MIMIC-CXR-JPG 2.x.0 with its reports and the official split.

    Credentialed data from PhysioNet; see `vlp_zoo.data.chest.mimic_cxr`.

    Args:
        root: Folder with mimic-cxr-2.0.0-metadata.csv.gz and the images, or a store
            that vlpzoo prepare made of it.
        reports_root: Folder of the unpacked mimic-cxr-reports.zip; None is root.
        split: official (the released split file), or canonical, which differs only in
            that it gives images a split that the file leaves out.
        views: Views to keep; None keeps all.
        uncertain: What an uncertain label (-1) becomes: card (what the data set's card
            says), nan, one, zero or half.
        **kwargs: Further options of `Official`.
    """

    dataset = "mimic_cxr"

    def __init__(
        self,
        root: str,
        *,
        reports_root: str | None = None,
        split: str = "official",
        views: list[str] | None = ["PA", "AP"],  # noqa: B006  # read only
        uncertain: str = "nan",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, split=split, views=views, uncertain=uncertain, **kwargs)
        if reports_root is not None and is_store(self.root):
            raise ConfigError(
                "--data.reports_root beside a folder in the official layout",
                f"{root}, a store that holds its reports",
                "leave --data.reports_root out",
            )
        self.reports_root = Path(reports_root) if reports_root is not None else None

    def _read(self) -> tuple[FileStudies, list[str]]:
        self.card = mimic_cxr_card(
            "chexpert", reports_root=self.reports_root, need_reports=self.has_reports
        )
        return super()._read()


class Own(Official):
    """A data set of one's own, read by a Python file that defines its ``CARD``.

    Args:
        reader: The file; it is run.
        root: Folder of the data set.
        **kwargs: Further options of `Official`.
    """

    def __init__(self, reader: str, root: str, **kwargs: Any) -> None:
        # Of the instance, not the class: two readers may be open at once.
        self.dataset = reader  # type: ignore[misc]
        super().__init__(root, **kwargs)

    @property
    def pretraining_sources(self) -> list[str]:
        """The name that the reader's card gives."""
        return [self.card.name]


# One class for each data set, which configs and checkpoints name. They differ in nothing
# but the data set.


class nih14(Official):
    """NIH ChestX-ray14; options as of `Official`."""


class chexpert(Official):
    """CheXpert; options as of `Official`."""


class chexlocalize(Official):
    """CheXlocalize; options as of `Official`."""


class rsna(Official):
    """RSNA Pneumonia; options as of `Official`."""


class siim(Official):
    """SIIM-ACR Pneumothorax; options as of `Official`."""


class covidx(Official):
    """COVIDx 9A; options as of `Official`."""


class covidx_cxr(Official):
    """COVIDx CXR; options as of `Official`."""


class ms_cxr(Official):
    """MS-CXR; options as of `Official`."""


class vindr(Official):
    """VinDr-CXR; options as of `Official`."""


class object_cxr(Official):
    """Object-CXR; options as of `Official`."""


class tbx11k(Official):
    """TBX11K; options as of `Official`."""


class openi(Official):
    """Open-i (IU X-Ray); options as of `Official`."""


class padchest(Official):
    """PadChest; options as of `Official`."""


class chexpert_plus(Official):
    """CheXpert Plus; options as of `Official`."""


mimic_cxr = MIMICCXR


class aptos(Official):
    """APTOS-2019; options as of `Official`."""


class odir(Official):
    """ODIR-5K; options as of `Official`."""


class mured(Official):
    """MuReD; options as of `Official`."""


class riga(Official):
    """RIGA; options as of `Official`."""


class idrid(Official):
    """IDRiD; options as of `Official`."""


class messidor2(Official):
    """MESSIDOR-2; options as of `Official`."""


class eyepacs(Official):
    """EyePACS; options as of `Official`."""


class refuge(Official):
    """REFUGE; options as of `Official`."""


class drive(Official):
    """DRIVE; options as of `Official`."""


class ffa_ir(Official):
    """FFA-IR; options as of `Official`."""


class mm_retinal(Official):
    """MM-Retinal v1; options as of `Official`."""


class flair(Official):
    """FLAIR's assembly; options as of `Official`."""
