"""Words for the findings of a chest radiograph: readable tables, no code of use.

Each row is a regular expression on lower-case text in which a blank means any run of
white space. ``~`` stands for up to four words that neither deny nor close a clause
("heart ~ enlarged" reads "heart size is again mildly enlarged"). The words are ours,
from common radiology usage.
"""

from __future__ import annotations

__all__ = [
    "ALIASES",
    "ALSO",
    "CHEXPERT",
    "DEVICES",
    "FINDINGS",
    "NORMAL_STATEMENTS",
    "NORMAL_SUBJECTS",
    "NOT_A_FINDING",
    "NO_FINDING",
    "NO_FINDING_STATEMENTS",
]

NO_FINDING = "no finding"
DEVICES = "support devices"

FINDINGS: dict[str, tuple[str, ...]] = {
    "pleural effusion": (
        r"(?:pleural )?effusions?",
        r"pleural (?:fluid|liquid)(?: collections?)?",
        r"fluid in the ~(?:fissures?|pleural space)",
        r"(?:hydro|hemo|haemo)thorax",
        r"empyema",
    ),
    "pneumothorax": (
        r"(?:hydro|hemo)?pneumothora(?:x|xes|ces)",
        r"ptx",
    ),
    "atelectasis": (
        r"atelecta(?:sis|ses|tic)(?: changes?)?",
        r"(?:lobar|lobe|lung) collapse",
        r"collapse(?:d)? (?:of the )?(?:\w+ )?(?:\w+ )?(?:lobe|lung)",
    ),
    "consolidation": (
        r"(?:air ?space )?consolidat(?:ions?|ive|ed)(?: process(?:es)?)?",
        r"air bronchograms?",
    ),
    "edema": (
        r"(?:pulmonary |interstitial |alveolar |perihilar )*o?edema",
        r"fluid overload",
        r"kerley b? ?lines?",
    ),
    "pneumonia": (
        r"(?:broncho)?pneumoni(?:as?|c)(?: process)?",
        r"infectious (?:process|infiltrates?|etiology)",
        r"infection",
    ),
    "lung opacity": (
        r"(?:nodular )?opacit(?:y|ies)",
        r"opacifi(?:cations?|ed)",
        r"infiltrat(?:es?|ions?|ive process)",
        r"air ?space (?:disease|process)",
        r"(?:alveolar|interstitial) (?:disease|process)",
        r"hazy",
        r"haziness",
    ),
    "lung lesion": (
        r"nodules?",
        r"nodular (?:density|densities|lesions?|focus)",
        r"mass(?:es)?",
        r"(?:lung|pulmonary|parenchymal|spiculated|cavitary) lesions?",
        r"(?:lung|pulmonary|hilar) (?:cancer|carcinoma|neoplasm|tumou?rs?)",
        r"metasta(?:sis|ses|tic disease)",
    ),
    "emphysema": (
        r"emphysema(?:tous)?(?: changes?)?",
        r"copd",
        r"chronic obstructive (?:pulmonary|lung|airways?) disease",
        r"obstructive (?:pulmonary|lung|airways?) disease",
        r"bull(?:ae?|ous)(?: disease| changes?)?",
        r"blebs?",
    ),
    "hyperinflation": (
        r"hyper-?(?:inflat|expan|disten|aerat)\w+",
        r"over-?(?:inflat|expan|disten|aerat)\w+",
        r"(?:increased|large|high) lung volumes?",
        r"lung volumes? (?:is|are|appears?) ~(?:increased|large|high)",
    ),
    "fibrosis or scar": (
        r"scar(?:s|ring|red)?",
        r"fibro(?:sis|tic)(?: changes?)?",
        r"fibronodular(?: \w+)?",
        r"cicatri(?:x|ces|cial)\w*",
    ),
    "granuloma": (
        r"(?:calcified )?granulomas?",
        r"granulomata",
        r"granulomatous(?: \w+)?",
        r"histoplasmosis",
    ),
    "pulmonary congestion": (
        r"(?:(?:pulmonary|central|vascular|venous|pulmonary vascular) )*congestion",
        (
            r"(?:pulmonary )?(?:vascular|venous) (?:prominence|engorgement|redistribution"
            r"|hypertension|fullness|plethora)"
        ),
        (
            r"(?:prominen(?:t|ce)|engorge(?:d|ment)|distention|fullness|indistinctness)"
            r" (?:of )?(?:the )?(?:central |pulmonary |perihilar )*"
            r"(?:vascular\w*|vasculature|vessels|veins|interstitial vascular\w*)"
        ),
        (
            r"(?:vascularity|vasculature|vascular markings) ~(?:increased|accentuated"
            r"|prominent|engorged|indistinct|congested|enlarged)"
        ),
        (
            r"(?:increased|indistinct) (?:central |pulmonary |lung )*"
            r"(?:vascularity|vasculature|vascular (?:markings|margin\w*))"
        ),
        r"cephali[sz]ation",
        r"(?:congestive )?heart failure",
        r"chf",
    ),
    "pleural thickening": (
        r"(?:pleural|biapical|apical)(?:[ -](?!effusion)\w+){0,2} thickening",
        r"pleural (?:plaques?|reaction|calcifications?)",
        r"thickening of the ~(?:pleura|fissures?)",
        r"thickened pleura",
        r"fissural thickening",
        r"(?:apical|pleural) cap(?:ping)?",
    ),
    "hernia": (
        (
            r"(?:(?:hiatal|hiatus|diaphragmatic|paraesophageal|morgagni|bochdalek) )?"
            r"hernias?"
        ),
        r"intrathoracic stomach",
    ),
    "fracture": (r"fractur(?:es?|ed)",),
    "spine degenerative": (
        (
            r"degenerative (?:\w+ ){0,4}?(?:spine|spinal|spondylosis|vertebra\w*"
            r"|endplates?|end plates?|dis[ck]s?|t-spine)(?: \w+)? ?(?:disease|changes?)?"
        ),
        (
            r"degenerative(?: (?!joint|hip|humer|ac\b)[\w/-]+){0,2}? (?:changes?|disease"
            r"|spurring|spurs?|osteophyt\w+|findings)(?! ~(?:shoulder|joints?|acromio"
            r"|glenohumeral|humer|clavic|hip|ac\b|xxxx joints))"
        ),
        r"degenerative(?! \w+ ?\w* ~(?:shoulder|joint|acromio|glenohumeral|ac\b))",
        (
            r"(?:spine|spinal|vertebra\w*|dis[ck]|endplate)(?: \w+){0,2}? (?:spurring|spurs?"
            r"|osteophyt\w+|degeneration)"
        ),
        r"osteophyt\w+",
        r"spondylo(?:sis|tic)\w*",
        r"spurring",
        r"dis[ck](?: space)?(?: height)? (?:narrowing|loss|disease|degeneration)",
        r"diffuse idiopathic skeletal hyperostosis",
    ),
    DEVICES: (
        r"catheters?",
        r"picc(?: line)?",
        r"port-?a-?cath\w*",
        r"(?:chest|infusion|mediport|power|subclavian|jugular|venous access) port",
        r"mediport",
        r"(?:central|venous|subclavian|jugular|ij)(?: \w+)? lines?",
        r"central (?:venous )?access",
        r"(?:cardiac )?pace-?makers?(?: leads?| wires?)?",
        r"pacers?|pacing (?:leads?|wires?|device)",
        r"(?:a?icd|defibrillator)s?(?: leads?)?",
        (
            r"(?:endotracheal|tracheostomy|nasogastric|orogastric|enteric|feeding|chest"
            r"|thoracostomy|drainage|gastrostomy|dobhoff|ng|og|et|peg|pleural|trach"
            r"|gastric)(?: \w+)? tubes?"
        ),
        r"tubes?",
        r"tracheostomy|ett|ngt|dobhoff",
        r"drains?",
        r"stents?",
        r"(?:surgical |vascular |hemostatic )?clips?",
        (
            r"(?:surgical|mediastinal|metallic) (?:staples?|sutures?|hardware|material"
            r"|changes and clips)"
        ),
        r"(?:sternotomy|sternal|cerclage) (?:wires?|sutures?)",
        r"(?:valve|valvular) (?:replacement|prosthesis|repair|ring)s?",
        r"(?:prosthetic|artificial|mechanical)(?: \w+){0,2} valves?",
        (
            r"tips? (?:\w+ ){0,6}(?:svc|superior vena cava|cavo-?atrial|caval atrial"
            r"|right atri\w+)(?: junction)?"
        ),
        r"(?:pacemaker|icd|generator|cardiac|ventric\w+|atrial|electrode) leads?",
        r"leads?",
        r"(?:pulse |battery )?generator",
        r"swan-ganz|lvad|iabp|balloon pump|vp shunt|shunt",
        r"(?:spinal|nerve|cord)(?: \w+)? stimulators?",
        (
            r"(?:orthopedic|fixation|fusion|spinal|surgical) (?:hardware|device|rods?|plate"
            r"|screws?)"
        ),
        r"(?:orthopedic )?hardware",
        r"loop recorder|coils?|filter|electrodes?|anchors?|arthroplasty",
    ),
    "low lung volume": (
        r"(?:low|decreased|diminished|reduced|small|shallow|poor)(?: lung)? volumes?",
        r"(?:low|decreased|diminished|reduced|small)(?:er)? (?:\w+ )?lung volumes?",
        (
            r"(?:lung )?volumes? (?:is|are|remain|appear)s? ~(?:low|decreased|diminished"
            r"|reduced|small)\w*"
        ),
        (
            r"(?:low|shallow|poor|limited|diminished|decreased|suboptimal|incomplete)"
            r"(?:er)?(?: degree of| level of)? (?:inspirat\w+|lung expansion|inflation)"
        ),
        r"hypo-?(?:inflat|expan|ventilat|aerat)\w+",
        r"under-?(?:inflat|expan|aerat)\w+",
    ),
    "aortic abnormality": (
        (
            r"(?:tortuous|tortuosity|ectatic|ectasia|unfold\w*|uncoil\w*|elongat\w+"
            r"|dilat\w+|aneurysm\w*|prominen\w+|calcifi\w+|enlarged|enlargement|widen\w+"
            r"|atherosclero\w+)"
            r"(?: (?:and|or|but|mildly|of|the|in|at|within|along|involving|seen|changes?"
            r"|calcifi\w+|disease|plaques?|ectatic|tortuous|descending|ascending|thoracic"
            r"|arch|knob|transverse|otherwise|present|are|is|noted|partially|minimally"
            r"|dilated)){0,8} aort(?:a|ic)(?: arch| knob)?"
        ),
        (
            r"aort(?:a|ic)(?: arch| knob| xxxx| is| appears| remains| and| are| has| mildly"
            r"| slightly| somewhat| mild| unfolding| thoracic| moderately| minimally"
            r"| again| also| diffusely| markedly| stable| minimal| wall| vascular| a| the"
            r"| demonstrates| shows| root| atherosclerotic| vessel)*"
            r" (?:tortuous|tortuosity|ectatic|ectasia|unfolded|uncoiled|uncoiling|elongat\w+"
            r"|dilat\w+|aneurysm\w*|prominen\w+|calcifi\w+|calcinosis|sclero\w+"
            r"|atherosclero\w+(?: \w+)?|arteriosclero\w+|disease|plaque|enlarge\w+)"
        ),
        r"(?:athero|arterio)sclero(?:sis|tic)(?: (?:calcifi\w+|disease|changes?))?",
        (
            r"(?:tortuous|tortuosity|ectatic)(?: (?:and|ectatic|calcified))*"
            r"(?: of)?(?: the)?(?: descending)?(?: thoracic)?(?: xxxx| vessels?)?"
        ),
        r"aneurysm",
    ),
    "enlarged mediastinum": (
        (
            r"(?:widen(?:ed|ing)|enlarge(?:d|ment)|prominen(?:t|ce)|wide|fullness)"
            r"(?: of)?(?: the)?(?: superior| upper| anterior)?"
            r" (?:cardio-?)?mediastin(?:um|al)(?: silhouette| contours?| shadow| widening)?"
        ),
        (
            r"(?:cardio-?)?mediastin(?:um|al)(?: silhouette| contours?| shadow)?s?"
            r" ~(?:widen(?:ed|ing)|enlarge(?:d|ment)|prominen(?:t|ce)|wide|fullness)"
        ),
    ),
    "cardiomegaly": (
        r"cardiomegaly",
        r"cardiac enlargement",
        (
            r"(?:heart|cardiac|cardiopericardial|cardiomediastinal)"
            r"(?: size| silhouette| shadow| contours?| and)* ~(?:enlarged|enlargement"
            r"|upper limits?(?: of)? normal|top[ -]normal|borderline|increased|prominent"
            r"|large)(?! (?:pulmonary|in density))"
        ),
        (
            r"(?:enlarge(?:d|ment)|borderline|prominen(?:t|ce)|large)(?: of)?(?: the)?"
            r"(?: size)?(?: of)?(?: the)?"
            r" (?:heart|cardiac|cardiopericardial|cardiomediastinal)"
            r"(?: size| silhouette| shadow)?"
        ),
    ),
}
"""Finding to the expressions that mention it; whether it is there is decided later."""

