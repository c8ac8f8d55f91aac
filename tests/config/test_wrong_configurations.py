"""A hundred wrong configurations: each ends in one line with status 2, and nothing is touched."""

import pytest
from absl import flags as absl_flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import run
from tests.helpers.processes import snapshot, the_message
from tf_simclr import config

FIELDS = dict(config.fields())
del FIELDS["model_dir"], FIELDS["train_mode"]
WORDS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
WAYS_OUT = (
    *("at least", "at most", "between", "accepted", "are expected", "is expected", "a number"),
    *("whole number", "true or false", "Did you mean", "e.g. --", "give", "finite"),
)
WRONG_NUMBERS = ("many", "nan", "inf", "1e400", "", "1,2", "--3", "0x10")
WRONG_BOOLEANS = ("perhaps", "2", "ja", "None", "0.5")
RIGHT_ARGUMENTS = (
    "--dataset=digits",
    "--image_size=32",
    "--mode=train_then_eval",
    "--use_blur=False",
)


def numbers_outside(field):
    """Numbers that the field does not take, as texts."""
    is_whole = field.type is int
    low, high = field.low, field.high
    numbers = st.nothing()
    if low is not None and low > -(10**6):
        near = st.integers(-(10**6), 10**6) if is_whole else st.floats(-1e6, 1e6)
        numbers |= near.filter(lambda number: number < low)
    if high is not None:
        largest = 10 * high + 10
        above = st.integers(high + 1, largest) if is_whole else st.floats(high * 1.01 + 1, largest)
        numbers |= above
    return numbers.map(str)


def wrong_values(field):
    """Texts that the field does not take."""
    if field.choices:
        return WORDS.filter(lambda word: word not in field.choices)
    if field.type is bool:
        return st.sampled_from(WRONG_BOOLEANS)
    return numbers_outside(field) | st.sampled_from(WRONG_NUMBERS)


def is_flag(name):
    return name in config.fields() or name.removeprefix("no") in config.fields()


@st.composite
def wrong_arguments(draw):
    """(the flag, an argument that is wrong)."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    field = FIELDS[name]
    if draw(st.integers(0, 4)) == 0:
        misspelled = [name + "s", name[1:], name.replace("_", "-") + "-", f"{draw(WORDS)}_{name}"]
        wrong = draw(st.sampled_from(misspelled))
        if not is_flag(wrong):
            return wrong, f"--{wrong}=1"
    if field.choices or field.type in (bool, int, float):
        return name, f"--{name}={draw(wrong_values(field))}"
    return "learning_rate", f"--learning_rate={draw(WORDS)}"


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """A run directory with something in it."""
    directory = tmp_path_factory.mktemp("run")
    (directory / "ckpt-1.index").write_bytes(b"earned")
    return directory


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    wrong=wrong_arguments(),
    others=st.lists(st.sampled_from(RIGHT_ARGUMENTS), unique=True),
)
def test_wrong_configuration(a_run, wrong, others, capsys):
    name, argument = wrong
    before = snapshot(a_run)
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        status = run.main(["run.py", *others, argument, f"--model_dir={a_run}"])
    line = the_message(capsys.readouterr().err)
    assert status == 2 and f"--{name}" in line, (argument, line)
    assert any(way in line for way in WAYS_OUT), (argument, line)
    assert snapshot(a_run) == before
