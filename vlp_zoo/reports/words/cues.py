"""Words that decide whether a mentioned finding is there: readable tables.

Same notation as `vlp_zoo.reports.words.lexicon`: regular expressions on lower-case text,
a blank is any run of white space. *Before* cues act on what follows them in their
clause, *after* cues on what precedes. The scheme is that of NegEx (Chapman et al.,
2001); the rules and words are ours.
"""

from __future__ import annotations

__all__ = [
    "AFTER_NEGATED",
    "AFTER_UNCERTAIN",
    "ASSERTING_STARTS",
    "BEFORE_HISTORY",
    "BEFORE_NEGATED",
    "BEFORE_UNCERTAIN",
    "BETWEEN_UNCERTAIN",
    "BREAKS",
    "NEW_SUBJECT",
    "PSEUDO",
    "SEVERITIES",
]

PSEUDO: tuple[str, ...] = (
    (
        r"(?:no|not|without) (?:\w+ ){0,3}?(?:interval |significant |appreciable )*"
        r"(?:changed?|increased?|progress\w+|worsen\w+|improve\w*|decreased?|differ\w+"
        r"|enlargement since|resolution)(?: (?:in|of|to|from|since))?"
    ),
    r"not only",
    r"no longer(?! (?:seen|present|visible|visuali[sz]ed|identified|evident))",
    r"not (?:significantly|substantially|appreciably|markedly) \w+",
    r"no further",
    r"no comparison\w*",
    r"gram negative",
)
"""Look like negation, deny nothing."""

BEFORE_NEGATED: tuple[str, ...] = (
    r"no",
    r"not(?! (?:excluded|be excluded|well|clearly|completely))",
    r"nor",
    r"neither",
    r"without",
    r"w/o",
    r"never",
    r"absen(?:ce of|t)",
    r"free (?:of|from)",
    r"clear (?:of|from)",
    r"negative for",
    r"den(?:y|ies|ied)",
    r"exclu(?:des?|sion of)",
    r"fails? to (?:show|reveal|demonstrate)",
    r"(?:resolution|clearing|removal|disappearance) of",
    r"^(?:interval )?(?:resolved|removed)",
    r"rather than",
    r"lack of",
)

AFTER_NEGATED: tuple[str, ...] = (
    (
        r"(?:is|are|was|were|has been|have been) (?:now |currently )?(?:not|no longer)"
        r"(?: \w+)? ?(?:seen|present|visible|visuali[sz]ed|identified|evident|appreciated"
        r"|demonstrated|noted|detected|apparent)"
    ),
    (
        r"not (?:seen|present|visible|visuali[sz]ed|identified|evident|appreciated"
        r"|demonstrated|noted|detected|apparent|enlarged)"
    ),
    r"no longer (?:seen|present|visible|visuali[sz]ed|identified|evident)",
    (
        r"(?:is|are|was|were|has been|have been) (?:now |been |since )?(?:absent|removed"
        r"|ruled out|excluded|negative)"
    ),
    (
        r"(?:has|have) (?:now |completely |nearly |since |nearly completely )*"
        r"(?:resolved|cleared|disappeared|been removed|been extracted)"
    ),
    r"(?<=[\w,] )(?:completely |now )?resolved",
    r"(?:is|are|appears?)(?: \w+)? within (?:the )?(?:normal limits|limits of normal)",
    r"(?:unlikely)",
)

BEFORE_UNCERTAIN: tuple[str, ...] = (
    (
        r"(?:may|might|could|can|would)(?: also)?(?: \w+)? (?:be|represent|reflect|indicate"
        r"|suggest|relate|correspond|have|account)\w*"
    ),
    r"may",
    r"possib(?:le|ly|ility of)",
    r"probab(?:le|ly)",
    r"(?:most |very |more )?likely",
    r"presum(?:ed|ably|ptive)",
    r"perhaps",
    r"potential(?:ly)?",
    r"suspect(?:ed)?",
    r"suspicio(?:us|n) (?:for|of)",
    r"(?:concern\w*|worrisome) (?:for|of|about)",
    r"suggest(?:s|ed|ive|ing)?(?: of)?",
    r"question(?:able|ed)?(?: of)?",
    r"equivocal",
    r"indeterminate for",
    (
        r"(?:cannot|can not|can't|could not|unable to|difficult to)(?: \w+)? "
        r"(?:exclude|rule out)"
    ),
    r"(?:not|without) (?:entirely |completely )?(?:exclude|excluding)",
    r"rule out|r/o|evaluate for|assess for|to exclude|exclude",
    r"differential(?: diagnos[ie]s)?(?: considerations?)?(?: would)?(?: includes?)?",
    r"considerations?(?: would| for)?(?: includes?)?",
    r"consider",
    r"favou?r(?:ed|s|ing)?",
    r"either",
    r"in the (?:appropriate|correct|right|proper)(?: clinical)? (?:setting|context)",
    r"\?",
)

