"""Run folders to tables: this machine's runs, the recorded ones, and the published figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.config import Profile, UserError, paths
from aeflow_utils.datasets import get_spec
from aeflow_utils.experiments import RunResult, find_runs

REGIMES = {
    "normal_quantile": "95 % quantile of validation normals",
    "val_f1": "F1-max on labelled validation",
    "oracle_f1": "F1-max on test (oracle)",
}
TOLERANCE = 0.03  # by which a metric may move on another machine before it counts as different
GROUP = ["dataset", "model", "variant"]
MODEL_TITLES = {
    "ae_flow": "AE-FLOW",
    "autoencoder": "plain autoencoder",
    "fastflow": "FastFlow",
    "padim": "PaDiM (Gaussian)",
    "knn": "kNN, pooled features",
    "brightness": "trivial: dark",
    "all_abnormal": "trivial: all abnormal",
}


def method_title(model: str, variant: str = "") -> str:
    """A method's name for readers: ``AE-FLOW, conv_like``."""
    return MODEL_TITLES[model] + (f", {variant}" if variant else "")


def collect(profile: str, models: tuple[str, ...] = tuple(MODEL_TITLES)) -> list[RunResult]:
    """Every finished run of a profile: this machine's where there is one, else the recorded one.

    A profile without any runs gives the recorded `laptop` ones, and says so.
    """
    runs = {result.config.run_name: result for result in find_runs(profile, recorded=True)}
    runs |= {result.config.run_name: result for result in find_runs(profile, recorded=False)}
    if not runs and profile != "laptop":
        print(f"no runs of profile {profile} yet: showing the recorded laptop runs")
        return collect("laptop", models)
    return [runs[name] for name in sorted(runs) if runs[name].config.model.name in models]


def runs_table(results: list[RunResult]) -> pd.DataFrame:
    """One row a run: what it was, its AUROCs, its cost, and where it comes from."""
    rows = []
    for result in results:
        config = result.config
        rows.append(
            {
                "dataset": config.data.label,
                "model": config.model.name,
                "variant": config.variant,
                "seed": config.seed,
                "val_auroc": result.metrics["val_auroc"],
                "test_auroc": result.metrics["auroc"],
                "fit_seconds": result.environment["fit_seconds"],
                "trainable_parameters": result.environment["trainable_parameters"],
                "source": "recorded" if result.recorded else "this machine",
            }
        )
    return pd.DataFrame(rows)


def grouped(results: list[RunResult]) -> dict[tuple[str, str, str], list[RunResult]]:
    """Runs that differ only by seed, under (dataset, model, variant)."""
    groups: dict[tuple[str, str, str], list[RunResult]] = {}
    for result in results:
        config = result.config
        key = (config.data.label, config.model.name, config.variant)
        groups.setdefault(key, []).append(result)
    return groups


def summary(results: list[RunResult], regime: str = "val_f1") -> pd.DataFrame:
    """One row a method and data set, in one threshold regime, with the trivial rows.

    Columns: n_seeds; auroc, its standard deviation over seeds and bootstrap interval over
    images; the metrics of `metrics.CLASSIFICATION` (mean over seeds) with the interval of F1;
    val_auroc; source. Metrics are recomputed from the stored scores. NaN where a data set does
    not allow a regime (no abnormal validation image).
    """
    if regime not in REGIMES:
        raise UserError(f"unknown threshold regime '{regime}': choose one of {', '.join(REGIMES)}")
    rows = []
    for (dataset, model, variant), runs in grouped(results).items():
        rows.append({"dataset": dataset, "model": model, "variant": variant} | _row(runs, regime))
    trivial = [_all_abnormal(runs[0]) for runs in _one_per_dataset(results)]
    table = pd.DataFrame(rows + trivial)
    order = {name: position for position, name in enumerate(MODEL_TITLES)}
    return table.sort_values(
        GROUP, key=lambda column: column.map(order) if column.name == "model" else column
    ).reset_index(drop=True)


