"""CONTRIBUTING.md is run: its method, data set, claim and figure are added at the places it names.

Nothing else of the package is touched: what such a test needs beyond the blocks is what an
addition would cost.
"""

import importlib.util
import inspect
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from helpers import REPOSITORY
from PIL import Image

from aeflow_utils import figures, find, get_profile, models, options, style, summary, tables
from aeflow_utils.article import claims
from aeflow_utils.article.evidence import Evidence
from aeflow_utils.data import catalog
from aeflow_utils.data.table import available
from aeflow_utils.methods import METHODS, Method, methods_of
from aeflow_utils.metrics.verdicts import SUPPORTED
from aeflow_utils.paths import paths
from aeflow_utils.show.image_figures import map_columns
from aeflow_utils.study.experiments import plan, run_all, splits_of
from aeflow_utils.study.systems import load_system

LAYOUTS = Path(__file__).parent / "data" / "test_layouts.py"


def blocks(heading, language="python"):
    """The fenced blocks of one section of CONTRIBUTING.md, in order."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def run_in(module, code):
    """The names that a block defines where it is said to go: it sees what that file has."""
    names = dict(vars(module))
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    return names


@pytest.fixture
def mean_feature(tmp_path, monkeypatch):
    """One file in `models/`, its options and one row of `METHODS`."""
    file, config, row = blocks("Add a method")
    (tmp_path / "mean_feature.py").write_text(file)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    names = run_in(options, config) | {"Method": Method}
    method = eval(row, names)
    monkeypatch.setitem(METHODS, method.config.name, method)


def functions_of_runs(module):
    """Every public function of a module that takes runs and nothing else."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        signature = inspect.signature(function).parameters.values()
        needed = [p.name for p in signature if p.default is p.empty]
        if function.__module__ == module.__name__ and needed == ["results"]:
            yield name, function


def test_a_method_is_one_file_its_options_and_one_row(mean_feature, write_run):
    profile = get_profile("smoke")
    configs = [c for c in plan(profile, datasets=("elpv",)) if c.method.kind != "gan"]
    assert [c.seed for c in configs if c.model.name == "mean_feature"] == [0]
    assert "mean_feature" in methods_of("untrained")
    results = run_all([c for c in configs if c.model.name in ("ae_flow", "mean_feature")])
    added = [run for run in results if run.config.model.name == "mean_feature"]
    assert 0.4 < added[0].metrics["auroc"] < 1
    assert find("smoke", methods=("mean_feature",)) == added

    rows = summary(find("smoke"))
    auroc = rows.set_index("model").loc["mean_feature", "auroc"]
    assert auroc == pytest.approx(added[0].metrics["auroc"])
    shown = tables.format_summary(rows)
    assert ("ELPV solar cells", "mean feature") in shown.index
    for name, table in functions_of_runs(tables):
        assert table(results) is not None, name
    drawn = [function(results) for _, function in functions_of_runs(figures)]
    drawn.append(figures.auroc_dots(rows))
    splits = splits_of(added[0].config)
    drawn.append(map_columns({"mean feature": load_system(added[0], splits)}, splits.test, "ELPV"))
    for figure in drawn:
        assert figure.get_label()
        plt.close(figure)

    ledger = claims.ledger(Evidence("smoke"))
    assert set(ledger.index) == set(claims.claims_in_print().index)


def test_a_data_set_is_one_entry_and_one_test(data_folder, monkeypatch):
    entry, test = blocks("Add a data set")
    ((key, spec),) = eval(f"{{{entry}}}", dict(vars(catalog))).items()
    monkeypatch.setitem(catalog.SPECS, key, spec)
    found = importlib.util.spec_from_file_location("layouts", LAYOUTS)
    layouts = importlib.util.module_from_spec(found)
    found.loader.exec_module(layouts)
    run_in(layouts, test)["test_crates_are_split_as_their_folders_say"](data_folder)

    assert ("crates", "", "") in available()
    configs = plan(get_profile("smoke"), methods=("knn", "padim"), datasets=("crates",))
    results = run_all(configs)
    assert len(results) == len(configs) == 4
    shown = tables.format_summary(summary(results, "normal_quantile"))
    assert {dataset for dataset, _ in shown.index} == {"Crates"}
    figure = figures.roc_curves(results)
    assert len(figure.axes) == 1
    plt.close(figure)


def test_a_claim_is_one_row(home, write_run):
    for model, test in (("knn", (0, 1)), ("padim", (1, 0))):
        write_run(model=model, test=((0, 1) * 20, test * 20))
    (row,) = blocks("Add a claim", "csv")
    with (home / "results" / "claims_in_print.csv").open("a") as table:
        table.write(row)
    ledger = claims.ledger(Evidence("smoke"))
    assert ledger.loc["neighbours", "verdict"] == SUPPORTED
    assert ledger.loc["neighbours", "claim"] == "On solar cells neighbours beat Gaussians"


def test_a_figure_is_one_function(home, monkeypatch):
    function, call = blocks("Add a figure")
    added = run_in(figures, function)["auroc_histogram"]
    monkeypatch.setattr(figures, "auroc_histogram", added, raising=False)
    open_before = plt.get_fignums()
    names = {"style": style, "figures": figures, "results": [], "profile": get_profile("laptop")}
    exec(call, names)
    picture = paths().images("laptop") / "auroc-histogram.png"
    assert Image.open(picture).info["Description"] == "Histogram of the test AUROC of 0 runs."
    assert plt.get_fignums() == open_before