ALSO: dict[str, str] = {
    r"cardio-?mediastinal": "cardiomegaly",
    r"hydropneumothora\w+": "pleural effusion",
    r"nodular opacit\w+": "lung lesion",
}
"""A mention with these words names a second finding as well."""

NOT_A_FINDING: tuple[str, ...] = (
    r"(?:pericardial|joint|knee) effusions?",
    r"(?:subcutaneous|soft tissue|mediastinal) emphysema",
    r"soft tissue o?edema",
    r"mass effect|body mass|mass index",
    r"nipple (?:shadow|nodul\w+|opacit\w+|densit\w+)s?",
    r"(?:vertebral|compression)(?: \w+){0,2} collapse",
    r"in the absence of",
    r"leads? to|filtered",
    r"(?:ekg|ecg|eeg|monitor\w*|telemetry|external|overlying) (?:leads?|wires?)",
    r"pericardial (?:fat|calcifi\w+)",
    r"lung nodule protocol",
    r"(?:screws?|wires?|hardware)(?: \w+){0,3} fractur\w+|fractur\w+ (?:screw|wire)s?",
)
"""Phrases that hold a word of `FINDINGS` but mean something else."""

NORMAL_SUBJECTS: dict[str, tuple[str, ...]] = {
    r"heart(?: size)?|cardiac(?: size| silhouette| contours?)?|cardiovascular"
    r" silhouette": ("cardiomegaly",),
    r"cardio-?mediastinal(?: silhouette| contours?| structures)?": (
        "cardiomegaly",
        "enlarged mediastinum",
    ),
    r"mediastin(?:um|al)(?: contours?| silhouettes?| size| structures)?": (
        "enlarged mediastinum",
    ),
    r"(?:pulmonary )?(?:vascularity|vasculature|vascular (?:markings|pattern))": (
        "pulmonary congestion",
    ),
    r"(?:thoracic )?aorta|aortic (?:contours?|arch|knob)": ("aortic abnormality",),
    r"lung volumes?": ("low lung volume", "hyperinflation"),
    r"pleural (?:spaces?|surfaces?|recesses)|pleura": (
        "pleural effusion",
        "pneumothorax",
        "pleural thickening",
    ),
    r"costophrenic (?:angles?|sulc[iu]s?|recesses)": ("pleural effusion",),
    r"(?<!soft )bony?(?: structures?| thorax)|bones|osseous structures?"
    r"|skeletal structures?": ("fracture",),
}
"""What a normal statement is about, and the findings it denies."""

