"""What stands first on the page: of which runs and data it is."""

import dataclasses

from tests.helpers.verdict_runs import chain
from tf_simclr.report import headline


def test_stages_of_a_chain_go_by_its_name(tmp_path):
    directory = tmp_path / "digits_quickstart"
    directory.mkdir()
    stages = [dataclasses.replace(run, directory=directory / run.name) for run in chain()]
    names = "supervised\u00a0· pretrain\u00a0· finetune\u00a0· distill"
    assert headline.heading(stages) == names
    (directory / "flags.json").write_text("{}")
    assert headline.heading(stages) == "digits_quickstart: 4 stages"
    assert headline.heading(stages[:1]) == "supervised"


def test_a_chain_in_the_working_directory_has_a_name(tmp_path, monkeypatch):
    directory = tmp_path / "digits_quickstart"
    directory.mkdir()
    (directory / "flags.json").write_text("{}")
    monkeypatch.chdir(directory)
    assert headline.heading(chain()) == "digits_quickstart: 4 stages"


def test_data_that_runs_have_in_common():
    runs = chain()
    runs[2].facts["images"] = 20
    assert headline.data(runs) == "digits, 1,437 images, 20 labels"
    runs[0].facts["labels"] = 40
    assert headline.data(runs) == "digits, 1,437 images"
    runs[0].facts.update(dataset="cifar10", labels=20)
    assert headline.data(runs) == ""
