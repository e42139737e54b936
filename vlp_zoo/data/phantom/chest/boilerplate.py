"""What reports say around the findings: denials, set phrases, the reason to come."""

from __future__ import annotations

from vlp_zoo.data.phantom.canvas import Rng
from vlp_zoo.data.phantom.chest.facts import StudyFacts
from vlp_zoo.data.phantom.wording import denial_table, pick, wordings

__all__ = ["NEGATIONS", "PHRASES", "STATEMENTS", "indication"]

PHRASES = wordings("""
boilerplate
    No free air below the right hemidiaphragm is seen.
    The hilar contours are normal.
    Hilar contours are unremarkable.
    The visualized upper abdomen is unremarkable.
    The trachea is midline.
healthy
    No acute cardiopulmonary process.
    No acute cardiopulmonary abnormality.
    No acute intrathoracic process.
    No evidence of acute cardiopulmonary disease.
    Normal chest radiograph without evidence of acute disease.
resolved
    Previously seen {name} has resolved.
    The {name} seen on the prior study is no longer present.
    Interval resolution of {name}.
indication
    {age} year old {who} with {complaint}{ask}
    {age}-year-old {who} with {complaint}.
    {Complaint}.
    {age} {who} with history of ___, now with {complaint}.
vague
    shortness of breath | chest pain | cough | dyspnea | weakness
well
    preoperative evaluation | positive PPD | fever
heart failure
    dyspnea on exertion | leg swelling | CHF
infection
    fever and cough | leukocytosis | hypoxia
intensive care
    interval change | respiratory failure | line placement
injury
    fall | motor vehicle collision | trauma
tumour
    weight loss | known malignancy | hemoptysis
old age
    altered mental status | fall | preoperative evaluation
""")
"""Set phrases, true of every phantom, and what each scenario complains of."""

STATEMENTS = wordings("""
doubtful
    There may be {it.full}.
    Possible {it.text}.
    {it.head} cannot be excluded.
    Questionable {it.text}.
    {it.head} {it.be} possible but not certain.
new
    There {it.be} {it.fresh}.
    New {it.text}.
    {it.head} {it.be} new since the prior study.
    Interval development of {it.full}.
unchanged
    {it.head} {it.be} unchanged.
    Unchanged {it.text}.
    Again seen {it.be} {it.full}, similar to prior.
    {it.head} {it.be} stable compared to ___.
    There {it.be} {it.full}, without significant interval change.
increased
    {it.head} {it.have} increased since the prior study.
    There {it.be} {it.full}, increased from prior.
    Interval worsening of {it.full}.
    {it.head} {it.be} worse compared to ___.
decreased
    {it.head} {it.have} decreased since the prior study.
    There {it.be} {it.full}, decreased from prior.
    {it.head} {it.be} improved compared to ___.
    Interval improvement of {it.full}.
seen
    There {it.be} {it.full}.
    There {it.be} {it.full}.
    {it.head} {it.be} seen.
    {it.head} {it.be} present.
    {it.head} {it.be} noted.
    {it.alone}.
""")
"""Statements about a finding, see `wording.statement`."""

NEGATIONS = denial_table("""
0.62 Cardiomegaly, Enlarged Cardiomediastinum
    The cardiomediastinal silhouette is within normal limits.
    Cardiomediastinal silhouette is normal.
    Cardiac and mediastinal contours are unremarkable.
    Heart size and mediastinal contours are normal.
0.62 Cardiomegaly
    The heart is normal in size.
    Heart size is normal.
    Cardiac silhouette is within normal limits.
    There is no cardiomegaly.
0.62 Enlarged Cardiomediastinum
    The mediastinal contours are normal.
    Mediastinal contours are unremarkable.
    The mediastinum is not widened.
0.62 Pleural Effusion, Pneumothorax
    There is no pleural effusion or pneumothorax.
    No pleural effusion or pneumothorax is seen.
    No effusion or pneumothorax.
    There is no evidence of pneumothorax or pleural effusion.
0.62 Pneumothorax
    There is no pneumothorax.
    No pneumothorax is seen.
    No evidence of pneumothorax.
0.62 Pleural Effusion
    There is no pleural effusion.
    No pleural effusions are seen.
    The costophrenic angles are sharp, without effusion.
0.6 Consolidation, Edema, Lung Opacity, Pneumonia, Atelectasis, Lung Lesion
    The lungs are clear.
    Lungs are clear bilaterally.
    The lungs are clear without focal consolidation.
    Both lungs are clear.
0.62 Consolidation, Pneumonia
    There is no focal consolidation to suggest pneumonia.
    No focal consolidation or pneumonia.
    No consolidation concerning for pneumonia is seen.
0.62 Consolidation
    There is no focal consolidation.
    No focal consolidation is present.
0.62 Edema
    There is no pulmonary edema.
    No evidence of pulmonary edema.
    There is no overt pulmonary edema or vascular congestion.
0.15 Lung Lesion
    No suspicious pulmonary nodule or mass is identified.
    There is no concerning nodule or mass.
0.62 Fracture
    No acute fracture is identified.
    No displaced rib fracture is seen.
    There is no acute osseous abnormality, and no fracture.
0.06 Pleural Other
    No pleural thickening is seen.
    There is no pleural thickening or plaque.
0.03 Support Devices
    There are no lines or tubes.
""")
"""What is denied where none of it is present, how often, and in which words."""


def indication(rng: Rng, facts: StudyFacts) -> str:
    """Age, sex and complaint; complaints overlap between causes."""
    woman = facts.sex == "F"
    who = pick(rng, "woman", "female", "F") if woman else pick(rng, "man", "male", "M")
    own = rng.random() < 0.55
    complaint = pick(rng, *PHRASES[facts.scenario if own else "vague"])
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
    return pick(rng, *PHRASES["indication"]).format(
        age=age, who=who, complaint=complaint, Complaint=complaint.capitalize(), ask=ask
    )
