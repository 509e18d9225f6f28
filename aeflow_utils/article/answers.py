"""The study's questions, answered from results: no number and no verdict in prose is typed.

Everywhere, `ledger` is what `claims.ledger` gives, `ensemble` what `ensemble_measurements` gives,
and `table` what `results.summary` gives.
"""

from __future__ import annotations

import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.evidence import Evidence, Runs, auroc_gap, rivals
from aeflow_utils.methods import METHODS, method_title, methods_of
from aeflow_utils.metrics.verdicts import (
    MIN_SEEDS,
    NOT_SUPPORTED,
    NOT_TESTABLE,
    PARTLY,
    REFUTED,
    SAME,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
)
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show.alt_texts import listed
from aeflow_utils.show.tables import auroc_of_parts, domain_gap
from aeflow_utils.study.results import auroc_of, label_title
from aeflow_utils.study.runs import RunResult

WORDS = {
    SUPPORTED: "Yes, as far as it is tested here",
    PARTLY: "In part",
    NOT_SUPPORTED: "Not here",
    SAME: "It makes no difference here",
    UNDECIDED: "The runs do not decide it",
    REFUTED: "No, by the printed numbers themselves",
    NOT_TESTABLE: "That is not tested here",
}
SIDES = {"for": "ahead of", "same": "level with", "against": "behind", "open": "not told from"}
OPEN_QUESTIONS = {
    "Which settings does the paper not tell, and do they matter?": "choices",
    "Is there a threshold that gives the paper's figures?": "threshold",
    "Was F1 the wrong criterion for unbalanced data?": "weighted f1",
    "Does cross-validation help a small validation set?": "folds",
    "Do the two losses cancel each other?": "cancel",
    "Are bits per dimension better than the log-likelihood?": "bits",
    "Would the ConvNet subnet help other data sets?": "subnets",
    "Does AE-FLOW generalise to industrial images?": "industrial",
    "Do scores have to be normalised before they are averaged?": "normalise",
    "Would another measure of uncertainty do better?": "other measure",
    "Does chest X-ray stand for the other data sets?": "representative",
}
# Findings of the audit that the answer on published numbers rests on.
DECISIVE = (
    "AUC column, the blog's draft",
    "ensemble, blog",
    "abnormal images counted twice",
    "one matrix, Paper, chest X-ray",
)
WIDE_GAP = 5  # points of AUROC between validation and test that are worth a warning


def answers(evidence: Evidence, ledger: pd.DataFrame, ensemble: pd.DataFrame) -> str:
    """The study's questions with their answers, a paragraph each."""
    parts = {
        "Is AE-FLOW reproducible?": _reproducible(evidence, ledger),
        "Does it generalise to industry?": _generalises(evidence, ledger),
        "Does the ensemble know when it is wrong?": _knows(ensemble),
        "What was wrong with the published numbers?": _published(evidence),
    }
    return "\n\n".join(f"**{question}** {answer}" for question, answer in parts.items())


def _reproducible(evidence: Evidence, ledger: pd.DataFrame) -> str:
    of_paper = ledger[ledger["by"] == "paper"]["verdict"].value_counts()
    verdicts = listed([f"{of_paper[word]} {word}" for word in VERDICTS if word in of_paper])
    return (
        f"{WORDS[ledger.loc['medical', 'verdict']]}. {_few_seeds(evidence)}"
        f"{_standings(evidence, 'medical')} Of the "
        f"paper's {of_paper.sum()} claims in the ledger below, the verdicts are {verdicts}."
    )


def _few_seeds(evidence: Evidence) -> str:
    few = PROFILES[evidence.shown].seeds < MIN_SEEDS
    return f"Fewer than {MIN_SEEDS} seeds are recorded, which decide nothing. " if few else ""


def _generalises(evidence: Evidence, ledger: pd.DataFrame) -> str:
    return f"{WORDS[ledger.loc['industrial', 'verdict']]}. {_standings(evidence, 'industrial')}"


