"""Whether anything but sound tells the sides of a blind pair apart: a classifier tries."""

import hashlib

import numpy as np
from scipy.stats import binomtest, rankdata

BUCKETS = 32
FOLDS = 5
RIDGE = 1.0
PERMUTATIONS = 20_000


def features(name, value, into):
    """Numbers that say all that a value says: lengths, places, bytes and characters."""
    if isinstance(value, dict):
        for place, (key, inner) in enumerate(value.items()):
            into[f"{name}.{key} stands"] = place
            features(f"{name}.{key}", inner, into)
    elif isinstance(value, list | tuple):
        into[f"{name} long"] = len(value)
        for place, inner in enumerate(value):
            features(f"{name}[{place}]", inner, into)
    elif isinstance(value, bool | int | float):
        into[name] = float(value)
    else:
        text = value if isinstance(value, bytes) else str(value).encode()
        into[f"{name} long"] = len(text)
        for i in range(len(text)):
            # Three characters, wherever they stand; and each character where it stands.
            for word in (text[i : i + 3], b"%d:" % i + text[i : i + 1]):
                bucket = hashlib.md5(word).digest()[0] % BUCKETS
                into[f"{name} {bucket}"] = into.get(f"{name} {bucket}", 0) + 1


def table(seen):
    """`[trials, features]` of what the browser got in each trial, standardised."""
    rows = []
    for got in seen:
        row = {}
        features("", got, row)
        rows.append(row)
    names = sorted({name for row in rows for name in row})
    x = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    # Of what is measured the ranks too: a few slow answers of a busy machine hide nothing in them.
    measured = (x != np.round(x)).any(0)
    x = np.hstack([x, rankdata(x[:, measured], axis=0)])
    spread = x.std(0)
    return (x[:, spread > 0] - x[:, spread > 0].mean(0)) / spread[spread > 0]


def out_of_fold(x, seed=0):
    """`[trials, trials]`: maps labels +-1 to out-of-fold predictions of ridge regression.

    Predictions are linear in the labels, so that a permutation costs one product.
    """
    n, order = len(x), np.random.default_rng(seed).permutation(len(x))
    kernel = x @ x.T / max(1, x.shape[1])
    maps = np.zeros((n, n))
    for test in np.array_split(order, FOLDS):
        train = np.setdiff1d(order, test)
        inverse = np.linalg.inv(kernel[np.ix_(train, train)] + RIDGE * np.eye(len(train)))
        maps[np.ix_(test, train)] = kernel[np.ix_(test, train)] @ inverse
    return maps


def tell_apart(seen, flipped):
    """(out-of-fold accuracy, permutation p, binomial p) of naming the side."""
    labels, maps = np.where(flipped, 1.0, -1.0), out_of_fold(table(seen))
    right = int((np.sign(maps @ labels) == labels).sum())
    rng, above = np.random.default_rng(1), 0
    for _ in range(PERMUTATIONS // 1000):
        mixed = rng.permuted(np.tile(labels, (1000, 1)), axis=1).T
        above += int(((np.sign(maps @ mixed) == mixed).sum(0) >= right).sum())
    p = (above + 1) / (PERMUTATIONS + 1)
    return right / len(labels), p, binomtest(right, len(labels), alternative="greater").pvalue
