"""Tables for readers: formatted summaries, costs, and the published figures beside ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.methods import method_title, methods_of
from aeflow_utils.paths import paths
from aeflow_utils.profiles import Profile
from aeflow_utils.study.recording import published
from aeflow_utils.study.results import REGIMES, find, grouped, summary
from aeflow_utils.study.runs import RunResult

METRIC_TITLES = {
    "auroc": "AUROC",
    "f1": "F1",
    "acc": "ACC",
    "sen": "SEN",
    "spe": "SPE",
    "bacc": "bal. ACC",
}
SCORE_COLUMNS = {
    "score S": "image_score",
    "flow part": "flow_score",
    "reconstruction part": "recon_score",
}
PAPER_DATASETS = ("oct2017", "chest_xray", "isic2018", "BraTS2021", "miic")  # of its own table
PAPER_METRICS = ("auroc", "f1", "acc", "sen", "spe")


def format_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`summary` for readers: percentages as text, spread and intervals beside their values."""

    def percent(value: float) -> str:
        return "" if pd.isna(value) else f"{100 * value:.1f}"

    def auroc(row: pd.Series) -> str:
        spread = "" if pd.isna(row["auroc_sd"]) else f" ± {100 * row['auroc_sd']:.1f}"
        return percent(row["auroc"]) + spread

    def interval(row: pd.Series, name: str) -> str:
        low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
        return "" if pd.isna(low) else f"{100 * low:.1f}–{100 * high:.1f}"

    out = pd.DataFrame({"data set": table["dataset"]}, index=table.index)
    out["method"] = list(map(method_title, table["model"], table["variant"]))
    out["seeds"] = ["" if pd.isna(n) else str(int(n)) for n in table["n_seeds"]]
    for name, title in METRIC_TITLES.items():
        out[title] = table[name].map(percent)
    out["AUROC"] = table.apply(auroc, axis=1)
    out.insert(4, "95 % interval", table.apply(interval, axis=1, name="auroc"))
    out.insert(6, "F1 interval", table.apply(interval, axis=1, name="f1"))
    out["source"] = table["source"].fillna("")
    return out.set_index(["data set", "method"])


def cost_table(results: list[RunResult]) -> pd.DataFrame:
    """Trained parameters, mean seconds to fit, images scored a second and peak memory.

    A row a method and data set. Memory is that of the process, framework included.
    """
    rows = []
    for (dataset, model, variant), runs in grouped(results).items():
        seconds = {
            name: np.mean([run.environment[f"{name}_seconds"] for run in runs])
            for name in ("fit", "score")
        }
        n_images = len(runs[0].scores)
        rows.append(
            {
                "data set": dataset,
                "method": method_title(model, variant),
                "trained parameters": f"{runs[0].environment['trainable_parameters']:,}",
                "fit, s": round(seconds["fit"], 1),
                "images scored a second": round(n_images / max(seconds["score"], 1e-3)),
                "peak memory, MB": max(run.environment["peak_memory_mb"] or 0 for run in runs),
                "device": runs[0].environment["device"],
            }
        )
    return pd.DataFrame(rows)


def auroc_of_parts(results: list[RunResult]) -> pd.DataFrame:
    """Test AUROC of AE-FLOW's score and of its two parts alone, in percent, mean over seeds."""
    rows = []
    for (dataset, model, variant), runs in grouped(results).items():
        if model != "ae_flow":
            continue
        row = {"data set": dataset, "method": method_title(model, variant)}
        for title, column in SCORE_COLUMNS.items():
            each = [metrics.auroc(t["label"], t[column]) for t in (r.split("test") for r in runs)]
            row[title] = round(100 * np.mean(each), 1)
        rows.append(row)
    columns = ["data set", "method", *SCORE_COLUMNS]
    return pd.DataFrame(rows, columns=columns).set_index(["data set", "method"])