def _standings(evidence: Evidence, domain: str) -> str:
    """Whom AE-FLOW is ahead of and whom it is behind, on each data set of a domain."""
    each = [_standing(evidence, dataset) for dataset in evidence.of_domain(domain)]
    return " ".join(each) or "No such data are here."


def _standing(evidence: Evidence, dataset: str) -> str:
    ours = evidence.ae_flow.get(dataset)
    plain = evidence.best(dataset, *methods_of("untrained"))
    if not ours or not plain:
        return ""
    sides: dict[str, list[str]] = {side: [] for side in SIDES.values()}
    for rival in rivals():
        runs = evidence.best(dataset, rival)
        if runs:
            sides[SIDES[auroc_gap(ours, runs).relation]].append(METHODS[rival].title)
    told = ", ".join(f"{side} {listed(names)}" for side, names in sides.items() if names)
    side = SIDES[auroc_gap(ours, plain).relation]
    return (
        f"On {label_title(dataset)} AE-FLOW reaches a test AUROC of {_auroc(ours):.1f} % and "
        f"is {told}; it is {side} {plain[0].config.method.title}, "
        f"which trains nothing and reaches {_auroc(plain):.1f} %."
    )


def _auroc(runs: Runs) -> float:
    return 100 * metrics.mean_of(auroc_of(runs)).value


def _knows(ensemble: pd.DataFrame) -> str:
    """Whether sigma, or closeness to the threshold, tells errors where no label has entered.

    Then the study's decision, with the measure that labelled validation chooses. Told of the data
    sets on which both decisions err.
    """
    values = ensemble.dropna().set_index(["key", "data set"])
    datasets = [d for k, d in values.index if k == "sigma" and ("normals_sigma", d) in values.index]
    if not datasets:
        return "No ensemble that errs is here."
    names = ("normals_sigma", "normals_chosen", "sigma", "chosen")
    sigma, close, *labelled = ([values.loc[name, d] for d in datasets] for name in names)
    if all(row["low"] > 0.5 for row in sigma):
        lead = "Yes, by the deviation of its scores"
    elif all(row["low"] > 0.5 for row in close):
        lead = "In part, but not by the deviation of its raw scores"
    else:
        lead = "Not reliably"
    return (
        f"{lead}. The chance that a wrong decision looks less certain than a right one (50 % is a "
        f"coin), where no label has entered: {_against(datasets, sigma, close)}. With labelled "
        f"validation images, which also choose the measure: {_against(datasets, *labelled)}."
    )


def _against(datasets: list[str], sigma: list[pd.Series], other: list[pd.Series]) -> str:
    return "; ".join(
        f"{label_title(name)} {_percent(a)} for σ and {_percent(b)} for {b['measure']}"
        for name, a, b in zip(datasets, sigma, other, strict=True)
    )


def _percent(row: pd.Series) -> str:
    value, low, high = (100 * row[name] for name in ("value", "low", "high"))
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


def _published(evidence: Evidence) -> str:
    column, table, miic, paper = (evidence.findings[name].numbers for name in DECISIVE)
    return (
        f"In {column['agree']:.0f} of {column['rows']:.0f} rows the study's AUC is balanced "
        f"accuracy. Its ensemble's {table['n_right']:.0f} right and {table['n_wrong']:.0f} wrong "
        "decisions are the class counts of the test set: most likely one verdict for all images. "
        f"Its figures on MIIC fit {miic['official']:.0f} confusion matrices on the official test "
        f"set, and the paper's row on chest X-ray fits {paper['matrices']:.0f}."
    )


def error_sentences(errors: pd.DataFrame, where: str) -> str:
    """What each error of `errors_shown.error_table` does on one data set, as a Markdown list."""
    rows = errors[errors["data set"] == where]
    return "\n".join(f"* *{row.error}.* {row.sentence}" for row in rows.itertuples())


def open_questions(ledger: pd.DataFrame) -> pd.DataFrame:
    """What the study of 2023 left open, and the claim of the ledger that takes it up."""
    table = ledger.loc[list(OPEN_QUESTIONS.values()), ["claim", "verdict"]]
    table.index = pd.Index(OPEN_QUESTIONS, name="asked in 2023")
    return table.rename(columns={"claim": "tested as"})


