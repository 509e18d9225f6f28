"""The systems of the study. Adding one is a file here, a configuration, and a row below."""

from __future__ import annotations

from aeflow_utils.model_configs import ModelConfig
from aeflow_utils.models.ae_flow import AEFlow
from aeflow_utils.models.autoencoder import Autoencoder
from aeflow_utils.models.f_anogan import FAnoGAN
from aeflow_utils.models.fastflow import FastFlow
from aeflow_utils.models.feature_baselines import KNN, Brightness, PaDiM, Smoothness
from aeflow_utils.models.ganomaly import GANomaly
from aeflow_utils.models.patchcore import PatchCore
from aeflow_utils.models.system import Shapes, System

SYSTEMS: dict[str, type[System]] = {
    "ae_flow": AEFlow,
    "autoencoder": Autoencoder,
    "fastflow": FastFlow,
    "ganomaly": GANomaly,
    "f_anogan": FAnoGAN,
    "padim": PaDiM,
    "patchcore": PatchCore,
    "knn": KNN,
    "brightness": Brightness,
    "smoothness": Smoothness,
}


def build_system(config: ModelConfig, shapes: Shapes, image_size: int) -> System:
    """An untrained system; seed numpy and torch first, FrEIA draws from both."""
    return SYSTEMS[config.name](config, shapes, image_size)
