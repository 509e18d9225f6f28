"""The claims ledger: what the paper and the 2023 study claim, and what the evidence here says.

A claim is data; its verdict is computed, by one rule, each time the ledger is asked for. New runs
change it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from aeflow_utils.article import ensemble_judges, judges, printed_judges
from aeflow_utils.article.evidence import VERDICTS, Evidence
from aeflow_utils.article.judges import Judgement
from aeflow_utils.paths import paths
from aeflow_utils.profiles import Profile

PUBLISHED = "results/published.csv"
TRAINING, BASELINES = "02_training", "03_baselines"
INDUSTRY, ENSEMBLE, ARTICLE = "04_generalizability", "05_deep_ensemble", "00_blogpost"


@dataclass(frozen=True)
class Claim:
    """One claim.

    Args:
        key: short name, to quote it by.
        claim: in our words.
        by: ``paper`` or ``study``.
        judge: evidence to verdict and sentence.
        notebook: where the evidence is shown.
        arithmetic: whether it rests on figures in print, instead of runs.
    """

    key: str
    claim: str
    by: str
    judge: Callable[[Evidence], Judgement]
    notebook: str
    arithmetic: bool = False


def _printed(key: str, claim: str, by: str, judge: Callable[[Evidence], Judgement]) -> Claim:
    return Claim(key, claim, by, judge, ARTICLE, arithmetic=True)


def _refuted(finding: str, number: str, value: float) -> Callable[[Evidence], Judgement]:
    return partial(printed_judges.arithmetic, finding=finding, number=number, refuted_by=value)


CLAIMS = (
    Claim(
        "medical",
        "On medical images AE-FLOW beats reconstruction-based and likelihood-based detectors",
        "paper",
        partial(judges.against_rivals, domain="medical"),
        BASELINES,
    ),
    Claim(
        "industrial",
        "It works outside medicine too, as its figures on microchips suggest",
        "paper",
        partial(judges.against_rivals, domain="industrial"),
        INDUSTRY,
    ),
    Claim(
        "joined",
        "Likelihood and reconstruction together tell more than either alone",
        "paper",
        judges.joined,
        TRAINING,
    ),
    Claim(
        "painted",
        "Abnormal images are reconstructed worse than normal ones",
        "paper",
        judges.badly_painted,
        TRAINING,
    ),
    Claim(
        "subnets",
        "The ConvNet subnet suits chest X-rays, the ResNet subnet everything else",
        "paper",
        judges.subnets,
        TRAINING,
    ),
    Claim(
        "normals",
        "Normal images are enough to build the detector, its threshold included",
        "paper",
        judges.normals_suffice,
        TRAINING,
    ),
    Claim(
        "chest auroc",
        "AUROC 92.00 on chest X-ray",
        "paper",
        partial(judges.printed_auroc, dataset="chest_xray", printed=92.0),
        BASELINES,
    ),
    Claim(
        "oct auroc",
        "AUROC 98.15 on OCT, ahead of the next method by 3.88",
        "paper",
        partial(judges.printed_auroc, dataset="oct2017", printed=98.15),
        BASELINES,
    ),
    _printed(
        "one matrix",
        "The printed F1, ACC and SEN on chest X-ray are those of one detector",
        "paper",
        _refuted("one matrix, Paper, chest X-ray", "matrices", 0),
    ),
    _printed(
        "beats paper",
        "On chest X-ray the study's AE-FLOW is better than the paper's in most metrics",
        "study",
        printed_judges.beats_the_paper,
    ),
    Claim(
        "fastflow behind",
        "On chest X-ray FastFlow is far behind AE-FLOW",
        "study",
        partial(judges.one_beats_other, model="ae_flow", rival="fastflow", dataset="chest_xray"),
        BASELINES,
    ),
    Claim(
        "autoencoder between",
        "On chest X-ray the plain autoencoder lies between FastFlow and AE-FLOW",
        "study",
        judges.in_between,
        BASELINES,
    ),
    Claim(
        "autoencoder on mvtec",
        "On MVTec AD the plain autoencoder beats AE-FLOW",
        "study",
        partial(judges.one_beats_other, model="autoencoder", rival="ae_flow", dataset="mvtec"),
        INDUSTRY,
    ),
    Claim(
        "fastflow on btad",
        "On BTAD FastFlow beats AE-FLOW",
        "study",
        partial(judges.one_beats_other, model="fastflow", rival="ae_flow", dataset="btad"),
        INDUSTRY,
    ),
    Claim(
        "medical first",
        "AE-FLOW does well on chest X-ray and badly outside medicine",
        "study",
        judges.medical_first,
        INDUSTRY,
    ),
    _printed(
        "miic",
        "F1 30.76 and ACC 92.82 on MIIC's 1,272 normal and 116 abnormal test images",
        "study",
        _refuted("abnormal images counted twice", "official", 0),
    ),
    _printed(
        "auc column",
        "The column AUC can be set beside the paper's AUROC",
        "study",
        _refuted("AUC from counts", "exact", True),
    ),
    _printed(
        "training images",
        "Chest X-ray has 1,349 normal training images",
        "study",
        printed_judges.training_images,
    ),
    Claim(
        "bits",
        "Bits per dimension train a better model than the summed log-likelihood",
        "study",
        judges.bits_against_nats,
        TRAINING,
    ),
    Claim(
        "cancel",
        "With the summed log-likelihood both losses cancel, and training rests at zero",
        "study",
        judges.losses_cancel,
        TRAINING,
    ),
    Claim(
        "threshold",
        "Maximising F1 on validation finds a threshold that carries over",
        "study",
        judges.threshold_transfers,
        TRAINING,
    ),
    Claim(
        "weighted f1",
        "A class-weighted F1 as criterion makes the result worse",
        "study",
        judges.weighted_f1_is_worse,
        TRAINING,
    ),
    Claim(
        "folds",
        "Cross-validation raises performance",
        "study",
        judges.folds_help,
        TRAINING,
    ),
    Claim(
        "choices",
        "What the paper leaves open decides whether its results can be reached",
        "study",
        judges.choices_matter,
        TRAINING,
    ),
    Claim(
        "residual",
        "The residual image is a good map of the anomaly",
        "study",
        judges.residual_maps,
        INDUSTRY,
    ),
    Claim(
        "sigma",
        "Wrong decisions of the ensemble have a larger deviation than right ones",
        "study",
        ensemble_judges.sigma_finds_errors,
        ENSEMBLE,
    ),
    Claim(
        "normalise",
        "Normalising the members' scores makes the deviation tell errors",
        "study",
        partial(ensemble_judges.ensemble_change, key="standardising_change"),
        ENSEMBLE,
    ),
    Claim(
        "other measure",
        "The trouble is the measure: another one tells errors better",
        "study",
        partial(ensemble_judges.ensemble_change, key="chosen_gain"),
        ENSEMBLE,
    ),
    Claim(
        "representative",
        "What the ensemble shows on chest X-ray it shows on other data",
        "study",
        ensemble_judges.representative,
        ENSEMBLE,
    ),
    _printed(
        "uncertain share",
        "The ensemble is uncertain in 50.7 % of its right decisions",
        "study",
        printed_judges.shares_as_printed,
    ),
)


def ledger(evidence: Evidence) -> pd.DataFrame:
    """Every claim with verdict, evidence, file and notebook, indexed by key."""
    rows = []
    for claim in CLAIMS:
        found = claim.judge(evidence)
        row = {"key": claim.key, "claim": claim.claim, "by": claim.by}
        row |= {"verdict": found.verdict, "evidence": found.evidence}
        row["file"] = PUBLISHED if claim.arithmetic else f"results/*/{evidence.shown}/runs"
        rows.append(row | {"notebook": claim.notebook})
    return pd.DataFrame(rows).set_index("key")


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims got each verdict, by whose they are."""
    found = pd.crosstab(table["by"], table["verdict"])
    return found.reindex(columns=VERDICTS, fill_value=0)


def save_ledger(table: pd.DataFrame, profile: Profile) -> Path:
    """Write ``results/claims.csv``; other profiles than `laptop` keep theirs apart."""
    name = profile.name
    folder = paths().home / "results" if name == "laptop" else paths().results(name)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "claims.csv")
    return folder / "claims.csv"


def cite(table: pd.DataFrame, *keys: str) -> Markdown:
    """Claims of a ledger with verdict and evidence, each as a quotation.

    Raises:
        KeyError: there is no such claim.
    """
    rows = [table.loc[key] for key in keys]
    return Markdown(
        "\n\n".join(f"> **{row.claim}: {row.verdict}.** {row.evidence}" for row in rows)
    )
