"""The audit of the published study: every number of it, and what it would say of others."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from helpers import REPOSITORY

from aeflow_utils.article import arithmetic, audit, confusion
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.metrics import CLASSIFICATION, classification
from aeflow_utils.show.dataset_tables import dataset_facts
from aeflow_utils.show.tables import published

CHEST, MIIC = (234, 390), (1272, 116)
MIIC_ROW = {"f1": 30.76, "acc": 92.82}


@pytest.fixture
def bundle(monkeypatch):
    """The published figures of this checkout."""
    monkeypatch.setenv("AEFLOW_HOME", str(REPOSITORY))


# --- confusion matrices


def brute_force(printed, n_normal, n_abnormal, prints):
    """Every matrix from lists of labels, by the metrics of the runs."""
    found = []
    labels = np.array([1] * n_abnormal + [0] * n_normal)
    for tp in range(n_abnormal + 1):
        for tn in range(n_normal + 1):
            called = [1] * tp + [0] * (n_abnormal - tp + tn) + [1] * (n_normal - tn)
            values = classification(labels, np.array(called))
            if all(prints(100 * values[metric], figure) for metric, figure in printed.items()):
                found.append((tp, tn))
    return sorted(found)


def rounds(value, figure):
    return round(value + 1e-9, 1) == figure or round(value - 1e-9, 1) == figure


def cuts(value, figure):
    return np.floor(10 * value + 1e-6) / 10 == figure


@pytest.mark.parametrize(
    "printed",
    [{"acc": 58.3}, {"acc": 58.3, "f1": 61.5}, {"f1": 66.6}, {"sen": 42.8, "bacc": 61.4}, {}],
)
@pytest.mark.parametrize(
    ("rule", "prints"),
    [
        ("rounded", rounds),
        ("cut", cuts),
        ("either", lambda value, figure: rounds(value, figure) or cuts(value, figure)),
    ],
)
def test_matching_finds_what_trying_every_matrix_finds(printed, rule, prints):
    found = confusion.matching(printed, 5, 7, rule)
    expected = brute_force(printed, 5, 7, prints)
    assert sorted(zip(found["tp"], found["tn"], strict=True)) == expected


def test_the_small_case_tells_rounded_from_cut():
    # 2/3 is 66.7 rounded and 66.6 cut; three of three rules differ on it.
    sizes = {r: len(confusion.matching({"sen": 66.6}, 1, 3, r)) for r in confusion.RULES}
    assert sizes == {"either": 2, "rounded": 0, "cut": 2}
    sizes = {r: len(confusion.matching({"sen": 66.7}, 1, 3, r)) for r in confusion.RULES}
    assert sizes == {"either": 2, "rounded": 2, "cut": 0}


@pytest.mark.parametrize(
    ("value", "figure", "rule", "expected"),
    [
        (50.05, 50.1, "rounded", True),  # a tie may go either way
        (50.15, 50.1, "rounded", True),
        (50.1501, 50.1, "rounded", False),
        (50.0499, 50.1, "rounded", False),
        (50.1, 50.1, "cut", True),
        (50.1999, 50.1, "cut", True),
        (50.2, 50.1, "cut", False),
        (50.0999, 50.1, "cut", False),
        (50.2, 50.1, "either", False),
        (50.19, 50.1, "either", True),
        (50.05, 50.1, "either", True),
        (57.4, 57, "rounded", True),  # no decimals
        (56.4, 57, "either", False),
    ],
)
def test_what_may_be_printed_as_a_figure(value, figure, rule, expected):
    assert confusion.prints_as(np.array([value]), figure, rule).item() is expected


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'up'.*either, rounded, cut"):
        confusion.matching({"acc": 50}, 2, 2, "up")


def test_decimals_do_not_count_zeros_at_the_end():
    assert [confusion.decimals(x) for x in (92.0, 85.9, 30.76, 97.692, 57)] == [0, 1, 2, 3, 0]


def test_matrices_agree_with_the_metrics_of_the_runs():
    row = confusion.matrices(3, 4, 6, 5).iloc[0]
    assert row[["tp", "fn", "tn", "fp"]].tolist() == [3, 2, 4, 2]
    labels, called = [1] * 5 + [0] * 6, [1] * 3 + [0] * 2 + [0] * 4 + [1] * 2
    expected = classification(np.array(labels), np.array(called))
    assert row[list(CLASSIFICATION)].to_dict() == pytest.approx(
        {name: 100 * value for name, value in expected.items()}
    )


# --- the numbers of the audit


def test_the_studys_auc_is_balanced_accuracy_in_every_row_and_the_papers_is_not(bundle):
    columns = audit.auc_columns()
    assert columns["rows"].tolist() == [6, 1, 2]
    assert columns["agree"].tolist() == [6, 1, 0]
    draft, log, paper = columns["largest difference"]
    assert draft == pytest.approx(0.005)  # (97.69 + 66.24) / 2 = 81.965
    assert log == pytest.approx(0, abs=1e-9)  # (99.897 + .969) / 2 = 50.433
    assert paper == pytest.approx(92.00 - (91.28 + 76.07) / 2)


def test_the_chest_rows_auc_follows_exactly_from_its_counts(bundle):
    found = audit.auc_from_counts()
    assert (found["tp"], found["tn"], found["exact"]) == (381, 155, True)
    assert found["bacc"] == pytest.approx(100 * (381 / 390 + 155 / 234) / 2, abs=1e-12)
    assert found["bacc"] == pytest.approx(81.96581196581196, abs=1e-13)


def test_both_ensemble_tables_are_the_class_counts(bundle):
    found = audit.ensembles()
    assert found[["right", "wrong"]].to_numpy().tolist() == [[390, 234], [234, 390]]
    assert found["called"].tolist() == ["abnormal", "normal"]
    assert found["matrices"].tolist() == [235, 235]
    assert found["acc"].tolist() == pytest.approx([62.5, 37.5])
    assert found["highest f1"].tolist() == pytest.approx([100 * 780 / 1014, 100 * 468 / 858])
    assert found["f1 of all abnormal"].tolist() == pytest.approx([100 * 780 / 1014] * 2)


def test_the_shares_of_uncertain_decisions(bundle):
    shares = audit.uncertain_shares()
    assert shares["by the table"].tolist() == pytest.approx([100 * 192 / 390, 100 * 144 / 234])
    assert shares["in print"].tolist() == [50.7, 61.5]
    assert shares["same"].tolist() == [False, True]
    assert round(100 * 198 / 390, 1) == 50.8  # of the certain ones, not printed


def test_which_rows_are_no_single_matrix(bundle):
    rows = audit.one_matrix().droplevel("kind")
    paper = rows.loc["the paper"]
    assert paper["f1 implied"] == pytest.approx(100 * 712 / 802)  # 88.78, not 88.92: TP 356, TN 178
    assert paper["sen implied"] == pytest.approx(100 * 361 / 390)  # 92.56, not 91.28
    assert paper["without acc"] == 0
    assert round(100 * 178 / 234, 2) == 76.07  # the SPE in published.csv
    counts = ["tp", "fn", "tn", "fp"]
    assert rows.loc["the study, resnet_like", counts].tolist() == [381, 9, 155, 79]
    assert rows.loc["the study, conv_like", "f1 implied"] == pytest.approx(100 * 720 / 937)  # 76.84
    assert rows.loc["Urukat/AE-Flow, last epoch", counts].tolist() == [365, 19, 72, 152]
    readme = rows.loc["Urukat/AE-Flow, README"]
    assert readme["f1 implied"] == pytest.approx(100 * 730 / 902)  # 80.93, printed 81.12
    assert rows["matrices"].tolist() == [0, 1, 0, 1, 0]


def test_what_the_final_chest_f1_leaves_open(bundle):
    paper = {"f1": 88.92, "acc": 85.58, "sen": 91.28, "spe": 76.07}
    possible = [row for row in every_matrix(*CHEST) if two_digits(row["f1"], 90.64)]
    expected = [[row[metric] > figure for metric, figure in paper.items()] for row in possible]
    found = audit.better_than_the_paper()
    assert sorted(found[list(paper)].to_numpy().tolist()) == sorted(expected)
    assert found.sum().to_dict() == {"f1": 8, "acc": 8, "sen": 4, "spe": 6}
    assert found.sum(axis=1).min() == 3


def every_matrix(n_normal, n_abnormal):
    """F1, ACC, SEN and SPE in percent, and TP and TN, of every matrix on so many images."""
    for tp, tn in product(range(n_abnormal + 1), range(n_normal + 1)):
        wrong = n_abnormal - tp + n_normal - tn
        f1 = 200 * tp / (2 * tp + wrong) if tp + wrong else 0
        rates = {"sen": 100 * tp / n_abnormal, "spe": 100 * tn / n_normal}
        yield rates | {
            "f1": f1,
            "acc": 100 * (tp + tn) / (n_normal + n_abnormal),
            "matrix": (tp, tn),
        }


def two_digits(value, figure):
    """Whether a value can be printed so: rounded or cut."""
    return abs(value - figure) <= 0.005 + 1e-9 or 0 <= value - figure < 0.01


def test_the_papers_accuracy_on_oct_belongs_to_968_images(bundle):
    fits = audit.fitting_test_sets().loc["OCT2017, the paper's ACC", "matrices"]
    assert fits.to_dict() == {"968 images": 55, "1,000 images": 0}
    for n, right in ((968, [914]), (1000, [])):
        assert [r for r in range(n + 1) if two_digits(100 * r / n, 94.42)] == right


def test_the_papers_acc_and_f1_on_oct_leave_little_to_sen_and_spe(bundle):
    found = audit.oct_and_isic()[SPECS["oct2017"].title]
    printed = {"acc": 94.42, "f1": 96.36}
    left = [
        row
        for row in every_matrix(242, 726)
        if all(two_digits(row[metric], figure) for metric, figure in printed.items())
    ]
    assert [row["matrix"] for row in left] == [(714, 200), (715, 199), (716, 198)]
    assert (found["errors"], found["matrices"], found["hits"]) == (54, 3, 3)
    for metric in ("sen", "spe"):
        values = [row[metric] for row in left]
        ends = found[f"{metric} low"], found[f"{metric} high"]
        assert ends == pytest.approx((min(values), max(values)))
    assert not found["sen fits"]
    assert not found["spe fits"]


def test_no_class_split_gives_the_papers_f1_on_isic(bundle):
    found = audit.oct_and_isic()[SPECS["isic2018"].title]
    assert found[found != ""].to_dict() == {"right": 164, "errors": 29, "hits": 0, "matrices": 0}
    for n_abnormal in range(194):
        for tp in range(n_abnormal + 1):
            tn = 164 - tp  # the only number of right decisions that prints as 84.97 %
            if 0 <= tn <= 193 - n_abnormal:
                assert not two_digits(200 * tp / (2 * tp + 29), 80.56)


def test_acc_with_f1_says_whether_other_figures_fit():
    row = confusion.matrices(30, 50, 60, 40).iloc[0].round(2).to_dict()
    found = arithmetic.acc_with_f1(row, {"sen": row["sen"], "spe": 10}, (60, 40))
    assert (found["errors"], found["sen fits"], found["spe fits"]) == (20, True, False)
    with pytest.raises(ValueError, match="0 shares of 3 images"):
        arithmetic.acc_with_f1({"acc": 50.12, "f1": 60}, {}, (1, 2))


def test_miic_fits_no_official_matrix_and_one_on_the_doubled_set(bundle):
    found = audit.miic()
    assert (found["official"], found["doubled"]) == (0, 1)
    assert (found["tp"], found["tn"], found["fp"]) == (24, 1372, 16)
    assert (found["sizes"], found["sizes that fit"]) == (351, 6)
    # ACC 92.819 is 92.82 only when rounded, F1 30.769 is 30.76 only when cut.
    assert (found["doubled, rounded"], found["doubled, cut"]) == (0, 0)


def test_which_sizes_of_miic_fit_under_which_rule():
    fits = {
        rule: [n for n in audit.MIIC_SIZES if len(confusion.matching(MIIC_ROW, n, 116, rule))]
        for rule in confusion.RULES
    }
    assert fits["either"] == [1262, 1263, 1264, 1388, 1389, 1390]
    assert fits["rounded"] == []
    assert fits["cut"] == [1263, 1264, 1389, 1390]


@pytest.mark.parametrize(("subnet", "n_fits"), [("resnet_like", 25), ("conv_like", 14)])
def test_the_drafts_btad_rows_are_no_single_category(bundle, subnet, n_fits):
    fits = audit.fitting_test_sets().loc[f"BTAD, the study's draft, {subnet}", "matrices"]
    assert fits.to_dict() == {"01": 0, "02": 0, "03": 0, "all three": n_fits}


def test_the_other_reproductions_row_is_none_of_its_epochs(bundle):
    epochs = audit.epochs()
    row, others = epochs["published row"], epochs[["epoch 72", "epoch 99, the last"]]
    assert not any(
        np.allclose(row.dropna(), other[row.dropna().index]) for _, other in others.items()
    )
    assert np.ptp(epochs.loc["auroc"].filter(like="of all")) == pytest.approx(48.2)


def test_only_whole_batches_of_each_class_give_the_last_epoch():
    figures = {"f1": 81.02, "acc": 71.88, "sen": 95.05, "spe": 32.14}
    splits = [n for n in range(218, 235) if len(confusion.matching(figures, n, 608 - n))]
    assert splits == [224]
    assert audit.URUKAT_TEST == (224, 608 - 224)


def test_training_images_are_those_of_one_copy_of_two(bundle):
    copies = audit.training_images()
    assert copies["same"].to_dict() == {"Mendeley V2": True, "Kaggle": False}
    assert copies.loc["Kaggle", ["train", "val", "in print"]].tolist() == [1341, 8, 1349]


def test_the_copies_of_the_catalog_are_those_on_record():
    for name, counts in SPECS["chest_xray"].copies.items():
        row = audit.printed_row(source=name, table="data sets", dataset="chest_xray")
        kinds = ("normal", "abnormal")
        counted = {f"n_{split}_{kinds[label]}": n for (split, label), n in counts[""].items()}
        assert {key: n for key, n in counted.items() if "test" not in key} == row


def test_floors_are_two_p_over_one_plus_p():
    floors = audit.trivial_floors()
    share = floors["n_abnormal"] / (floors["n_normal"] + floors["n_abnormal"])
    assert floors["f1"].to_numpy() == pytest.approx((200 * share / (1 + share)).to_numpy())
    assert floors["acc"].to_numpy() == pytest.approx((100 * share).to_numpy())
    known = floors.set_index(["dataset", "category"])[["f1", "acc"]].round(1)
    for key, expected in {
        ("chest_xray", ""): (76.9, 62.5),
        ("oct2017", ""): (85.7, 75.0),
        ("isic2018", ""): (53.2, 36.3),
        ("miic", ""): (15.4, 8.4),
        ("btad", "01"): (82.4, 70.0),
        ("btad", "02"): (93.0, 87.0),
        ("btad", "03"): (17.0, 9.3),
        ("btad", "all"): (56.3, 39.1),
        ("mvtec", "bottle"): (86.3, 75.9),
        ("mvtec", "transistor"): (57.1, 40.0),
        ("mvtec", "all"): (84.3, 72.9),
    }.items():
        assert tuple(known.loc[key]) == expected
    assert len(floors) == 4 + 3 + 15 + 2
    assert "elpv" not in set(floors["dataset"])


def test_which_printed_f1_are_below_the_floor(bundle):
    floors = audit.trivial_floors().query("category in ('', 'all')").set_index("dataset")
    below = floors.loc[["oct2017", "chest_xray", "miic", "mvtec"], ["printed", "below"]]
    assert below.to_numpy().tolist() == [[10, 2], [7, 1], [2, 0], [0, 0]]


# --- what it would say of others


def test_the_audit_reads_the_published_file(home):
    path, table = home / "results" / "published.csv", published()
    printed = (table["metric"] == "n_right_certain") & (table["source"] == "blog")
    table.loc[printed, "value"] += 1
    table.to_csv(path, index=False)
    row = audit.ensembles().loc["in print"]
    assert (row["right"], row["called"]) == (391, "")


def test_a_row_that_is_missing_from_the_published_file_is_named(home):
    path, table = home / "results" / "published.csv", published()
    table[table["source"] != "blog (ue.txt)"].to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"ue\.txt.*not one row"):
        audit.ensembles()


@pytest.mark.parametrize(
    ("check", "table", "dataset", "figures"),
    [
        ("auc column", "evaluation", "chest_xray", {"log_auc": 81.9}),
        ("miic", "final", "miic", {"f1": 31.58, "acc": 92.51}),  # TP 24, TN 1260
        ("uncertain share", "deep ensemble", "chest_xray", {"uncertain_right": 49.2}),
        ("training images", "data sets", "chest_xray", {"n_train_normal": 1000}),
        ("beats paper", "final", "chest_xray", {"f1": 80.0}),
    ],
)
def test_a_check_turns_with_the_printed_figure(home, check, table, dataset, figures):
    before, printed = audit.checks()[check].holds, published()
    rows = (printed["table"] == table) & (printed["dataset"] == dataset)
    for metric, value in figures.items():
        printed.loc[rows & (printed["metric"] == metric), "value"] = value
    printed.to_csv(home / "results" / "published.csv", index=False)
    assert audit.checks()[check].holds != before


@pytest.mark.parametrize(("auc", "n_agree"), [((50, 60), 2), ((50, 62), 1), ((52, 62), 0)])
def test_rows_of_an_auc_column_agree_or_not(auc, n_agree):
    table = pd.DataFrame({"auc": auc, "sen": [90, 91], "spe": [10, 29]})  # means 50 and 60
    assert arithmetic.auc_column(table)["agree"] == n_agree


def test_one_unit_of_the_last_digit_is_allowed_and_no_more():
    def agree(auc):
        row = pd.DataFrame({"auc": [auc], "sen": [90.12], "spe": [10.12]})  # mean 50.12
        return arithmetic.auc_column(row)["agree"]

    assert [agree(auc) for auc in (50.11, 50.12, 50.13, 50.14, 50.1)] == [1, 1, 1, 0, 0]


def test_an_auc_need_not_follow_from_its_counts():
    row = {"auc": 82, "sen": 97.692, "spe": 66.239}
    assert not arithmetic.auc_from_counts(row, CHEST)["exact"]
    with pytest.raises(ValueError, match="confusion matrices"):  # several
        arithmetic.auc_from_counts(row | {"sen": 97}, CHEST)


def test_the_reading_of_an_ensemble_follows_its_counts():
    def margins(right, wrong):
        return arithmetic.margins(right, wrong, (20, 30))

    assert margins((10, 20), (5, 15))["matrices"] == 21
    assert margins((10, 20), (5, 15))["called"] == "abnormal"
    assert margins((10, 10), (20, 10))["called"] == "normal"
    assert margins((20, 20), (5, 5))["called"] == ""


def test_a_row_can_have_no_matrix_whichever_figure_is_left_out():
    numbers = arithmetic.one_matrix({"acc": 51.3, "sen": 47.1}, (2, 2))
    assert numbers == {"matrices": 0, "without acc": 0, "without sen": 0}


def test_a_row_can_have_several_matrices():
    assert arithmetic.one_matrix({"acc": 50}, (2, 2)) == {"matrices": 3}


def test_a_doubled_set_whose_false_alarms_cover_its_hits_is_possible():
    row = confusion.matrices(2, 5, 8, 2).iloc[0]  # 6 normal, 2 abnormal, both called abnormal
    printed = {name: round(row[name], 2) for name in ("acc", "f1")}
    numbers = arithmetic.double_counting(printed, (6, 2), range(5, 10))
    assert (numbers["tp"], numbers["fp"]) == (2, 3)
    official = arithmetic.double_counting(MIIC_ROW, MIIC, range(1387, 1390))
    assert official["sizes that fit"] == 2


def test_the_data_table_has_every_copys_counts_and_the_studys_where_none_is_official():
    facts = dataset_facts([]).iloc[:, 1:4]
    assert (facts != "").all(axis=None)
    shown = facts.loc[[SPECS[name].title for name in ("elpv", "chest_xray")]]
    digits = [[re.findall(r"[\d,]+", cell) for cell in row] for row in shown.to_numpy()]
    assert digits[0] == [["904"], ["302"], ["537"]]
    assert digits[1] == [["1,349", "1,341"], ["234"], ["390"]]
