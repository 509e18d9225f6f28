"""How each claim is judged: evidence in, a verdict and a sentence with its numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aeflow_utils import metrics
from aeflow_utils.article.errors_shown import best_threshold, class_weighted_f1
from aeflow_utils.article.evidence import (
    CONFIRMED,
    NOT_TESTABLE,
    OPEN,
    PARTLY,
    REFUTED,
    Evidence,
    Measurement,
    auroc_above,
    auroc_gap,
    f1_gap,
    measured,
    verdict_of,
)
from aeflow_utils.config import PROFILES
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.methods import methods_of
from aeflow_utils.study.results import dataset_title, labels_and_scores

NOMINAL, TOLERANCE = 5.0, 3.0  # per cent of normal images flagged; points that count as transfer
F1_LOSS = 2.0  # points of F1 that a threshold from validation may cost
NEAR_ZERO = 0.05  # share of its first value below which a loss rests at zero
CHEST = "chest_xray"
MISSING = "No run here measures it: the data are not here."


@dataclass(frozen=True)
class Judgement:
    """One of `evidence.VERDICTS`, and the sentence that it rests on."""

    verdict: str
    evidence: str


def judged(lead: str, measurements: list[Measurement]) -> Judgement:
    """The verdict of the rule, and `lead` with each measurement behind it."""
    measurements = [m for m in measurements if np.isfinite(m.value)]
    if not measurements:
        return Judgement(NOT_TESTABLE, MISSING)
    by_place: dict[str, list[str]] = {}
    for m in measurements:
        by_place.setdefault(m.where, []).append(m.text)
    told = " ".join(f"{where}: {'; '.join(texts)}." for where, texts in by_place.items())
    return Judgement(verdict_of(measurements), f"{lead}. {told}")


def rivals() -> tuple[str, ...]:
    """Every method beside AE-FLOW that is trained."""
    return tuple(key for key in methods_of("trained", "gan") if key != "ae_flow")


def against_rivals(evidence: Evidence, domain: str) -> Judgement:
    """AE-FLOW against every method that is trained, on the data sets of a domain."""
    return judged(
        "Test AUROC of AE-FLOW, the rival and the difference",
        [
            measurement
            for rival in rivals()
            for measurement in _gaps(evidence, "ae_flow", rival, domain=domain)
        ],
    )


def against_untrained(evidence: Evidence) -> Judgement:
    """AE-FLOW against the better of Gaussian and nearest neighbours on the same features."""
    lead = "Test AUROC of AE-FLOW, of the best detector that trains nothing, and the difference"
    return judged(lead, _gaps(evidence, "ae_flow", *methods_of("untrained")))


def _gaps(
    evidence: Evidence, model: str, *rivals: str, domain: str = "", dataset: str = ""
) -> list[Measurement]:
    found = []
    for label in evidence.datasets:
        if domain in ("", evidence.domain(label)) and dataset in ("", parse_label(label)[0]):
            ours, theirs = evidence.best(label, model), evidence.best(label, *rivals)
            if ours and theirs:
                found.append(auroc_gap(ours, theirs))
    return found


def one_beats_other(evidence: Evidence, model: str, rival: str, dataset: str) -> Judgement:
    """One method against another on one data set, all categories that are here."""
    found = judged("Test AUROC and the difference", _gaps(evidence, model, rival, dataset=dataset))
    here = sum(parse_label(label)[0] == dataset for label in evidence.datasets)
    categories = len(SPECS[dataset].categories)
    if 0 < here < categories:
        return Judgement(OPEN, f"{found.evidence} Only {here} of {categories} categories is here.")
    return found


def in_between(evidence: Evidence) -> Judgement:
    """On chest X-ray, the plain autoencoder above FastFlow and below AE-FLOW."""
    pairs = (("autoencoder", "fastflow"), ("ae_flow", "autoencoder"))
    found = [m for pair in pairs for m in _gaps(evidence, *pair, dataset=CHEST)]
    return judged("Test AUROC and the difference", found)


def joined(evidence: Evidence) -> Judgement:
    """The whole score against each of its parts, on the same runs."""
    found, columns = evidence.ae_flow.values(), ("flow_score", "recon_score")
    measurements = [auroc_gap(runs, runs, column) for column in columns for runs in found]
    return judged("Test AUROC of the whole score, of one part, and the difference", measurements)


def badly_painted(evidence: Evidence) -> Judgement:
    """Whether the reconstruction alone ranks abnormal images above normal ones."""
    found = evidence.ae_flow.values()
    measurements = [auroc_above(runs, 50, "recon_score") for runs in found]
    return judged("Test AUROC of the reconstruction score alone, against chance", measurements)


def subnets(evidence: Evidence) -> Judgement:
    """conv_like against resnet_like on chest X-ray, the other way round elsewhere."""
    found = []
    for dataset in evidence.datasets:
        order = ("conv_like", "resnet_like") if dataset == CHEST else ("resnet_like", "conv_like")
        pair = [evidence.methods.get((dataset, "ae_flow", variant)) for variant in order]
        if all(pair):
            found.append(auroc_gap(*pair))
    return judged("Test AUROC of the subnet named, of the other, and the difference", found)


def normals_suffice(evidence: Evidence) -> Judgement:
    """Whether a threshold from normal validation images flags as many test normals as it should."""
    found = []
    for runs in evidence.ae_flow.values():
        labels, scores = labels_and_scores(runs)
        cuts = np.array([r.metrics["thresholds"]["normal_quantile"] for r in runs])
        flagged = 100 * (scores >= cuts[:, None])[:, labels == 0].mean(axis=0)
        draws = flagged[metrics.resampled(len(flagged))].mean(axis=1)
        low, high = metrics.percentile_interval(draws)
        text = f"{flagged.mean():.1f} % [{low:.1f}, {high:.1f}]"
        room, data = NOMINAL + TOLERANCE, runs[0].config.data
        found.append(measured(data, room - flagged.mean(), room - draws, text, False))
    lead = f"Share of normal test images above a threshold meant for {NOMINAL:g} %"
    return judged(f"{lead} ({TOLERANCE:g} points allowed)", found)


def printed_auroc(evidence: Evidence, dataset: str, printed: float) -> Judgement:
    """A printed AUROC against runs in the paper's own setting, if there are any."""
    runs = evidence.ae_flow.get(dataset)
    if not runs:
        return Judgement(NOT_TESTABLE, MISSING)
    above, config = auroc_above(runs, printed), runs[0].config
    setting = f"{config.model.encoder} at {config.data.image_size} px"
    text = f"Test AUROC with {setting}: {above.text}"
    if config.model.encoder != PROFILES["paper"].encoder:
        return Judgement(NOT_TESTABLE, f"{text}; the paper's encoder and size have not been run.")
    agrees = above.low <= 0 <= above.high
    return Judgement(CONFIRMED if agrees else REFUTED, f"{text}.")


