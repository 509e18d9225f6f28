"""Tables for readers: formatted summaries, costs, and the published figures beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.data.reading import read_table
from aeflow_utils.methods import method_title, methods_of
from aeflow_utils.paths import paths, whole
from aeflow_utils.profiles import PROFILES, Profile
from aeflow_utils.study.histories import diverged, judged_losses, kept_row, still_falling
from aeflow_utils.study.recording import compare, published
from aeflow_utils.study.results import (
    find,
    grouped,
    label_title,
    labels_and_scores,
    summary,
)
from aeflow_utils.study.runs import RunResult

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

METRIC_TITLES = {name: name.upper() for name in ("auroc", *metrics.CLASSIFICATION)}
METRIC_TITLES["bacc"] = "bal. ACC"
SCORE_COLUMNS = {
    "score S": "image_score",
    "flow part": "flow_score",
    "reconstruction part": "recon_score",
}


def format_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`summary` for readers: percentages as text, spread and intervals beside their values."""

    def percent(column: str, form: str = "{:.1f}") -> pd.Series:
        values = table.get(column, pd.Series(np.nan, table.index))
        return values.map(lambda value: "" if pd.isna(value) else form.format(100 * value))

    out = pd.DataFrame({"data set": table["dataset"].map(label_title)}, index=table.index)
    out["method"] = list(map(method_title, table["model"], table["variant"]))
    notes = table.get("note", pd.Series("", table.index)).fillna("")
    out["method"] += notes.where(notes == "", " (" + notes + ")")
    out["reads"] = table["reads"]
    out["seeds"] = ["" if pd.isna(n) else str(int(n)) for n in table["n_seeds"]]
    for name, title in METRIC_TITLES.items():
        out[title] = percent(name)
    out["AUROC"] += percent("auroc_sd", " ± {:.1f}")
    out.insert(
        out.columns.get_loc("AUROC") + 1,
        "95 % interval",
        percent("auroc_low", "{:.1f}–") + percent("auroc_high"),
    )
    out.insert(
        out.columns.get_loc("F1") + 1,
        "F1 interval",
        percent("f1_low", "{:.1f}–") + percent("f1_high"),
    )
    out["source"] = table["source"].fillna("")
    return out.set_index(["data set", "method"])


def main_table(table: pd.DataFrame) -> Styler:
    """`summary` in short: data set, method, AUROC ± its deviation over seeds, and F1.

    Pointing at an AUROC shows its seeds and 95 % interval, and the AUROC on validation.
    """
    out = format_summary(table)
    told = "seeds: " + out["seeds"] + "; 95 % interval " + out["95 % interval"]
    validation = (100 * table["val_auroc"]).map("; validation {:.1f}".format)
    told += np.where(table["val_auroc"].isna(), "", validation)
    short = out[["AUROC", "F1"]].reset_index()
    told = told.where(out["seeds"] != "", "").to_numpy()
    cells = zip(short["AUROC"], told, strict=True)
    short["AUROC"] = [f'<span title="{tip}">{value}</span>' for value, tip in cells]
    return short.style.hide().set_uuid("main")


def cost_table(results: list[RunResult]) -> pd.DataFrame:
    """Trained parameters, mean seconds to fit, images scored a second and peak memory.

    A row a method and data set. Memory is that of the process, framework included.
    """
    rows = []
    for (dataset, model, variant), runs in grouped(results).items():
        each = pd.DataFrame([run.environment for run in runs])
        n_images, seconds = len(runs[0].scores), max(each["score_seconds"].mean(), 1e-3)
        row = {"data set": label_title(dataset), "method": method_title(model, variant)}
        row["trained parameters"] = f"{each['trainable_parameters'][0]:,}"
        row["fit, s"] = round(each["fit_seconds"].mean(), 1)
        row["images scored a second"] = round(n_images / seconds)
        row["peak memory, MB"] = max(run.environment["peak_memory_mb"] or 0 for run in runs)
        rows.append(row | {"device": each["device"][0]})
    return pd.DataFrame(rows)


def rate_table(trials: pd.DataFrame) -> pd.DataFrame:
    """`study.trials.run_trials` for readers: the loss by multiple of the published rate.

    A row a method, its maps and a data set; the lowest is starred.
    """
    keys = ["data set", "method", "strides"]
    methods = map(method_title, trials["model"], trials["variant"].fillna(""))
    named = trials.assign(**{"data set": trials["dataset"].map(label_title)}, method=list(methods))
    lowest = named["loss"] == named.groupby(keys, dropna=False)["loss"].transform("min")
    shown = named["loss"].map("{:,.4g}".format) + np.where(lowest, " ★", "")
    named = named.assign(shown=shown, strides=named["strides"].fillna(""))
    wide = named.pivot_table("shown", keys, "multiple", aggfunc="first").fillna("")
    return wide.rename(columns="{:g} ×".format)


def training_table(results: list[RunResult]) -> pd.DataFrame:
    """How far training came, a row a method and data set, mean over seeds.

    Epochs, the epoch whose weights are kept, and its loss on validation normals; by how much of
    its whole fall that loss still fell in the last tenth; runs that diverged.
    """
    rows = []
    for (dataset, model, variant), runs in grouped(results).items():
        if len(judged_losses(runs[0])):
            kept = pd.DataFrame([kept_row(run) for run in runs])
            row = {"data set": label_title(dataset), "method": method_title(model, variant)}
            row["epochs"], row["kept"] = len(runs[0].history), round(kept["epoch"].mean(), 1)
            row["loss on validation normals"] = (
                f"{kept[f'val_{runs[0].config.method.judged_by}'].mean():.4g}"
            )
            falling = np.mean([still_falling(run) for run in runs])
            row["still falling"] = f"{100 * falling:.1f} %"
            rows.append(row | {"diverged": sum(map(diverged, runs))})
    return pd.DataFrame(rows)


