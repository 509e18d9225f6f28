"""Where AE-FLOW stands, and how far validation can be trusted: the article's own tables."""

from __future__ import annotations

import pandas as pd

from aeflow_utils.article.evidence import Evidence, rivals
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.methods import METHODS, methods_of
from aeflow_utils.study.like_with_like import compared
from aeflow_utils.study.results import auroc_of

RELATIONS = {"for": "ahead of", "same": "level with", "against": "behind", "open": "not told from"}
UNTRAINED = "best untrained"


def standings(evidence: Evidence) -> pd.DataFrame:
    """AE-FLOW's test AUROC minus each rival's, in points; a row a data set and rival.

    Rivals are all methods that are trained and, as one, the best that trains nothing; of each, as
    of AE-FLOW, the variant that validation prefers. Columns: data set, domain, rival, trained,
    AE-FLOW and other, and those of `compared`.
    """
    rows = []
    for label, ours in evidence.ae_flow.items():
        models = {METHODS[key].title: (key,) for key in rivals()}
        for title, keys in (models | {UNTRAINED: methods_of("untrained")}).items():
            if theirs := evidence.best(label, *keys):
                domain = SPECS[parse_label(label)[0]].domain
                names = {"data set": label, "domain": domain, "rival": title}
                names["trained"] = title != UNTRAINED
                rows.append((names, {"AE-FLOW": auroc_of(ours), "other": auroc_of(theirs)}))
    if not rows:
        return compared(rows).assign(domain="", rival="", trained=False)
    return compared(rows)


def tally(table: pd.DataFrame) -> str:
    """How many rows have each relation, in words: ``ahead of 3, behind 1``."""
    counts = table["relation"].value_counts()
    parts = [f"{word} {counts[key]}" for key, word in RELATIONS.items() if key in counts]
    return ", ".join(parts) or "compared with none"


def promises(table: pd.DataFrame) -> pd.DataFrame:
    """What validation promises of AE-FLOW and test keeps, a row a data set, mean over variants.

    Columns in percent: validation, test (AUROC), gap, and sen and spe on test at the threshold
    that maximises F1 on validation.

    Args:
        table: `results.summary` at that threshold.
    """
    part = table[table["model"] == "ae_flow"].dropna(subset=["val_auroc", "f1"])
    columns = {"val_auroc": "validation", "auroc": "test", "sen": "sen", "spe": "spe"}
    means = 100 * part.groupby("dataset", sort=False)[[*columns]].mean().rename(columns=columns)
    means.insert(2, "gap", means["validation"] - means["test"])
    return means.rename_axis("data set")
