"""Names of other programs lead to the right flag."""

import pytest

from tests.helpers.configurations import parse_command_line
from tf_simclr import config
from tf_simclr.config.aliases import ALIASES
from tf_simclr.errors import UserError


def test_aliases_name_flags_and_are_none():
    assert set(ALIASES.values()) <= set(config.fields())
    assert not set(ALIASES) & set(config.fields())


@pytest.mark.parametrize(
    "alias, flag",
    [
        ("batch_size", "train_batch_size"),
        ("lr", "learning_rate"),
        ("epochs", "train_epochs"),
        ("output_dir", "model_dir"),
        ("gpu", "strategy"),
        ("device", "strategy"),
    ],
)
def test_alias(alias, flag):
    with pytest.raises(UserError, match=f"unknown flag --{alias}. Did you mean '--{flag}'"):
        parse_command_line(f"--{alias}=1", "--dataset=digits")
    with pytest.raises(UserError, match=f"unknown key '{alias}'. Did you mean '{flag}'"):
        config.build({alias: 1})
