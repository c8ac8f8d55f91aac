"""Whether the features use the space that they have; no labels are needed."""

import numpy as np

from tf_simclr.evaluation.metrics.base import MAX_EXAMPLES, Metric, NotPossible, draw, normalized

MAX_PAIRED_EXAMPLES = 4096  # whose pairs are the uniformity
DEAD_SPREAD = 1e-6  # of the largest range of a dimension; a dimension with less is dead


def evaluate(train, test, options):
    """Rank, spread, alignment and uniformity of at most 10,000 of the test examples.

    Yields:
        feature_rank: exp of the entropy of the singular values (RankMe, Garrido et al. 2023), from
            1 to the number of dimensions.
        dead_dimensions: share of the dimensions that are the same for all examples.
        feature_std: spread of the normalized features over the dimensions times sqrt(C); 1 if they
            point everywhere alike, 0 if they have collapsed.
        uniformity: log of the mean of exp(-2 d^2) over pairs, and alignment: mean d^2 of the two
            views of an image, if there are views (Wang and Isola 2020). Both are of normalized
            features, and lower is better.

    Raises:
        NotPossible: fewer than two examples.
    """
    if len(test) < 2:
        raise NotPossible("there is one test example only")
    features = test.drawn(MAX_EXAMPLES).features
    yield Metric("feature_rank", effective_rank(features))
    spread = np.ptp(features, 0)  # [C]; exact, unlike a standard deviation
    threshold = DEAD_SPREAD * max(spread.max(), np.finfo(np.float32).tiny)
    yield Metric("dead_dimensions", np.mean(spread <= threshold))
    features = normalized(features)
    yield Metric("feature_std", features.std(0).mean() * np.sqrt(features.shape[1]))
    paired = features[draw(len(features), MAX_PAIRED_EXAMPLES)]
    yield Metric("uniformity", uniformity(paired.astype(np.float64)))
    if test.views is not None:
        views = normalized(test.views.astype(np.float64))  # [M, 2, C]
        difference = views[:, 0] - views[:, 1]
        yield Metric("alignment", np.mean(np.sum(np.square(difference), 1)))


def effective_rank(features: np.ndarray) -> float:
    """exp(entropy) of the singular values of features [N, C], as shares of their sum."""
    features = features.astype(np.float64)
    # The eigenvalues of the smaller product take less time than a decomposition of the features.
    num_examples, num_dimensions = features.shape
    smaller = features.T if num_examples > num_dimensions else features
    gram = smaller @ smaller.T
    singular_values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0))
    share = singular_values / max(singular_values.sum(), np.finfo(np.float64).tiny)
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def uniformity(features: np.ndarray) -> float:
    """log of the mean of exp(-2 d^2) over all pairs of features [N, C]."""
    squared = np.square(features).sum(1)
    distance = np.maximum(squared[:, None] + squared - 2 * features @ features.T, 0)  # [N, N]
    count = len(features)
    sum_of_pairs = np.exp(-2 * distance).sum() - count  # without those of an example with itself
    return float(np.log(sum_of_pairs / (count * (count - 1))))