def medical_first(evidence: Evidence) -> Judgement:
    """AE-FLOW's AUROC on each medical set minus that on each industrial one."""
    found, measurements = evidence.ae_flow, []
    for medical in (d for d in found if evidence.domain(d) == "medical"):
        for industrial in (d for d in found if evidence.domain(d) == "industrial"):
            a, b = (auroc_above(found[d], 0) for d in (medical, industrial))
            sides = [labels_and_scores(found[d]) for d in (medical, industrial)]
            draws = [100 * metrics.auroc_draws(*pair, seed=k) for k, pair in enumerate(sides)]
            datas = [found[d][0].config.data for d in (medical, industrial)]
            text = f"{a.value:.1f} %, {dataset_title(datas[1])}: {b.value:.1f} %"
            gap = measured(datas[0], a.value - b.value, draws[0] - draws[1], text)
            measurements.append(gap)
    return judged("Test AUROC on a medical and an industrial set, and the difference", measurements)


def bits_against_nats(evidence: Evidence) -> Judgement:
    """The default loss against the likelihood summed over all dimensions."""
    found = _choice_gaps(evidence, "conv_like+likelihood_unit=nats")
    return judged("Test AUROC in bits per dimension, summed in nats, and the difference", found)


def _choice_gaps(evidence: Evidence, variant: str) -> list[Measurement]:
    """The default, first seed, against one of its changes, a data set each."""
    found = []
    for dataset, base in evidence.bases.items():
        changed = evidence.side.get((dataset, variant))
        if changed:
            found.append(auroc_gap(base[:1], changed))
    return found


def losses_cancel(evidence: Evidence) -> Judgement:
    """Whether the literal loss comes to rest near 0, where its terms have equal size."""
    texts, rests = [], []
    for (dataset, variant), runs in evidence.side.items():
        if variant == "conv_like+likelihood_unit=nats":
            total = runs[0].history["train_total"].to_numpy()
            rests.append(abs(total[-1]) < NEAR_ZERO * abs(total[0]))
            texts.append(f"{SPECS[dataset].title}: {total[0]:,.0f} and {total[-1]:,.0f}")
    if not texts:
        return Judgement(NOT_TESTABLE, "No run here has the literal loss.")
    verdict = CONFIRMED if all(rests) else PARTLY if any(rests) else REFUTED
    return Judgement(verdict, f"The summed loss in the first and last epoch: {'; '.join(texts)}.")


