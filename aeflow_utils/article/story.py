"""Sentences and cards of the notebooks, composed from results: no number in prose is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from IPython.display import Markdown

from aeflow_utils.article.audit import TEST_SPLIT
from aeflow_utils.article.findings import Finding
from aeflow_utils.config import DataConfig
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.data.table import available
from aeflow_utils.study.runs import RunResult

if TYPE_CHECKING:  # torch, which nothing else here needs
    from aeflow_utils.data.features import Splits


def dataset_cards() -> pd.DataFrame:
    """What each data set is, its licence, and whether it is here."""
    columns = ["data set", "domain", "licence", "source", "here"]
    present, rows = available(), []
    for name, spec in SPECS.items():
        here = ", ".join(category or "here" for dataset, category in present if dataset == name)
        where = here or f"no: {spec.how_to_get}"
        rows.append((spec.title, spec.domain, spec.licence, spec.citation, where))
    return pd.DataFrame(rows, columns=columns)


def dataset_facts(with_runs: list[str]) -> pd.DataFrame:
    """Domain, official test images, licence, and whether there are runs, a row a data set.

    Args:
        with_runs: labels of data sets that have some.
    """
    rows = []
    for name, spec in SPECS.items():
        rests = [rest for key, rest in map(parse_label, with_runs) if key == name]
        categories = ", ".join(filter(None, rests))
        sizes = pd.DataFrame(list(spec.counts.values())).sum()
        split = TEST_SPLIT.get(name, "test")
        rows.append(
            {
                "data set": spec.title,
                "domain": spec.domain,
                "normal training images": _count(sizes, ("train", 0)),
                "test normal": _count(sizes, (split, 0)),
                "test abnormal": _count(sizes, (split, 1)),
                "licence": spec.licence,
                "runs": categories or ("yes" if rests else "none, absent"),
            }
        )
    return pd.DataFrame(rows).set_index("data set")


def _count(sizes: pd.Series, key: tuple[str, int]) -> str:
    """Official number of images; nothing where no official split says it."""
    return f"{int(sizes[key]):,}" if key in sizes else ""


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
        chosen = [f for f in findings if f.name.startswith(beginning)]
        if not chosen:
            raise ValueError(f"no finding begins with '{beginning}'")
        parts += [f"> {f.sentence}" for f in chosen]
    return Markdown("\n\n".join(parts))
