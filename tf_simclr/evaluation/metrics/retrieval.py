"""Each test example as a query among the others: are those of its class the most similar?"""

import numpy as np

from tf_simclr.evaluation.metrics.base import MAX_EXAMPLES, NotPossible, normalized

AT = (1, 5, 10)
SHOWN, NEIGHBORS = 12, 8  # queries whose neighbours are kept, and how many of each
BLOCK = 256  # queries at a time


def evaluate(train, test, options):
    """Ranks all other test examples by cosine; at most 10,000 examples, a seeded draw.

    Yields:
        retrieval_recall_at_1, 5, 10: how often one of the first is of the query's class; retrieval_map: the mean average precision.
        Queries whose class has no other example do not count.

    Raises:
        NotPossible: no class has two examples.
    """
    test = test.drawn(MAX_EXAMPLES)
    features = normalized(test.features)
    recall, precision = [], []
    for start in range(0, len(test), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(test)))
        hits = test.labels[_ranked(features, rows)] == test.labels[rows, None]  # [n, N - 1]
        hits = hits[hits.any(1)]
        recall.append([hits[:, :k].any(1) for k in AT])
        found = np.cumsum(hits, 1)
        precision.append(
            (found / np.arange(1, hits.shape[1] + 1) * hits).sum(1) / found[:, -1]
            if len(hits)
            else []
        )
    recall, precision = np.concatenate(recall, 1), np.concatenate(precision)
    if not len(precision):
        raise NotPossible("no class has two test examples")
    for k, found in zip(AT, recall):
        yield f"retrieval_recall_at_{k}", float(found.mean())
    yield "retrieval_map", float(precision.mean())


def neighbors(train, test, options):
    """Yields neighbors: a few test examples and the most similar others, [{"query", "neighbors", "similarity"}]; labels are not used but
    to take queries from all classes."""
    if len(test) < 2:
        raise NotPossible("there is one test example only")
    features = normalized(test.features)
    rows = []
    for row in _queries(test.labels):
        similarity = features @ features[row]
        similarity[row] = -np.inf
        found = np.argsort(-similarity, kind="stable")[: min(NEIGHBORS, len(test) - 1)]
        rows.append(
            {
                "query": int(row),
                "neighbors": found.tolist(),
                "similarity": [round(float(value), 4) for value in similarity[found]],
            }
        )
    yield "neighbors", rows


def _ranked(features, rows):
    """[n, N - 1]: the other examples of each of `rows`, the most similar first."""
    similarity = features[rows] @ features.T
    similarity[np.arange(len(rows)), rows] = np.inf  # itself comes first, and is cut off
    return np.argsort(-similarity, 1, kind="stable")[:, 1:]


def _queries(labels):
    """Positions of the queries that are shown: one of each class, then the second ones, as many as SHOWN; a seeded draw."""
    order = np.random.default_rng(0).permutation(len(labels))
    turn = np.zeros(len(labels), int)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    chosen = sorted(order, key=lambda row: (turn[row], labels[row]))[:SHOWN]
    return sorted(chosen, key=lambda row: (labels[row], row))
