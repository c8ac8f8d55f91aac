"""Which images a run asks to label, round after round, and the table and page that say so."""

import csv
import json
import re

import numpy as np
import pytest
from etils import epath
from PIL import Image
from scipy import ndimage

from tf_simclr.commands import select, selected_labels
from tf_simclr.commands.label_questions import WHY_EVALUATED
from tf_simclr.data import datasets, label_subset, scan_cache
from tf_simclr.errors import UserError

pytestmark = pytest.mark.usefixtures("shallow", "eager")


@pytest.fixture
def ask(settings, model, photos, tmp_path):
    """A function: flags -> selects photos with a network that has `num_classes` classes."""
    paths = {0: model(0)}
    division = {"dataset": f"folder:{photos}", "moved": held_out(photos)}
    (tmp_path / "exported" / "division.json").write_text(json.dumps(division))

    def call(num_classes=0, **flags):
        if num_classes not in paths:
            paths[num_classes] = model(num_classes)
        values = {
            "dataset": f"folder:{photos}",
            "checkpoint": paths[num_classes],
            "labels": "none",
            "eval_split": "validation",
            "select_count": 3,
        }
        options = settings(**{**values, **flags})
        select.select(options)
        return options

    return call


def held_out(photos):
    """The division of a run that has held out two photos."""
    contents = [(photos / name).read_bytes() for name in ("cat/0.png", "dog/5.png")]
    return {scan_cache.content_digest(content): True for content in contents}


