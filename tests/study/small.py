"""Small systems that train in no time, and what happens to them."""

from aeflow_utils.config import TrainConfig
from aeflow_utils.methods import METHODS
from aeflow_utils.models import build_system
from aeflow_utils.study.training import seed_everything

CONFIG = TrainConfig(epochs=3, batch_size=8)
SHAPES = {8: (6, 4, 4), 16: (8, 2, 2), 32: (10, 1, 1)}


class Killed(BaseException):
    """Like a KeyboardInterrupt: nothing should catch it."""


def new(model="ae_flow", seed=0, **options):
    size = {"n_blocks": 2} if "flow" in model else {}
    seed_everything(seed)
    return build_system(METHODS[model].config(**size, **options), SHAPES, 32)


def kill_in_step(monkeypatch, system, step):
    """Training step `step`, counted from 1, raises."""
    train_step, calls = system.train_step, []

    def counted(*args):
        calls.append(args)
        if len(calls) == step:
            raise Killed
        return train_step(*args)

    monkeypatch.setattr(system, "train_step", counted)
