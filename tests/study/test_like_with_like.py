"""Differences of hand-made runs in which one thing differs."""

import numpy as np
import pandas as pd
import pytest
from helpers import rewrite

from aeflow_utils.article import standings
from aeflow_utils.article.evidence import Evidence
from aeflow_utils.options import CHOICES
from aeflow_utils.show.alt_texts import alt_text
from aeflow_utils.show.comparison_figures import forest
from aeflow_utils.study import like_with_like
from aeflow_utils.study.grid import BASE
from aeflow_utils.study.runs import load_run

LABELS = np.repeat([0, 1], 20)


def ranked(n_above):
    """Scores of which so many normal images lie above every abnormal one: AUROC 1 - n / 20."""
    return np.where(np.arange(40) < n_above, 100, 0) + np.arange(40) / 40


@pytest.fixture
def write_parts(write_run):
    """Writes a run that stores these columns, of validation and test alike."""

    def write(model, seed=0, columns=(), **options):
        both = (LABELS, ranked(0))
        run = write_run(model, seed, val=both, test=both, profile="overnight", **options)
        columns = {name: np.tile(values, 2) for name, values in dict(columns).items()}
        rewrite(run.folder, "scores.csv.gz", run.scores.assign(**columns))
        return load_run(run.folder)

    return write


def write_flow_and_gaussian(write_parts, seeds, variant=BASE, gaussian="stride_16", strides=(16,)):
    energies = {"energy_top10": ranked(12), "energy_max": ranked(3)}
    for seed in seeds:
        energies["energy_mean"] = ranked(seed % 2)  # AUROC 100 or 95 %
        write_parts("ae_flow", seed, energies, variant=variant, strides=strides)
    distances = {"mean": ranked(10), "top10": ranked(2), "max": ranked(3)}
    columns = {f"distance_{pooling}": values for pooling, values in distances.items()}
    write_parts("padim", 0, columns, variant=gaussian, strides=strides)


def test_what_the_flow_adds_is_asked_on_the_same_maps_with_the_same_pooling(write_parts):
    write_flow_and_gaussian(write_parts, range(5))
    write_flow_and_gaussian(write_parts, range(5), f"{BASE}+strides=32", "stride_32", (32,))
    write_parts("padim", variant="strides_16_32", strides=(16, 32))  # no flow on these
    table = like_with_like.what_the_flow_adds("overnight").set_index(["maps", "pooling"])
    assert table.index.tolist() == [(m, p) for m in ("16", "32") for p in CHOICES["pooling"]]
    for maps in ("16", "32"):
        rows = table.loc[maps]
        assert rows["flow"].to_dict() == pytest.approx({"mean": 98, "top10": 40, "max": 85})
        assert rows["Gaussian"].to_dict() == pytest.approx({"mean": 50, "top10": 90, "max": 85})
        assert rows["difference"].to_dict() == pytest.approx({"mean": 48, "top10": -50, "max": 0})
        relations = {"mean": "for", "top10": "against", "max": "same"}
        assert rows["relation"].to_dict() == relations
    assert (table["low"] <= table["difference"]).all()
    assert (table["difference"] <= table["high"]).all()
    assert set(table["seeds"]) == {5}


def test_fewer_than_five_seeds_leave_what_the_flow_adds_open(write_parts):
    write_flow_and_gaussian(write_parts, range(4))
    assert set(like_with_like.what_the_flow_adds("overnight")["relation"]) == {"open"}


def test_a_gaussian_that_stored_no_distances_is_left_out(write_parts):
    write_parts("ae_flow", 0, {"energy_mean": ranked(1)}, variant=BASE)
    write_parts("padim", variant="stride_16")
    assert like_with_like.what_the_flow_adds("overnight").empty