def pixel_table(results: list[RunResult]) -> pd.DataFrame:
    """How well the maps find the defect: pixel AUROC and AUPRO in percent, mean over seeds.

    A row a method and category, and one for the mean over a set's categories.
    """
    rows, of_set = [], {}
    for (label, model, variant), runs in grouped(results).items():
        if all("aupro" in run.metrics for run in runs):
            row = {"data set": label, "method": method_title(model, variant)}
            for title, name in (("pixel AUROC", "pixel_auroc"), ("AUPRO", "aupro")):
                row[title] = 100 * np.mean([run.metrics[name] for run in runs])
            rows.append(row)
            key = (runs[0].config.data.dataset, row["method"])
            of_set.setdefault(key, []).append(row)
    for (dataset, method), parts in of_set.items():
        if len(parts) > 1:
            mean = pd.DataFrame(parts)[["pixel AUROC", "AUPRO"]].mean().to_dict()
            name = f"{dataset}, mean of {len(parts)}"
            rows.append({"data set": name, "method": method} | mean)
    columns = ["data set", "method", "pixel AUROC", "AUPRO"]
    return pd.DataFrame(rows, columns=columns).round(1).set_index(["data set", "method"])


def format_grid(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """A table of `study.grid` for readers: a row a choice, for each data set what it does.

    A star marks the best of its question by validation; test figures stand beside it with their
    95 % interval.
    """
    if table.empty:
        return table
    star = np.where(table["best_on_validation"], " ★", "")
    interval = table["low"].map(" ({:.0f}–".format) + table["high"].map("{:.0f})".format)
    cells = table[by].assign(
        **{"data set": table["data set"]},
        validation=table["validation"].map("{:.1f}".format) + star,
        test=table["test"].map("{:.1f}".format) + interval,
    )
    datasets = [
        part.set_index(by)[["validation", "test"]].rename(columns=lambda c, d=name: (d, c))
        for name, part in cells.groupby("data set", sort=False)
    ]
    wide = pd.concat(datasets, axis=1).fillna("")
    wide.columns = pd.MultiIndex.from_tuples(wide.columns)
    return wide


def domain_gap(table: pd.DataFrame) -> pd.DataFrame:
    """The best AE-FLOW against the best detector that trains nothing, by data set, in percent.

    Both "best" are picked by validation AUROC where there is one, else by the order of the study.
    """
    rows = []
    for dataset, part in table.groupby("dataset"):
        flow, plain = _best(part, ("ae_flow",)), _best(part, methods_of("untrained"))
        if flow is None or plain is None:
            continue
        rows.append(
            {
                "domain": flow["domain"],
                "data set": dataset,
                "AE-FLOW": method_title(flow["model"], flow["variant"]),
                "AUROC": round(100 * flow["auroc"], 1),
                "untrained": method_title(plain["model"]),
                "its AUROC": round(100 * plain["auroc"], 1),
                "difference": round(100 * (flow["auroc"] - plain["auroc"]), 1),
            }
        )
    columns = ["domain", "data set", "AE-FLOW", "AUROC", "untrained", "its AUROC", "difference"]
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:2], ignore_index=True)


def _best(rows: pd.DataFrame, models: tuple[str, ...]) -> pd.Series | None:
    rows = rows[rows["model"].isin(models)]
    ranked = rows.sort_values("val_auroc", ascending=False, na_position="last", kind="stable")
    return ranked.iloc[0] if len(ranked) else None


def recorded_overview(profile: str) -> pd.DataFrame:
    """The runs that come with the bundle: mean test AUROC ± sd over seeds, methods by data sets."""
    cells: dict[str, dict[str, str]] = {}
    main = [run for run in find(profile, "recorded") if run.config.in_main_tables]
    for (dataset, model, variant), runs in grouped(main).items():
        each = [100 * run.metrics["auroc"] for run in runs]
        spread = f" ± {np.std(each, ddof=1):.1f}" if len(each) > 1 else ""
        cells.setdefault(dataset, {})[method_title(model, variant)] = f"{np.mean(each):.1f}{spread}"
    return pd.DataFrame(cells).rename_axis("test AUROC, %").reset_index()


