"""What the card says can be done as it says."""

import base64
import json
import os
import subprocess

from tf_simclr.export import model_card


def test_a_large_photo_is_sent(tmp_path):
    """Not as an argument, of which the system takes no more than 128 KB."""
    photo = os.urandom(200_000)
    (tmp_path / "image.jpg").write_bytes(photo)
    curl = tmp_path / "curl"
    curl.write_text("#!/bin/sh\ncat > body.json\n")
    curl.chmod(0o755)
    _, _, after_server = model_card.LOADING.partition("$(dirname $(realpath PATH))\n")
    command = after_server.removesuffix("```")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env={"PATH": path}, check=True)
    (instance,) = json.loads((tmp_path / "body.json").read_text())["instances"]
    assert base64.b64decode(instance["b64"]) == photo


def test_metrics_stand_beside_those_of_baselines(settings):
    metrics = {
        "eval/regularization_loss": 0.1,
        "eval/knn_accuracy": 0.8,
        "eval/block_group1/knn_accuracy": 0.3,
        "eval/label_top_1_accuracy": 0.8417,
        "untrained/knn_accuracy": 0.25,
        "evaluated_with": {"eval_split": "test"},
    }
    options = settings(dataset="digits", eval_split="validation")
    card = model_card.markdown(model_card.ModelDescription(options, (), 1, metrics, {}))
    assert "On digits, split test.\n\n| metric " in card
    lines = [line for line in card.splitlines() if line.startswith("| ")]
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == [
        ["metric", "this model", "untrained network", "raw pixels"],
        ["classifier, top 1", "84.2%", "–", "–"],
        ["k-NN", "80.0%", "25.0%", "–"],
    ]


def test_what_it_has_learned_from_is_named(settings):
    """The labels of a fine-tuning are not all that its weights have seen."""
    options = settings(checkpoint="/home/me/runs/pretrain/best", teacher_checkpoint="runs/teacher")
    data = {"images": 20, "labels": 20}
    card = model_card.markdown(model_card.ModelDescription(options, ("a", "b"), 1, {}, data))
    assert "It started from the weights of `pretrain`. Its teacher was `teacher`." in card
    assert "/home/me" not in card and "The classes, as in `class_names.txt`: a, b\n" in card
    assert "Not evaluated." in card
