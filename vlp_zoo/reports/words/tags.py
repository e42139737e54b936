"""The 40 tags of ASG as a readable table of words.

A tag is what a report may call present in a region: a finding ("pneumothorax"), a sign
("blunt"), or a device ("wire"). Names and order are those of ASG's label columns (arXiv
2403.09294); the words are ours, since the authors' parser was not released. The
notation is that of `lexicon`.
"""

from __future__ import annotations

from vlp_zoo.reports.words.lexicon import FINDINGS

__all__ = ["NOT_A_TAG", "TAGS", "TAG_ALSO", "TAG_FINDINGS", "TAG_TERMS"]

TAG_TERMS: dict[str, tuple[str, ...]] = {
    "pleural effusion": (
        r"(?:pleural )?effusions?",
        r"pleural (?:fluid|liquid)(?: collections?)?",
        r"(?:hydro|hemo|haemo)thorax",
        r"empyema",
    ),
    "opacity": (
        r"opacit(?:y|ies)",
        r"opacifi(?:cations?|ed)",
        r"air ?space (?:disease|process)",
        r"haziness",
    ),
    "pneumothorax": (r"(?:hydro|hemo)?pneumothora(?:x|xes|ces)", r"ptx"),
    "edema": (r"o?edema", r"fluid overload"),
    "atelectasis": (r"atelecta(?:sis|ses|tic)(?: changes?)?",),
    "tube": (
        r"(?:\w+ )?(?:tubes?)",
        r"tracheostomy|ett|ngt|dobhoff",
    ),
    "consolidation": (r"consolidat(?:ions?|ive|ed)", r"air bronchograms?"),
    "enlarged cardiomediastinum": FINDINGS["enlarged mediastinum"],
    "tip": (r"tips?",),
    "pneumonia": (
        r"(?:broncho)?pneumoni(?:as?|c)",
        r"infectious (?:process|etiology)",
        r"infection",
    ),
    "line": (
        (
            r"(?:central|venous|subclavian|jugular|ij|picc|dialysis|arterial"
            r"|\w+-lumen)(?: \w+)? (?:lines?|catheters?)"
        ),
        r"catheters?",
        r"picc(?: line)?",
        r"lines?",
        r"swan-ganz",
    ),
    "cardiomegaly": FINDINGS["cardiomegaly"],
    "fracture": (r"fractur(?:es?|ed)",),
    "calcification": (r"calcifi(?:cations?|ed)", r"calcinosis"),
    "device": (
        r"devices?",
        r"(?:chest wall |infusion |power )?ports?(?:-?a-?cath\w*)?",
        r"(?:a?icd|defibrillator)s?",
        r"(?:pulse |battery )?generators?",
        r"lvad|iabp|balloon pump",
        r"(?:spinal|nerve|cord)(?: \w+)? stimulators?",
    ),
    "engorgement": (
        r"engorge(?:d|ment)",
        r"(?:vascular |venous |pulmonary |central )*congestion",
        r"(?:vascular|venous) (?:prominence|redistribution|fullness|hypertension)",
        (
            r"(?:prominen(?:t|ce)|increased|indistinct(?:ness)?)(?: of)?(?: the)?"
            r" (?:central |pulmonary |perihilar )*"
            r"(?:vascularity|vasculature|vessels|vascular markings)"
        ),
        (
            r"(?:vascularity|vasculature|vascular markings)"
            r" ~(?:increased|accentuated|prominent|indistinct)"
        ),
        r"cephali[sz]ation",
    ),
    "nodule": (r"nodul(?:es?|ar(?! densit)|arity)",),
    "wire": (r"(?:sternotomy |sternal |cerclage )?wires?", r"leads?"),
    "pacemaker": (r"(?:cardiac )?pace-?makers?", r"pacers?", r"pacing \w+"),
    "pleural thicken": (
        r"(?:pleural|biapical|apical)(?:[ -](?!effusion)\w+){0,2} thicken\w+",
        r"thickening of the ~(?:pleura|fissures?)",
        r"thickened pleura",
        r"(?:calcified )?pleural (?:plaques?|calcifications?|scar(?:s|ring)?)",
        r"(?:apical|pleural) cap(?:ping)?",
    ),
    "marking": (r"(?:interstitial |vascular |lung |bronchovascular )*markings?",),
    "scar": (r"scar(?:s|ring|red)?", r"fibro(?:sis|tic)(?: changes?)?"),
    "hyperinflate": (
        r"(?:hyper|over)-?(?:inflat|expan|aerat)\w+",
        r"(?:increased|large|high) lung volumes?",
    ),
    "blunt": (r"blunt\w*",),
    "collapse": (r"collapse[ds]?", r"collapsing"),
    "emphysema": (r"emphysema(?:tous)?", r"copd", r"bull(?:ae?|ous)"),
    "aerate": (r"(?:re|well-?)?aerat(?:ed|ion)",),
    "mass": (r"mass(?:es)?",),
    "infiltration": (r"infiltrat(?:es?|ions?|ive)",),
    "obscure": (r"obscure[ds]?", r"obscuring", r"obscuration", r"silhouetting"),
    "deformity": (r"deformit(?:y|ies)", r"deformed"),
    "hernia": (r"hernias?",),
    "drainage": (r"drain(?:s|age)?",),
    "distention": (r"distended", r"distension", r"distention"),
    "shift": (r"shift(?:s|ed|ing)?",),
    "stent": (r"stents?",),
    "lesion": (r"lesions?", r"metasta(?:sis|ses|tic)"),
    "hardware": (
        r"hardware",
        r"(?:spinal |fixation |orthopedic )?(?:rods?|screws?)",
        r"(?:surgical |vascular )?clips?",
    ),
    "dilation": (r"dilat(?:ed|ion|ation)",),
    "aspiration": (r"aspirat\w+",),
}
"""Tag to the expressions that mention it; whether it is there is decided later."""

