"""Metrics of detectors, of their uncertainty and of comparisons: arrays in, arrays out."""

from aeflow_utils.metrics.compare import (
    auroc_sample,
    average,
    classification_sample,
    difference,
    mean_of,
    mean_sample,
    percentile_interval,
    resampled,
)
from aeflow_utils.metrics.detection import (
    CLASSIFICATION,
    aupro,
    auroc,
    aurocs,
    best_threshold,
    check_scores,
    class_weighted_f1,
    classification,
    classification_of_counts,
    f1_max_threshold,
    normal_quantile_threshold,
    pixel_auroc,
    thresholds,
    youden,
)
