"""How sure a number is: two levels of chance, trainings and test images.

A score measured on S trainings and N test images would be another with other seeds, and with other
images. Images are resampled, whole groups (patients, lesions) at a time; five seeds are too few to
resample, so their spread enters by Student's t. Both levels together give an interval after Welch
and Satterthwaite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.stats import t as student

from aeflow_utils.metrics.detection import check_scores, classification_of_counts

LEVEL = 0.95
N_RESAMPLES = 1000


@dataclass(frozen=True)
class Sample:
    """One metric of S trainings on the same test images.

    Args:
        observed: (S,), on the images as they are.
        draws: (S, R), on R resamples of the images, the same for all trainings.
        n_groups: what is resampled: images, or groups of them.
        fixed: the method has no seed, so that one run is all there is.
    """

    observed: np.ndarray
    draws: np.ndarray
    n_groups: int
    fixed: bool = False


@dataclass(frozen=True)
class Estimate:
    """A number with its standard errors: from test images, and from seeds.

    `seed_df` is the seeds' degrees of freedom: infinite where no seed plays a part.
    """

    value: float
    image_error: float
    image_df: float
    seed_error: float = 0.0
    seed_df: float = np.inf

    @property
    def error(self) -> float:
        return float(np.hypot(self.image_error, self.seed_error))

    @property
    def df(self) -> float:
        """Degrees of freedom of `error` (Welch, 1947)."""
        parts = self.image_error**4 / self.image_df
        if self.seed_error:
            parts += self.seed_error**4 / self.seed_df
        return self.error**4 / parts if parts else np.inf

    @property
    def low(self) -> float:
        return self.value - student.isf((1 - LEVEL) / 2, self.df) * self.error

    @property
    def high(self) -> float:
        return self.value + student.isf((1 - LEVEL) / 2, self.df) * self.error

    def within(self, least: float, most: float) -> tuple[float, float]:
        """`low` and `high` of a number that cannot be less, or more, than this."""
        return max(self.low, least), min(self.high, most)

    @property
    def p_value(self) -> float:
        """Two-sided, against 0."""
        if not self.error:
            return float(self.value == 0)
        return float(2 * student.sf(abs(self.value) / self.error, self.df))

    def times(self, factor: float) -> Estimate:
        """In another unit, or of the other sign."""
        errors = abs(factor) * self.image_error, abs(factor) * self.seed_error
        return replace(self, value=factor * self.value, image_error=errors[0], seed_error=errors[1])

    def minus(self, level: float) -> Estimate:
        return replace(self, value=self.value - level)


def mean_of(sample: Sample) -> Estimate:
    """The mean over trainings; of a single one without its spread, which `seed_df` 0 says."""
    n_seeds = len(sample.observed)
    spread = np.std(sample.observed, ddof=1) / np.sqrt(n_seeds) if n_seeds > 1 else 0.0
    return _estimate(sample.observed.mean(), sample, spread, n_seeds - 1)


def _estimate(value: float, images: Sample, seed_error: float, seed_df: int) -> Estimate:
    draws = images.draws.mean(axis=0)
    draws = draws[np.isfinite(draws)]  # a resample may hold one class only
    image_error = float(np.std(draws, ddof=1)) if draws.size > 1 else float("nan")
    seeds = (0.0, np.inf) if images.fixed else (float(seed_error), seed_df)
    return Estimate(float(value), image_error, max(images.n_groups - 1, 1), *seeds)


def difference(a: Sample, b: Sample, spread: Sample | None = None) -> Estimate:
    """Mean of `a` minus that of `b`: paired by image, and by seed where both have as many.

    Where they have not, as one training of a changed method against five of the default, the
    spread of their seeds is taken to be the same, and pooled. Between two single trainings it is
    that of `spread`, others of the same kind.
    """
    if spread is not None and len(a.observed) == len(b.observed) == 1:
        gap, n_seeds = difference(a, b), len(spread.observed)
        seed_error = np.sqrt(2) * np.std(spread.observed, ddof=1) if n_seeds > 1 else 0.0
        return replace(gap, seed_error=float(seed_error), seed_df=n_seeds - 1)
    if a.fixed or b.fixed or len(a.observed) == len(b.observed):
        gaps = Sample(a.observed - b.observed, a.draws - b.draws, a.n_groups, a.fixed and b.fixed)
        return mean_of(gaps)
    numbers = np.array([len(a.observed), len(b.observed)])
    squares = sum(((s.observed - s.observed.mean()) ** 2).sum() for s in (a, b))
    df = numbers.sum() - 2
    draws = (a.draws.mean(axis=0) - b.draws.mean(axis=0))[None]
    images = Sample(np.zeros(1), draws, a.n_groups)
    seed_error = np.sqrt(squares / df * (1 / numbers).sum())
    return _estimate(a.observed.mean() - b.observed.mean(), images, seed_error, df)


def average(samples: list[Sample]) -> Sample:
    """The mean over data sets that have the same seeds, each with the same weight."""
    n_groups = sum(sample.n_groups for sample in samples)
    values, draws = ([getattr(s, name) for s in samples] for name in ("observed", "draws"))
    return Sample(np.mean(values, 0), np.mean(draws, 0), n_groups, samples[0].fixed)


def auroc_sample(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None = None,
    fixed: bool = False,
    seed: int = 0,
) -> Sample:
    """The AUROC of S trainings.

    Args:
        labels: (N,).
        scores: (N,) or (S, N).
        groups: (N,), equal for images that are drawn together; by default each is drawn alone.
    """
    runs = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    for run in runs:
        check_scores(labels, run)
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    numbers, n_groups = _numbered(groups, labels.size)
    pairs = [_auroc_of(labels.tobytes(), run.tobytes(), numbers, seed) for run in runs]
    values, draws = zip(*pairs, strict=True)
    return Sample(np.array(values), np.stack(draws), n_groups, fixed)


@lru_cache(maxsize=4096)  # an article's tables and claims ask for the same runs again and again
def _auroc_of(labels: bytes, run: bytes, groups: bytes, seed: int) -> tuple[float, np.ndarray]:
    truth, scores = np.frombuffer(labels, dtype=np.int64), np.frombuffer(run)
    abnormal, normal = truth == 1, truth == 0
    # Mann-Whitney: pairs that are won, compared once for all resamples.
    higher, lower = scores[abnormal, None], scores[normal]
    wins = (higher > lower) + (higher == lower) / 2
    weights = _weights(groups, seed)
    won = (weights[:, abnormal] @ wins * weights[:, normal]).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        won /= weights[:, abnormal].sum(axis=1) * weights[:, normal].sum(axis=1)
    return float(won[0]), won[1:]


def _numbered(groups: np.ndarray | None, n_images: int) -> tuple[bytes, int]:
    """Each image's group by number, int64, and how many there are; by default each is its own."""
    groups = np.arange(n_images) if groups is None else np.unique(groups, return_inverse=True)[1]
    return groups.astype(np.int64).tobytes(), int(groups.max()) + 1