def findings_that_matter(results: list[RunResult], table: pd.DataFrame) -> str:
    """Three findings as a Markdown list."""
    parts = [parts_of_the_score(results), flow_against_gaussian(table), validation_gap(table)]
    return "\n".join(f"* {part}" for part in parts if part)


def parts_of_the_score(results: list[RunResult]) -> str:
    """Whether the reconstruction helps the score or harms it."""
    parts = auroc_of_parts(results).groupby("data set", sort=False).mean()
    if parts.empty:
        return ""
    each = [
        f"{label_title(dataset)} {row['score S']:.1f} % together, {row['flow part']:.1f} % and "
        f"{row['reconstruction part']:.1f} % alone"
        for dataset, row in parts.iterrows()
    ]
    harmed = [*map(label_title, parts.index[parts["score S"] < parts["flow part"] - 1])]
    effect, where = ("lowers", f" on {listed(harmed)}") if harmed else ("does not lower", "")
    return (
        f"**The reconstruction {effect} AE-FLOW's score{where}.** Test AUROC of the whole score, "
        "its flow part and its reconstruction part, mean over subnets and seeds: "
        f"{'; '.join(each)}."
    )


def flow_against_gaussian(table: pd.DataFrame) -> str:
    """The best AE-FLOW beside the best detector that trains nothing, on each data set."""
    gaps = domain_gap(table)
    if gaps.empty:
        return ""
    each = [
        f"{label_title(row['data set'])} {row['AUROC']:.1f} % against {row['its AUROC']:.1f} %"
        for _, row in gaps.iterrows()
    ]
    ahead = int((gaps["difference"] > 0).sum())
    some = f"on {ahead} of {len(gaps)} data sets"
    verdict = {0: "on no data set", len(gaps): "on every data set"}.get(ahead, some)
    return (
        f"**AE-FLOW is ahead of detectors that train nothing {verdict}.** Test AUROC of the "
        "better AE-FLOW against the best of Gaussian and nearest neighbours on the same frozen "
        f"encoder, both chosen on validation where it has abnormal images: {'; '.join(each)}."
    )


def validation_gap(table: pd.DataFrame) -> str:
    """Whether validation says the same of AE-FLOW as test does."""
    part = table[table["model"] == "ae_flow"].dropna(subset=["val_auroc", "f1"])
    if part.empty:
        return ""
    gap = 100 * (part["val_auroc"] - part["auroc"]).groupby(part["dataset"]).mean()
    each = [f"{label_title(dataset)} {value:+.1f} points" for dataset, value in gap.items()]
    wide = [label_title(dataset) for dataset, value in gap.items() if value > WIDE_GAP]
    promise = f"On {listed(wide)}, validation promises more than test keeps."
    row = part[part["dataset"] == gap.idxmax()].iloc[0]
    return (
        f"**{promise if wide else 'Validation speaks for the test split.'}** AE-FLOW's validation "
        f"AUROC minus its test AUROC: {', '.join(each)}. On {label_title(row['dataset'])}, a "
        "threshold that maximises F1 on validation gives sensitivity "
        f"{100 * row['sen']:.0f} % and specificity {100 * row['spe']:.0f} % on test (AE-FLOW, "
        f"{row['variant']})."
    )


def trivial_winners(table: pd.DataFrame) -> str:
    """Where one number an image, its darkness or smoothness, does better than AE-FLOW."""
    each = []
    for dataset, part in table.groupby("dataset", sort=False):
        best = part[part["model"] == "ae_flow"]["auroc"].max()
        trivial = part[part["model"].isin(methods_of("trivial")) & (part["auroc"] > best)]
        each += [
            f"*{method_title(row.model)}* reaches {100 * row.auroc:.1f} % on "
            f"{label_title(dataset)}, where the better AE-FLOW has {100 * best:.1f} %"
            for row in trivial.itertuples()
        ]
    if not each:
        return "No trivial rule beats AE-FLOW here."
    return (
        f"**One number an image can be enough.** The row {'; '.join(each)}. Where such a "
        "rule wins, a data set says little about any method."
    )
