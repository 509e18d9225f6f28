"""Sentences and cards of the notebooks, composed from results: no number in prose is typed."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from IPython.display import Markdown

from aeflow_utils.article.audit import TEST_SPLIT
from aeflow_utils.article.findings import Finding
from aeflow_utils.data.catalog import SPECS, DatasetSpec, parse_label
from aeflow_utils.data.table import SPLIT_SEED, available
from aeflow_utils.show.alt_texts import listed
from aeflow_utils.show.ensemble_measurements import NOMINAL
from aeflow_utils.show.style import LABEL_NAMES
from aeflow_utils.study.results import label_title
from aeflow_utils.study.runs import RunResult

if TYPE_CHECKING:  # torch, which nothing else here needs
    from aeflow_utils.data.features import Splits


# Name of each finding and its sentence, in the order of the argument. `{sigma}` are the
# values of the key ``sigma`` on every data set, ``{chosen_measure}`` the measures that are meant.
SENTENCES = {
    "ensemble, without labels": "Where no label enters, neither the threshold nor the measure: "
    "chance that σ of raw scores is larger for a wrong verdict than for a right one (50 % is a "
    "coin): {normals_sigma}; that the wrong one is closer to the threshold: {normals_chosen}; and "
    "by the best such measure on test, an upper end: {normals_label_free_best}.",
    "ensemble, raw sigma": "Chance that the deviation of raw scores is larger for a wrong verdict "
    "than for a right one (50 % is a coin): {sigma}; with the first members, as many as the study "
    "had: {three_sigma}. Rank correlation of that deviation with the mean score: "
    "{rank_correlation}.",
    "ensemble, normalised sigma": "With each member standardised on its validation normals first: "
    "{standardised}; the change is {standardising_change}.",
    "ensemble, mean score": "AUROC of the members' mean score minus their mean AUROC: {mean_gain}.",
    "ensemble, chosen measure": "Of the measures compared, cross-fitted validation chooses, by "
    "its labels, {chosen_measure}. Chance that it is larger for a wrong verdict: {chosen}; with "
    "one member: {one_chosen}; against σ that is {chosen_gain}.",
    "ensemble, referral": "Share of errors caught by referring the least certain tenth of the "
    "images to a person: {caught}; by σ {sigma_caught}; the most that can be is {most_caught}. "
    "Share of right verdicts: {accuracy} of all, and {rest_accuracy} of those not referred. "
    "Without labels the tenth holds {normals_caught} of the errors, of at most "
    "{normals_most_caught}.",
    "ensemble, conformal coverage": f"Conformal sets that promise {100 * NOMINAL:.0f} % hold the "
    "truth of so many normal test images: {covered_normal}; and of abnormal ones: "
    "{covered_abnormal}.",
    "ensemble, verdict from parts": "AUROC of the mean probability from parts minus that of the "
    "mean score: {parts_auroc_gain}. Taken as the verdict it is right in {parts_accuracy}; error "
    "AUROC of the measure that validation then chooses: {parts_chosen}; referring a tenth catches "
    "of its errors {parts_caught}.",
}


def dataset_cards() -> pd.DataFrame:
    """What each data set is, its licence, and whether it is here."""
    present, rows = available(), []
    for name, spec in SPECS.items():
        parts = [" ".join(rest).strip() or "here" for dataset, *rest in present if dataset == name]
        here = ", ".join(parts)
        where = here or f"no: {spec.how_to_get}"
        rows.append((spec.title, spec.domain, spec.licence, spec.citation, where))
    return pd.DataFrame(rows, columns=["data set", "domain", "licence", "source", "here"])


def dataset_facts(with_runs: list[str]) -> pd.DataFrame:
    """Domain, images, licence, and whether there are runs (by label), a row a data set.

    Images are official, of each official copy; without an official split they are this study's.
    """
    columns = ["data set", "domain", "normal training images", "test normal", "test abnormal"]
    rows = []
    for name, spec in SPECS.items():
        rests = [rest for key, rest in map(parse_label, with_runs) if key == name]
        runs = ", ".join(filter(None, rests)) or ("yes" if rests else "none, absent")
        split = TEST_SPLIT.get(name, "test")
        official = [_count(spec, *key) for key in (("train", 0), (split, 0), (split, 1))]
        rows.append((spec.title, spec.domain, *official, spec.licence, runs))
    return pd.DataFrame(rows, columns=[*columns, "licence", "runs"]).set_index("data set")


def _count(spec: DatasetSpec, split: str, label: int) -> str:
    if ("train", 0) not in next(iter(spec.counts.values())):
        table = spec.splits[""](spec.scan(spec.root, ""), SPLIT_SEED)
        return f"{((table['split'] == split) & (table['label'] == label)).sum():,} (split here)"
    copies = (spec.copies or {"": spec.counts}).values()
    sizes = dict.fromkeys(sum(counts[split, label] for counts in copy.values()) for copy in copies)
    return " or ".join(f"{size:,}" for size in sizes)


def split_counts(splits: list[Splits]) -> pd.DataFrame:
    """Images by split and label, a row a data set."""
    rows = []
    for parts in splits:
        row = {"data set": parts.listed.data.label}
        for split, label in (("train", 0), ("val", 0), ("val", 1), ("test", 0), ("test", 1)):
            of_label = getattr(parts, split).labels == label
            row[f"{split} {LABEL_NAMES[label]}"] = int(of_label.sum())
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
    chosen: list[Finding] = []
    for beginning in beginnings:
        fitting = [finding for finding in findings if finding.name.startswith(beginning)]
        if not fitting:
            raise ValueError(f"no finding begins with '{beginning}'")
        chosen += fitting
    return Markdown("\n\n".join(f"> {finding.sentence}" for finding in chosen))


def ensemble_findings(table: pd.DataFrame) -> list[Finding]:
    """What `ensemble_measurements` shows, in the order of the argument: all that is measured."""
    told: dict[str, str] = {}
    for key, rows in table.groupby("key"):
        told[key] = ", ".join(map(_value_text, rows.to_dict("records")))
        where = rows["data set"].map(label_title).groupby(rows["measure"], sort=False).agg(list)
        told[f"{key}_measure"] = "; ".join(f"“{name}” ({listed(on)})" for name, on in where.items())
    return [
        Finding(name, sentence.format(**told))
        for name, sentence in SENTENCES.items()
        if told.keys() >= {field for _, field, *_ in Formatter().parse(sentence) if field}
    ]


def _value_text(row: dict) -> str:
    """``43.2 % on ELPV [39.1, 47.5]``; a change, in points, and a correlation have a sign."""
    where = label_title(row["data set"])
    if np.isnan(row["value"]):  # nothing, or everything, is wrong: there is no order to judge
        return f"undefined on {where}"
    scale, unit, style = 100, " %", ".1f"
    if "change" in row["key"] or "gain" in row["key"]:
        unit, style = " points", "+.1f"
    if "correlation" in row["key"]:
        scale, unit, style = 1, "", "+.2f"
    value, low, high = (format(scale * row[name], style) for name in ("value", "low", "high"))
    return f"{value}{unit} on {where} [{low}, {high}]"