TAGS: tuple[str, ...] = tuple(TAG_TERMS)
"""The 40 tags in the order of ASG's label columns."""

TAG_ALSO: dict[str, str] = {
    r"cardio-?mediastinal": "cardiomegaly",
    r"hydropneumothora\w+": "pleural effusion",
    r"(?:calcified )?pleural (?:plaques?|calcif\w+)": "calcification",
    r"pleural scar\w*": "scar",
    r"drain|(?:chest|pleural) tubes?": "drainage",
    r"drains?": "tube",
    r"picc|lines?|catheters?": "line",
    r"(?:pacemaker|pacing|pacer) (?:leads?|wires?)": "pacemaker",
}
"""A mention with these words is a mention of a second tag as well."""

NOT_A_TAG: tuple[str, ...] = (
    r"(?:pericardial|joint|knee) effusions?",
    r"(?:subcutaneous|soft tissue|mediastinal) emphysema",
    r"soft tissue o?edema",
    r"mass effect|body mass|mass index",
    r"nipple (?:shadow|nodul\w+|opacit\w+|densit\w+)s?",
    r"(?:vertebral|compression)(?: \w+){0,2} (?:collapse|deformit\w+)",
    r"(?:dual|single|triple)[ -](?:lead|chamber)",
    r"leads? to|line of|in line|kerley b? ?lines?|midline|fissural? lines?",
    r"(?:ekg|ecg|eeg|monitor\w*|telemetry|external|overlying) (?:leads?|wires?)",
    r"(?:mid ?)?clavicular lines?",
    r"bone densit\w+",
    r"(?:not|un)displaced",
)
"""Phrases that hold a word of `TAG_TERMS` but mean something else."""

TAG_FINDINGS: dict[str, str] = {
    "pleural effusion": "pleural effusion",
    "pneumothorax": "pneumothorax",
    "atelectasis": "atelectasis",
    "consolidation": "consolidation",
    "edema": "edema",
    "pneumonia": "pneumonia",
    "lung opacity": "opacity",
    "lung lesion": "lesion",
    "pulmonary congestion": "engorgement",
    "pleural thickening": "pleural thicken",
    "fracture": "fracture",
    "enlarged mediastinum": "enlarged cardiomediastinum",
    "cardiomegaly": "cardiomegaly",
    "hyperinflation": "hyperinflate",
}
"""Finding of `lexicon` to the tag that a statement of normality denies with it."""