_IN_LUNGS = ("lung opacity", "consolidation", "pneumonia", "edema", "atelectasis")
NORMAL_STATEMENTS: dict[str, tuple[str, ...]] = {
    r"(?:lungs?|lung fields?|lungs? zones?|both lungs|lung parenchyma)"
    r" ~(?:clear|unremarkable|normal)": _IN_LUNGS,
    r"clear lungs?(?: fields?| zones?)?": _IN_LUNGS,
    r"lungs? ~(?:well[ -](?:expanded|inflated|aerated)|normally inflated)": (
        "low lung volume",
    ),
    r"no (?:acute |focal )*(?:bony|osseous|skeletal)(?: \w+)? ?(?:abnormalit\w+"
    r"|findings?|lesions?|injur\w+)": ("fracture",),
}
"""Statements that deny findings as a whole."""

NO_FINDING_STATEMENTS: tuple[str, ...] = (
    (
        r"no (?:\w+ ){0,3}?(?:cardiopulmonary|pulmonary|intrathoracic|cardiac"
        r"|cardiothoracic|thoracic|chest) (?:\w+ ){0,2}?(?:abnormalit\w+|disease|process\w*"
        r"|findings?|patholog\w+)"
    ),
    r"normal (?:\w+ ){0,2}?(?:chest|study|exam\w*|radiograph\w*)",
    r"(?:unremarkable|negative) (?:\w+ ){0,2}?chest",
)
"""Statements that nothing is wrong; they outrank no finding that is stated."""

CHEXPERT: dict[str, str] = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Enlarged Cardiomediastinum": "enlarged mediastinum",
    "Fracture": "fracture",
    "Lung Lesion": "lung lesion",
    "Lung Opacity": "lung opacity",
    "No Finding": NO_FINDING,
    "Pleural Effusion": "pleural effusion",
    "Pleural Other": "pleural thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
    "Support Devices": DEVICES,
}
"""The 14 CheXpert labels by our names, in the order of the label columns of MIMIC-CXR and of
the synthetic chests: another order would give their tasks other hashes."""

ALIASES: dict[str, str] = {
    **{name.lower(): finding for name, finding in CHEXPERT.items()},
    "airspace opacity": "lung opacity",
    "effusion": "pleural effusion",
    "infiltration": "lung opacity",
    "mass": "lung lesion",
    "nodule": "lung lesion",
    "fibrosis": "fibrosis or scar",
    "enlarged heart": "cardiomegaly",
    "medical device": DEVICES,
}
"""Other data sets' label names (lower-case, blanks for underscores) by ours."""
