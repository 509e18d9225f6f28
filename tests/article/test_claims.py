"""Verdicts follow from measurements by one rule, and change with the runs."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import REPOSITORY, rewrite

from aeflow_utils.article import audit_figures, claims, judges, judges_of_print, standings
from aeflow_utils.article.evidence import Evidence, auroc_gap
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.errors import UserError
from aeflow_utils.metrics import auroc
from aeflow_utils.metrics.verdicts import (
    NOT_SUPPORTED,
    NOT_TESTABLE,
    PARTLY,
    SAME,
    SUPPORTED,
    UNDECIDED,
    VERDICTS,
)
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show.alt_texts import alt_text
from aeflow_utils.show.tables import published
from aeflow_utils.study.results import find, summary

LABELS = [0] * 30 + [1] * 30
PERFECT = (LABELS, np.arange(60))
REVERSED = (LABELS, -np.arange(60))
RANDOM = (LABELS, np.random.default_rng(0).permutation(60))
BETTER = (LABELS, np.random.default_rng(1).normal(np.repeat([0, 1.4], 30)))
NORMAL_ONLY = ([0, 0, 0, 0], (1, 2, 3, 4))
SEEDS = range(PROFILES["overnight"].seeds)


@pytest.fixture
def write_seeds(write_run):
    """Writes one run a seed of the profile that conclusions rest on."""

    def write(*args, seeds=SEEDS, **options):
        options = {"profile": "overnight", "val": PERFECT} | options
        return [write_run(*args, seed=seed, **options) for seed in seeds]

    return write


def test_a_gap_is_the_difference_of_means_over_seeds_with_a_paired_interval(write_run):
    ours = [write_run("ae_flow", seed=s, variant="conv_like", test=PERFECT) for s in (0, 1)]
    theirs = [write_run("fastflow", test=RANDOM)]
    gap = auroc_gap(ours, theirs)
    assert gap.estimate.value == pytest.approx(100 - 100 * auroc(*map(np.array, RANDOM)))
    assert gap.estimate.low < gap.estimate.value < gap.estimate.high
    assert gap.text.startswith("AE-FLOW, conv_like 100.0 %, FastFlow")
    assert gap.where == "ELPV solar cells"
    same = auroc_gap(theirs, theirs).estimate  # the same draws on both sides
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_images_of_one_patient_widen_the_interval_of_a_gap(write_seeds):
    patient = np.arange(60) // 6
    alike = np.random.default_rng(0).normal(size=10)[patient] + np.arange(60) / 1000
    ours = write_seeds("ae_flow", test=PERFECT)
    theirs, widths = write_seeds("knn", test=(LABELS, alike), seeds=[0]), []
    for groups in (np.arange(60), patient):
        sides = [
            [replace(r, scores=r.scores.assign(group=np.resize(groups, 120))) for r in runs]
            for runs in (ours, theirs)
        ]
        estimate = auroc_gap(*sides).estimate
        widths.append(estimate.high - estimate.low)
    assert estimate.image_df == 9
    assert widths[1] > 1.5 * widths[0]


def test_the_better_variant_is_the_one_that_validation_prefers(write_run):
    write_run("ae_flow", variant="conv_like", val=PERFECT, test=REVERSED)
    write_run("ae_flow", variant="resnet_like", val=RANDOM, test=PERFECT)
    best = Evidence("smoke").best("elpv", "ae_flow")
    assert best[0].config.variant == "conv_like"
    assert Evidence("smoke").best("elpv", "padim") is None


def test_what_the_study_does_not_know_is_an_error_and_not_missing(write_run):
    write_run("ae_flow", variant="conv_like")
    evidence = Evidence("smoke")
    assert evidence.changed("alpha", 0.1) == {}
    assert evidence.variant("elpv", "ae_flow", "resnet_like") is None
    for option, value in (("alpha", 0.2), ("likelihood", "nats")):
        with pytest.raises(ValueError, match=f"{option}={value}"):
            evidence.changed(option, value)
    with pytest.raises(ValueError, match="'linear_like' of ae_flow"):
        evidence.variant("elpv", "ae_flow", "linear_like")
    with pytest.raises(ValueError, match="'military'"):
        evidence.of_domain("military")
    with pytest.raises(UserError, match="'glow'"):
        judges.in_order(evidence, "elpv", "glow < ae_flow")


@pytest.mark.parametrize(
    ("flow", "fastflow", "seeds", "word"),
    [
        (PERFECT, REVERSED, SEEDS, SUPPORTED),
        (REVERSED, PERFECT, SEEDS, NOT_SUPPORTED),
        (RANDOM, RANDOM, SEEDS, SAME),
        (PERFECT, REVERSED, SEEDS[1:], UNDECIDED),
    ],
)
def test_a_verdict_follows_the_runs(write_seeds, flow, fastflow, seeds, word):
    options = {"dataset": "chest_xray", "seeds": seeds}
    write_seeds("ae_flow", variant="conv_like", test=flow, **options)
    write_seeds("fastflow", test=fastflow, **options)
    ledger = claims.ledger(Evidence("overnight"))
    assert ledger.loc["fastflow behind", "verdict"] == word
    assert ledger.loc["fastflow on btad", "verdict"] == NOT_TESTABLE


def test_what_a_claim_needs_decides(home, write_seeds):
    write_seeds("ae_flow", variant="conv_like", test=PERFECT)
    for model, test in (("fastflow", REVERSED), ("autoencoder", PERFECT)):
        write_seeds(model, test=test)
    path, printed = home / "results" / "claims_in_print.csv", claims.claims_in_print()
    assert printed.loc["industrial", "needs"] == "any of"
    before = claims.ledger(Evidence("overnight")).loc["industrial", "verdict"]
    text = path.read_text().replace('suggest",,any of,', 'suggest",,all of,')
    path.write_text(text)
    after = claims.ledger(Evidence("overnight")).loc["industrial", "verdict"]
    assert (before, after) == (PARTLY, NOT_SUPPORTED)


def test_every_comparison_of_the_ledger_is_held_against_all_the_others(home, write_seeds):
    """A gap that is told from 0 alone, and not among a hundred."""
    write_seeds("ae_flow", variant="conv_like", test=RANDOM)
    write_seeds("fastflow", test=BETTER)
    path = home / "results" / "claims_in_print.csv"
    head = path.read_text().splitlines()[0]
    row = "a claim,,all of,AUROC,in_order,dataset=elpv; order=ae_flow < fastflow,03_baselines"
    verdicts = []
    for n in (1, 100):
        path.write_text("\n".join([head, *(f"{k},study,{row}" for k in range(n))]) + "\n")
        verdicts.append(set(claims.ledger(Evidence("overnight"))["verdict"]))
    assert verdicts == [{SUPPORTED}, {UNDECIDED}]


def test_one_category_of_many_decides_nothing(write_seeds):
    options = {"dataset": "mvtec", "category": "bottle", "val": NORMAL_ONLY}
    write_seeds("ae_flow", variant="conv_like", test=REVERSED, **options)
    write_seeds("autoencoder", test=PERFECT, **options)
    row = claims.ledger(Evidence("overnight")).loc["autoencoder on mvtec"]
    assert row["verdict"] == NOT_TESTABLE
    assert f"1 of {len(SPECS['mvtec'].categories)}" in row["evidence"]


def test_a_printed_auroc_is_judged_in_the_papers_setting_only(write_run, home):
    run = write_run("ae_flow", variant="conv_like", dataset="chest_xray", test=PERFECT)
    evidence, judge = Evidence("smoke"), judges_of_print.printed_auroc
    for dataset in ("oct2017", "chest_xray"):
        assert judge(evidence, dataset).verdict == NOT_TESTABLE
    model = replace(run.config.model, encoder=PROFILES["paper"].encoder)
    paper = replace(run, config=replace(run.config, model=model))
    evidence = Evidence("smoke")
    evidence.__dict__["runs"] = [paper]
    assert judge(evidence, "chest_xray").verdict == NOT_SUPPORTED
    table = published()
    table.loc[(table["source"] == "paper") & (table["metric"] == "auroc"), "value"] = 100
    table.to_csv(home / "results" / "published.csv", index=False)
    assert judge(evidence, "chest_xray").verdict == SUPPORTED


def test_a_tuned_threshold_is_held_against_one_from_normals(write_seeds):
    """By hand: 30 of 30 found without a false alarm, against 30 with 10."""
    val = ([0] * 21 + [1, 1], [*range(21), 20.5, 22.0])  # F1-max 20.5, quantile of normals 19
    scores = np.array([19.5] * 10 + [0] * 20 + [30] * 30)
    write_seeds("ae_flow", variant="conv_like", val=val, test=(LABELS, scores))
    (gap,) = judges.thresholds(Evidence("overnight"), "val_f1", "normal_quantile").measurements
    assert gap.estimate.value == pytest.approx(100 - 100 * 60 / 70)
    assert gap.relation == "for"


def test_the_residual_is_held_against_the_likelihood_map_within_each_image(write_seeds):
    options = {"dataset": "mvtec", "category": "bottle", "test": (LABELS, PERFECT[1])}
    for run in write_seeds("ae_flow", variant="conv_like", **options):
        defects = (run.scores["split"] == "test") & (run.scores["label"] == 1)
        noise = np.random.default_rng(run.config.seed).normal(0, 0.01, len(defects))
        maps = {"map_auroc": 0.9 + noise, "residual_auroc": 0.7 - noise}
        scores = run.scores.assign(**{k: np.where(defects, v, np.nan) for k, v in maps.items()})
        rewrite(run.folder, "scores.csv.gz", scores)
    (gap,) = judges.residual_maps(Evidence("overnight")).measurements
    assert gap.estimate.value == pytest.approx(-20, abs=0.5)
    assert gap.relation == "against"


@pytest.mark.parametrize(
    ("totals", "word"),
    [
        ((9.0, -5.0, -8.0), NOT_SUPPORTED),
        ((9.0, 5.0, 4.0), NOT_SUPPORTED),
        ((9.0, 1.0, 0.1), SUPPORTED),
    ],
)
def test_losses_cancel_where_their_sum_comes_to_rest_at_zero(write_run, totals, word):
    run = write_run("ae_flow", variant="conv_like+likelihood_unit=nats")
    history = pd.DataFrame({"epoch": [1, 2, 3], "train_total": totals})
    rewrite(run.folder, "history.csv", history)
    write_run("ae_flow", variant="conv_like")
    assert judges.losses_cancel(Evidence("smoke")).verdict == word


def test_every_claim_is_named_once_and_has_a_judge_and_a_notebook():
    table = claims.claims_in_print()
    assert table.index.is_unique
    assert set(table["by"]) == {"paper", "study"}
    assert set(table["judge"]) == set(claims.JUDGES)
    for name in table["notebook"]:
        assert (REPOSITORY / "notebooks" / f"{name}.ipynb").is_file()


def test_printed_numbers_of_a_claim_come_from_the_published_file(home):
    table = published()
    of_paper = (table["source"] == "paper") & (table["metric"] == "auroc")
    table.loc[of_paper & (table["dataset"] == "chest_xray"), "value"] = 12.5
    table.to_csv(home / "results" / "published.csv", index=False)
    assert "12.50" in claims.claims_in_print().loc["chest auroc", "claim"]


def test_a_claim_is_added_by_a_row(home, write_seeds):
    path = home / "results" / "claims_in_print.csv"
    row = "new,study,PaDiM beats FastFlow,,all of,AUROC,in_order"
    row += ",dataset=elpv; order=fastflow < padim,03_baselines"
    path.write_text(f"{path.read_text()}{row}\n")
    write_seeds("padim", variant="stride_16", test=PERFECT, seeds=[0])
    write_seeds("fastflow", test=REVERSED)
    assert claims.ledger(Evidence("overnight")).loc["new", "verdict"] == SUPPORTED


def test_a_claim_without_a_judge_is_named(home, write_run):
    path = home / "results" / "claims_in_print.csv"
    path.write_text(f"{path.read_text()}new,study,It works,,all of,nothing,by_hand,,03_baselines\n")
    write_run("fastflow")
    with pytest.raises(ValueError, match=r"'new'.*'by_hand'"):
        claims.ledger(Evidence("smoke"))


def test_missing_claims_are_named(home):
    (home / "results" / "claims_in_print.csv").unlink()
    with pytest.raises(UserError, match=r"claims_in_print\.csv"):
        claims.claims_in_print()


def test_the_ledger_of_a_single_run_is_whole(write_run):
    write_run("ae_flow", variant="conv_like")
    ledger = claims.ledger(Evidence("smoke"))
    assert list(ledger.index) == list(claims.claims_in_print().index)
    assert ledger["verdict"].isin(VERDICTS).all()
    assert (ledger["evidence"] != "").all()
    assert claims.counts(ledger).to_numpy().sum() == len(ledger)


def test_the_ledger_is_written_apart_for_other_profiles(write_run):
    write_run("ae_flow", variant="conv_like")
    ledger = claims.ledger(Evidence("smoke"))
    written = claims.save_ledger(ledger, PROFILES["smoke"])
    assert written == paths().results("smoke") / "claims.csv"
    assert claims.save_ledger(ledger, PROFILES["laptop"]) == paths().home / "results/claims.csv"
    pd.testing.assert_frame_equal(
        pd.read_csv(written, index_col="key").fillna(""), ledger.drop(columns="measured")
    )


def test_the_forest_of_claims_has_a_line_a_measurement(write_seeds):
    for dataset in ("chest_xray", "elpv"):
        write_seeds("ae_flow", variant="conv_like", dataset=dataset, test=PERFECT)
        write_seeds("autoencoder", dataset=dataset, test=RANDOM)
    ledger = claims.ledger(Evidence("overnight"))
    figure = audit_figures.claims_forest(ledger)
    measured = ledger.loc[ledger["verdict"] != NOT_TESTABLE, "measured"].map(len)
    intervals = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert len(intervals) == measured.sum() + 1  # and the line at 0
    assert len(figure.axes[0].texts) == (measured > 0).sum()
    assert f"{(measured > 0).sum()} measured claims" in alt_text(figure)
    plt.close(figure)


def test_the_ledger_says_what_setting_a_verdict_holds_in(write_run):
    write_run("knn", profile="overnight")
    assert "overnight" in Evidence("overnight").setting  # of runs that have no seeds too
    for name, policy in (("overnight", "converged"), ("as_published", "as published")):
        write_run("ae_flow", variant="conv_like", profile=name)
        setting = claims.ledger(Evidence(name))["setting"]
        assert policy in setting["medical"]
        assert "5 seeds" in setting["medical"]
        assert setting["miic"] == setting["auc column"] != setting["medical"]


def test_standings_have_a_row_a_rival_and_one_for_what_trains_nothing(write_seeds):
    for dataset in ("chest_xray", "elpv"):
        write_seeds("ae_flow", variant="conv_like", dataset=dataset, test=PERFECT)
        write_seeds("fastflow", dataset=dataset, test=REVERSED)
        write_seeds("autoencoder", dataset=dataset, test=PERFECT)
        write_seeds("knn", dataset=dataset, test=REVERSED, seeds=[0])
    stand = standings.standings(Evidence("overnight"))
    assert stand["data set"].value_counts().to_dict() == {"chest_xray": 3, "elpv": 3}
    assert stand["domain"].tolist() == ["industrial"] * 3 + ["medical"] * 3
    elpv = stand[stand["data set"] == "elpv"].set_index("rival")
    assert elpv["relation"].tolist() == ["same", "for", "for"]
    assert elpv.loc["FastFlow", ["AE-FLOW", "other", "difference"]].tolist() == [100, 0, 100]
    assert elpv["trained"].tolist() == [True, True, False]
    assert standings.tally(elpv) == "ahead of 2, level with 1"
    assert standings.tally(elpv[:0]) == "compared with none"


def test_promises_are_means_over_variants(write_run):
    halves = (([0, 0, 1, 1], (1, 2, 3, 4)), ([0, 0, 1, 1], (4, 3, 2, 1)))
    for variant, (val, test) in zip(
        ("conv_like", "resnet_like"), (halves, halves[:1] * 2), strict=True
    ):
        write_run("ae_flow", variant=variant, val=val, test=test)
    row = standings.promises(summary(find("smoke"), "val_f1")).loc["elpv"]
    assert row[["validation", "test", "gap"]].tolist() == [100, 50, 50]
    assert row[["sen", "spe"]].tolist() == [50, 50]


def test_ablations_are_compared_with_runs_of_their_own_profile_and_no_other(write_run):
    few = ([0, 0, 1, 1], (1, 2, 3, 4))
    write_run("ae_flow", variant="conv_like", test=few)
    for variant in ("conv_like", "conv_like+likelihood_unit=nats"):
        write_run("ae_flow", variant=variant, test=RANDOM, profile="overnight", recorded=True)
    of = ("likelihood_unit", "nats", "default")
    found = judges.changed_choice(Evidence("overnight"), *of)
    (gap,) = found.measurements
    assert (gap.estimate.value, gap.relation) == (0, "open")  # one training each
    assert "+0.0 [+0.0, +0.0]" in found.told
    assert judges.changed_choice(Evidence("smoke"), *of).measurements == ()


def test_verdicts_of_both_policies_stand_side_by_side(write_seeds):
    for profile, scores in (("overnight", PERFECT), ("as_published", REVERSED)):
        for dataset in ("chest_xray", "elpv"):
            here = {"dataset": dataset, "profile": profile}
            write_seeds("ae_flow", variant="conv_like", test=scores, **here)
            write_seeds("autoencoder", test=RANDOM, **here)
    ledger = claims.ledger(Evidence("overnight"))
    both = ledger.loc["medical", ["verdict", "as published"]]
    assert both["verdict"] != both["as published"] == NOT_SUPPORTED
    printed = ledger["notebook"] == claims.ARTICLE
    assert (ledger.loc[printed, "as published"] == "").all()
    assert ledger.loc[~printed, "as published"].isin(VERDICTS).all()
    alone = claims.ledger(Evidence("as_published"))
    assert "as published" not in alone
    assert (alone.loc[~printed, "verdict"] == ledger.loc[~printed, "as published"]).all()
