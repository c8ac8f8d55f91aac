"""Each test example as a query among the others: are those of its class the most similar?"""

import numpy as np

from tf_simclr.evaluation.metrics.base import (
    MAX_EXAMPLES,
    Detail,
    Metric,
    NotPossible,
    normalized,
)

RECALL_AT = (1, 5, 10)
NUM_QUERIES = 12  # queries whose neighbors the report shows
NUM_NEIGHBORS = 8  # of each of them
BLOCK = 256  # queries at a time


def evaluate(train, test, options):
    """Ranks all other test examples by cosine, of a seeded draw of at most 10,000 examples.

    Yields:
        retrieval_recall_at_1, 5, 10: how often one of the first is of the query's class;
        retrieval_map: the mean average precision. Queries whose class has no other example do not
        count.

    Raises:
        NotPossible: no class has two examples.
    """
    test = test.drawn(MAX_EXAMPLES)
    features = normalized(test.features)
    recall, precision = [], []
    for start in range(0, len(test), BLOCK):
        queries = np.arange(start, min(start + BLOCK, len(test)))
        ranked_labels = test.labels[_ranked_others(features, queries)]
        hits = ranked_labels == test.labels[queries, None]  # [n, N - 1]
        hits = hits[hits.any(1)]
        recall.append([hits[:, :k].any(1) for k in RECALL_AT])
        precision.append(_average_precision(hits) if len(hits) else [])
    recall = np.concatenate(recall, 1)  # [len(RECALL_AT), queries]
    precision = np.concatenate(precision)
    if not len(precision):
        raise NotPossible("no class has two test examples")
    for k, is_hit in zip(RECALL_AT, recall):
        yield Metric(f"retrieval_recall_at_{k}", is_hit.mean())
    yield Metric("retrieval_map", precision.mean())


def _average_precision(hits):
    """Average precision of each query. hits: bool [n, N - 1], the most similar example first."""
    num_hits = np.cumsum(hits, 1)
    ranks = np.arange(1, hits.shape[1] + 1)
    return (num_hits / ranks * hits).sum(1) / num_hits[:, -1]


def _ranked_others(features, queries):
    """int64 [n, N - 1]: the other examples of each query, the most similar first."""
    similarity = features[queries] @ features.T
    # The query itself comes first, and is cut off.
    similarity[np.arange(len(queries)), queries] = np.inf
    return np.argsort(-similarity, 1, kind="stable")[:, 1:]


def neighbors(train, test, options):
    """A few test examples and the most similar others, for the report.

    Labels are used only to take queries from all classes.

    Yields:
        neighbors: [{"query", "neighbors", "similarity"}].

    Raises:
        NotPossible: fewer than two examples.
    """
    if len(test) < 2:
        raise NotPossible("there is one test example only")
    features = normalized(test.features)
    results = []
    for query in _choose_queries(test.labels):
        similarity = features @ features[query]
        similarity[query] = -np.inf
        order = np.argsort(-similarity, kind="stable")
        nearest = order[: min(NUM_NEIGHBORS, len(test) - 1)]
        results.append(
            {
                "query": int(query),
                "neighbors": nearest.tolist(),
                "similarity": [round(float(value), 4) for value in similarity[nearest]],
            }
        )
    yield Detail("neighbors", results)


def _choose_queries(labels):
    """Positions of a seeded draw: one of each class, then the second ones, up to NUM_QUERIES."""
    order = np.random.default_rng(0).permutation(len(labels))
    turn = np.zeros(len(labels), int)  # of each example within its class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turn[members] = np.arange(len(members))
    by_turn = sorted(order, key=lambda position: (turn[position], labels[position]))
    return sorted(by_turn[:NUM_QUERIES], key=lambda position: (labels[position], position))
