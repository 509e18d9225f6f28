"""What a reader adds: a method, a data set, a claim, a figure, each as the README says it.

Nothing of the package is edited: what such a test needs beyond one file, one row or one entry is
what an addition would cost.
"""

import inspect
import textwrap
from dataclasses import dataclass
from typing import ClassVar

import matplotlib.pyplot as plt
import numpy as np
import pytest
from helpers import save_noise
from PIL import Image

from aeflow_utils import figures, find, models, style, summary, tables
from aeflow_utils.article import claims
from aeflow_utils.article.evidence import Evidence
from aeflow_utils.data.catalog import SPECS, DatasetSpec
from aeflow_utils.data.layouts import by_path
from aeflow_utils.data.splits import official
from aeflow_utils.data.table import available
from aeflow_utils.methods import METHODS, Method, methods_of
from aeflow_utils.metrics.verdicts import SUPPORTED
from aeflow_utils.options import ModelConfig
from aeflow_utils.paths import paths
from aeflow_utils.profiles import get_profile
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.image_figures import map_columns
from aeflow_utils.study.experiments import plan, run_all, splits_of
from aeflow_utils.study.systems import load_system

SYSTEM = '''
    """A toy: the distance of an image's mean feature from that of the training images."""

    import torch

    from aeflow_utils.models.scores import Scores, upsample
    from aeflow_utils.models.system import System


    class Toy(System):
        def __init__(self, config, shapes, image_size):
            super().__init__(config, shapes, image_size)
            self.register_buffer("mean", torch.zeros(shapes[16][0]))

        def fit_statistics(self, train):
            means = [batch.features[16].mean(dim=(2, 3)) for batch in train.batches(64)]
            self.mean.copy_(torch.cat(means).mean(dim=0))

        def score(self, batch):
            distance = (batch.features[16] - self.mean.view(1, -1, 1, 1)).norm(dim=1, keepdim=True)
            anomaly_map = upsample(distance, batch.image.shape[-2:])
            return Scores(distance.mean(dim=(1, 2, 3)), anomaly_map)
'''


@dataclass(frozen=True)
class ToyConfig(ModelConfig):
    name: ClassVar[str] = "toy"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """One file in `models/` and one row of `METHODS`."""
    (tmp_path / "toy.py").write_text(textwrap.dedent(SYSTEM))
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    monkeypatch.setitem(METHODS, "toy", Method("a toy", "untrained", ToyConfig, "toy:Toy"))


def functions_of_runs(module):
    """Every public function of a module that takes runs and nothing else."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        signature = inspect.signature(function).parameters.values()
        needed = [p.name for p in signature if p.default is p.empty]
        if function.__module__ == module.__name__ and needed == ["results"]:
            yield name, function


def test_a_method_is_one_file_and_one_row(toy, write_run):
    profile = get_profile("smoke")
    configs = [c for c in plan(profile, datasets=("elpv",)) if c.method.kind != "gan"]
    assert [c.seed for c in configs if c.model.name == "toy"] == [0]
    assert "toy" in methods_of("untrained")
    results = run_all([c for c in configs if c.model.name in ("ae_flow", "toy")])
    toys = [run for run in results if run.config.model.name == "toy"]
    assert 0.4 < toys[0].metrics["auroc"] < 1
    assert find("smoke", methods=("toy",)) == toys

    rows = summary(find("smoke"))
    assert rows.set_index("model").loc["toy", "auroc"] == pytest.approx(toys[0].metrics["auroc"])
    shown = tables.format_summary(rows)
    assert ("ELPV solar cells", "a toy") in shown.index
    for name, table in functions_of_runs(tables):
        assert table(results) is not None, name
    drawn = [function(results) for _, function in functions_of_runs(figures)]
    drawn.append(figures.auroc_dots(rows))
    splits = splits_of(toys[0].config)
    drawn.append(map_columns({"a toy": load_system(toys[0], splits)}, splits.test, "ELPV"))
    for figure in drawn:
        assert figure.get_label()
        plt.close(figure)

    ledger = claims.ledger(Evidence("smoke"))
    assert set(ledger.index) == set(claims.claims_in_print().index)


@pytest.fixture
def crates(data_folder, monkeypatch):
    """One entry of the catalog, and a tree in the layout that it declares."""
    rng = np.random.default_rng(0)
    for part, n in (("train/whole", 12), ("test/whole", 5), ("test/broken", 5)):
        for number in range(n):
            save_noise(data_folder / "crates" / part / f"{number:02}.png", rng, grey=False)
    spec = DatasetSpec(
        title="Crates",
        shows="crates; whole, or broken",
        domain="industrial",
        grey=False,
        folders=("crates",),
        scan=by_path(r"(?P<split>train|test)/(?P<label>whole|broken)/[^/]+", normal="whole"),
        splits={"": official(val_share=0.25, val_abnormal=False)},
        counts={"": {("train", 0): 12, ("test", 0): 5, ("test", 1): 5}},
        licence="none needed",
        citation="drawn by a random number generator",
        how_to_get="run the tests",
    )
    monkeypatch.setitem(SPECS, "crates", spec)


def test_a_data_set_is_one_entry_of_the_catalog(crates):
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
    with (home / "results" / "claims_in_print.csv").open("a") as table:
        row = "toy,study,On solar cells neighbours beat Gaussians,,all of,AUROC,in_order"
        table.write(f"{row},dataset=elpv; order=padim < knn,03_baselines\n")
    ledger = claims.ledger(Evidence("smoke"))
    assert ledger.loc["toy", "verdict"] == SUPPORTED
    assert ledger.loc["toy", "claim"] == "On solar cells neighbours beat Gaussians"


def test_a_figure_is_one_function(home):
    def histogram(results):
        figure, axis = style.subplots()
        axis.hist([run.metrics["auroc"] for run in results])
        return described(figure, "How often each AUROC comes up.")

    open_before = plt.get_fignums()
    style.show(histogram([]), "toy-histogram", get_profile("laptop"))
    picture = paths().images("laptop") / "toy-histogram.png"
    assert Image.open(picture).info["Description"] == "How often each AUROC comes up."
    assert plt.get_fignums() == open_before
