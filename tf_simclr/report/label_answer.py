"""How many labels an accuracy takes, in words."""

import math

from tf_simclr.report.evaluated import has_learned_labels, headline_layers, metrics_of

LAW_INTERVAL = "80% interval"  # `INTERVAL` of metrics/label_law.py; other intervals are of 95%


def labels_needed(document: dict) -> list[str]:
    """Sentences on the labels that accuracies of 90, 95 and 99% take; none if it is not known.

    Accuracies that the linear probe has reached with all labels are left out. Of a network that has
    learned from these labels nothing is known.

    Args:
        document: a results.json.
    """
    layer, _ = headline_layers(document)
    details = document["details"].get("trained", {}).get(layer, {})
    label_law = details.get("label_law")
    if not label_law or has_learned_labels(document):
        return []
    reached = metrics_of(document, "trained", layer).get("linear_probe_accuracy") or 0
    targets = [target for target in label_law["targets"] if target["accuracy"] > reached]
    if not targets:
        return []
    num_fitted = document["run"].get("fitted_examples") or 0
    names_by_answer = {}
    for target in targets:
        answer = _refuted(target, label_law, num_fitted) or _answer(target, label_law)
        names = names_by_answer.setdefault(answer, [])
        names.append(f"{target['accuracy']:.0%}")
    sentences = [f"For {_listed(names)}: {text}." for text, names in names_by_answer.items()]
    num_labels = document["run"].get("labels")
    if num_labels is not None:
        sentences.append(f"You have {num_labels:,}.")
    return sentences


def _refuted(target, label_law, num_fitted):
    """What to say where a probe of more labels than the law says has not reached an accuracy."""
    expected = label_law["limit"] if target["labels"] is None else target["labels"]
    is_known = label_law.get("law") is not None and num_fitted > label_law["labels"]
    if not is_known or expected > num_fitted:
        return None
    return f"more than the {num_fitted:,} labels that the probe was fitted to"


def _answer(target, label_law):
    """What one accuracy takes."""
    labels, low, high = target["labels"], target["low"], target["high"]
    law = label_law.get("law")
    if law is None:
        return f"can't tell how many labels; {label_law['reason']}"
    if labels is not None and low is not None:
        interval = f"{_rounded(low, math.floor)} or more"
        if high is not None:
            interval = f"{_rounded(low, math.floor)} to {_rounded(high, math.ceil)}"
        return f"about {_rounded(labels, round)} labels ({LAW_INTERVAL} {interval})"
    if law["ceiling"] < target["accuracy"]:
        return (
            "more labels alone won't reach it by this law, which levels off at "
            f"{law['ceiling']:.1%} at most"
        )
    beyond = f"more than {label_law['limit']:,}"
    if low is None:
        return f"{beyond} labels"
    return f"at least {_rounded(low, math.floor)} labels, probably {beyond}"


def _listed(names):
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _rounded(number, rounding):
    """A whole number with two digits that count, as text."""
    unit = 10 ** max(len(str(number)) - 2, 0)
    return f"{rounding(number / unit) * unit:,}"
