"""The audit of the published study: every number of it, and what it would say of others."""

import re
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import REPOSITORY

from aeflow_utils.article import audit, confusion, findings, judges_of_print, rows
from aeflow_utils.article.story import dataset_facts, quote
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.metrics import CLASSIFICATION, classification
from aeflow_utils.metrics.verdicts import REFUTED, SUPPORTED
from aeflow_utils.show.tables import published

CHEST, MIIC = (234, 390), (1272, 116)
MIIC_ROW = {"f1": 30.76, "acc": 92.82}


@pytest.fixture(scope="module")
def every_finding():
    """The audit of the published figures of this checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEFLOW_HOME", str(REPOSITORY))
        return audit.audit_findings()


@pytest.fixture
def numbers(every_finding):
    """Numbers of a finding, by its name."""
    return {f.name: f.numbers for f in every_finding}


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


def test_the_blogs_auc_is_balanced_accuracy_in_every_row(numbers):
    draft = numbers["AUC column, the blog's draft"]
    assert (draft["rows"], draft["agree"]) == (6, 6)
    assert draft["largest_difference"] == pytest.approx(0.005)  # (97.69 + 66.24) / 2 = 81.965
    log = numbers["AUC column, the blog's log of 25 May 2023"]
    assert (log["rows"], log["agree"]) == (1, 1)
    assert log["largest_difference"] == pytest.approx(0, abs=1e-9)  # (99.897 + .969) / 2 = 50.433


def test_the_papers_auc_is_not(numbers):
    paper = numbers["AUC column, the paper"]
    assert (paper["rows"], paper["agree"]) == (2, 0)
    assert paper["largest_difference"] == pytest.approx(92.00 - (91.28 + 76.07) / 2)


def test_the_chest_rows_auc_follows_exactly_from_its_counts(numbers):
    expected = {"tp": 381, "tn": 155, "bacc": 100 * (381 / 390 + 155 / 234) / 2, "exact": True}
    assert numbers["AUC from counts"] == pytest.approx(expected)
    assert expected["bacc"] == pytest.approx(81.96581196581196, abs=1e-13)


def test_a_curve_through_decisions_is_another_number(numbers):
    expected = {"auroc": 100, "auroc_of_decisions": 75, "bacc": 75}
    assert numbers["AUROC of decisions"] == pytest.approx(expected)


@pytest.mark.parametrize("threshold", [0.5, 1.5, 2.5, 3.5, 4.5])
def test_auroc_of_decisions_is_their_balanced_accuracy_at_any_threshold(threshold):
    found = findings.auroc_of_decisions([0, 1, 0, 1], [1, 2, 3, 4], threshold).numbers
    assert found["auroc_of_decisions"] == pytest.approx(found["bacc"])
    assert found["auroc"] == 75


@pytest.mark.parametrize(
    ("source", "n_right", "acc", "best_f1"),
    [("blog", 390, 62.5, 100 * 780 / 1014), ("blog (ue.txt)", 234, 37.5, 100 * 468 / 858)],
)
def test_both_ensemble_tables_are_the_class_counts(numbers, source, n_right, acc, best_f1):
    found = numbers[f"ensemble, {source}"]
    assert (found["n_right"], found["n_wrong"]) == (n_right, 624 - n_right)
    assert found["matrices"] == 235
    assert found["acc"] == pytest.approx(acc)
    assert found["best_f1"] == pytest.approx(best_f1)
    assert found["floor_f1"] == pytest.approx(100 * 780 / 1014)
    assert found["one_class"]


def test_the_shares_of_uncertain_decisions(numbers):
    expected = {
        "right": 100 * 192 / 390,
        "wrong": 100 * 144 / 234,
        "certain_right": 100 * 198 / 390,
    }
    found = numbers["uncertain shares"]
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert (found["right_as_printed"], found["wrong_as_printed"]) == (False, True)
    assert [round(share, 1) for share in expected.values()] == [49.2, 61.5, 50.8]


def test_the_papers_chest_row_is_no_single_matrix(numbers):
    found = numbers["one matrix, Paper, chest X-ray"]
    assert found["matrices"] == 0
    assert (found["tp_without_f1"], found["tn_without_f1"]) == (356, 178)
    assert found["f1_without_f1"] == pytest.approx(100 * 712 / 802)  # 88.78, not 88.92
    assert (found["tp_without_sen"], found["tn_without_sen"]) == (361, 173)
    assert found["sen_without_sen"] == pytest.approx(100 * 361 / 390)  # 92.56, not 91.28
    assert found["matrices_without_acc"] == 0
    assert round(100 * 178 / 234, 2) == 76.07  # the SPE in published.csv


def test_the_drafts_chest_rows(numbers):
    row = numbers["one matrix, Draft, chest X-ray, resnet_like"]
    assert [row[name] for name in ("tp", "fn", "tn", "fp")] == [381, 9, 155, 79]
    row = numbers["one matrix, Draft, chest X-ray, conv_like"]
    assert row["matrices"] == 0
    assert (row["tp_without_f1"], row["tn_without_f1"]) == (360, 47)
    assert row["f1_without_f1"] == pytest.approx(100 * 720 / 937)  # 76.84, printed 76.4


def test_what_the_final_chest_f1_leaves_open(numbers):
    found = numbers["what one F1 leaves open"]
    paper = {"f1": 88.92, "acc": 85.58, "sen": 91.28, "spe": 76.07}
    count, fewest, possible = dict.fromkeys(paper, 0), len(paper), every_matrix(*CHEST)
    possible = [row for row in possible if two_digits(row["f1"], 90.64)]
    for row in possible:
        better = {metric for metric in paper if row[metric] > paper[metric]}
        count = {metric: n + (metric in better) for metric, n in count.items()}
        fewest = min(fewest, len(better))
    assert count == {"f1": 8, "acc": 8, "sen": 4, "spe": 6}
    assert {metric: found[f"better_{metric}"] for metric in paper} == count
    assert (found["matrices"], found["fewest_better"]) == (len(possible), fewest) == (8, 3)
    assert (found["metrics_compared"], found["better_bacc"], found["better_auc"]) == (4, 8, 0)


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


def test_the_papers_accuracy_on_oct_belongs_to_968_images(numbers):
    assert numbers["which test set, Paper, OCT2017"] == {"968 images": 55, "1,000 images": 0}
    for n, fits in ((968, [914]), (1000, [])):
        assert [r for r in range(n + 1) if two_digits(100 * r / n, 94.42)] == fits


def test_the_papers_acc_and_f1_on_oct_leave_little_to_sen_and_spe(numbers):
    found = numbers["ACC with F1, Paper, OCT2017"]
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
        ends = found[f"{metric}_low"], found[f"{metric}_high"]
        assert ends == pytest.approx((min(values), max(values)))
    assert not found["sen_fits"]
    assert not found["spe_fits"]


def test_no_class_split_gives_the_papers_f1_on_isic(numbers):
    found = numbers["ACC with F1, Paper, ISIC 2018"]
    assert found == {"right": 164, "errors": 29, "hits": 0, "matrices": 0}
    for n_abnormal in range(194):
        for tp in range(n_abnormal + 1):
            tn = 164 - tp  # the only number of right decisions that prints as 84.97 %
            if 0 <= tn <= 193 - n_abnormal:
                assert not two_digits(200 * tp / (2 * tp + 29), 80.56)


def test_acc_with_f1_says_whether_other_figures_fit():
    row = confusion.matrices(30, 50, 60, 40).iloc[0].round(2).to_dict()
    found = rows.acc_with_f1(row, {"sen": row["sen"], "spe": 10}, (60, 40), "x").numbers
    assert (found["errors"], found["sen_fits"], found["spe_fits"]) == (20, True, False)
    with pytest.raises(ValueError, match="0 shares of 3 images"):
        rows.acc_with_f1({"acc": 50.12, "f1": 60}, {}, (1, 2), "x")


def test_miic_fits_no_official_matrix_and_one_on_the_doubled_set(numbers):
    found = numbers["abnormal images counted twice"]
    assert (found["official"], found["doubled"]) == (0, 1)
    assert (found["tp"], found["tn"], found["fp"]) == (24, 1372, 16)
    assert (found["sizes"], found["sizes_that_fit"]) == (351, 6)
    # ACC 92.819 is 92.82 only when rounded, F1 30.769 is 30.76 only when cut.
    assert (found["doubled_rounded"], found["doubled_cut"]) == (0, 0)


def test_which_sizes_of_miic_fit_under_which_rule():
    fits = {
        rule: [n for n in audit.MIIC_SIZES if len(confusion.matching(MIIC_ROW, n, 116, rule))]
        for rule in confusion.RULES
    }
    assert fits["either"] == [1262, 1263, 1264, 1388, 1389, 1390]
    assert fits["rounded"] == []
    assert fits["cut"] == [1263, 1264, 1389, 1390]


@pytest.mark.parametrize(("subnet", "n_fits"), [("resnet_like", 25), ("conv_like", 14)])
def test_the_drafts_btad_rows_are_no_single_category(numbers, subnet, n_fits):
    expected = {"01": 0, "02": 0, "03": 0, "all three together": n_fits}
    assert numbers[f"which test set, Draft, BTAD, {subnet}"] == expected


def test_the_other_reproductions_row(numbers):
    epochs = numbers["published row and its epochs"]
    assert epochs == pytest.approx({"epochs_that_differ": 2, "span": 48.2})
    last = numbers["one matrix, Urukat, epoch 99, the last"]
    assert [last[name] for name in ("tp", "fn", "tn", "fp")] == [365, 19, 72, 152]
    row = numbers["one matrix, Urukat, published row"]
    assert row["matrices"] == 0
    assert (row["tp_without_f1"], row["tn_without_f1"]) == (365, 71)
    assert row["f1_without_f1"] == pytest.approx(100 * 730 / 902)  # 80.93, printed 81.12


def test_only_whole_batches_of_each_class_give_the_last_epoch():
    figures = {"f1": 81.02, "acc": 71.88, "sen": 95.05, "spe": 32.14}
    splits = [n for n in range(218, 235) if len(confusion.matching(figures, n, 608 - n))]
    assert splits == [224]
    assert audit.URUKAT_TEST == (224, 608 - 224)


def test_training_images_are_those_of_one_copy_of_two(numbers):
    copies = {"Mendeley V2": True, "Kaggle": False}
    expected = copies | {"train": 1341, "both": 1349, "printed": 1349}
    assert numbers["training images"] == expected


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


def test_which_printed_f1_are_below_the_floor(numbers):
    below = {d: numbers[f"trivial F1, {d}"]["below"] for d in ("oct2017", "chest_xray", "miic")}
    assert below == {"oct2017": 2, "chest_xray": 1, "miic": 0}


# --- what it would say of others


def test_every_finding_has_a_name_of_its_own_and_a_sentence():
    every = audit.audit_findings()
    assert len({finding.name for finding in every}) == len(every) > 20
    for finding in every:
        assert re.fullmatch(r"[A-Z0-9].*\.", finding.sentence), finding.name
        assert "nan" not in finding.sentence


def test_the_audit_reads_the_published_file(home):
    path = home / "results" / "published.csv"
    table = published()
    ensemble = table["metric"].isin(["n_right_certain"]) & (table["source"] == "blog")
    table.loc[ensemble, "value"] += 1
    table.to_csv(path, index=False)
    numbers = {f.name: f.numbers for f in audit.audit_findings()}["ensemble, blog"]
    assert numbers["n_right"] == 391
    assert not numbers["one_class"]


def test_a_row_that_is_missing_from_the_published_file_is_named(home):
    table = published()
    path = home / "results" / "published.csv"
    table[table["source"] != "blog (ue.txt)"].to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"ue\.txt.*not one row"):
        audit.audit_findings()


@pytest.mark.parametrize(("auc", "n_agree"), [((50, 60), 2), ((50, 62), 1), ((52, 62), 0)])
def test_rows_of_an_auc_column_agree_or_not(auc, n_agree):
    table = pd.DataFrame({"auc": auc, "sen": [90, 91], "spe": [10, 29]})  # means 50 and 60
    assert findings.auc_column(table, "somebody").numbers["agree"] == n_agree


def test_one_unit_of_the_last_digit_is_allowed_and_no_more():
    def agree(auc):
        row = pd.DataFrame({"auc": [auc], "sen": [90.12], "spe": [10.12]})  # mean 50.12
        return findings.auc_column(row, "x").numbers["agree"]

    assert [agree(auc) for auc in (50.11, 50.12, 50.13, 50.14, 50.1)] == [1, 1, 1, 0, 0]


def test_an_auc_need_not_follow_from_its_counts():
    row = {"auc": 82, "sen": 97.692, "spe": 66.239}
    assert not findings.auc_from_counts(row, CHEST).numbers["exact"]
    with pytest.raises(ValueError, match="confusion matrices"):  # several
        findings.auc_from_counts(row | {"sen": 97}, CHEST)


def test_the_reading_of_an_ensemble_follows_its_counts():
    def shown(right, wrong):
        return findings.ensemble_counts(right, wrong, (20, 30), "x")

    assert shown((10, 20), (5, 15)).numbers["matrices"] == 21
    assert "called abnormal" in shown((10, 20), (5, 15)).sentence
    assert "called normal" in shown((10, 10), (20, 10)).sentence
    assert not shown((20, 20), (5, 5)).numbers["one_class"]


def test_shares_are_compared_with_the_printed_ones():
    printed = {"uncertain_right": 66.7, "uncertain_wrong": 25.1}
    numbers = findings.uncertain_shares((1, 2), (3, 1), printed).numbers
    assert (numbers["right"], numbers["wrong"]) == pytest.approx((200 / 3, 25))
    assert (numbers["right_as_printed"], numbers["wrong_as_printed"]) == (True, False)


def test_a_row_can_have_no_matrix_whichever_figure_is_left_out():
    printed = {"acc": 51.3, "sen": 47.1}
    numbers = rows.row_as_one_matrix(printed, (2, 2), "A row").numbers
    expected = dict.fromkeys(("matrices", "matrices_without_acc", "matrices_without_sen"), 0)
    assert numbers == expected


def test_a_row_can_have_several_matrices():
    numbers = rows.row_as_one_matrix({"acc": 50}, (2, 2), "A row").numbers
    assert numbers == {"matrices": 3}


def test_a_doubled_set_whose_false_alarms_cover_its_hits_is_possible():
    row = confusion.matrices(2, 5, 8, 2).iloc[0]  # 6 normal, 2 abnormal, both called abnormal
    printed = {name: round(row[name], 2) for name in ("acc", "f1")}
    numbers = findings.double_counting(printed, (6, 2), range(5, 10)).numbers
    assert (numbers["tp"], numbers["fp"]) == (2, 3)
    official = findings.double_counting(MIIC_ROW, MIIC, range(1387, 1390)).numbers
    assert official["sizes_that_fit"] == 2


def test_a_published_row_can_be_an_epoch():
    row = {"auroc": 70.0, "f1": 80.0}
    epochs = {"epoch 1": {"auroc": 70.0, "sen": 90.0}, "epoch 2": {"auroc": 71.0, "f1": 80.0}}
    numbers = findings.published_epoch(row, epochs, (60, 75)).numbers
    assert numbers == {"epochs_that_differ": 1, "span": 15}


@pytest.mark.parametrize(("printed", "word"), [(10, SUPPORTED), (12, SUPPORTED), (13, REFUTED)])
def test_a_number_of_training_images_is_that_of_some_official_copy(printed, word):
    copies = dict(zip(SPECS["chest_xray"].copies, [(12, 0), (10, 2)], strict=True))
    shown = {"training images": findings.training_counts(printed, copies)}
    assert judges_of_print.training_images(SimpleNamespace(findings=shown)).verdict == word


def test_printed_f1_are_counted_below_the_floor():
    for printed, n_below in (({"A": 80, "B": 40}, 1), ({"A": 80}, 0)):
        numbers = findings.below_the_floor(printed, 50, "some set").numbers
        assert numbers == {"floor": 50, "printed": len(printed), "below": n_below}


def test_findings_are_quoted_by_the_beginning_of_their_name():
    every = audit.audit_findings()
    text = quote(every, "uncertain shares", "AUC from").data
    assert text.count("> ") == 2
    with pytest.raises(ValueError, match="'nothing'"):
        quote(every, "nothing")


def test_the_data_table_has_every_copys_counts_and_the_studys_where_none_is_official():
    facts = dataset_facts([]).iloc[:, 1:4]
    assert (facts != "").all(axis=None)
    shown = facts.loc[[SPECS[name].title for name in ("elpv", "chest_xray")]]
    digits = [[re.findall(r"[\d,]+", cell) for cell in row] for row in shown.to_numpy()]
    assert digits[0] == [["904"], ["302"], ["537"]]
    assert digits[1] == [["1,349", "1,341"], ["234"], ["390"]]