def threshold_transfers(evidence: Evidence) -> Judgement:
    """What a threshold from labelled validation costs against the best one on test."""
    found = []
    for runs in _labelled(evidence):
        cuts = [[r.metrics["thresholds"][k] for r in runs] for k in ("val_f1", "oracle_f1")]
        gap = f1_gap(runs, *cuts)
        moved = [getattr(gap, name) + F1_LOSS for name in ("value", "low", "high")]
        found.append(Measurement(gap.where, *moved, gap.text))
    lead = "Test F1 at the threshold from validation and at the best one on test"
    return judged(f"{lead} ({F1_LOSS:g} points allowed)", found)


def weighted_f1_is_worse(evidence: Evidence) -> Judgement:
    """F1 at the F1-max threshold against that at the class-weighted one, both from validation."""
    found = []
    for runs in _labelled(evidence):
        parts = [run.labelled("val") for run in runs]
        pairs = [(p["label"].to_numpy(), p["image_score"].to_numpy()) for p in parts]
        weighted = [best_threshold(*pair, class_weighted_f1) for pair in pairs]
        found.append(f1_gap(runs, [r.metrics["thresholds"]["val_f1"] for r in runs], weighted))
    return judged("Test F1 by F1-max, by class-weighted F1, and the difference", found)


def _labelled(evidence: Evidence) -> list:
    """AE-FLOW's runs on each data set whose validation has abnormal images."""
    found = evidence.ae_flow.values()
    return [r for r in found if all(np.isfinite(x.metrics["val_auroc"]) for x in r)]


def folds_help(evidence: Evidence) -> Judgement:
    """Fresh folds against the single split on test; validation of both ways is told."""
    found, told = [], []
    for dataset, base in evidence.bases.items():
        fresh = evidence.side.get((dataset, "conv_like"))
        if fresh:
            found.append(auroc_gap(fresh, base[:1], where=base[0].config.data))
            table = evidence.folds[evidence.folds["data set"] == dataset]
            means = table.groupby("way")["validation"].mean()
            ways = " and ".join(f"{value:.1f} % ({way})" for way, value in means.items())
            told.append(f"{SPECS[dataset].title} {ways}")
    result = judged("Test AUROC, mean of fresh folds, of one split, and the difference", found)
    told = f" Mean validation AUROC: {'; '.join(told)}." if told else ""
    return Judgement(result.verdict, result.evidence + told)


def choices_matter(evidence: Evidence) -> Judgement:
    """Of the choices that the paper leaves open, the best against the worst by validation."""
    found, choices = [], evidence.choices
    for dataset, rows in choices.groupby("data set", sort=False) if len(choices) else ():
        base = evidence.bases[dataset][:1]
        runs = {v: r for (d, v), r in evidence.side.items() if d == dataset and "+" in v}
        runs = {v: r for v, r in runs.items() if "encoder=untrained" not in v and len(r) == 1}
        ranked = sorted([base, *runs.values()], key=lambda r: r[0].metrics["val_auroc"])
        gap = auroc_gap(ranked[-1], ranked[0])
        spread = rows["validation"].max() - rows["validation"].min()
        text = f"{gap.text}, a span of {spread:.0f} points on validation"
        found.append(Measurement(gap.where, gap.value, gap.low, gap.high, text))
    return judged("Test AUROC of validation's best and worst choice, and the difference", found)


def residual_maps(evidence: Evidence) -> Judgement:
    """Pixel AUROC of the autoencoder's residual minus that of AE-FLOW's likelihood map."""
    found = []
    for dataset in evidence.datasets:
        pair = [evidence.best(dataset, model) for model in ("autoencoder", "ae_flow")]
        if all(pair) and all("pixel_auroc" in run.metrics for runs in pair for run in runs):
            a, b = (np.array([100 * r.metrics["pixel_auroc"] for r in runs]) for runs in pair)
            gaps = a[:, None] - b[None, :]
            where = dataset_title(pair[0][0].config.data)
            text = f"{a.mean():.1f} % against {b.mean():.1f} %"
            found.append(Measurement(where, gaps.mean(), gaps.min(), gaps.max(), text))
    return judged("Pixel AUROC of the residual image, of the likelihood map, mean of seeds", found)
