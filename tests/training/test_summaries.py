"""The metrics that the progress shows."""

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