AFTER_UNCERTAIN: tuple[str, ...] = (
    r"(?:can ?not|could not|can't|may not)(?: \w+)? be(?: \w+)? (?:excluded|ruled out)",
    r"(?:is|are) (?:not|difficult to) (?:\w+ )?(?:excluded?|ruled out)",
    r"not (?:entirely |completely )?(?:excluded|ruled out)",
    (
        r"(?:is|are|was|were|remains?) (?:also )?(?:possible|probable|likely|suspected"
        r"|questioned|questionable|considered|a consideration|a possibility|favou?red)"
        r"(?= *(?:[.,;]|$|and |but ))"
    ),
    r"(?:could|may|might|should) be (?:considered|present)",
    r"(?:is |are )?(?:another|a) (?:consideration|possibility)",
    r"in the differential",
)

BETWEEN_UNCERTAIN: tuple[str, ...] = (
    r"versus|vs\.?",
    r"(?:is |are )?difficult to (?:\w+ )?(?:exclude|rule out)",
)
"""Put both sides in doubt."""

BEFORE_HISTORY: tuple[str, ...] = (
    r"(?:history|hx) of",
    r"follow[ -]?up(?: of| for)?",
    r"clinical (?:concern|suspicion|history)(?: of| for)?",
    r"known history of",
    r"(?:clinical )?correlat\w+(?: clinically)? (?:for|as to|with)",
    r"(?:signs?|symptoms?) (?:and|or|/)?(?: ?symptoms?)? ?of",
    r"(?:limited )?(?:evaluation|exam|assessment)(?: for| of)(?: evaluation of)?",
)
"""What follows is not seen on this image: no entity is made."""

BREAKS: tuple[str, ...] = (
    r"but|however|although|though|otherwise|which|while|whereas|yet|because|despite",
    r"except(?:ing)?(?: for)?|(?:aside|apart) from|other than",
    r"there (?:is|are|has|have)",
    r"in the setting of|in this patient with",
)
"""End the reach of a cue, as semicolons and colons do."""

NEW_SUBJECT = (
    r"(?:,|and|with) (?:the )?(?:heart|cardiac|cardiomediastinal|lungs?|aorta"
    r"|mediastin\w+) (?:\w+ ){0,2}?(?:is|are|appears?|remains?|unremarkable|normal)"
)
"""Ends the reach of a cue where what follows is about another organ."""

ASSERTING_STARTS: tuple[str, ...] = (
    r"(?:mild|moderate|severe|minimal|slight)(?:ly)?|trace|tiny|small",
    r"stable|unchanged|persistent|chronic|old|prior|again|(?:re)?demonstrated",
    r"status post|low (?:lung|volumes?)|hyper\w+|degenerative|tortuous|bibasilar",
    r"cardiomegaly|likely|possibl[ey]|probabl[ey]|(?:consistent|compatible) with",
    r"this|these|there|is|are|an?",
)
"""After a comma or "with" they begin a new statement and so end a negation.

Not inside a list that goes on with "or" or "nor".
"""

SEVERITIES: tuple[str, ...] = (
    r"(?:mild|minimal|small|slight)(?:ly)?[ -](?:to|-)[ -]moderate(?:ly)?",
    r"moderate(?:ly)?[ -](?:to|-)[ -](?:severe|large|marked)(?:ly)?",
    (
        r"(?:trace|tiny|minimal|minimally|minor|small|slight|slightly|mild|mildly|borderline"
        r"|subtle|moderate|moderately|moderate-sized|large|severe|severely|marked|markedly"
        r"|extensive|massive|gross|grossly)"
    ),
)
