"""Tables for readers, from hand-made run folders and from the figures that come with the bundle."""

import pandas as pd

from aeflow_utils.data.catalog import SPECS
from aeflow_utils.metrics import CLASSIFICATION
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show import print_tables, style, tables
from aeflow_utils.study.recording import published
from aeflow_utils.study.results import REGIMES, find, summary

LABELS = (0, 0, 1, 1)
PERFECT = (LABELS, (1, 2, 3, 4))
ONE_WRONG = (LABELS, (1, 3, 2, 4))  # AUROC 3/4

ELPV = SPECS["elpv"].title


def test_published_figures_have_every_column_and_no_gap():
    table = published()
    assert list(table.columns) == [
        "source",
        "table",
        "dataset",
        "method",
        "metric",
        "value",
        "kind",
        "protocol",
        "confidence",
        "read_in",
    ]
    assert not table.isna().any(axis=None)
    assert not table.astype(str).apply(lambda column: column.str.strip().eq("")).any(axis=None)
    assert set(table["kind"]) == {"printed", "second-hand", "draft", "log", "derived"}
    of_paper = table[table["source"] == "paper"]  # which nobody had in hand
    assert not {"printed", "log"} & set(of_paper["kind"])
    counts = table["metric"].str.startswith("n_")
    assert table.loc[~counts, "value"].between(0, 100).all()
    assert (table.loc[counts, "value"] % 1 == 0).all()
    test_metrics = {"auroc", *CLASSIFICATION}
    assert set(tables.METRIC_TITLES) == test_metrics
    known = r"n_\w+|log_\w+|uncertain_\w+|pixel_auroc|\w+_epoch|\w+_gain|f1_below_\w+|sigma_\w+"
    assert table.loc[~table["metric"].isin(test_metrics), "metric"].str.fullmatch(known).all()


def test_a_published_figure_stands_only_once():
    cell = ["dataset", "source", "kind", "method", "protocol", "metric"]
    assert not published().duplicated(cell).any()


def test_peers_agree_but_for_the_differences_that_are_named():
    table = tables.peers()
    unexplained = table["known_difference"] == ""
    assert (table["agrees"] == unexplained).all()
    assert (table["agrees"] == (table["max_rel_difference"] <= table["tolerance"])).all()
    assert (table["n_values"] > 0).all()
    assert not table.duplicated(["what", "quantity"]).any()


def test_side_by_side_leaves_unknown_cells_empty_and_keeps_every_published_one(write_run):
    shown = print_tables.side_by_side([write_run(variant="conv_like", test=ONE_WRONG)])
    printed = shown[shown.index.get_level_values("source") != "this bundle"]
    comparable = published()["metric"].isin(tables.METRIC_TITLES)
    assert printed.notna().to_numpy().sum() == comparable.sum()
    assert printed.notna().any(axis=1).all()  # counts and figures of logs make no row here
    assert list(shown.columns) == list(tables.METRIC_TITLES.values())
    assert printed.isna().any(axis=None)
    assert set(printed.index.get_level_values("kind")) <= set(published()["kind"])
    ours = shown.xs("this bundle", level="source")
    assert set(ours.index.get_level_values("kind")) == {"measured"}
    assert set(ours.index.get_level_values("protocol")) == set(REGIMES.values())
    assert ours["AUROC"].tolist() == [75.0] * 3


def test_side_by_side_works_with_methods_that_were_never_published(write_run):
    shown = print_tables.side_by_side([write_run("knn")])
    assert "this bundle" not in shown.index.get_level_values("source")


def test_domain_gap_needs_both_kinds_of_method(write_run):
    flow, knn = write_run(test=ONE_WRONG), write_run("knn", test=PERFECT)
    assert tables.domain_gap(summary([flow])).empty
    (row,) = tables.domain_gap(summary([flow, knn])).to_dict("records")
    assert row["difference"] == -25.0
    assert row["domain"] == "industrial"


def test_the_cost_table_counts_images_a_second(write_run):
    row = tables.cost_table([write_run(), write_run(seed=1)]).iloc[0]
    assert row["images scored a second"] == 16  # 8 images in 0.5 s
    assert row["fit, s"] == 1.5
    assert row["trained parameters"] == "1,234"


def test_data_sets_without_a_run_come_with_a_remedy(write_run):
    missing = tables.not_here([write_run(dataset="chest_xray")]).set_index("data set")
    assert SPECS["chest_xray"].title not in missing.index
    assert missing["how to get it"].to_dict() == {
        spec.title: spec.how_to_get for name, spec in SPECS.items() if name != "chest_xray"
    }


def test_what_a_data_set_does_not_allow_is_an_empty_cell(write_run):
    normal_only = ((0, 0, 0, 0), (1, 2, 3, 4))
    table = summary([write_run(test=normal_only)], "normal_quantile")
    assert "nan" not in tables.format_summary(table).to_string()


def test_saved_tables_lie_under_the_profile_in_full_precision(write_run):
    table = pd.DataFrame({"x": [1 / 3]})
    path = tables.save_table(table, "thirds", PROFILES["smoke"])
    assert path == paths().results("smoke") / "tables" / "thirds.csv"
    assert pd.read_csv(path)["x"].item() == 1 / 3


def test_the_grid_table_marks_what_validation_would_choose():
    rows = [
        ("elpv", "a", 80.0, 70.0, True),
        ("elpv", "b", 79.0, 75.0, False),
        ("chest", "b", 60.0, 50.0, True),
    ]
    names = ["data set", "value", "validation", "test", "best_on_validation"]
    table = pd.DataFrame(rows, columns=names).assign(low=49.6, high=90.4)
    shown = tables.format_grid(table, ["value"])
    assert shown.loc["a", (ELPV, "validation")] == "80.0 ★"
    assert shown.loc["b", (ELPV, "validation")] == "79.0"
    assert shown.loc["b", (ELPV, "test")] == "75.0 (50–90)"
    assert shown.loc["a", ("chest", "test")] == ""


def test_costs_name_the_peak_of_memory(write_run):
    assert tables.cost_table([write_run()])["peak memory, MB"].tolist() == [900]


def test_titles_stand_where_labels_name_rows_columns_or_values():
    table = pd.DataFrame({"data set": ["elpv", "mvtec-bottle"], "isic2018-official_test": [1, 2]})
    titled = style.titled(table.set_index("data set", drop=False))
    assert titled["data set"].tolist() == ["ELPV solar cells", "MVTec AD, bottle"]
    assert titled.index.tolist() == titled["data set"].tolist()
    assert titled.columns.tolist() == ["data set", "ISIC 2018, official test"]
    untouched = pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("elpv", 5)]))
    assert style.titled(untouched).index.tolist() == [("ELPV solar cells", 5)]
    assert "<summary>open me</summary><table" in style.folded(untouched, "open me").data


def test_the_main_table_tells_seeds_and_interval_where_one_points(write_run):
    for seed, test in enumerate((PERFECT, ONE_WRONG)):
        write_run("ae_flow", seed=seed, variant="conv_like", test=test)
    page = tables.main_table(summary(find("smoke"), "val_f1")).to_html()
    assert page.count("seeds: 2; 95 % interval ") == 1  # the floor has none
    assert ">87.5 ± 17.7</span></td>" in page
