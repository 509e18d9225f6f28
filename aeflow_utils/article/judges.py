"""How each claim is judged: runs or findings in, a verdict and what it rests on out.

Every public function is a judge. The claims and a judge's arguments are rows of
``results/claims_in_print.csv``; every argument is text.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np

from aeflow_utils import metrics
from aeflow_utils.article.audit import printed_row
from aeflow_utils.article.evidence import (
    MISSING,
    Evidence,
    Judgement,
    Runs,
    above,
    auroc_above,
    auroc_gap,
    f1_gap,
    judgement,
    mean_auroc,
    measured,
    of_parts,
    relation,
    rivals,
    signed,
)
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.methods import CHOICES, methods_of
from aeflow_utils.metrics.compare import CONFIRMED, NOT_TESTABLE, OPEN, PARTLY, REFUTED, Measurement
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.grid import GRID, ablation_table, fold_table, variant_of
from aeflow_utils.study.results import dataset_title, label_title, labels_and_scores
from aeflow_utils.study.runs import RunResult

NOMINAL, TOLERANCE = 5.0, 3.0  # per cent of normal images flagged; points that count as transfer
F1_LOSS = 2.0  # points of F1 that a threshold from validation may cost
NEAR_ZERO = 0.05  # share of its first value below which a loss rests at zero


def _gaps(evidence: Evidence, datasets: list[str], model: str, *others: str) -> list[Measurement]:
    """AUROC of a method minus that of the better of others, on each data set that has both."""
    pairs = [(evidence.best(d, model), evidence.best(d, *others)) for d in datasets]
    return [auroc_gap(*pair) for pair in pairs if all(pair)]


def against_rivals(evidence: Evidence, domain: str) -> Judgement:
    """AE-FLOW against every method that is trained, on the data sets of a domain."""
    here = evidence.of_domain(domain)
    gaps = [gap for rival in rivals() for gap in _gaps(evidence, here, "ae_flow", rival)]
    return judgement("Test AUROC of AE-FLOW, the rival and the difference", gaps)


def against_untrained(evidence: Evidence) -> Judgement:
    """AE-FLOW against the best method that trains nothing."""
    return judgement(
        "Test AUROC of AE-FLOW, of the best detector that trains nothing, and the difference",
        _gaps(evidence, evidence.datasets, "ae_flow", *methods_of("untrained")),
    )


def in_order(evidence: Evidence, dataset: str, order: str) -> Judgement:
    """Each method of an order (``fastflow < ae_flow``) against the one before, on one data set."""
    here = [label for label in evidence.datasets if parse_label(label)[0] == dataset]
    pairs = pairwise(order.split(" < "))
    gaps = [gap for low, high in pairs for gap in _gaps(evidence, here, high, low)]
    result = judgement("Test AUROC and the difference", gaps)
    categories = len(SPECS[dataset].categories)
    if 0 < len(here) < categories:
        told = f"{result.told} Only {len(here)} of {categories} categories is here."
        return Judgement(OPEN, told)
    return result


def joined(evidence: Evidence) -> Judgement:
    """The whole score against each of its parts, on the same runs."""
    columns, best = ("flow_score", "recon_score"), evidence.ae_flow.values()
    gaps = [auroc_gap(runs, runs, column) for column in columns for runs in best]
    return judgement("Test AUROC of the whole score, of one part, and the difference", gaps)


def badly_painted(evidence: Evidence) -> Judgement:
    """Whether the reconstruction alone ranks abnormal images above normal ones."""
    levels = [auroc_above(runs, 50, "recon_score") for runs in evidence.ae_flow.values()]
    return judgement("Test AUROC of the reconstruction score alone, against chance", levels)


def subnets(evidence: Evidence, subnet: str, dataset: str) -> Judgement:
    """One subnet against the other on one data set, the other way round elsewhere."""
    (other,) = (name for name in CHOICES["subnet"] if name != subnet)
    gaps = []
    for label in evidence.datasets:
        order = (subnet, other) if label == dataset else (other, subnet)
        pair = [evidence.variant(label, "ae_flow", name) for name in order]
        if all(pair):
            gaps.append(auroc_gap(*pair))
    return judgement("Test AUROC of the subnet named, of the other, and the difference", gaps)


def normals_suffice(evidence: Evidence) -> Judgement:
    """Whether a threshold from normal validation images flags as many test normals as it should."""
    measurements = []
    for runs in evidence.ae_flow.values():
        labels, scores = labels_and_scores(runs)
        cuts = np.array([r.metrics["thresholds"]["normal_quantile"] for r in runs])
        flagged = 100 * (scores >= cuts[:, None])[:, labels == 0].mean(axis=0)
        draws = flagged[metrics.resampled(len(flagged))].mean(axis=1)
        m = above(runs[0].config.data, flagged.mean(), draws, NOMINAL + TOLERANCE)
        measurements.append(Measurement(m.where, -m.value, -m.high, -m.low, m.text))
    lead = f"Share of normal test images above a threshold meant for {NOMINAL:g} %"
    return judgement(f"{lead} ({TOLERANCE:g} points allowed)", measurements)


def printed_auroc(evidence: Evidence, dataset: str) -> Judgement:
    """The paper's AUROC against runs in its own setting, if there are any."""
    printed = printed_row(source="paper", table="main", dataset=dataset, method="AE-FLOW")["auroc"]
    runs = evidence.ae_flow.get(dataset)
    if not runs:
        return Judgement(NOT_TESTABLE, MISSING)
    gap, config = auroc_above(runs, printed), runs[0].config
    told = f"Test AUROC with {config.model.encoder} at {config.data.image_size} px: {gap.text}"
    if config.model.encoder != PROFILES["paper"].encoder:
        told += "; the paper's encoder and size have not been run."
        return Judgement(NOT_TESTABLE, told)
    return Judgement(of_parts([gap.low <= 0 <= gap.high]), f"{told}.")


