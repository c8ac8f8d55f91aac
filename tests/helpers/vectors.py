"""Random vectors."""

import numpy as np


def normalized(rng, *shape):
    """Vectors of length 1, float32 [..., d]."""
    values = rng.normal(size=shape).astype(np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)