def _row(runs: list[RunResult], regime: str) -> dict:
    tests = [run.split("test") for run in runs]
    labels = tests[0]["label"].to_numpy()
    scores = np.stack([test["image_score"].to_numpy() for test in tests])
    aurocs = [metrics.auroc(labels, run) for run in scores]
    low, high = metrics.auroc_interval(labels, scores)
    cuts = np.array([run.metrics["thresholds"][regime] for run in runs], dtype=float)
    row = {
        "n_seeds": len(runs),
        "auroc": np.mean(aurocs),
        "auroc_sd": np.std(aurocs, ddof=1) if len(runs) > 1 else np.nan,
        "auroc_low": low,
        "auroc_high": high,
        "val_auroc": np.mean([run.metrics["val_auroc"] for run in runs]),
    }
    if np.isfinite(cuts).all():
        predicted = scores >= cuts[:, None]
        each = pd.DataFrame([metrics.classification(labels, p) for p in predicted])
        row |= each.mean().to_dict()
        row["f1_low"], row["f1_high"] = metrics.classification_interval(labels, predicted, "f1")
    row["source"] = "recorded" if runs[0].recorded else "this machine"
    return row


def _one_per_dataset(results: list[RunResult]) -> list[list[RunResult]]:
    first = {result.config.data.label: [result] for result in reversed(results)}
    return list(first.values())


def _all_abnormal(result: RunResult) -> dict:
    """What calling every test image abnormal scores: the floor under every F1."""
    labels = result.split("test")["label"]
    row = {"dataset": result.config.data.label, "model": "all_abnormal", "variant": ""}
    return row | {"auroc": 0.5} | metrics.classification(labels, np.ones(len(labels)))


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

    out = pd.DataFrame({"data set": table["dataset"]})
    out["method"] = list(map(method_title, table["model"], table["variant"]))
    out["seeds"] = ["" if pd.isna(n) else str(int(n)) for n in table["n_seeds"]]
    out["AUROC"] = table.apply(auroc, axis=1)
    out["95 % interval"] = table.apply(interval, axis=1, name="auroc")
    out["F1"] = table["f1"].map(percent)
    out["F1 interval"] = table.apply(interval, axis=1, name="f1")
    for name, title in (("acc", "ACC"), ("sen", "SEN"), ("spe", "SPE"), ("bacc", "bal. ACC")):
        out[title] = table[name].map(percent)
    out["source"] = table["source"].fillna("")
    return out


def cost_table(results: list[RunResult]) -> pd.DataFrame:
    """Trained parameters, and mean seconds to fit and to score, a row a method and data set."""
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
                "device": runs[0].environment["device"],
            }
        )
    return pd.DataFrame(rows)


def domain_gap(table: pd.DataFrame) -> pd.DataFrame:
    """The best AE-FLOW against the best detector that trains nothing, by data set, in percent.

    Both "best" are picked by validation AUROC where there is one, else by the order of the study.
    """
    rows = []
    for dataset, part in table.groupby("dataset"):
        best = {}
        for name, models in (("AE-FLOW", ["ae_flow"]), ("untrained", ["padim", "knn"])):
            candidates = part[part["model"].isin(models)].sort_values(
                "val_auroc", ascending=False, na_position="last", kind="stable"
            )
            best[name] = candidates.iloc[0] if len(candidates) else None
        if any(row is None for row in best.values()):
            continue
        flow, plain = best["AE-FLOW"], best["untrained"]
        rows.append(
            {
                "domain": get_spec(dataset.split("-")[0]).domain,
                "data set": dataset,
                "AE-FLOW": method_title(flow["model"], flow["variant"]),
                "AUROC": round(100 * flow["auroc"], 1),
                "untrained": method_title(plain["model"]),
                "its AUROC": round(100 * plain["auroc"], 1),
                "difference": round(100 * (flow["auroc"] - plain["auroc"]), 1),
            }
        )
    return pd.DataFrame(rows).sort_values(["domain", "data set"], ignore_index=True)


def recorded_overview(profile: str) -> pd.DataFrame:
    """The runs that come with the bundle: number and mean test AUROC, a row a method."""
    rows = [
        (dataset, method_title(model, variant), len(runs), f"{100 * _mean_auroc(runs):.1f}")
        for (dataset, model, variant), runs in grouped(
            list(find_runs(profile, recorded=True))
        ).items()
    ]
    return pd.DataFrame(rows, columns=["data set", "method", "runs", "AUROC"])


def _mean_auroc(runs: list[RunResult]) -> float:
    return float(np.mean([run.metrics["auroc"] for run in runs]))


def save_table(table: pd.DataFrame, name: str, profile: Profile) -> Path:
    """Write ``results/<profile>/tables/<name>.csv``, full precision."""
    path = paths().results(profile.name) / "tables" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


