"""How far training came, by histories made by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aeflow_utils.show.tables import rate_table, training_table
from aeflow_utils.study.histories import diverged, kept_row, still_falling

NAN = float("nan")


@pytest.fixture
def trained(write_run):
    """A run whose loss on validation normals was this, epoch by epoch."""

    def make(losses, keep="lowest", model="autoencoder", term="total", **options):
        run = write_run(model, **options)
        config = replace(run.config, train=replace(run.config.train, keep=keep))
        columns = {"epoch": range(1, len(losses) + 1), f"val_{term}": losses}
        return replace(run, config=config, history=pd.DataFrame(columns))

    return make


@pytest.mark.parametrize(
    ("losses", "keep", "epoch"),
    [
        ((3, 1, 2), "lowest", 2),
        ((3, 1, 2), "last", 3),
        ((3, 1, NAN), "lowest", 2),
        ((3, -np.inf), "lowest", 1),
    ],
)
def test_the_row_of_the_weights_that_were_kept(losses, keep, epoch, trained):
    assert kept_row(trained(losses, keep))["epoch"] == epoch


def test_fastflows_epoch_is_kept_by_its_density(trained):
    run = trained((3, 1, 2), model="fastflow", term="density")
    run.history["val_total"] = [3, 2, 1]
    assert kept_row(run)["epoch"] == 2


@pytest.mark.parametrize(
    ("losses", "by_lowest", "by_last"),
    [
        ((3, 1, 4), False, True),
        ((1, 2, 3), False, True),  # the first of three epochs ends beyond the warm-up
        (range(10), True, True),
        ((3, 2, 1), False, False),
        ((1, 1), False, True),
        ((2,), False, False),
    ],
)
def test_what_ends_no_lower_than_it_began_has_diverged(losses, by_lowest, by_last, trained):
    assert diverged(trained(losses, "lowest", seed=0)) == by_lowest
    assert diverged(trained(losses, "last", seed=1)) == by_last
    assert not diverged(trained(losses, "last", model="ganomaly", term="recon"))


def test_a_loss_that_was_lost_in_the_second_epoch_has_diverged(trained):
    assert diverged(trained((1, NAN)))


@pytest.mark.parametrize(
    ("losses", "share"),
    [
        (range(10, -1, -1), 0.1),  # as fast at the end as on average
        (range(20, 0, -1), 2 / 19),
        ((10, *[0] * 10), 0),
        ((10, 0, *[5] * 9), 0),  # what rises again is not falling
        ((*[10] * 10, 0), 1),
        ((3, 3), 0),
        ((10, 4, 2, NAN), 2 / 8),
        ((1,), NAN),
    ],
)
def test_by_what_share_a_loss_still_falls(losses, share, trained):
    assert still_falling(trained(losses)) == pytest.approx(share, nan_ok=True)


def test_the_table_of_training_is_the_mean_over_seeds(trained, write_run):
    runs = [trained((10, 2, 4), seed=0), trained((10, 9, 4), seed=1)]
    runs += [trained((1, 2, 3), "last", model="fastflow", term="density"), write_run("knn")]
    rows = training_table(runs).set_index("method")
    assert rows.index.tolist() == ["plain autoencoder", "FastFlow"]
    row = rows.loc["plain autoencoder"]
    assert (row["epochs"], row["kept"], row["loss on validation normals"]) == (3, 2.5, "3")
    assert row["still falling"] == "41.7 %"  # 0 and 5 / 6
    assert rows["diverged"].tolist() == [0, 1]


def test_the_table_of_rates_stars_the_lowest_loss_of_each_method_and_set():
    columns = ["dataset", "model", "variant", "strides", "multiple", "loss"]
    rows = [("elpv", "ae_flow", "conv_like", "16", m, loss) for m, loss in ((1, 2), (3, 1))]
    rows += [("elpv", "ganomaly", NAN, NAN, m, loss) for m, loss in ((0.3, 5), (1, np.inf))]
    table = rate_table(pd.DataFrame(rows, columns=columns))
    stars = table.map(lambda cell: "★" in cell)
    assert stars.sum().to_dict() == {"0.3 ×": 1, "1 ×": 0, "3 ×": 1}
    assert (table == "").to_numpy().sum() == 2  # not tried