def save_table(table: pd.DataFrame, name: str, profile: Profile) -> Path:
    """Write ``results/<profile>/tables/<name>.csv``, full precision."""
    path = paths().results(profile.name) / "tables" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


def missing_figures() -> str:
    """Which figures of the paper's own table are not known, and how to add one."""
    known = published().query("source == 'paper' and method == 'AE-FLOW'")
    known = known[known["metric"].isin(PAPER_METRICS)]
    parts = []
    for dataset in PAPER_DATASETS:
        have = set(known.loc[known["dataset"] == dataset, "metric"])
        lacking = [METRIC_TITLES[name] for name in PAPER_METRICS if name not in have]
        if lacking:
            title = SPECS[dataset].title if dataset in SPECS else dataset
            parts.append(f"{title} {', '.join(lacking)}")
    total = len(PAPER_METRICS) * len(PAPER_DATASETS)
    return (
        f"Of the paper's {total} figures for AE-FLOW, {len(known)} are known here. Missing: "
        f"{'; '.join(parts)}; and every row of its baselines but one AUROC. To fill a gap, add a "
        "line to `results/published.csv` with the source it was read in."
    )


def peers() -> pd.DataFrame:
    """Our methods and metrics against other people's, a row a quantity, as `make peers` wrote it.

    `max_rel_difference` is the largest absolute difference over the peer's largest magnitude;
    `known_difference` names the convention that a row which does not agree is about.
    """
    table = pd.read_csv(paths().home / "results" / "peers.csv")
    return table.fillna({"known_difference": ""})


def side_by_side(
    results: list[RunResult], regimes: tuple[str, ...] = tuple(REGIMES)
) -> pd.DataFrame:
    """Figures in print and these runs, in percent, for AE-FLOW and its rivals; NaN where unknown.

    Indexed by data set, source, method and protocol (how the threshold was chosen). The blog's
    "AUC" is a balanced accuracy and stands in that column. Published figures of other metrics
    have no counterpart here and are left out.
    """
    index = ["dataset", "source", "method", "protocol"]
    printed = published()
    printed = printed[printed["metric"].isin(METRIC_TITLES)]
    parts = [printed.pivot_table(index=index, columns="metric", values="value").reset_index()]
    for regime in regimes:
        ours = summary(results, regime)
        ours = ours[ours["model"].isin(methods_of("trained"))]
        ours[list(METRIC_TITLES)] *= 100
        method = list(map(method_title, ours["model"], ours["variant"]))
        parts.append(ours.assign(source="this bundle", method=method, protocol=REGIMES[regime]))
    table = pd.concat(parts)[[*index, *METRIC_TITLES]]
    order = {"paper": 0, "blog": 1, "this bundle": 3}
    table = table.sort_values(
        index, key=lambda column: column.map(order).fillna(2) if column.name == "source" else column
    )
    titles = {"dataset": "data set", **METRIC_TITLES}
    return table.rename(columns=titles).set_index(["data set", *index[1:]])


def printed_datasets() -> list[str]:
    """Data sets for which the paper or the 2023 study prints test metrics, in their order."""
    printed = published()
    here = printed["source"].str.startswith(("paper", "blog"))
    return list(printed.loc[here & printed["metric"].isin(METRIC_TITLES), "dataset"].unique())


def not_here(results: list[RunResult]) -> pd.DataFrame:
    """Data sets that have no run here, with how to get them."""
    have = {result.config.data.dataset for result in results}
    rows = [(n, "not here", spec.how_to_get) for n, spec in SPECS.items() if n not in have]
    return pd.DataFrame(rows, columns=["data set", "status", "how to get it"])
