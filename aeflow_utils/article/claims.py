"""The claims ledger: what the paper and the 2023 study claim, and what the evidence here says.

A claim is a row of ``results/claims_in_print.csv``: who makes it, its words, and the name of the
judge with the judge's arguments. A verdict is computed each time the ledger is asked for, so new
runs change it. To add a claim, add a row, and a function to `judges` if none there will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import getmembers, isfunction
from pathlib import Path

import pandas as pd

from aeflow_utils.article import judges, judges_of_ensembles, judges_of_print
from aeflow_utils.article.audit import printed_row
from aeflow_utils.article.evidence import Case, Evidence
from aeflow_utils.data.reading import reading
from aeflow_utils.errors import UserError
from aeflow_utils.metrics.verdicts import VERDICTS, Measurement, in_family, verdict_of
from aeflow_utils.paths import paths, whole
from aeflow_utils.profiles import Profile

PUBLISHED = "results/published.csv"
ARTICLE = "00_blogpost"  # claims on figures in print are judged there, the others rest on runs
JUDGES = {
    name: judge
    for module in (judges, judges_of_ensembles, judges_of_print)
    for name, judge in getmembers(module, isfunction)
    if judge.__module__ == module.__name__ and not name.startswith("_")
}


def claims_in_print() -> pd.DataFrame:
    """The claims, a row each, by key: by, claim, needs, compared, judge, arguments, notebook.

    ``asked in 2023`` is the open question of the study that a claim takes up, if it does.

    `needs` says whether a claim needs ``all of`` its measurements or ``any of`` them, `compared`
    what is measured, or why nothing can be.

    Printed numbers are filled in: ``{auroc:.2f}`` is the AUROC of the row of
    ``results/published.csv`` that the column ``printed`` names, as source/table/dataset/method.
    ``arguments`` are ``name=value``, separated by ``; ``.

    Raises:
        UserError: the file is missing.
    """
    path = paths().home / "results" / "claims_in_print.csv"
    if not path.exists():
        raise UserError(f"{path} is missing: it comes with the bundle, take it from there")
    with reading(path, "restore it"):
        table = pd.read_csv(path, index_col="key", dtype=str).fillna("")
        table["claim"] = [row.claim.format(**_figures(row.printed)) for row in table.itertuples()]
        return table.drop(columns="printed")


def _figures(rows: str) -> dict[str, float]:
    """Figures of printed rows by metric; `rows` as in the column ``printed``."""
    figures: dict[str, float] = {}
    for row in filter(None, rows.split("; ")):
        source, table, dataset, method = row.split("/")
        figures |= printed_row(source=source, table=table, dataset=dataset, method=method)
    return figures


def ledger(evidence: Evidence) -> pd.DataFrame:
    """Every claim with verdict, setting, evidence, file and notebook, indexed by key.

    ``measured`` holds the `Measurement`s that a verdict follows from, as they stand in the family.
    All comparisons that decide a verdict are one family: each stands only if it does after Holm's
    correction for all of them. Where the same methods have runs that were trained by the other
    policy, the verdict of those stands beside it, in a column of that policy's name.

    Raises:
        ValueError: a claim names a judge that there is not.
    """
    table = claims_in_print()
    cases = _judged(table, evidence)
    table["measured"] = _in_family(cases)
    table["verdict"] = _verdicts(cases, table["measured"], table["needs"])
    table["evidence"] = [case.told for case in cases]
    of_runs = table["notebook"] != ARTICLE
    table["setting"] = of_runs.map({True: evidence.setting, False: "printed figures"})
    table["file"] = of_runs.map({True: f"results/*/{evidence.shown}/runs", False: PUBLISHED})
    columns = ["claim", "by", "compared", "needs", "verdict"]
    for name in evidence.other_policies:
        cases = _judged(table[of_runs], Evidence(name))
        verdicts = _verdicts(cases, _in_family(cases), table.loc[of_runs, "needs"])
        table[name] = pd.Series(verdicts, table.index[of_runs])
        columns.append(name)
    table = table[
        [*columns, "setting", "evidence", "file", "notebook", "asked in 2023", "measured"]
    ].fillna("")
    return table.rename(columns=lambda name: name.replace("_", " "))


def _judged(claims: pd.DataFrame, evidence: Evidence) -> list[Case]:
    cases = []
    for row in claims.itertuples():
        if row.judge not in JUDGES:
            raise ValueError(f"claim '{row.Index}': there is no judge '{row.judge}'")
        arguments = dict(pair.split("=", 1) for pair in row.arguments.split("; ") if pair)
        cases.append(JUDGES[row.judge](evidence, **arguments))
    return cases


def _in_family(cases: list[Case]) -> list[list[Measurement]]:
    """The measurements of each case; those that decide a verdict are one family."""
    deciding = [m for case in cases if not case.verdict for m in case.measurements]
    family = iter(in_family(deciding))
    return [
        list(case.measurements) if case.verdict else [next(family) for _ in case.measurements]
        for case in cases
    ]


def _verdicts(
    cases: list[Case], measured: Iterable[list[Measurement]], needs: Iterable[str]
) -> list[str]:
    rows = zip(cases, measured, needs, strict=True)
    return [case.verdict or verdict_of(found, need) for case, found, need in rows]


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims got each verdict, by whose they are."""
    return pd.crosstab(table["by"], table["verdict"]).reindex(columns=VERDICTS, fill_value=0)


def save_ledger(table: pd.DataFrame, profile: Profile) -> Path:
    """Write ``results/claims.csv``; other profiles than `laptop` keep theirs apart."""
    name = profile.name
    folder = paths().home / "results" if name == "laptop" else paths().results(name)
    with whole(folder / "claims.csv") as partial:
        table.drop(columns="measured").to_csv(partial)
    return folder / "claims.csv"