@lru_cache(maxsize=8)
def _weights(groups: bytes, seed: int) -> np.ndarray:
    """How often each image is held, (1 + R, N): by the images as they are, then by R resamples."""
    group = np.frombuffer(groups, dtype=np.int64)
    n = int(group.max()) + 1
    counts = [np.bincount(row, minlength=n) for row in resampled(n, seed=seed)]
    return np.stack([np.ones(n), *counts])[:, group]


def resampled(
    n: int, n_resamples: int = N_RESAMPLES, seed: int = 0, groups: np.ndarray | None = None
) -> np.ndarray:
    """Positions of resampled images, (R, n); with `groups` (n,), groups drawn until n are there.

    Not to be written into: all who ask for the same are given the same.
    """
    numbers, n_groups = _numbered(groups, n)
    return _resampled(b"" if n_groups == n else numbers, n, n_resamples, seed)


@lru_cache(maxsize=8)
def _resampled(groups: bytes, n: int, n_resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if not groups:
        return rng.integers(0, n, size=(n_resamples, n))
    members = np.split(*_sorted_by_group(np.frombuffer(groups, dtype=np.int64)))
    drawn = rng.integers(0, len(members), size=(n_resamples, n))  # more than enough
    return np.stack([np.concatenate([members[g] for g in row])[:n] for row in drawn])


def _sorted_by_group(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in the order of their groups, and where each next group begins."""
    order = np.argsort(groups, kind="stable")
    return order, np.flatnonzero(np.diff(np.asarray(groups)[order])) + 1


def classification_sample(
    labels: np.ndarray,
    predicted: np.ndarray,
    metric: str,
    groups: np.ndarray | None = None,
    fixed: bool = False,
    seed: int = 0,
) -> Sample:
    """One of `CLASSIFICATION` of S trainings' decisions, 0/1, (N,) or (S, N); as `auroc_sample`."""
    labels = np.asarray(labels).astype(bool)
    runs = np.atleast_2d(np.asarray(predicted)).astype(bool)
    if runs.shape[1] != labels.size:
        raise ValueError(f"{labels.size} labels but {runs.shape[1]} predictions")
    numbers, n_groups = _numbered(groups, labels.size)
    weights = _weights(numbers, seed)
    tp, tn = (labels & runs) @ weights.T, (~labels & ~runs) @ weights.T
    counted = classification_of_counts(tp, tn, weights @ ~labels, weights @ labels)[metric]
    return Sample(counted[:, 0], counted[:, 1:], n_groups, fixed)


def mean_sample(values: np.ndarray, groups: np.ndarray | None = None) -> Sample:
    """The mean over images of a number an image has, in S trainings: (S, N)."""
    numbers, n_groups = _numbered(groups, values.shape[1])
    weights = _weights(numbers, 0)
    means = values @ weights.T / weights.sum(axis=1)
    return Sample(means[:, 0], means[:, 1:], n_groups)


def percentile_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Central `level` of bootstrap values (R,), without those that are NaN."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
