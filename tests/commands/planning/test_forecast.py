"""The time of all stages, foretold from the pace of the first."""

import types

import pytest

from tests.helpers.configurations import parse_command_line
from tf_simclr.commands.planning import forecast
from tf_simclr.training import loop


def stages_of(*flags):
    stages, _ = parse_command_line(
        "--train_mode=pretrain,finetune,distill",
        "--model_dir=/runs/a",
        "--dataset=digits",
        "--image_size=32",
        "--train_batch_size=64",
        *flags,
    )
    return stages


def work_of(*flags):
    stages = stages_of(*flags)
    return [forecast.work_of_step(stage, stages) for stage in stages]


def test_two_views_and_a_teacher():
    pretrain, finetune, distill = work_of()
    assert pretrain == 2 * finetune
    assert distill == pytest.approx(4 / 3 * finetune)


def test_size_of_the_network_and_of_the_images():
    _, plain, _ = work_of()
    assert work_of("--finetune.width_multiplier=2")[1] == 4 * plain
    assert work_of("--finetune.image_size=64")[1] == 4 * plain  # with the stem that it was given
    assert work_of("--stem=imagenet")[1] == plain / 16
    assert work_of("--finetune.train_batch_size=128")[1] == 2 * plain
    assert work_of("--finetune.sk_ratio=0.0625")[1] == 1.5 * plain
    # 8 blocks of the student, a third of 16 of the teacher.
    small, large = work_of("--distill.resnet_depth=18")[2], work_of()[2]
    assert small / large == pytest.approx((8 + 16 / 3) / (16 + 16 / 3))


def test_other_tasks_are_not_compared():
    pretrain, finetune, _ = work_of("--pretrain.pretext=jigsaw", "--finetune.ft_proj_selector=0")
    assert pretrain is None and finetune is not None
    (semi,), _ = parse_command_line("--train_mode=semi", "--dataset=digits")
    assert forecast.work_of_step(semi, [semi]) is None


def test_the_line(monkeypatch):
    stages = stages_of()
    num_images = dict.fromkeys(stages[:2], 640)
    monkeypatch.setattr(forecast, "num_images_of", lambda stage, *others: num_images.get(stage))
    experiment = types.SimpleNamespace(settings=stages[0], num_steps=1000, data=None)
    epochs = stages[1].train.train_epochs
    expected = round(0.3 / 2 * epochs * 10)
    line = forecast.text(experiment, stages[1:], 0.3)
    begin = "at 0.3 s a step the training takes about: pretrain 05:00, finetune "
    assert line.startswith(begin) and ", distill ?; " in line
    assert line.endswith(" in all without evaluations, distill")
    minutes, seconds = line.removeprefix(begin).split(",")[0].split(":")
    assert 60 * int(minutes) + int(seconds) == expected


def test_the_pace_is_told_once(monkeypatch):
    times = iter([100.0, 110.0, *range(120, 200)])
    clock = types.SimpleNamespace(monotonic=lambda: next(times))  # of `loop` alone
    monkeypatch.setattr(loop, "time", clock)
    told = []
    pace = loop.Pace(told.append)
    for step in (5, 6, 25, 26, 60):
        pace.after(step)
    assert told == [pytest.approx((120.0 - 100.0) / 20)]
