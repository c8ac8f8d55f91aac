"""Names of backbones and baselines, and what can't be combined with a published one."""

import pytest

from tf_simclr import config
from tf_simclr.config import backbones
from tf_simclr.config.registry import PATCH_PRETEXTS, PRETEXTS
from tf_simclr.errors import UserError
from tf_simclr.objectives import objective_class


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"backbone": "resnet50"},
            "--backbone=resnet50: accepted are auto, resnet, lab, hub:PRESET .*'resnet'",
        ),
        ({"backbone": "hub:"}, "--backbone=hub:: accepted are auto, resnet, lab, hub:PRESET"),
        ({"backbone": "a/b.keras"}, "of a path it is --backbone=hub:a/b.keras"),
        ({"baselines": "pixel"}, "--baselines=pixel: accepted are untrained, pixels, hub:PRESET"),
        ({"baselines": "hub:a/x,hub:b/x"}, "hub:b/x has the name of another network in the tables"),
        ({"baselines": "hub:a/eval"}, "hub:a/eval has the name of another network in the tables"),
        ({"backbone": "hub:x", "pretext": "jigsaw"}, "--pretext=jigsaw is of parts of them"),
        ({"backbone": "hub:x", "rematerialize": "block"}, "it is of --backbone=resnet"),
    ],
    ids=str,
)
def test_what_is_refused(flags, message):
    with pytest.raises(UserError, match=message) as raised:
        config.build(flags)
    assert "\n" not in str(raised.value)


def test_names():
    assert backbones.name_of("hub:/home/me/tiny.keras") == "tiny"
    assert backbones.name_of("hub:hf://user/vit/") == "vit"
    assert backbones.without_path("hub:/home/me/tiny.keras") == "hub:tiny"
    assert backbones.without_path("hub:hf://user/vit") == "hub:hf://user/vit"
    assert backbones.without_path("resnet") == "resnet"


def test_two_ways_to_leave_baselines_out():
    assert config.build({}).baselines == ("untrained", "pixels")
    without = {"baselines": "pixels,hub:x,untrained,hub:x", "untrained_baseline": False}
    assert config.build(without).baselines == ("hub:x",)
    assert config.build({"untrained_baseline": False}).baselines == ()
    assert config.build({"baselines": ""}).baselines == ()


@pytest.mark.parametrize("name", PRETEXTS)
def test_tasks_on_parts_of_images(settings, name):
    options = settings(pretext=name, image_size=32)
    _, size = objective_class(options)(options, 10, 8).encoder_input
    assert (size != 32) == (name in PATCH_PRETEXTS)
