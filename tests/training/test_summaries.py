"""The metrics that the progress shows, and those that wait to be written."""

import types

import pytest
import tensorflow as tf

from tf_simclr.training import summaries

METRICS = {"contrast_loss": 2.0, "contrast_chance": 3.0, "contrast_acc": 0.5, "total_loss": 2.0}


def test_label_accuracy_only_where_a_batch_has_enough_labels():
    labeled = {**METRICS, "supervised_loss": 0.1, "supervised_acc": 0.25}
    unlabeled_text = "loss 2.000 (chance 3.00), positives found 50%"
    assert summaries.describe(METRICS, 0.0) == unlabeled_text
    assert summaries.describe(labeled, 0.5) == unlabeled_text
    assert summaries.describe(labeled, 32.0) == f"{unlabeled_text}, label accuracy 25%"
    mixed = {"unlabeled_loss": 0.5, "mask_rate": 0.25}
    text = "loss without labels 0.500, of 25% of the images"
    assert summaries.describe(mixed, 1.0) == text


@pytest.mark.parametrize("collects", [False, True])
def test_events_in_a_bucket_wait(tmp_path, collects):
    """Each flush uploads the whole file again."""
    calls = []
    metrics_log = types.SimpleNamespace(
        collects=collects,
        write=lambda step, scalars: calls.append(step),
        flush=lambda: calls.append("flush"),
    )
    events = summaries.Summaries(
        tmp_path,
        metrics_log=metrics_log,
        learning_rate=None,
        objective=None,
        strategy=tf.distribute.get_strategy(),
    )
    events.flush()
    (file,) = tmp_path.iterdir()
    sizes = [file.stat().st_size]
    for step in (1, 2):
        events.write_scalars(step, {f"tag{number}": number for number in range(50)})
        sizes.append(file.stat().st_size)
    events.flush()
    assert file.stat().st_size > sizes[0]
    if collects:
        assert sizes == sizes[:1] * 3
        assert calls == ["flush", 1, 2, "flush"]
    else:
        assert sizes[0] < sizes[1] < sizes[2]
