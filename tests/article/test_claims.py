"""Verdicts follow from measurements by one rule, and change with the runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aeflow_utils.article import answers, claims, judges
from aeflow_utils.article.evidence import (
    CONFIRMED,
    NOT_TESTABLE,
    OPEN,
    PARTLY,
    REFUTED,
    VERDICTS,
    Evidence,
    Measurement,
    auroc_above,
    auroc_gap,
    verdict_of,
)
from aeflow_utils.paths import paths

LABELS = [0] * 30 + [1] * 30
PERFECT = (LABELS, np.arange(60))
REVERSED = (LABELS, -np.arange(60))
RANDOM = (LABELS, np.random.default_rng(0).permutation(60))
NORMAL_ONLY = ([0, 0, 0, 0], (1, 2, 3, 4))


def measurement(low, high):
    return Measurement("here", (low + high) / 2, low, high, "")


FOR, AGAINST, NEITHER = measurement(1, 2), measurement(-2, -1), measurement(-1, 1)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ([FOR, FOR], CONFIRMED),
        ([FOR, NEITHER], PARTLY),
        ([FOR, AGAINST], PARTLY),
        ([AGAINST, NEITHER], REFUTED),
        ([AGAINST], REFUTED),
        ([NEITHER, NEITHER], OPEN),
        ([], NOT_TESTABLE),
    ],
)
def test_the_rule_from_measurements_to_a_verdict(found, word):
    assert verdict_of(found) == word


def test_an_interval_that_touches_zero_supports_nothing():
    assert verdict_of([measurement(0, 2)]) == OPEN


def test_a_gap_is_the_difference_of_means_over_seeds_with_a_paired_interval(write_run):
    ours = [write_run("ae_flow", seed=s, variant="conv_like", test=PERFECT) for s in (0, 1)]
    theirs = [write_run("fastflow", test=RANDOM)]
    gap = auroc_gap(ours, theirs)
    level = auroc_above(theirs, 0).value
    assert gap.value == pytest.approx(100 - level)
    assert gap.low < gap.value < gap.high
    assert gap.text.startswith("AE-FLOW, conv_like 100.0 %, FastFlow")
    assert gap.where == "ELPV solar cells"
    same = auroc_gap(theirs, theirs)  # the same draws on both sides
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_the_better_variant_is_the_one_that_validation_prefers(write_run):
    write_run("ae_flow", variant="conv_like", val=PERFECT, test=REVERSED)
    write_run("ae_flow", variant="resnet_like", val=RANDOM, test=PERFECT)
    best = Evidence("smoke").best("elpv", "ae_flow")
    assert best[0].config.variant == "conv_like"
    assert Evidence("smoke").best("elpv", "padim") is None


@pytest.mark.parametrize(
    ("flow", "fastflow", "word"),
    [(PERFECT, REVERSED, CONFIRMED), (REVERSED, PERFECT, REFUTED), (RANDOM, RANDOM, OPEN)],
)
def test_a_verdict_follows_the_runs(write_run, flow, fastflow, word):
    write_run("ae_flow", variant="conv_like", dataset="chest_xray", test=flow)
    write_run("fastflow", dataset="chest_xray", test=fastflow)
    ledger = claims.ledger(Evidence("smoke"))
    assert ledger.loc["fastflow behind", "verdict"] == word
    assert ledger.loc["fastflow on btad", "verdict"] == NOT_TESTABLE


def test_one_category_of_many_decides_nothing(write_run):
    options = {"dataset": "mvtec", "category": "bottle", "val": NORMAL_ONLY}
    write_run("ae_flow", variant="conv_like", test=REVERSED, **options)
    write_run("autoencoder", test=PERFECT, **options)
    row = claims.ledger(Evidence("smoke")).loc["autoencoder on mvtec"]
    assert row["verdict"] == OPEN
    assert "Only 1 of 15 categories" in row["evidence"]


def test_a_printed_auroc_is_judged_in_the_papers_setting_only(write_run):
    run = write_run("ae_flow", variant="conv_like", dataset="chest_xray", test=PERFECT)
    evidence = Evidence("smoke")
    judge = judges.printed_auroc
    assert judge(evidence, "oct2017", 98.15).verdict == NOT_TESTABLE
    found = judge(evidence, "chest_xray", 92.0)
    assert found.verdict == NOT_TESTABLE
    assert "have not been run" in found.evidence
    model = replace(run.config.model, encoder="wide_resnet50_2")
    paper = replace(run, config=replace(run.config, model=model))
    evidence = Evidence("smoke")
    evidence.__dict__["runs"] = [paper]
    assert judge(evidence, "chest_xray", 100.0).verdict == CONFIRMED
    assert judge(evidence, "chest_xray", 92.0).verdict == REFUTED


@pytest.mark.parametrize(("flagged", "word"), [(0, CONFIRMED), (30, REFUTED)])
def test_a_threshold_from_normals_is_judged_by_test_normals(write_run, flagged, word):
    threshold_of_write_run = 4.0  # above all four validation images, or below all test normals
    scores = np.full(60, 9.0)
    scores[flagged:30] = threshold_of_write_run - 3.5
    write_run("ae_flow", variant="conv_like", test=(LABELS, scores))
    found = judges.normals_suffice(Evidence("smoke"))
    assert found.verdict == word
    assert f"{100 * flagged / 30:.1f} %" in found.evidence


@pytest.mark.parametrize(
    ("totals", "word"),
    [((9.0, -5.0, -8.0), REFUTED), ((9.0, 5.0, 4.0), REFUTED), ((9.0, 1.0, 0.1), CONFIRMED)],
)
def test_losses_cancel_where_their_sum_comes_to_rest_at_zero(write_run, totals, word):
    run = write_run("ae_flow", variant="conv_like+likelihood_unit=nats")
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_total": totals})
    history.to_csv(run.folder / "history.csv", index=False)
    write_run("ae_flow", variant="conv_like")
    assert judges.losses_cancel(Evidence("smoke")).verdict == word


def test_every_claim_is_named_once_and_shown_somewhere():
    keys = [claim.key for claim in claims.CLAIMS]
    assert len(keys) == len(set(keys))
    for claim in claims.CLAIMS:
        assert claim.by in ("paper", "study")


def test_the_ledger_of_a_single_run_is_whole(write_run):
    write_run("ae_flow", variant="conv_like")
    ledger = claims.ledger(Evidence("smoke"))
    assert list(ledger.index) == [claim.key for claim in claims.CLAIMS]
    assert ledger["verdict"].isin(VERDICTS).all()
    assert ledger["evidence"].str.endswith(".").all()
    assert claims.counts(ledger).to_numpy().sum() == len(claims.CLAIMS)


def test_the_ledger_is_written_apart_for_other_profiles(write_run):
    from aeflow_utils.profiles import PROFILES

    write_run("ae_flow", variant="conv_like")
    ledger = claims.ledger(Evidence("smoke"))
    written = claims.save_ledger(ledger, PROFILES["smoke"])
    assert written == paths().results("smoke") / "claims.csv"
    assert claims.save_ledger(ledger, PROFILES["laptop"]) == paths().home / "results/claims.csv"
    pd.testing.assert_frame_equal(pd.read_csv(written, index_col="key"), ledger)


def test_a_citation_has_claim_verdict_and_evidence(write_run):
    write_run("ae_flow", variant="conv_like")
    ledger = claims.ledger(Evidence("smoke"))
    text = claims.cite(ledger, "auc column").data
    assert text.startswith("> **The column AUC can be set beside the paper's AUROC: refuted.** SEN")
    with pytest.raises(KeyError):
        claims.cite(ledger, "no such claim")


def test_answers_say_who_is_ahead(write_run):
    for dataset in ("chest_xray", "elpv"):
        write_run("ae_flow", variant="conv_like", dataset=dataset, test=PERFECT)
        write_run("fastflow", dataset=dataset, test=REVERSED)
        write_run("autoencoder", dataset=dataset, test=PERFECT)
        write_run("knn", dataset=dataset, test=REVERSED)
    evidence = Evidence("smoke")
    text = answers.answers(evidence, claims.ledger(evidence), pd.DataFrame())
    assert "ahead of FastFlow, level with plain autoencoder" in text
    assert "it is ahead of kNN, pooled features" in text
    assert "No ensemble that errs is here." in text


def test_ablations_are_compared_with_runs_of_their_own_profile(write_run):
    few = ([0, 0, 1, 1], (1, 2, 3, 4))
    write_run("ae_flow", variant="conv_like", test=few)
    for variant in ("conv_like", "conv_like+likelihood_unit=nats"):
        write_run("ae_flow", variant=variant, test=RANDOM, profile="laptop", recorded=True)
    found = judges.bits_against_nats(Evidence("smoke"))
    assert found.verdict == OPEN
    assert "+0.0 [+0.0, +0.0]" in found.evidence
