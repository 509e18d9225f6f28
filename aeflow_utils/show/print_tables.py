"""Figures in print: which are known, and how they stand beside ours."""

from __future__ import annotations

import pandas as pd

from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.methods import method_title, methods_of
from aeflow_utils.show.tables import METRIC_TITLES
from aeflow_utils.study.recording import published
from aeflow_utils.study.results import REGIMES, label_title, summary
from aeflow_utils.study.runs import RunResult

PAPER_DATASETS = ("oct2017", "chest_xray", "isic2018", "BraTS2021", "miic")  # of its own table
PAPER_METRICS = ("auroc", "f1", "acc", "sen", "spe")


def missing_figures() -> pd.DataFrame:
    """Which metrics of AE-FLOW in the paper's own table are known, a row a data set, and which not.

    Columns: data set, known, missing, and the kinds of those that are known.
    """
    figures = published().query("source == 'paper' and method == 'AE-FLOW'")
    figures = figures.drop_duplicates(["dataset", "metric"]).set_index(["dataset", "metric"])
    rows = []
    for dataset in PAPER_DATASETS:
        have = [name for name in PAPER_METRICS if (dataset, name) in figures.index]
        lacking = [METRIC_TITLES[name] for name in PAPER_METRICS if name not in have]
        kinds = sorted({figures.loc[(dataset, name), "kind"] for name in have})
        title = SPECS[dataset].title if dataset in SPECS else dataset
        known = ", ".join(METRIC_TITLES[name] for name in have)
        rows.append((title, known, ", ".join(lacking), ", ".join(kinds)))
    columns = ["data set", "known", "missing", "kinds"]
    return pd.DataFrame(rows, columns=columns).set_index("data set")


def side_by_side(
    results: list[RunResult], regimes: tuple[str, ...] = tuple(REGIMES)
) -> pd.DataFrame:
    """Figures in print and these runs, in percent, for AE-FLOW and its rivals; NaN where unknown.

    Indexed by data set, source, kind (as in `published`), method and protocol (how the threshold
    was chosen). The blog's "AUC" is a balanced accuracy and stands in that column. Published
    figures of other metrics have no counterpart here and are left out.
    """
    index = ["dataset", "source", "kind", "method", "protocol"]
    printed = published()
    printed = printed[printed["metric"].isin(METRIC_TITLES)]
    parts = [printed.pivot_table(index=index, columns="metric", values="value").reset_index()]
    for regime in regimes:
        ours = summary(results, regime)
        ours = ours[ours["model"].isin(methods_of("trained"))]
        ours[list(METRIC_TITLES)] *= 100
        method = list(map(method_title, ours["model"], ours["variant"]))
        here = {"source": "this bundle", "kind": "measured"}
        named = [_set_and_protocol(label, REGIMES[regime]) for label in ours["dataset"]]
        here |= {"dataset": [name for name, _ in named], "protocol": [told for _, told in named]}
        parts.append(ours.assign(method=method, **here))
    table = pd.concat(parts)[[*index, *METRIC_TITLES]]
    place = table["source"].map({"paper": 0, "blog": 1, "this bundle": 3}).fillna(2)
    table = table.assign(place=place).sort_values(["dataset", "place", "method", "protocol"])
    table["dataset"] = table["dataset"].map(label_title)
    titles = {"dataset": "data set", **METRIC_TITLES}
    return table.drop(columns="place").rename(columns=titles).set_index(["data set", *index[1:]])


def _set_and_protocol(label: str, regime: str) -> tuple[str, str]:
    """A data set's name and protocol: runs on another split stand beside figures of the study's."""
    name, rest = parse_label(label)
    other = name and rest and rest in SPECS[name].splits
    return (name, f"{rest} split; {regime}") if other else (label, regime)
