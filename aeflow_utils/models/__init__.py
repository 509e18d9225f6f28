"""AE-FLOW and its rivals. Begin with `ae_flow`, then `layers`, `flow`, `scores`, `system`."""

from __future__ import annotations

from aeflow_utils.methods import get_method
from aeflow_utils.models.system import Shapes, System
from aeflow_utils.options import ModelConfig


def build_system(config: ModelConfig, shapes: Shapes, image_size: int) -> System:
    """An untrained system; seed numpy and torch first, FrEIA draws from both."""
    return get_method(config.name).load_system()(config, shapes, image_size)
