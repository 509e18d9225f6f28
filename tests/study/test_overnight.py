"""The evidence, a data set at a time: what is to be run, what stops nothing."""

from aeflow_utils.errors import TrainingError
from aeflow_utils.study import overnight
from aeflow_utils.study.runs import run_folder


def test_the_night_does_one_data_set_after_the_other_under_both_policies(chest_tree, mvtec_tree):
    by_dataset = overnight.overnight_plan()
    assert list(by_dataset) == ["elpv", "chest_xray", "mvtec"]
    for dataset, configs in by_dataset.items():
        assert {c.data.dataset for c in configs} == {dataset}
        assert len({c.run_name for c in configs}) == len(configs)
        study = [
            c for c in configs if not c.is_side_run and not c.method.deterministic and not c.beside
        ]
        rows = {
            profile: {(c.model.name, c.variant, c.seed) for c in study if c.profile == profile}
            for profile in ("overnight", "as_published")
        }
        assert rows["overnight"] == rows["as_published"] != set()
        assert {c.profile for c in configs if c.method.deterministic or c.is_side_run} == {
            "overnight"
        }
    assert list(overnight.overnight_plan(["mvtec"])) == ["mvtec"]


def test_what_a_loss_stops_is_told_and_the_night_goes_on(chest_tree, monkeypatch, capsys):
    begun = []

    def run_all(configs):
        begun.append(configs[0].data.dataset)
        if begun == ["elpv"]:
            raise TrainingError("elpv ganomaly seed 3: the loss is nan in epoch 2")

    done = overnight.overnight_plan(["chest_xray"])["chest_xray"]
    for each in done:
        run_folder(each).mkdir(parents=True)
    monkeypatch.setattr(overnight, "run_all", run_all)
    monkeypatch.setattr(overnight, "finished_runs", lambda names: [])
    overnight.run_overnight(["elpv", "chest_xray"])
    assert begun == ["elpv", "chest_xray"]
    told = capsys.readouterr().out.splitlines()
    assert "seed 3" in told[1]
    assert told[2].startswith(f"chest_xray: {len(done)} runs, 0 missing, about 0.0 h")
