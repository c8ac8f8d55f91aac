"""Whether the features use the space that they have; no labels are needed."""

import numpy as np

from tf_simclr.evaluation.metrics.base import MAX_EXAMPLES, NotPossible, draw, normalized

PAIRS_OF = 4096  # examples whose pairs are the uniformity
DEAD = 1e-6  # of the largest range of a dimension; with less, one says nothing


def evaluate(train, test, options):
    """Rank, spread, alignment and uniformity of at most 10,000 of the test examples.

    Yields:
        feature_rank: exp of the entropy of the singular values (RankMe, Garrido et al. 2023), from 1 to the number of dimensions.
        feature_std: spread of the normalised features over the dimensions times sqrt(C); 1 if they point everywhere alike, 0 if collapsed.
        dead_dimensions: share of the dimensions that are the same for all.
        uniformity: log of the mean of exp(-2 d^2) over pairs; alignment: mean d^2 of the two views of an image (Wang & Isola 2020),
        if there are views; both of normalised features, less is better.

    Raises:
        NotPossible: fewer than two examples.
    """
    if len(test) < 2:
        raise NotPossible("there is one test example only")
    features = test.drawn(MAX_EXAMPLES).features
    yield "feature_rank", rank(features)
    spread = np.ptp(features, 0)  # exact, unlike a standard deviation
    yield (
        "dead_dimensions",
        float(np.mean(spread <= DEAD * max(spread.max(), np.finfo(np.float32).tiny))),
    )
    features = normalized(features)
    yield "feature_std", float(features.std(0).mean() * np.sqrt(features.shape[1]))
    yield "uniformity", uniformity(features[draw(len(features), PAIRS_OF)].astype(np.float64))
    if test.views is not None:
        views = normalized(test.views.astype(np.float64))
        yield "alignment", float(np.mean(np.sum(np.square(views[:, 0] - views[:, 1]), 1)))


def rank(features):
    """exp(entropy) of the singular values of features [N, C], as shares of their sum."""
    features = features.astype(np.float64)
    small = features.T @ features if len(features) > features.shape[1] else features @ features.T
    values = np.sqrt(
        np.maximum(np.linalg.eigvalsh(small), 0)
    )  # sooner done than a decomposition of the features themselves
    share = values / max(values.sum(), np.finfo(np.float64).tiny)
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def uniformity(features):
    """log of the mean of exp(-2 d^2) over all pairs of features [N, C]."""
    squared = np.square(features).sum(1)
    distance = np.maximum(squared[:, None] + squared - 2 * features @ features.T, 0)
    count = len(features)
    return float(np.log((np.exp(-2 * distance).sum() - count) / (count * (count - 1))))
