"""A hundred wrong configurations: each ends with status 2 and one line that names the flag and the way out, and nothing is touched."""

import re

import pytest
from absl import flags as absl_flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import run
from tests.helpers.processes import snapshot, the_message
from tf_simclr import config

FIELDS = {
    name: field
    for name, field in config.fields().items()
    if name not in ("model_dir", "train_mode")
}
WORDS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
WAY_OUT = re.compile(
    r"at least|at most|between|accepted|are expected|is expected|a number|whole number|true or false|Did you mean|e\.g\. --|give|finite"
)


def numbers_outside(field):
    """Numbers that the field does not take."""
    low, high = field.low, field.high
    kind = st.integers(-(10**6), 10**6) if field.type is int else st.floats(-1e6, 1e6)
    outside = (
        [kind.filter(lambda x, low=low: x < low)] if low is not None and low > -(10**6) else []
    )
    outside += (
        [
            st.integers(high + 1, 10 * high + 10)
            if field.type is int
            else st.floats(high * 1.01 + 1, high * 10 + 10)
        ]
        if high is not None
        else []
    )
    return st.one_of(*outside).map(str) if outside else st.nothing()


@st.composite
def wrong_arguments(draw):
    """(the flag, an argument that is wrong)."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    field = FIELDS[name]
    if draw(st.integers(0, 4)) == 0:
        wrong = draw(
            st.sampled_from(
                [name + "s", name[1:], name.replace("_", "-") + "-", draw(WORDS) + "_" + name]
            )
        )
        if wrong not in config.fields() and wrong.removeprefix("no") not in config.fields():
            return wrong, f"--{wrong}=1"
    if field.choices:
        return name, f"--{name}={draw(WORDS.filter(lambda word: word not in field.choices))}"
    if field.type is bool:
        return name, f"--{name}={draw(st.sampled_from(['perhaps', '2', 'ja', 'None', '0.5']))}"
    if field.type in (int, float):
        return name, f"--{name}=" + draw(
            st.one_of(
                numbers_outside(field),
                st.sampled_from(["many", "nan", "inf", "1e400", "", "1,2", "--3", "0x10"]),
            )
        )
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
    others=st.lists(
        st.sampled_from(
            ["--dataset=digits", "--image_size=32", "--mode=train_then_eval", "--use_blur=False"]
        ),
        unique=True,
    ),
)
def test_wrong_configuration(a_run, wrong, others, capsys):
    name, argument = wrong
    before = snapshot(a_run)
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        status = run.main(["run.py", *others, argument, f"--model_dir={a_run}"])
    line = the_message(capsys.readouterr().err)
    assert status == 2 and f"--{name}" in line and WAY_OUT.search(line), (argument, line)
    assert snapshot(a_run) == before