def published() -> pd.DataFrame:
    """Figures in print, long format: source, dataset, method, metric, value, protocol, ..."""
    return pd.read_csv(paths().home / "results" / "published.csv")


def side_by_side(results: list[RunResult]) -> pd.DataFrame:
    """The paper, the blog and these runs for AE-FLOW and its baselines; empty where unknown.

    One row a source: the columns are metrics in percent, and `protocol` says how the threshold
    was chosen. The blog's "AUC" is a balanced accuracy and stands in that column.
    """
    table = published().pivot_table(
        index=["dataset", "method", "source", "protocol"], columns="metric", values="value"
    )
    rows = [table.reset_index()]
    ours = []
    for regime in REGIMES:
        part = summary(results, regime)
        part = part[part["model"].isin(["ae_flow", "fastflow", "autoencoder"])]
        part = part.assign(
            method=list(map(method_title, part["model"], part["variant"])),
            protocol=REGIMES[regime],
        )
        ours.append(part.dropna(subset=["f1"]))
    mine = pd.concat(ours).assign(source="this bundle")
    names = ["auroc", "f1", "acc", "sen", "spe", "bacc"]
    mine[names] = 100 * mine[names]
    rows.append(mine[["dataset", "method", "source", "protocol", *names]])
    out = pd.concat(rows).reindex(columns=["dataset", "method", "source", "protocol", *names])
    order = {"paper": 0, "blog": 1, "this bundle": 3}
    out = out.sort_values(
        ["dataset", "source", "method", "protocol"],
        key=lambda column: column.map(order).fillna(2) if column.name == "source" else column,
    )
    return out.reset_index(drop=True)


def not_here(results: list[RunResult]) -> pd.DataFrame:
    """Data sets that were published on but have no run, with how to get them."""
    have = {result.config.data.dataset for result in results}
    rows = []
    for name in sorted(set(published()["dataset"]) - have):
        try:
            remedy = get_spec(name.split("-")[0]).how_to_get
        except UserError:
            remedy = "no loader yet"
        rows.append({"data set": name, "status": "not here", "how to get it": remedy})
    return pd.DataFrame(rows, columns=["data set", "status", "how to get it"])


def compare(profile: str) -> pd.DataFrame:
    """Recorded against re-run, metric by metric: equal, within tolerance, or different.

    Only runs that exist on both sides; `TOLERANCE` is on the metric itself, in [0, 1].
    """
    recorded = {r.config.run_name: r for r in find_runs(profile, recorded=True)}
    rows = []
    for mine in find_runs(profile, recorded=False):
        theirs = recorded.get(mine.config.run_name)
        if theirs is None:
            continue
        for metric in ("auroc", "val_auroc", "f1"):
            a, b = (_metric(result, metric) for result in (theirs, mine))
            if not np.isnan(a) or not np.isnan(b):
                rows.append((*_names(mine), metric, a, b, b - a, _verdict(a, b)))
    columns = [
        "data set",
        "method",
        "seed",
        "metric",
        "recorded",
        "re-run",
        "difference",
        "verdict",
    ]
    return pd.DataFrame(rows, columns=columns)


def _names(result: RunResult) -> tuple[str, str, int]:
    config = result.config
    return config.data.label, method_title(config.model.name, config.variant), config.seed


def _metric(result: RunResult, metric: str) -> float:
    """AUROCs as stored; F1 in the regime that every data set allows."""
    if metric == "f1":
        return result.metrics["at_threshold"].get("normal_quantile", {}).get("f1", float("nan"))
    return result.metrics[metric]


def _verdict(recorded: float, rerun: float) -> str:
    if recorded == rerun:
        return "equal"
    return "within tolerance" if abs(recorded - rerun) <= TOLERANCE else "different"


def record(profile: str) -> list[Path]:
    """Copy this machine's runs, without checkpoints, to the recorded ones; replaces those of the
    same data set and method."""
    target = paths().recorded(profile)
    copied = []
    for result in find_runs(profile, recorded=False):
        destination = target / result.folder.name
        shutil.rmtree(destination, ignore_errors=True)
        shutil.copytree(
            result.folder, destination, ignore=shutil.ignore_patterns("checkpoint.safetensors")
        )
        copied.append(destination)
    return copied