def medical_first(evidence: Evidence) -> Judgement:
    """AE-FLOW's AUROC on each medical set minus that on each industrial one."""
    best, gaps = evidence.ae_flow, []
    domains = (
        [best[label] for label in evidence.of_domain(domain) if label in best]
        for domain in ("medical", "industrial")
    )
    for pair in product(*domains):
        a, b = map(mean_auroc, pair)
        sides = [labels_and_scores(runs) for runs in pair]
        draws = [100 * metrics.auroc_draws(*side, seed=seed) for seed, side in enumerate(sides)]
        ours, theirs = (runs[0].config.data for runs in pair)
        text = f"{a:.1f} %, {dataset_title(theirs)}: {b:.1f} %"
        gaps.append(measured(ours, a - b, draws[0] - draws[1], text))
    return judgement("Test AUROC on a medical and an industrial set, and the difference", gaps)


def bits_against_nats(evidence: Evidence) -> Judgement:
    """The default loss, first seed, against the likelihood summed over all dimensions."""
    gaps = [
        auroc_gap(evidence.bases[dataset][:1], in_nats)
        for dataset, in_nats in evidence.changed("likelihood_unit", "nats").items()
        if dataset in evidence.bases
    ]
    return judgement("Test AUROC in bits per dimension, summed in nats, and the difference", gaps)


def losses_cancel(evidence: Evidence) -> Judgement:
    """Whether the literal loss comes to rest near 0, where its terms have equal size."""
    texts, rests = [], []
    for dataset, in_nats in evidence.changed("likelihood_unit", "nats").items():
        total = in_nats[0].history["train_total"].to_numpy()
        rests.append(abs(total[-1]) < NEAR_ZERO * abs(total[0]))
        texts.append(f"{SPECS[dataset].title}: {total[0]:,.0f} and {total[-1]:,.0f}")
    if not texts:
        return Judgement(NOT_TESTABLE, "No run here has the literal loss.")
    told = f"The summed loss in the first and last epoch: {'; '.join(texts)}."
    return Judgement(of_parts(rests), told)


def _labelled(evidence: Evidence) -> list[Runs]:
    """AE-FLOW's runs on each data set whose validation has abnormal images."""
    best = evidence.ae_flow.values()
    return [r for r in best if all(np.isfinite(x.metrics["val_auroc"]) for x in r)]


def threshold_transfers(evidence: Evidence) -> Judgement:
    """What a threshold from labelled validation costs against the best one on test."""
    measurements = []
    for runs in _labelled(evidence):
        gap = f1_gap(runs, [r.metrics["thresholds"]["oracle_f1"] for r in runs])
        moved = [value + F1_LOSS for value in (gap.value, gap.low, gap.high)]
        measurements.append(Measurement(gap.where, *moved, gap.text))
    lead = "Test F1 at the threshold from validation and at the best one on test"
    return judgement(f"{lead} ({F1_LOSS:g} points allowed)", measurements)


def weighted_f1_is_worse(evidence: Evidence) -> Judgement:
    """F1 at the F1-max threshold against that at the class-weighted one, both from validation."""

    def weighted(run: RunResult) -> float:
        val = run.labelled("val")
        return metrics.best_threshold(val["label"], val["image_score"], metrics.class_weighted_f1)

    gaps = [f1_gap(runs, [weighted(run) for run in runs]) for runs in _labelled(evidence)]
    return judgement("Test F1 by F1-max, by class-weighted F1, and the difference", gaps)


def folds_help(evidence: Evidence) -> Judgement:
    """Fresh folds against the single split on test; validation of both ways is told."""
    gaps, told, table = [], [], fold_table(evidence.grid)
    for dataset, base in evidence.bases.items():
        if dataset in evidence.folds:
            gaps.append(auroc_gap(evidence.folds[dataset], base[:1]))
            means = table.groupby(["data set", "way"])["validation"].mean()[dataset]
            ways = " and ".join(f"{value:.1f} % ({way})" for way, value in means.items())
            told.append(f"{SPECS[dataset].title} {ways}")
    result = judgement("Test AUROC, mean of fresh folds, of one split, and the difference", gaps)
    validation = f" Mean validation AUROC: {'; '.join(told)}." if told else ""
    return Judgement(result.verdict, result.told + validation)