def read_table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_labels(photos, names):
    """A labels.csv beside the photos, as the page writes it."""
    with (photos / "labels.csv").open("w", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label"))
        writer.writerows((name, "c" if "cat" in name else "d") for name in names)


def names_with_label(options, photos, split):
    source = datasets.load(options.data, split, moved=held_out(photos))
    names, labels = source.example_ids()
    return set(names[labels >= 0])


def test_rounds_go_on_from_each_other(ask, photos, tmp_path):
    options = ask(select_eval_count=1)
    directory = tmp_path / "run"
    first = read_table(directory / "to_label.csv")
    assert [row["rank"] for row in first] == ["1", "2", "3", "4"]
    assert all((photos / row["file"]).exists() and row["why"] for row in first)
    page = (directory / "label.html").read_text()
    assert all(row["file"] in page for row in first)

    # The same once more changes nothing; of no labels none can be kept.
    ask(select_eval_count=1, labels_per_class=2)
    assert len(list(directory.glob("*.html"))) == 1

    names = [row["file"] for row in first]
    write_labels(photos, names)
    options = ask(labels="labels.csv", select_eval_count=0)
    second = read_table(directory / "to_label_2.csv")
    assert len(second) == 3
    assert not set(names) & {row["file"] for row in second}
    assert "typical" in second[0]["why"]
    page = (directory / "label_2.html").read_text()
    assert all(name in page for name in names)  # labels.csv of this page has them, too

    # What was asked for to train on is trained on, the rest evaluated on.
    evaluated = {row["file"] for row in first if row["why"] == WHY_EVALUATED}
    assert len(evaluated) == 1
    assert names_with_label(options, photos, "train") == set(names) - evaluated
    assert names_with_label(options, photos, "validation") == evaluated


def test_a_page_in_work_is_kept(ask, tmp_path):
    """The same images, asked for with other classes: the browser keeps answers by the page."""
    ask()
    directory = tmp_path / "run"
    table, page = (directory / "to_label.csv").read_text(), (directory / "label.html").read_text()
    (directory / "label.html").write_text(page.replace("</html>", "<!-- other classes --></html>"))
    in_work = (directory / "label.html").read_text()
    ask()
    assert (directory / "label.html").read_text() == in_work
    assert (directory / "to_label_2.csv").read_text() == table
    assert (directory / "label_2.html").read_text() == page


def test_a_page_of_many_images_has_the_first_ones(ask, tmp_path, log, monkeypatch):
    """The table has all of them, and those to evaluate on are on the page in any case."""
    monkeypatch.setattr(select, "MAX_ON_PAGE", 2)
    questions = []

    def render(on_page, *arguments, **options):
        questions.extend(on_page)
        return original(on_page, *arguments, **options)

    original = select.label_page.render
    monkeypatch.setattr(select.label_page, "render", render)
    ask(select_count=4, select_eval_count=1)
    assert "the page has the first 2 of the 4 images chosen" in log.text
    names = [row["file"] for row in read_table(tmp_path / "run" / "to_label.csv")]
    assert len(names) == 5
    assert [question.name for question in questions] == [*names[:2], names[4]]


def test_nobody_says_how_good_it_will_be(ask, log):
    ask()
    assert "no image of split validation has a label" in log.text
    ask(select_eval_count=500)
    assert "--select_eval_count=500: split validation has 2 images without a label" in log.text
    ask(select_eval_count=500, eval_split="val")  # the same split
    assert "--select_eval_count=500: split val has 2 images without a label" in log.text


def test_copies_are_asked_for_once(ask, photos, tmp_path, log):
    for number in range(3):
        copy = photos / f"copy{number}.png"
        copy.write_bytes((photos / "cat" / "3.png").read_bytes())
    ask(select_count=100)
    names = {row["file"] for row in read_table(tmp_path / "run" / "to_label.csv")}
    copies = {"cat/3.png", "copy0.png", "copy1.png", "copy2.png"}
    assert len(names & copies) == 1
    assert "3 images are exact copies of others: not asked for" in log.text


def test_near_copies_are_asked_for_once(ask, photos, tmp_path, log, rng):
    """Neither is a near-copy of a labeled one."""
    pictures = detailed_pictures(rng, 5)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(photos / f"large{number}.png")
        brighter = np.clip(picture * 1.15, 0, 255).astype(np.uint8)
        Image.fromarray(brighter).save(photos / f"large{number}_again.jpg", quality=85)
    for path in photos.glob("*/*.png"):
        path.unlink()
    (photos / "other.png").unlink()
    write_labels(photos, ["large0.png", "large1.png"])
    ask(labels="labels.csv", select_count=6)
    names = {row["file"] for row in read_table(tmp_path / "run" / "to_label.csv")}
    stems = [name.split("_")[0].split(".")[0] for name in sorted(names)]
    assert sorted(set(stems)) == stems
    assert stems and set(stems) <= {"large2", "large3", "large4"}
    assert "would be near-copies of labeled or chosen ones: not asked for" in log.text
    page = (tmp_path / "run" / "label.html").read_text(encoding="utf-8")
    assert re.search(r'"same": ?true', page)  # what may be taken along unseen


def test_a_table_with_splits_loses_nothing(ask, photos, tmp_path):
    """Its place is taken by that of the page: test images would be trained on."""
    lines = ["file,label,split", "cat/0.png,cat,train", "cat/1.png,cat,test", "dog/1.png,dog,val"]
    lines.append("dog/0.png,dog,train")
    (photos / "labels.csv").write_text("\n".join(lines))
    ask(labels="labels.csv", select_count=1, eval_split="val")
    page = (tmp_path / "run" / "label.html").read_text(encoding="utf-8")
    for entry in (["cat/0.png", "cat"], ["cat/1.png", "cat"], ["dog/1.png", "dog"]):
        assert json.dumps(entry) in page or json.dumps(entry, separators=(",", ":")) in page
    for entry in (["cat/0.png", "train"], ["cat/1.png", "test"]):
        assert json.dumps(entry) in page or json.dumps(entry, separators=(",", ":")) in page


@pytest.mark.parametrize("flags", [{}, {"labels_per_class": 1}])
def test_folders_with_splits_lose_nothing(ask, photos, tmp_path, flags):
    """The labels of each split, and those that this run must not use."""
    (photos / "train").mkdir()
    for name in ("cat", "dog", "other.png"):
        (photos / name).rename(photos / "train" / name)
    for name in ("test/cat/0.png", "val/zebra/1.png"):
        (photos / name).parent.mkdir(parents=True)
        (photos / "train" / "cat" / name[-5:]).rename(photos / name)
    ask(labels="", select_count=1, eval_split="test", **flags)
    page = (tmp_path / "run" / "label.html").read_text(encoding="utf-8")
    known = json.loads(re.search(r'"known": ?(\[\[.*?\]\])', page).group(1))
    assert len(known) == 12
    assert dict(known)["test/cat/0.png"] == "cat" and dict(known)["val/zebra/1.png"] == "zebra"


def test_labels_of_numbered_images(settings, model, tmp_path):
    """Images of both splits are called 0, 1, 2, ...; the page shows those of one."""
    options = settings(checkpoint=model(0), labels_per_class=2, select_count=1, eval_split="test")
    select.select(options)
    page = (tmp_path / "run" / "label.html").read_text(encoding="utf-8")
    known = json.loads(re.search(r'"known": ?(\[\[.*?\]\])', page).group(1))
    train = datasets.load(options.data, "train")
    classes = [train.class_names[label] for label in train.example_ids()[1]]
    assert len(known) == 20
    assert all(classes[int(name)] == label for name, label in known)


def test_the_simple_layout_keeps_the_labels_of_both_splits(ask, photos, tmp_path):
    (photos / "train").mkdir()
    for name in ("cat", "dog", "other.png"):
        (photos / name).rename(photos / "train" / name)
    (photos / "test" / "cat").mkdir(parents=True)
    (photos / "train" / "cat" / "0.png").rename(photos / "test" / "cat" / "0.png")
    ask(labels="", folder_layout="simple", select_count=1, eval_split="test")
    page = (tmp_path / "run" / "label.html").read_text(encoding="utf-8")
    known = dict(json.loads(re.search(r'"known": ?(\[\[.*?\]\])', page).group(1)))
    assert len(known) == 12
    assert known["test/cat/0.png"] == "cat" and known["train/dog/1.png"] == "dog"


def detailed_pictures(rng, count):
    """Pictures uint8 [64, 64, 3] with details, each its own."""
    noise = rng.normal(size=(count, 64, 64, 3))
    blurred = ndimage.gaussian_filter(noise, (0, 2, 2, 0))
    scaled = 128 + 40 * blurred / blurred.std()
    return np.clip(scaled, 0, 255).astype(np.uint8)


def test_nothing_is_left(ask, photos):
    (photos / "other.png").unlink()
    with pytest.raises(UserError, match=r"--labels=none takes them as unlabeled"):
        ask(labels="")


def test_uncertain_needs_a_classifier(ask, tmp_path):
    with pytest.raises(UserError, match="--select_strategy=typical"):
        ask(select_strategy="uncertain")
    ask(num_classes=2, select_strategy="uncertain", select_count=2)
    assert "differ by" in read_table(tmp_path / "run" / "to_label.csv")[0]["why"]


def test_directory_that_cannot_be_written(ask, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match="--model_dir"):
        ask()


def test_a_data_set_with_labels_plays_the_person(settings, model):
    """As many labels as would be drawn, of the images that are asked for."""
    options = settings(
        train_mode="finetune", checkpoint=model(0), labels_per_class=2, labels_chosen="selected"
    )
    subset = selected_labels.select(options, related=[])
    assert len(set(subset["ids"])) == 20
    source = datasets.load(options.data, "train")
    restricted, saved = label_subset.restrict(source, options.data, 0, [subset])
    assert saved == subset
    assert restricted.num_labeled == 20
    drawn = options.replace(labels_chosen="drawn").data
    _, other = label_subset.restrict(source, drawn, 0, [subset])
    assert set(other["ids"]) != set(subset["ids"])
    fraction = options.replace(labels_per_class=0, label_fraction=0.01)
    assert len(selected_labels.select(fraction, related=[])["ids"]) == 14

    # A later stage uses what was selected before.
    directory = epath.Path(options.train.model_dir)
    directory.mkdir(parents=True)
    np.testing.assert_equal(selected_labels.select(options, related=[directory]), subset)
    (directory / "labels.json").write_text(json.dumps(subset))
    assert selected_labels.select(options, related=[directory]) is None


def test_labels_are_selected_with_weights(settings):
    options = settings(labels_per_class=2, labels_chosen="selected")
    assert selected_labels.select(options, related=[]) is None
    source = datasets.load(options.data, "train")
    with pytest.raises(UserError, match=r"--finetune\.labels_chosen=selected"):
        label_subset.restrict(source, options.data, 0)
