"""Single-word finding vocabulary of entity-aware masking, and negative templates.

ECAMP (Wang et al., arXiv 2312.13316) decides token by token whether a word names an
entity. `OFFICIAL_ENTITIES` lists the words of its released code; `ENTITIES` is the
vocabulary of the corrected variant, with the plurals and inflections that the
official list misses. Both are sets of lower-case words for comparison with the words
of a report, not with word pieces.
"""

from __future__ import annotations

__all__ = [
    "ENTITIES",
    "NEVER_MATCHED",
    "OFFICIAL_ENTITIES",
    "TEMPLATES",
]

_OFFICIAL = """
abnormality abscess aerate aorta atelectasis bronchiectasis calcification
cardiomediastinal cardiomegaly catheter chf collapse congestion consolidation contour
copd deformity dilation distention edema effusion embolism emphysema engorgement
fibrosis fracture granuloma hernia hilar hyperinflate hemidiaphragm infiltrate mass
nodule obscure opacity perihilar pneumonia pneumothorax sarcoidosis silhouette
thickening tuberculosis vasculature
"""

OFFICIAL_ENTITIES: frozenset[str] = frozenset(_OFFICIAL.split())
"""The 44 words of the official list, lower-cased."""

NEVER_MATCHED: frozenset[str] = frozenset({"copd", "aerate", "hyperinflate"})
"""Listed words that the official code cannot meet in a tokenised report.

It lists ``COPD`` in capitals while its tokens are lower-case, and its vocabulary
splits the other two into pieces. Reproducing its masks means leaving them out.
"""

_INFLECTED = """
abnormalities abnormal abscesses aerated aeration aortic aortas atelectases
atelectatic bronchiectatic calcifications calcified calcific cardiomegalic catheters
collapsed collapses congested congestive consolidations consolidated consolidative
contours contoured deformities deformed dilated dilatation dilations distended
distension distentions edematous oedema effusions emboli embolus embolic emphysematous
engorged fibrotic fractures fractured granulomas granulomata granulomatous hernias
hila hilum hyperinflated hyperinflation hemidiaphragms infiltrates infiltration
infiltrative masses mediastinal mediastinum nodules nodular nodularity obscured
obscures obscuring obscuration opacities opacity opacification opacifications
opacified pneumonias pneumonic pneumothoraces pneumothoraxes silhouettes silhouetting
thickened tuberculous vascular
"""

_ADDED = """
airspace bullae bulla bullous cavitary cavitation cavity cephalization degenerative
ectasia ectatic elevation hiatal hyperexpanded hyperexpansion hyperlucency
hyperlucent hypoinflated hypoinflation interstitial kyphosis lesion lesions
lymphadenopathy adenopathy osteophyte osteophytes osteopenia pacemaker pleural
pneumomediastinum pneumonitis pneumoperitoneum scar scarring scars scoliosis
spondylosis sternotomy tortuosity tortuous tube tubes uncoiled widened widening
"""

ENTITIES: frozenset[str] = (
    OFFICIAL_ENTITIES | frozenset(_INFLECTED.split()) | frozenset(_ADDED.split())
)
"""The official words, their plurals and inflections, and common words it lacks."""

TEMPLATES: tuple[tuple[str, ...], ...] = (
    ("there", "is", "no", "evidence", "of"),
    ("there", "is", "no"),
)
"""Word runs that introduce a routine negative, longest first.

The official scan takes the longer one where both fit and never overlaps two runs.
"""