def test_the_reconstructions_share_is_asked_of_each_reading_of_the_flow_score(write_parts):
    energy = ranked(4) / 200
    columns = {f"energy_{pooling}": energy for pooling in CHOICES["pooling"]}
    columns |= {"log_jac_det": 2 * energy, "mse": 0.0 * energy, "ssim": -100.0 * LABELS}
    for seed in range(5):
        write_parts("ae_flow", seed, columns, variant=BASE)
    table = like_with_like.share_of_reconstruction("overnight").set_index("reading of S_flow")
    # Without the log-determinant the flow part ranks by energy, with it by minus energy.
    assert table["flow part"].to_dict() == pytest.approx({"exp": 80, "nll": 80, "full": 20})
    assert table["whole score"].tolist() == pytest.approx([100] * 3)
    assert table["difference"].to_dict() == pytest.approx({"exp": 20, "nll": 20, "full": 80})


def test_subnets_are_compared_part_by_part(write_parts):
    for seed in range(5):
        parts = {"image_score": ranked(0), "flow_score": ranked(10), "recon_score": ranked(5)}
        write_parts("ae_flow", seed, parts, variant="conv_like")
        parts |= {"image_score": ranked(10), "flow_score": ranked(0)}
        write_parts("ae_flow", seed, parts, variant="resnet_like", subnet="resnet_like")
    table = like_with_like.between_subnets("overnight").set_index("part")
    expected = pd.DataFrame({"difference": [50, -50, 0], "relation": ["for", "against", "same"]})
    assert table["difference"].tolist() == pytest.approx(expected["difference"])
    assert table["relation"].tolist() == expected["relation"].tolist()


def test_beta_goes_from_the_reconstruction_to_the_flow(write_parts):
    energy = ranked(4) / 200
    columns = {f"energy_{pooling}": energy for pooling in CHOICES["pooling"]}
    columns |= {"log_jac_det": 2 * energy, "mse": 0.0 * energy}
    for seed in range(2):  # the second seed's reconstruction ranks the other way round
        sign = 1 - 2 * seed
        write_parts("ae_flow", seed, columns | {"ssim": -sign * ranked(0)}, variant=BASE)
    table = like_with_like.by_beta("overnight", (0, 1)).set_index(["reading of S_flow", "beta"])
    assert table.loc[("exp", 0), ["mean", "lowest", "highest"]].tolist() == [50, 0, 100]
    for reading, auroc in {"exp": 80, "nll": 80, "full": 20}.items():
        ends = table.loc[(reading, 1), ["mean", "lowest", "highest"]]
        assert ends.tolist() == pytest.approx([auroc] * 3)


def test_likeness_is_a_rank_correlation_image_by_image(write_parts):
    for seed, sign in enumerate((1, 1, -1)):
        scores = {"image_score": sign * np.exp(ranked(0))}
        write_parts("f_anogan", seed, scores)
    write_parts("brightness", 0, {"image_score": ranked(0)})
    (row,) = like_with_like.likeness("overnight", "brightness").to_dict("records")
    assert (row["model"], row["lowest"], row["highest"]) == ("f_anogan", -1, 1)
    assert row["mean"] == pytest.approx(1 / 3)


def test_parts_are_compared_with_smoothness_on_validation_normals(write_parts):
    falling = -ranked(0)
    for seed in range(2):
        parts = {"flow_score": ranked(0) ** 3, "recon_score": falling}
        write_parts("ae_flow", seed, parts, variant="conv_like")
    smooth = np.where(LABELS == 1, falling, ranked(0))  # with labels, half of it would agree
    write_parts("smoothness", 0, {"image_score": smooth})
    (row,) = like_with_like.parts_and_smoothness("overnight").to_dict("records")
    assert (row["flow"], row["reconstruction"]) == (100, 0)
    assert (row["ρ flow"], row["ρ reconstruction"]) == (1, -1)


def test_of_one_run_there_is_nothing_to_compare_and_tables_and_plots_stand(write_run):
    write_run("ae_flow", variant="conv_like")
    evidence = Evidence("smoke")
    stand, adds = standings.standings(evidence), like_with_like.what_the_flow_adds("smoke")
    parts = like_with_like.parts_and_smoothness("smoke")
    assert stand.empty and adds.empty and parts.empty
    assert not stand[stand["trained"]].any(axis=None)
    assert parts.groupby("data set").mean(numeric_only=True)["flow"].empty
    assert standings.tally(stand) == "compared with none"
    assert "no runs" in alt_text(forest(stand, ["rival"], "points"))