def choices_matter(evidence: Evidence) -> Judgement:
    """Of the choices that the paper leaves open, the best against the worst by validation."""
    gaps, table = [], ablation_table(evidence.grid)
    no_choice = variant_of("encoder", "untrained")  # but an error of the study's code
    choices = [evidence.changed(*row[1:]) for row in GRID if variant_of(*row[1:]) != no_choice]
    for dataset, rows in table.groupby("data set", sort=False) if len(table) else ():
        runs = [changed[dataset] for changed in choices if dataset in changed]
        runs.append(evidence.bases[dataset][:1])
        ranked = sorted(runs, key=lambda each: each[0].metrics["val_auroc"])
        gap = auroc_gap(ranked[-1], ranked[0])
        spread = rows["validation"].max() - rows["validation"].min()
        gaps.append(replace(gap, text=f"{gap.text}, a span of {spread:.0f} points on validation"))
    return judgement("Test AUROC of validation's best and worst choice, and the difference", gaps)


def residual_maps(evidence: Evidence) -> Judgement:
    """Pixel AUROC of the autoencoder's residual minus that of AE-FLOW's likelihood map."""
    measurements = []
    for dataset in evidence.datasets:
        pair = [evidence.best(dataset, model) for model in ("autoencoder", "ae_flow")]
        if all(pair) and all("pixel_auroc" in run.metrics for runs in pair for run in runs):
            a, b = (np.array([100 * r.metrics["pixel_auroc"] for r in runs]) for runs in pair)
            gaps = a[:, None] - b[None, :]
            where = dataset_title(pair[0][0].config.data)
            text = f"{a.mean():.1f} % against {b.mean():.1f} %"
            measurements.append(Measurement(where, gaps.mean(), gaps.min(), gaps.max(), text))
    lead = "Pixel AUROC of the residual image, of the likelihood map, mean of seeds"
    return judgement(lead, measurements)


def sigma_finds_errors(evidence: Evidence) -> Judgement:
    """The chance that sigma is larger for a wrong verdict than for a right one, against 50 %."""
    lead = "Chance that σ is larger for a wrong verdict than for a right one"
    return judgement(lead, _of_ensemble(evidence, "sigma", 50.0))


def ensemble_change(evidence: Evidence, key: str) -> Judgement:
    """A change of that chance against raw sigma's, by its key in `ensemble_measurements`."""
    return judgement("Change of that chance, in points", _of_ensemble(evidence, key, 0.0))


def representative(evidence: Evidence) -> Judgement:
    """Whether sigma fares alike on every data set with an ensemble."""
    measurements = _of_ensemble(evidence, "sigma", 50.0)
    if len(measurements) < 2:
        return Judgement(NOT_TESTABLE, "Fewer than two data sets have an ensemble here.")
    told = judgement("Chance that σ is larger for a wrong verdict", measurements).told
    return Judgement(of_parts([len(set(map(relation, measurements))) == 1]), told)


def _of_ensemble(evidence: Evidence, key: str, level: float) -> list[Measurement]:
    """Values of `Evidence.ensemble` minus `level`, in percent; a change where `level` is 0."""
    table, measurements = evidence.ensemble, []
    # An ensemble without errors has none to find: its values are NaN.
    for _, row in table[table["key"] == key].dropna(subset="value").iterrows():
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        numbers = (f"{v:.1f} %" if level else signed(v) for v in (value, low, high))
        text = "{} [{}, {}] ({})".format(*numbers, row["measure"])
        where = label_title(row["data set"])
        measurements.append(Measurement(where, value - level, low - level, high - level, text))
    return measurements


def arithmetic(evidence: Evidence, finding: str, number: str, refuted_by: str) -> Judgement:
    """A finding of the audit refutes a claim when its `number` has the value `refuted_by`."""
    shown = evidence.findings[finding]
    return Judgement(of_parts([shown.numbers[number] != float(refuted_by)]), shown.sentence)


def beats_the_paper(evidence: Evidence) -> Judgement:
    """What one printed F1 leaves open of the other metrics."""
    shown = evidence.findings["what one F1 leaves open"]
    better = [
        shown.numbers[f"better_{name}"] == shown.numbers["matrices"] for name in ("acc", "auc")
    ]
    return Judgement(of_parts(better), shown.sentence)


def training_images(evidence: Evidence) -> Judgement:
    """A printed number of training images against one folder, and against two."""
    shown = evidence.findings["training images"]
    n = shown.numbers
    verdict = {n["train"]: CONFIRMED, n["both"]: PARTLY}.get(n["printed"], REFUTED)
    return Judgement(verdict, shown.sentence)
