"""What reports say around the findings: denials, set phrases, the reason to come."""

from __future__ import annotations

import numpy as np

from vlp_zoo.data.phantom.chest.facts import StudyFacts
from vlp_zoo.data.phantom.chest.phrases import pick

__all__ = ["BOILERPLATE", "NEGATIONS", "indication"]

BOILERPLATE = (
    "No free air below the right hemidiaphragm is seen.",
    "The hilar contours are normal.",
    "Hilar contours are unremarkable.",
    "The visualized upper abdomen is unremarkable.",
    "The trachea is midline.",
)
"""True of every phantom."""

NEGATIONS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("Cardiomegaly", "Enlarged Cardiomediastinum"),
        (
            "The cardiomediastinal silhouette is within normal limits.",
            "Cardiomediastinal silhouette is normal.",
            "Cardiac and mediastinal contours are unremarkable.",
            "Heart size and mediastinal contours are normal.",
        ),
    ),
    (
        ("Cardiomegaly",),
        (
            "The heart is normal in size.",
            "Heart size is normal.",
            "Cardiac silhouette is within normal limits.",
            "There is no cardiomegaly.",
        ),
    ),
    (
        ("Enlarged Cardiomediastinum",),
        (
            "The mediastinal contours are normal.",
            "Mediastinal contours are unremarkable.",
            "The mediastinum is not widened.",
        ),
    ),
    (
        ("Pleural Effusion", "Pneumothorax"),
        (
            "There is no pleural effusion or pneumothorax.",
            "No pleural effusion or pneumothorax is seen.",
            "No effusion or pneumothorax.",
            "There is no evidence of pneumothorax or pleural effusion.",
        ),
    ),
    (
        ("Pneumothorax",),
        (
            "There is no pneumothorax.",
            "No pneumothorax is seen.",
            "No evidence of pneumothorax.",
        ),
    ),
    (
        ("Pleural Effusion",),
        (
            "There is no pleural effusion.",
            "No pleural effusions are seen.",
            "The costophrenic angles are sharp, without effusion.",
        ),
    ),
    (
        (
            "Consolidation",
            "Edema",
            "Lung Opacity",
            "Pneumonia",
            "Atelectasis",
            "Lung Lesion",
        ),
        (
            "The lungs are clear.",
            "Lungs are clear bilaterally.",
            "The lungs are clear without focal consolidation.",
            "Both lungs are clear.",
        ),
    ),
    (
        ("Consolidation", "Pneumonia"),
        (
            "There is no focal consolidation to suggest pneumonia.",
            "No focal consolidation or pneumonia.",
            "No consolidation concerning for pneumonia is seen.",
        ),
    ),
    (
        ("Consolidation",),
        (
            "There is no focal consolidation.",
            "No focal consolidation is present.",
        ),
    ),
    (
        ("Edema",),
        (
            "There is no pulmonary edema.",
            "No evidence of pulmonary edema.",
            "There is no overt pulmonary edema or vascular congestion.",
        ),
    ),
    (
        ("Lung Lesion",),
        (
            "No suspicious pulmonary nodule or mass is identified.",
            "There is no concerning nodule or mass.",
        ),
    ),
    (
        ("Fracture",),
        (
            "No acute fracture is identified.",
            "No displaced rib fracture is seen.",
            "There is no acute osseous abnormality, and no fracture.",
        ),
    ),
    (
        ("Pleural Other",),
        ("No pleural thickening is seen.", "There is no pleural thickening or plaque."),
    ),
    (
        ("Support Devices",),
        ("There are no lines or tubes.",),
    ),
)
"""What a sentence denies, and its wordings; used where none of it is present."""


def indication(rng: np.random.Generator, facts: StudyFacts) -> str:
    """Age, sex and complaint; complaints overlap between causes."""
    woman = facts.sex == "F"
    who = pick(rng, "woman", "female", "F") if woman else pick(rng, "man", "male", "M")
    vague = ("shortness of breath", "chest pain", "cough", "dyspnea", "weakness")
    own = {
        "well": ("preoperative evaluation", "positive PPD", "fever"),
        "heart failure": ("dyspnea on exertion", "leg swelling", "CHF"),
        "infection": ("fever and cough", "leukocytosis", "hypoxia"),
        "intensive care": ("interval change", "respiratory failure", "line placement"),
        "injury": ("fall", "motor vehicle collision", "trauma"),
        "tumour": ("weight loss", "known malignancy", "hemoptysis"),
        "old age": ("altered mental status", "fall", "preoperative evaluation"),
    }[facts.scenario]
    complaint = pick(rng, *own) if rng.random() < 0.55 else pick(rng, *vague)
    ask = pick(
        rng,
        "",
        "",
        " // eval for acute process",
        " // ? pneumonia",
        " // evaluate for interval change",
        " // r/o acute cardiopulmonary process",
    )
    age = "___" if rng.random() < 0.85 else str(facts.age)
    return pick(
        rng,
        f"{age} year old {who} with {complaint}{ask}",
        f"{age}-year-old {who} with {complaint}.",
        f"{complaint.capitalize()}.",
        f"{age} {who} with history of ___, now with {complaint}.",
    )
