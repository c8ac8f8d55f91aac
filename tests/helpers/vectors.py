"""Random vectors."""

import numpy as np


def normalized(rng, *shape):
    """Vectors of length 1, float32 [..., d]."""
    values = rng.normal(size=shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def softmax(logits, temperature=1.0):
    """Of one vector of logits, in float64."""
    scaled = [float(value) / temperature for value in logits]
    exponentials = np.exp(np.array(scaled) - max(scaled))
    return exponentials / exponentials.sum()