def auroc_of_parts(results: list[RunResult]) -> pd.DataFrame:
    """Test AUROC of AE-FLOW's score and of its two parts alone, in percent, mean over seeds."""
    rows = []
    flows = grouped(run for run in results if run.config.model.name == "ae_flow")
    for (dataset, model, variant), runs in flows.items():
        row = {"data set": label_title(dataset), "method": method_title(model, variant)}
        for title, column in SCORE_COLUMNS.items():
            labels, scores = labels_and_scores(runs, column)
            row[title] = round(100 * np.mean([metrics.auroc(labels, each) for each in scores]), 1)
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
            each = [(run.metrics["pixel_auroc"], run.metrics["aupro"]) for run in runs]
            method, mean = method_title(model, variant), 100 * np.mean(each, axis=0)
            rows.append((label_title(label), method, *mean))
            of_set.setdefault((runs[0].config.data.dataset, method), []).append(mean)
    for (dataset, method), means in of_set.items():
        if len(means) > 1:
            title = f"{label_title(dataset)}, mean of {len(means)}"
            rows.append((title, method, *np.mean(means, axis=0)))
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
        **{"data set": table["data set"].map(label_title)},
        validation=table["validation"].map("{:.1f}".format) + star,
        test=table["test"].map("{:.1f}".format) + interval,
    )
    parts = cells.set_index(by).groupby("data set", sort=False)[["validation", "test"]]
    return pd.concat(dict(iter(parts)), axis=1).fillna("")


def domain_gap(table: pd.DataFrame) -> pd.DataFrame:
    """The best AE-FLOW against the best detector that trains nothing, by data set, in percent.

    Both "best" are picked by validation AUROC where there is one, else by the order of the study.
    """
    ranked = table.sort_values("val_auroc", ascending=False, kind="stable")
    flow, plain = (
        ranked[ranked["model"].isin(models)].drop_duplicates("dataset")
        for models in (("ae_flow",), methods_of("untrained"))
    )
    both = flow.merge(plain, on="dataset", suffixes=("", "_plain"))
    out = both[["domain"]].assign(**{"data set": both["dataset"].map(label_title)})
    out["AE-FLOW"] = list(map(method_title, both["model"], both["variant"]))
    out["AUROC"] = (100 * both["auroc"]).round(1)
    out["untrained"] = list(map(method_title, both["model_plain"]))
    out["its AUROC"] = (100 * both["auroc_plain"]).round(1)
    out["difference"] = (100 * (both["auroc"] - both["auroc_plain"])).round(1)
    return out.sort_values(["domain", "data set"], ignore_index=True)


def recorded_overview(profile: str) -> pd.DataFrame:
    """The runs that come with the bundle: mean test AUROC with its 95 % interval, in percent.

    Methods by data sets; below them the paper's own figures, as far as they are known.
    """
    main = [run for run in find(profile, "recorded") if not run.config.is_side_run]
    table = summary(main, "val_f1").dropna(subset="n_seeds")
    printed = published().query("source == 'paper' and method == 'AE-FLOW' and metric == 'auroc'")
    printed = printed.set_index("dataset")["value"].map("{:.1f}".format)
    cells: dict[str, dict[str, str]] = {}
    for label, rows in table.groupby("dataset", sort=False):
        values = 100 * rows[["auroc", "auroc_low", "auroc_high"]].to_numpy()
        methods = map(method_title, rows["model"], rows["variant"])
        told = (f"{value:.1f} ({low:.1f}–{high:.1f})" for value, low, high in values)
        of_set = cells[label_title(label)] = dict(zip(methods, told, strict=True))
        name, split = parse_label(label)
        if split not in PROFILES[profile].also.values() and name in printed:
            of_set["AE-FLOW in the paper, second-hand"] = printed[name]
    return pd.DataFrame(cells).rename_axis("test AUROC, %").fillna("").reset_index()


def print_comparison(profile: str) -> pd.DataFrame:
    """Print recorded against re-run; returns the table."""
    table = compare(profile)
    if table.empty:
        print(f"nothing to compare: no recorded runs of profile {profile} on these data")
        return table
    numbers = ("recorded", "re-run", "difference", "a seed moves")
    shown = table.round(dict.fromkeys(numbers, 4))
    print(f"\nrecorded against re-run:\n{shown.to_string(index=False)}")
    counts = table["verdict"].value_counts()
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return table


def save_table(table: pd.DataFrame, name: str, profile: Profile) -> Path:
    """Write ``results/<profile>/tables/<name>.csv``, full precision."""
    path = paths().results(profile.name) / "tables" / f"{name}.csv"
    with whole(path) as partial:
        table.to_csv(partial, index=False)
    return path


def peers() -> pd.DataFrame:
    """Our methods and metrics against other people's, a row a quantity, as `make peers` wrote it.

    `max_rel_difference` is the largest absolute difference over the peer's largest magnitude;
    `known_difference` names the convention that a row which does not agree is about.
    """
    table = read_table(paths().home / "results" / "peers.csv")
    return table.fillna({"known_difference": ""})


def not_here(results: list[RunResult]) -> pd.DataFrame:
    """Data sets that have no run here, with how to get them."""
    have = {result.config.data.dataset for result in results}
    rows = [(spec.title, "not here", spec.how_to_get) for n, spec in SPECS.items() if n not in have]
    return pd.DataFrame(rows, columns=["data set", "status", "how to get it"])
