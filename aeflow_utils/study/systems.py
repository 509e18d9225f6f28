"""Systems from a run's configuration: new ones, and trained ones from their checkpoint."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from aeflow_utils.config import RunConfig
from aeflow_utils.data.features import Splits
from aeflow_utils.data.precision import bf16_here, use_bf16
from aeflow_utils.errors import UserError
from aeflow_utils.models import build_system
from aeflow_utils.models.system import System
from aeflow_utils.study.runs import CHECKPOINT, RunResult, check_seal
from aeflow_utils.study.training import seed_everything


def new_system(config: RunConfig, splits: Splits) -> System:
    """The run's system before training, from its seed."""
    seed_everything(config.seed)
    shapes = {stride: maps.shape[1:] for stride, maps in splits.train.features.items()}
    return build_system(config.model, shapes, config.data.image_size)


def load_system(result: RunResult, splits: Splits) -> System:
    """The trained system of a run on this machine, for pictures: its checkpoint, or refitted.

    Raises:
        UserError: a recorded run (it has no checkpoint), or one computed on other images.
    """
    if result.environment["fingerprint"] != splits.fingerprint:
        raise UserError(
            f"{result.folder} was computed on other images than those now in the data folder: "
            "run it again"
        )
    return restored(result, splits)


def restored(result: RunResult, splits: Splits) -> System:
    """As `load_system`, on images of which only the trained ones need be the same."""
    system = new_system(result.config, splits)
    use_bf16(system, bf16_here(result.config.train.bf16))
    if (result.folder / CHECKPOINT).exists() or not result.config.method.deterministic:
        system.load_state_dict(weights_of(result))
    else:
        system.fit_statistics(splits.train)
    return system.eval()


def weights_of(result: RunResult) -> dict[str, Tensor]:
    """The tensors of a run's checkpoint.

    Raises:
        UserError: it is missing, or not as the run left it.
    """
    try:
        check_seal(result.folder, CHECKPOINT)
    except Exception as error:  # the seal may be damaged too
        raise UserError(
            f"{result.folder} has no checkpoint of its own ({error}): delete it and run again"
        ) from None
    return read_weights(result.folder / CHECKPOINT)


def write_weights(state: dict[str, Tensor], file: Path) -> None:
    """Tensors to a safetensors file.

    Raises:
        OSError: the disk is full, which the library would raise as another kind.
    """
    file.write_bytes(save({name: tensor.cpu().contiguous() for name, tensor in state.items()}))


def read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: it is cut or damaged; names it.
    """
    try:
        return load_file(checkpoint)
    except Exception as error:  # of kinds that the library does not name
        raise UserError(
            f"{checkpoint} is damaged ({error}): delete {checkpoint.parent} and run again"
        ) from None
