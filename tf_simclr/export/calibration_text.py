"""What a model card says of the calibration of a classifier."""

from tf_simclr.runs.calibration import UNLIKE_ANYTHING, Calibration


def section(calibration: Calibration | None) -> str:
    """A section of a model card; empty without a calibration."""
    if calibration is None:
        return ""
    lines = [
        "## How sure it may be",
        "",
        f"Calibrated on {calibration.labels_of}. Outputs of `serving_default`, `images` and "
        "`images_uint8`, and of the TFLite and ONNX classifier after the first one, in this order:",
        "",
        *_outputs(calibration),
        *(f"- Missing: {note}." for note in calibration.notes),
    ]
    return "\n".join(lines) + "\n\n"


def _outputs(calibration):
    temperature = calibration.temperature
    if temperature is not None:
        yield (
            "- `calibrated_probabilities` float32 [B, K]: softmax(logits / "
            f"{temperature:.4g}), whose values are how often such predictions are right. The most "
            "probable class is the same as that of `probabilities`."
        )
    if calibration.quantiles is not None:
        yield (
            "- `novelty` float32 [B]: the share of "
            f"{calibration.num_images} held-out images that are nearer to a training image "
            f"({len(calibration.reference)} of them are inside; distances of embeddings at length "
            f"1). Above {UNLIKE_ANYTHING:g} it is unlike anything that was seen: "
            "let a person look at it."
        )
    if calibration.threshold is not None:
        is_sure = calibration.confidence >= calibration.threshold
        yield (
            "- `unsure` bool [B]: the highest of these probabilities is below "
            f"{calibration.threshold:.4f}. Of the {len(is_sure)} labels {is_sure.sum()} are not "
            f"unsure, and {calibration.correct[is_sure].mean():.1%} of their predictions are "
            f"right; the lower end of the one-sided 95% interval is {calibration.precision:.4g} or "
            "more. Act on what is not unsure, and let a person look at the rest."
        )
