"""Distances of embeddings: Frechet with its bias taken out, kernel, tags; similarity of pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simba_music.training.evaluation.measures import (
    BOOTSTRAP_SEED,
    Row,
    bootstrap_rows,
    mean_row,
    row_of,
)

SUBSETS = 8  # sizes from half to all, for the fit in 1/N
DRAWS = 4  # random subsets of each size
FEWEST_WINDOWS = 40  # below, a Frechet distance says nothing
HALVES = 200
KERNEL_SCALE = 100.0  # as in kadtk, so that values are of a readable size


@dataclass(frozen=True)
class Tagged:
    """What the tagger makes of a set of sounds: embeddings `[W, E]` and tags `[W, L]`."""

    vectors: np.ndarray
    tags: np.ndarray


def together(found: list[tuple[np.ndarray, np.ndarray]]) -> Tagged:
    """What the tagger found in several sounds, as one set."""
    return Tagged(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of the normal distributions fitted to `[N, E]` and `[M, E]`.

    With embeddings of audio it is the FAD of Kilgour et al. 2019; biased upwards for small N.
    """
    means = a.mean(0) - b.mean(0)
    first, second = (np.cov(x, rowvar=False) for x in (a, b))
    # tr sqrt(AB) by the eigenvalues of AB, which are those of a product of positive matrices.
    # Rounding may leave small negative or complex ones where a covariance has no full rank.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0))
    return float(means @ means + np.trace(first) + np.trace(second) - 2 * roots.sum())


def frechet_infinity(a: np.ndarray, b: np.ndarray, seed: int = 0) -> float:
    """Frechet distance of `[N, E]` to `[M, E]` extrapolated to infinite N.

    A straight line in 1/N through the distances of subsets of `a`, at 1/N = 0 (Gui et al. 2024,
    after Chong and Forsyth 2020).
    """
    rng = np.random.default_rng(seed)
    sizes = np.linspace(max(2, len(a) // 2), len(a), SUBSETS).astype(int)
    points = [
        (1 / size, frechet_distance(a[rng.choice(len(a), size, replace=False)], b))
        for size in sizes
        for _ in range(DRAWS)
    ]
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[1])


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Unbiased squared MMD of `[N, E]` and `[M, E]` with a Gaussian kernel, times 100.

    The bandwidth is the median distance within `b`, the reference (KAD, Chung et al. 2025).
    """
    # Copies of one sound are at no distance; any width then says the same.
    width = max(1e-6, np.median(np.sqrt(_squares(b, b)[np.triu_indices(len(b), 1)])))
    within_a, within_b, across = (
        np.exp(-_squares(x, y) / (2 * width**2)) for x, y in ((a, a), (b, b), (a, b))
    )
    n, m = len(a), len(b)
    # Without the diagonals: their ones would raise the distance, the more so the smaller a set.
    first = (within_a.sum() - np.trace(within_a)) / (n * (n - 1))
    second = (within_b.sum() - np.trace(within_b)) / (m * (m - 1))
    return float(KERNEL_SCALE * (first + second - 2 * across.mean()))


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances `[N, M]`."""
    found = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    made: np.ndarray = np.maximum(found, 0)
    return made


def tag_divergence(a: np.ndarray, b: np.ndarray) -> float:
    """KL divergence in nats of the mean tags of `[N, L]` from those of the reference `[M, L]`."""
    p, q = (x.mean(0) / x.mean(0).sum() + 1e-6 for x in (a, b))
    return float((q * np.log(q / p)).sum())


def mean_cosine_distance(vectors: np.ndarray) -> float:
    """Mean of 1 - cosine over all pairs of `[N, E]`, N at least 2."""
    unit = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9)
    count = len(unit)
    return float(1 - ((unit @ unit.T).sum() - count) / (count * (count - 1)))


def _spread(measure: Callable[[np.ndarray], float], vectors: np.ndarray) -> float:
    """Standard error of a measure of `[W, E]` by the delete-half jackknife (Shao and Wu 1989).

    A bootstrap would repeat windows, which a kernel takes for closeness.
    """
    rng, whole = np.random.default_rng(BOOTSTRAP_SEED), measure(vectors)
    halves = [
        measure(vectors[rng.choice(len(vectors), len(vectors) // 2, replace=False)])
        for _ in range(HALVES)
    ]
    return float(np.sqrt(np.mean(np.square(np.subtract(halves, whole)))))


def distance_rows(name: str, heard: Tagged, reference: Tagged) -> list[Row]:
    """FAD, FAD at infinite size, KAD and divergence of the tags, from the reference.

    No rows if either has fewer than `FEWEST_WINDOWS` windows.
    """
    count, target = len(heard.vectors), reference.vectors
    if min(count, len(target)) < FEWEST_WINDOWS:
        return []
    infinite = frechet_infinity(heard.vectors, target)
    kad = kernel_distance(heard.vectors, target)
    reach = 1.96 * _spread(lambda x: kernel_distance(x, target), heard.vectors)
    tags = tag_divergence(heard.tags, reference.tags)
    fad = bootstrap_rows(
        "FAD (our tagger's space)",
        name,
        lambda picks: frechet_distance(heard.vectors[picks], target),
        count,
        count,
    )
    return [
        *fad,
        row_of("FAD at infinite size", name, infinite, infinite, infinite, count),
        row_of("KAD (our tagger's space)", name, kad, kad - reach, kad + reach, count),
        row_of("KL of instruments (nats)", name, tags, tags, tags, count),
    ]


def similarity_rows(
    vectors: Mapping[str, Sequence[np.ndarray]], wanted: str, space: str
) -> list[Row]:
    """Semantic similarity of every system's clips to the pieces that were asked for.

    Cosine of a clip's embedding and of its piece's, and, to hold it against, of the next piece's.

    Args:
        vectors: `[E]` of every clip by system, in the order of the prompts.
        wanted: the system that is the pieces themselves, which is left out.
        space: whose embeddings they are, for the metric's name.
    """
    pieces, own, others = _unit(vectors[wanted]), list[Row](), list[Row]()
    for name, clips in vectors.items():
        if name == wanted:
            continue
        found = _unit(clips)
        for rows, whose, held in (
            (own, "the piece asked for", pieces),
            (others, "the next prompt's piece", np.roll(pieces, -1, 0)),
        ):
            metric = f"semantic similarity to {whose} ({space}'s space, cosine)"
            rows.append(mean_row(metric, name, (found * held).sum(1).tolist()))
    return own + others


def _unit(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """`[N, E]`, every row of length 1."""
    stacked = np.stack(vectors).astype(np.float64)
    found: np.ndarray = stacked / (np.linalg.norm(stacked, axis=1, keepdims=True) + 1e-9)
    return found
