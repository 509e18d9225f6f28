"""Sentences and cards of the notebooks, composed from results: no number in prose is typed."""

from __future__ import annotations

import pandas as pd
from IPython.display import Markdown

from aeflow_utils.config import DataConfig
from aeflow_utils.datasets import SPECS, available
from aeflow_utils.ensemble import combine, error_auroc, has_threshold, is_degenerate
from aeflow_utils.features import Splits
from aeflow_utils.findings import Finding
from aeflow_utils.results import grouped, method_title, summary
from aeflow_utils.runs import RunResult
from aeflow_utils.tables import domain_gap, score_parts


def dataset_cards() -> pd.DataFrame:
    """What each data set is, its licence, and whether it is here."""
    here = available()
    rows = []
    for name, spec in SPECS.items():
        found = [category or "here" for dataset, category in here if dataset == name]
        rows.append(
            {
                "data set": spec.title,
                "domain": spec.domain,
                "licence": spec.licence,
                "source": spec.citation,
                "here": ", ".join(found) or f"no: {spec.how_to_get}",
            }
        )
    return pd.DataFrame(rows)


def split_counts(splits: dict[tuple[str, str], Splits]) -> pd.DataFrame:
    """Images by split and label, a row a data set."""
    rows = []
    for (name, category), parts in splits.items():
        row = {"data set": DataConfig(name, category).label}
        for split in ("train", "val", "test"):
            labels = getattr(parts, split).labels
            row[f"{split} normal"] = int((labels == 0).sum())
            if split != "train":
                row[f"{split} abnormal"] = int((labels == 1).sum())
        rows.append(row)
    return pd.DataFrame(rows)


def provenance(results: list[RunResult]) -> str:
    """One sentence: profile, encoder, size, data, seeds, and where the runs come from."""
    config = results[0].config
    datasets = sorted({run.config.data.label for run in results})
    sources = pd.Series([run.source for run in results]).value_counts().sort_index()
    counts = ", ".join(f"{count} {source}" for source, count in sources.items())
    return (
        f"*Runs shown: {len(results)} ({counts}), profile `{config.profile}`, encoder "
        f"`{config.model.encoder}`, {config.data.image_size} px, {config.train.epochs} epochs, "
        f"data: {', '.join(datasets)}, seeds: {max(run.config.seed for run in results) + 1}.*"
    )


def quote(findings: list[Finding], *beginnings: str) -> Markdown:
    """The sentences of the findings whose names begin so, each as a quotation.

    Raises:
        ValueError: a beginning fits no finding.
    """
    parts = []
    for beginning in beginnings:
        found = [f for f in findings if f.finding.startswith(beginning)]
        if not found:
            raise ValueError(f"no finding begins with '{beginning}'")
        parts += [f"> {f.sentence}" for f in found]
    return Markdown("\n\n".join(parts))


def article_findings(results: list[RunResult]) -> str:
    """The findings as a Markdown list, one for each question of the study."""
    table = summary(results, "val_f1")
    parts = [
        _flow_against_gaussian(table),
        _trivial_winners(table),
        _parts_of_the_score(results),
        _validation_gap(table),
        _ensemble_sentence(results),
    ]
    return "\n".join(f"* {part}" for part in parts if part)


def _flow_against_gaussian(table: pd.DataFrame) -> str:
    gaps = domain_gap(table)
    if gaps.empty:
        return ""
    each = [
        f"{row['data set']} {row['AUROC']:.1f} % against {row['its AUROC']:.1f} %"
        for _, row in gaps.iterrows()
    ]
    ahead = int((gaps["difference"] > 0).sum())
    verdict = {0: "on no data set", len(gaps): "on every data set"}.get(
        ahead, f"on {ahead} of {len(gaps)} data sets"
    )
    return (
        f"**AE-FLOW against detectors that train nothing: ahead {verdict}.** Test AUROC of the "
        "better AE-FLOW against the better of Gaussian and nearest neighbours, both chosen on "
        f"validation where it has abnormal images: {'; '.join(each)}."
    )


def _trivial_winners(table: pd.DataFrame) -> str:
    each = []
    for dataset, part in table.groupby("dataset", sort=False):
        best = part[part["model"] == "ae_flow"]["auroc"].max()
        trivial = part[part["model"].isin(["brightness", "smoothness"])]
        each += [
            f"*{method_title(row.model)}* reaches {100 * row.auroc:.1f} % on {dataset}, where the "
            f"better AE-FLOW has {100 * best:.1f} %"
            for row in trivial.itertuples()
            if row.auroc > best
        ]
    if not each:
        return ""
    return (
        f"**One number an image can be enough.** The row {'; '.join(each)}. Where such a "
        "rule wins, a data set says little about any method."
    )


def _parts_of_the_score(results: list[RunResult]) -> str:
    parts = score_parts(results).groupby("data set", sort=False).mean()
    if parts.empty:
        return ""
    each = [
        f"{dataset} {row['score S']:.1f} % together, {row['flow part']:.1f} % and "
        f"{row['reconstruction part']:.1f} % alone"
        for dataset, row in parts.iterrows()
    ]
    harmful = parts[parts["score S"] < parts["flow part"] - 1].index
    verdict = (
        f"The reconstruction lowers AE-FLOW's score on {', '.join(harmful)}."
        if len(harmful)
        else "The reconstruction does not lower AE-FLOW's score."
    )
    return (
        f"**{verdict}** Test AUROC of the whole score, its flow part and its reconstruction part, "
        f"mean over subnets and seeds: {'; '.join(each)}."
    )


def _validation_gap(table: pd.DataFrame) -> str:
    part = table[table["model"] == "ae_flow"].dropna(subset=["val_auroc", "f1"])
    if part.empty:
        return ""
    gap = (part["val_auroc"] - part["auroc"]).groupby(part["dataset"]).mean()
    each = [f"{dataset} {100 * value:+.1f} points" for dataset, value in gap.items()]
    worst = gap.idxmax()
    row = part[part["dataset"] == worst].iloc[0]
    sen, spe = 100 * row["sen"], 100 * row["spe"]
    return (
        f"**Validation does not always speak for the test split.** AE-FLOW's validation AUROC "
        f"minus its test AUROC: {', '.join(each)}. On {worst}, a threshold that maximises F1 on "
        f"validation gives sensitivity {sen:.0f} % and specificity {spe:.0f} % on "
        f"test (AE-FLOW, {row['variant']})."
    )


def _ensemble_sentence(results: list[RunResult]) -> str:
    each = []
    for (dataset, model, variant), runs in grouped(results).items():
        if (model, variant) != ("ae_flow", "conv_like") or len(runs) < 2:
            continue
        if not has_threshold(runs, "val_f1"):
            continue
        combined = combine(runs)
        value = error_auroc(combined, combined["sigma"])
        note = ", all images in one class" if is_degenerate(combined["predicted"]) else ""
        each.append(f"{dataset} {100 * value:.0f} %{note}")
    if not each:
        return ""
    return (
        "**The ensemble's deviation as a sign of error.** Chance that σ is larger for a wrong "
        f"decision than for a right one (50 % is a coin): {'; '.join(each)}."
    )
