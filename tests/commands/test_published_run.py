"""`run.py` with a published backbone: a chain from its weights, resumed, and used without it."""

import json
import shutil

import numpy as np
import pytest
from absl import flags as absl_flags

import run
import tf_simclr
from tests.helpers.eager import eagerly
from tests.helpers.processes import DIGITS, HERE, variables
from tf_simclr.checkpoints import teacher
from tf_simclr.errors import UserError
from tf_simclr.models import architecture

STEPS = 4
FLAGS = [
    *DIGITS,
    *HERE,
    "--image_size=16",
    "--proj_out_dim=8",
    "--train_batch_size=8",
    "--use_blur=False",
    "--color_jitter_strength=0",  # colors take seconds to compile
    "--warmup_epochs=0",
    "--optimizer=adam",
    "--learning_rate=0.01",
    f"--train_steps={STEPS}",
    f"--checkpoint_steps={STEPS // 2}",
    "--deterministic",
]
EVALUATION = [
    "--evaluations=classifier,probe",
    "--knn_examples=40",
    "--eval_batch_size=40",
    "--eval_steps=2",
]


def main(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        return run.main(["run.py", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(presets, tmp_path_factory):
    """The runs `pretrain`, resumed in the middle, and `finetune`; the preset is gone by then."""
    folder = tmp_path_factory.mktemp("published")
    preset = shutil.copytree(presets / "vit", folder / "preset")
    backbone = f"--backbone=hub:{preset}"
    pretraining = [*FLAGS, backbone, "--train_mode=pretrain"]
    with eagerly():
        assert main(*pretraining, f"--model_dir={folder / 'pretrain'}") == 0
    shutil.rmtree(preset)
    architecture._known.clear()
    _go_back(folder / "pretrain", folder / "resumed")
    with eagerly():
        assert main(*pretraining, f"--model_dir={folder / 'resumed'}") == 0
    finetuning = [
        "--train_mode=finetune",
        f"--checkpoint={folder / 'pretrain'}",
        "--layer_decay=0.8",
        "--mode=train_then_eval",
        f"--baselines=pixels,hub:{presets / 'dino'}",
        "--export_formats=saved_model,onnx",
        f"--model_dir={folder / 'finetune'}",
    ]
    assert main(*FLAGS, *EVALUATION, backbone, *finetuning) == 0
    return folder


def _go_back(directory, copy):
    """A copy of a run as it was killed after the first of its checkpoints."""
    shutil.copytree(directory, copy)
    for path in copy.glob(f"ckpt-{STEPS}.*"):
        path.unlink()
    (copy / "checkpoint").write_text(f'model_checkpoint_path: "ckpt-{STEPS // 2}"\n')


def test_a_killed_training_continues_bit_for_bit(folder):
    expected, values = variables(folder / "pretrain"), variables(folder / "resumed")
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        if "seconds" not in name:
            np.testing.assert_array_equal(values[name], value, err_msg=name)


def test_the_published_network_is_a_contender(folder):
    document = json.loads((folder / "finetune" / "results.json").read_text())
    assert document["run"]["learned_labels"] is True
    networks = document["figures"]
    assert set(networks) == {"pixels", "trained", "hub:dino"}
    accuracy = networks["hub:dino"]["final_avg_pool"]["linear_probe_accuracy"]
    page = (folder / "finetune" / "report.html").read_text()
    assert f"on the published dino {accuracy:.1%}" in page
    result = json.loads((folder / "finetune" / "result.json").read_text())
    assert result["dino/linear_probe_accuracy"] == accuracy


def test_exports_are_of_the_backbone(folder, rng):
    images = rng.random((3, 16, 16, 3)).astype(np.float32)
    model = tf_simclr.load(str(folder / "finetune"))
    expected = model.endpoints(images)
    assert expected["block_group4"].shape == (3, 4, 4, 8)
    saved_model = folder / "finetune" / "saved_model" / str(STEPS)
    values = tf_simclr.load(str(saved_model)).endpoints(images)
    np.testing.assert_allclose(values["logits_sup"], expected["logits_sup"], atol=1e-5)
    with pytest.raises(ValueError, match="the network takes no images of 20x20 pixels"):
        model.embed(np.zeros((1, 20, 20, 3), np.float32))
    assets = saved_model / "assets"
    card = (assets / "model_card.md").read_text()
    assert card.startswith("# preset\n")
    assert "the license of that: see the preset." in card
    assert str(folder) not in card + (assets / "flags.json").read_text()
    assert (folder / "finetune" / "onnx" / str(STEPS) / "classifier.onnx").exists()


def test_it_teaches(folder):
    images = np.zeros((2, 16, 16, 3), np.float32)
    loaded = teacher.load(str(folder / "finetune"), 16)
    assert loaded(images).shape == (2, 10)
    message = "sees images of 16 pixels alone, and --image_size=24; give --image_size=16"
    with pytest.raises(UserError, match=message):
        teacher.load(str(folder / "finetune"), 24)
