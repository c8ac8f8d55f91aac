"""Images and labels a step, by how many there are."""

from tf_simclr.commands.planning.facts import Facts

LEAST_BATCH = 16
BATCHES = ((20_000, 256), (6_000, 128), (0, 64))  # (images from which on, images a step)
LEAST_BATCHES_AN_EPOCH = 4
LABEL_BATCH = 64
LABEL_MODES = ("supervised", "finetune")  # those that see the labels alone


def batch_size(facts: Facts) -> int:
    """Images a step of training without labels: fewer where an epoch would be a few steps."""
    if facts.batch_size:
        return facts.batch_size
    size = next(size for least, size in BATCHES if facts.num_images >= least)
    while size > LEAST_BATCH and size * LEAST_BATCHES_AN_EPOCH > facts.num_images:
        size //= 2
    return size


def label_batch_size(facts: Facts) -> int:
    """Labels a step: at most all of them."""
    if facts.batch_size:
        return facts.batch_size
    return max(min(LABEL_BATCH, facts.num_labels), 1)


def size_of(facts: Facts, mode: str) -> int:
    """Images a step of a training mode."""
    if mode in facts.stage_batches:
        return facts.stage_batches[mode]
    return label_batch_size(facts) if mode in LABEL_MODES else batch_size(facts)
