"""Weights from elsewhere: of the original SimCLR release, exports and runs of this package."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf
from etils import epath

from tests.helpers import reference_model
from tests.helpers.training import initialize_from
from tf_simclr import config
from tf_simclr.checkpoints import pretrained, teacher, weights
from tf_simclr.commands import export
from tf_simclr.errors import UserError
from tf_simclr.export import exporter, model_card
from tf_simclr.models import resnet
from tf_simclr.models.network import Network
from tf_simclr.objectives import objective_class
from tf_simclr.training.experiment import build_experiment

NETWORKS = {  # {name: (arguments of the stand-in, flags)}
    "18": (
        {"depth": 18, "image_size": 32, "first_number": 8},
        {"resnet_depth": 18, "image_size": 32},
    ),
    "50": (
        {"depth": 50, "image_size": 40, "ft_proj_selector": 1},
        {"image_size": 40, "ft_proj_selector": 1},
    ),
    "50-sk": (
        {
            "depth": 50,
            "image_size": 40,
            "sk_ratio": 0.0625,
            "num_proj_layers": 1,
            "global_bn": False,
            "first_number": 93,
        },
        {"image_size": 40, "sk_ratio": 0.0625, "num_proj_layers": 1},
    ),
    "18-se": (
        {"depth": 18, "image_size": 32, "first_number": 8, "se_ratio": 0.25},
        {"resnet_depth": 18, "image_size": 32, "se_ratio": 0.25},
    ),
    "50-se": (
        {"depth": 50, "image_size": 40, "first_number": 95, "se_ratio": 0.5},
        {"image_size": 40, "se_ratio": 0.5},
    ),
    "50-sk-se": (
        {"depth": 50, "image_size": 40, "sk_ratio": 0.0625, "se_ratio": 0.25},
        {"image_size": 40, "sk_ratio": 0.0625, "se_ratio": 0.25},
    ),
}
WIDTH, CLASSES = 0.125, 7
BLOCKS = {
    depth: (counts, reference_model.BLOCKS[depth]) for depth, (_, counts) in resnet.FAMILY.items()
}  # {depth: (blocks of each group here, in the original release)}
SHORT = (
    1,
    2,
    1,
    1,
)  # blocks: with and without projection, in every group, and enough for numbers of two digits


@pytest.fixture(scope="module", autouse=True)
def _short():
    with pytest.MonkeyPatch.context() as patch:
        for depth in (18, 50):
            patch.setitem(resnet.FAMILY, depth, (resnet.FAMILY[depth][0], SHORT))
            patch.setitem(reference_model.BLOCKS, depth, SHORT)
        yield


@pytest.fixture
def one_block(monkeypatch):
    """ResNet-18 and ResNet-50 are one block in all, where nothing depends on the depth."""
    for depth in (18, 50):
        monkeypatch.setitem(resnet.FAMILY, depth, (resnet.FAMILY[depth][0], (1,)))
        monkeypatch.setitem(reference_model.BLOCKS, depth, (1,))


def original_network(name):
    return reference_model.ReferenceModel(
        **{"width": WIDTH, "num_classes": CLASSES, "proj_out_dim": 8, **NETWORKS[name][0]}
    )


def flags_of(name, **values):
    return config.build(
        {"width_multiplier": WIDTH, "proj_out_dim": 8, **NETWORKS[name][1], **values}
    )


def save_flat(model, path):
    """A SavedModel as Keras saves models: variables have numbers, only names tell them apart."""
    module = reference_model.Exported(model)
    module.flat = model.in_order()[::-1]  # in whatever order
    save_module(module, path)
    return str(path)


def save_module(module, path):
    images = tf.TensorSpec([None, None, None, 3], tf.float32)
    module.__call__.get_concrete_function(images, trainable=False)
    tf.saved_model.save(module, str(path))


@pytest.fixture(scope="module", params=NETWORKS)
def original(request, tmp_path_factory):
    """(name, network of the original release, {layout: path})."""
    model, folder = original_network(request.param), tmp_path_factory.mktemp("papers")
    reference_model.save_checkpoint(model, folder / "checkpoint")
    paths = {"flat": save_flat(model, folder / "flat"), "checkpoint": folder / "checkpoint"}
    return request.param, model, paths


def assert_same(outputs, reference, names=None):
    assert names or sorted(outputs) == sorted(reference)
    for name in names or reference:
        scale = max(1.0, float(tf.reduce_max(tf.abs(reference[name]))))
        value, expected = outputs[name] / scale, reference[name] / scale
        np.testing.assert_allclose(value, expected, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("layout", ["flat", "checkpoint"])
def test_all_endpoints_of_the_original_networks(original, layout, rng):
    name, model, paths = original
    loaded = pretrained.load(paths[layout], settings=flags_of(name))
    images = tf.constant(rng.random((2, 40, 40, 3)), tf.float32)
    assert_same(loaded.network(images), model(images))
    assert loaded.class_names == tuple("0123456")


def test_whole_networks_have_the_original_blocks():
    assert len(BLOCKS) == len(reference_model.BLOCKS)
    for counts, expected in BLOCKS.values():
        assert counts == expected


@pytest.mark.usefixtures("one_block")
def test_exported_again(tmp_path, rng):
    model = original_network("18")
    reference_model.save_saved_model(model, tmp_path / "papers")
    paths = {"checkpoint": str(tmp_path / "papers"), "model_dir": str(tmp_path / "run")}
    export.export_run(flags_of("18", mode="export", **paths))
    images = tf.constant(rng.random((2, 40, 40, 3)), tf.float32)
    path = str(tmp_path / "run" / "saved_model" / "0")
    exported = tf.saved_model.load(path)
    assert_same(exported(images, trainable=False), model(images), model(images))
    assert teacher.load(path, 40).num_outputs == CLASSES


def test_fine_tuning_starts_from_the_original_weights(tmp_path, rng):
    """With the layers of the head that it needs; the linear layer is new."""
    model = original_network("18")
    settings = flags_of(
        "18", train_mode="finetune", checkpoint=save_flat(model, tmp_path / "papers")
    )
    objective = objective_class(settings)(settings, 3)
    objective.build_variables()
    before = objective.supervised_head.kernel.numpy()
    initialize_from(objective, settings.objective.checkpoint)
    images = tf.constant(rng.random((2, 40, 40, 3)), tf.float32)
    assert_same(objective(images), model(images), ["block_group4", "final_avg_pool"])
    np.testing.assert_array_equal(objective.supervised_head.kernel, before)


@pytest.mark.usefixtures("one_block")
def test_without_projection_head(tmp_path, rng):
    """As those of the first paper."""
    model = reference_model.ReferenceModel(
        18, WIDTH, image_size=32, num_proj_layers=0, num_classes=CLASSES
    )
    path = save_flat(model, tmp_path / "saved")
    images = tf.constant(rng.random((2, 32, 32, 3)), tf.float32)
    for values in ({"train_mode": "finetune"}, {"proj_head_mode": "none"}):
        loaded = pretrained.load(path, settings=flags_of("18", **values))
        assert_same(loaded.network(images), model(images), model(images))
    with pytest.raises(UserError, match=r"give .* --proj_head_mode=none"):
        pretrained.load(path, settings=flags_of("18"))


@pytest.fixture(scope="module")
def path_of_18(tmp_path_factory):
    return save_flat(original_network("18"), tmp_path_factory.mktemp("papers") / "saved")


RIGHT_FLAGS = (
    "give --resnet_depth=18 --width_multiplier=0.125 --sk_ratio=0 --se_ratio=0 --stem=cifar "
    "--num_proj_layers=3 --proj_out_dim=8"
)


@pytest.mark.parametrize(
    "flags, hint",
    [
        ({"width_multiplier": 0.25}, RIGHT_FLAGS),
        ({"resnet_depth": 50, "sk_ratio": 0.1}, RIGHT_FLAGS),
        ({"image_size": 64}, "stem is cifar there and imagenet here .*; give --stem=cifar"),
        ({"resnet_depth": 34, "image_size": 64}, "--stem=cifar"),
        ({"proj_out_dim": 9}, RIGHT_FLAGS),
        ({"se_ratio": 0.25}, RIGHT_FLAGS),
        ({"num_proj_layers": 2}, RIGHT_FLAGS),
        ({"num_proj_layers": 4}, RIGHT_FLAGS),
        ({"proj_head_mode": "linear"}, RIGHT_FLAGS),
        ({"proj_head_mode": "none"}, RIGHT_FLAGS),
        ({"ft_proj_selector": -1, "proj_out_dim": 64}, RIGHT_FLAGS),
        ({"ft_proj_selector": -1}, "is .* there and .* here; give another --ft_proj_selector"),
    ],
)
def test_of_another_network(path_of_18, flags, hint):
    path = path_of_18
    with pytest.raises(UserError, match=hint) as error:
        pretrained.load(path, settings=flags_of("18", **flags))
    assert path in str(error.value)


def test_labels_of_other_classes():
    """Photos that were sorted into folders after the training: no layer of the head helps."""
    kernel = tf.Variable(tf.zeros([4, 2]))
    learn_them = "--train_mode=finetune,distill --checkpoint=RUN"
    for shapes, hint in (
        ({}, f"is missing there and .*{learn_them}"),
        ({"key": [4, 3]}, learn_them),
        ({"key": [3, 2]}, "give another --ft_proj_selector"),
    ):
        reader = types.SimpleNamespace(get_variable_to_shape_map=lambda shapes=shapes: shapes)
        with pytest.raises(ValueError, match=hint):
            weights.assign_values(reader, {"supervised_head/kernel": ("key", kernel)})


RIGHT_RATIOS = {
    "18": "--resnet_depth=18 --width_multiplier=0.125 --sk_ratio=0 --se_ratio=0 --stem=cifar",
    "50": "--resnet_depth=50 --width_multiplier=0.125 --sk_ratio=0 --se_ratio=0 --stem=imagenet",
    "50-sk": "--resnet_depth=50 --width_multiplier=0.125 --sk_ratio=0.0625 --se_ratio=0 ",
    "18-se": "--resnet_depth=18 --width_multiplier=0.125 --sk_ratio=0 --se_ratio=0.25 ",
    "50-se": "--resnet_depth=50 --width_multiplier=0.125 --sk_ratio=0 --se_ratio=0.5 ",
    "50-sk-se": "--resnet_depth=50 --width_multiplier=0.125 --sk_ratio=0.0625 --se_ratio=0.25 ",
}


def test_right_flags_of_gates_and_kernels(original):
    name, _, paths = original
    for wrong in ({"width_multiplier": 0.25}, {"resnet_depth": 34, "sk_ratio": 0, "se_ratio": 1}):
        with pytest.raises(UserError, match=f"give {RIGHT_RATIOS[name]}"):
            pretrained.load(paths["checkpoint"], settings=flags_of(name, **wrong))


@pytest.mark.usefixtures("one_block")
def test_leftover_variables_are_an_error(tmp_path):
    model = original_network("18")
    model.extra = tf.Variable(1.0, name="resnet/block_group1/se_layer/conv2d/scale")
    saved_model = save_flat(model, tmp_path / "saved")
    checkpoint = reference_model.save_checkpoint(model, tmp_path / "checkpoint")
    message = r"(scale|extra\S*) and 0 more variables there have no place"
    for path in (saved_model, checkpoint):
        with pytest.raises(UserError, match=message):
            pretrained.load(path, settings=flags_of("18"))


def test_names_whose_order_as_text_is_another_one():
    """8, 9, 10, 11 and 99, 100: what the tests above would not see otherwise."""
    for network, numbers in (("18", (9, 10)), ("50", (9, 10)), ("50-sk", (99, 100))):
        names = [v.name for v in original_network(network).in_order()]
        assert names != sorted(names)
        for number in numbers:
            assert any(f"conv2d_{number}/" in name for name in names)


@pytest.mark.usefixtures("one_block")
def test_runs_and_exports_of_this_package(settings, tmp_path, rng):
    options = settings(train_mode="finetune", ft_proj_selector=1, proj_out_dim=9)
    network = Network(options, 10)
    network.build_variables()
    description = model_card.ModelDescription(options, tuple("abcdefghij"), 3, {}, {})
    exporter.export(network, description, epath.Path(tmp_path), options=options.export)
    loaded = pretrained.load(str(tmp_path / "saved_model" / "3"))
    assert (loaded.step, loaded.class_names) == (3, tuple("abcdefghij"))
    assert loaded.settings.model == options.model
    images = tf.constant(rng.random((2, 16, 16, 3)), tf.float32)
    assert_same(loaded.network(images), network(images))


@pytest.mark.usefixtures("one_block")
def test_from_which_layer_the_linear_head_reads(tmp_path):
    """The variables do not tell, the outputs of a SavedModel do."""
    model = original_network("50")
    path = save_flat(model, tmp_path / "saved")
    message = "another logits_sup than the SavedModel; --ft_proj_selector=0 may be the wrong one"
    with pytest.raises(UserError, match=message):
        pretrained.load(path, settings=flags_of("50", ft_proj_selector=0))
    # With the first layer of the head alone:
    loaded = pretrained.load(path, settings=flags_of("50", train_mode="finetune"))
    assert len(loaded.network.projection_head.norms) == 1


@pytest.mark.usefixtures("one_block")
@pytest.mark.parametrize("prefix", ["", "model/"])
def test_lists_of_variables_beside_the_nested_ones(tmp_path, prefix):
    """As Keras 2 writes them: some variables are in a list first, the others where they are."""
    model = original_network("18")
    for v in model.in_order():
        v._handle_name = prefix + v.name
    module = reference_model.Exported(model)
    module.trainable_variables_list = [v for v in model.in_order() if v.trainable]
    save_module(module, tmp_path / "saved")
    images = tf.random.stateless_uniform([2, 32, 32, 3], [1, 2])
    loaded = pretrained.load(tmp_path / "saved", settings=flags_of("18"))
    assert_same(loaded.network(images), model(images))


@pytest.mark.usefixtures("one_block")
def test_flags_of_the_original_code_beside_its_checkpoint(tmp_path):
    """Its training writes a file of the same name, which is another one."""
    reference_model.save_checkpoint(original_network("18"), tmp_path)
    (tmp_path / "flags.json").write_text('{"logtostderr": false, "train_mode": null}')
    assert pretrained.load(tmp_path, settings=flags_of("18")).class_names == tuple("0123456")


@pytest.mark.usefixtures("one_block")
def test_evaluation_of_other_weights(settings, tmp_path, log):
    """They have to be of the same network; a stage is never taken for its start."""
    run = build_experiment(settings(model_dir=str(tmp_path / "start")))
    run.directory.create()
    run.commit_directory()
    run.checkpoints.save()
    flags = {"mode": "eval", "checkpoint": str(tmp_path / "start")}
    assert build_experiment(settings(**flags)).imported.num_classes == 10
    assert build_experiment(settings(**flags), alone=False).imported is None
    waits_for_a_training = settings(**flags, eval_timeout=1)
    assert build_experiment(waits_for_a_training).imported is None
    message = "another network than the flags say; give --width_multiplier=0.07"
    with pytest.raises(UserError, match=f"{message} --ft_proj_selector=0"):
        build_experiment(settings(**flags, width_multiplier=0.1, ft_proj_selector=1))
    (tmp_path / "start" / "data.json").write_text(json.dumps({"class_names": list("abcdefghij")}))
    experiment = build_experiment(settings(**flags))
    assert experiment.imported and experiment.num_classes == 0
    assert "its class 0 is a, that of digits is 0; its features are evaluated" in log.text
    (tmp_path / "start" / "flags.json").write_text("[1]")
    with pytest.raises(UserError, match=r"start/flags.json: it is not the configuration of a run"):
        build_experiment(settings(**flags))


@pytest.mark.usefixtures("one_block")
def test_wrong_checkpoints(tmp_path, settings):
    prefix = tf.train.Checkpoint(x=tf.Variable(1.0)).save(str(tmp_path / "other" / "ckpt"))
    with pytest.raises(UserError, match="what network they are of"):
        pretrained.load(prefix)
    with pytest.raises(UserError, match="is missing there"):
        pretrained.load(prefix, settings=settings())
    tf.saved_model.save(tf.Module(), str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"--checkpoint=.*empty"):
        pretrained.load(str(tmp_path / "empty"), settings=settings())
    with pytest.raises(UserError, match=r"a checkpoint's prefix .* or a SavedModel"):
        pretrained.load(str(tmp_path / "nowhere"))
