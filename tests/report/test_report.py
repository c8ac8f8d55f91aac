"""The report: what is on the page, whatever a run lacks, and that no name can do harm."""

import base64
import html.parser
import itertools
import json
import re
import time

import numpy as np
import pytest

from tests.helpers import report_runs
from tests.helpers.report_runs import HOSTILE
from tf_simclr import report
from tf_simclr.errors import UserError
from tf_simclr.report import charts, gallery, line_chart, metric_names, page_tables, training_curves
from tf_simclr.report import runs as runs_lib

SECTIONS = (
    "runs",
    "recipe",
    "evaluations",
    "curves",
    "few-labels",
    "layers",
    "map",
    "neighbors",
    "classifier",
    "views",
    "transfer",
    "repeat",
)


class Page(html.parser.HTMLParser):
    """The tags of a page as a browser sees them: [(tag, {attribute: value})], and its text."""

    def __init__(self, source):
        super().__init__()
        self.source, self.tags, self.text = source, [], ""
        self.feed(source)
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]


def page(output, *directories):
    report.write(directories, output)
    return Page(output.read_text())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """(run directory, its page), with everything there is."""
    path = tmp_path_factory.mktemp("full")
    directory = report_runs.write(path / "pretrain", report_runs.document())
    return directory, page(path / "report.html", directory)


def test_all_sections(full):
    parsed = full[1]
    assert [section["id"] for section in parsed.all("section")] == list(SECTIONS)
    targets = {link.get("href") for link in parsed.all("a")}
    assert all(f"#{section}" in targets for section in SECTIONS)
    assert (
        "On 360 test images, with 144 labels: a linear probe on the features of this network is "
        "right about 90.3% (95% interval 86.8 to 92.9); linear probes on raw pixels 65.0% and on "
        "the untrained network 37.5%." in parsed.text
    )
    for text in (
        "440 of 880",
        "only one class among the labels",
        "cifar100",
        "python run.py --mode=train_then_eval",
        f"tensorboard --logdir={full[0]}",
        "✓",
        "✗",
        "98.0% sure",
        "From left to right: image, grey, colourised.",
    ):
        assert text in parsed.text, text


def test_is_one_file(full):
    """Nothing is loaded from elsewhere, and the policy says so."""
    addresses = re.findall(r'(?:src|href|url)(?:="|\()([^")]*)', full[1].source)
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    policy = next(meta["content"] for meta in full[1].all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_is_accessible(full):
    parsed = full[1]
    assert len(parsed.ids) == len(set(parsed.ids))
    assert all(header.get("scope") for header in parsed.all("th"))
    assert all(
        attributes.get("aria-label")
        for _, attributes in parsed.tags
        if attributes.get("role") in ("img", "region", "group")
    )
    assert all(chart.get("aria-hidden") or chart.get("aria-label") for chart in parsed.all("svg"))
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(
        after <= before + 1 for before, after in itertools.pairwise(levels)
    )


def test_charts_take_their_colors_from_the_page(full):
    charts = re.findall(r"<svg viewBox.*?</svg>", full[1].source, re.DOTALL)
    assert len(charts) > 8
    assert not re.search(
        r"#[0-9a-f]{6}", re.sub(r'(href|id)="[^"]*"|url\([^)]*\)', "", "".join(charts))
    )
    used, style = set(re.findall(r"var\((--\w+)\)", "".join(charts))), full[1].source
    assert used >= {"--c0", "--muted", "--grid"} and all(f"{name}:" in style for name in used)


def test_chance_is_drawn(full):
    charts = {
        label.split(" by ")[0]: label
        for label in (div["aria-label"] for div in full[1].all("div") if div.get("role") == "img")
    }
    assert (
        "Chance: 11." in charts["Contrastive loss"]
        and "8.9 at step 1, 4.9 at step 41" in charts["Contrastive loss"]
    )
    assert "Chance: 10.0%." in charts["Accuracy on the training labels"]
    assert "Best step: 21." in charts["K-NN while training"]
    assert (
        full[1].source.count(">chance</text>") == 4
    )  # the two losses and accuracies, and that of few labels
    assert full[1].source.count(">best</text>") == 5


@pytest.mark.parametrize(
    "key", ["images", "map", "neighbors", "mistakes", "views", "best", "transfer"]
)
def test_each_key_may_be_missing(tmp_path, key):
    content = report_runs.document()
    del content[key]
    parsed = page(
        tmp_path / "report.html", report_runs.write(tmp_path / "run", content, events=False)
    )
    gone = {"images": {"map", "neighbors"}, "best": set(), "mistakes": set()}.get(key, {key})
    assert [section["id"] for section in parsed.all("section")] == [
        section for section in SECTIONS if section not in gone | {"curves"}
    ]


def test_little_is_enough(tmp_path):
    content = report_runs.document()
    for key in set(content) - {
        "schema",
        "version",
        "run",
        "flags",
        "environment",
        "command",
        "figures",
        "details",
        "left_out",
    }:
        del content[key]
    content |= {
        "run": {"name": "x"},
        "flags": {},
        "environment": {},
        "figures": {},
        "details": {},
        "left_out": [],
    }
    parsed = page(
        tmp_path / "report.html", report_runs.write(tmp_path / "run", content, events=False)
    )
    assert [section["id"] for section in parsed.all("section")] == [
        "runs",
        "repeat",
    ] and "There are no labels to evaluate with" in parsed.text
    assert report.results_table(content) == "no labels, so no accuracies"


def test_metrics_may_be_missing_or_not_finite(tmp_path):
    content = report_runs.document()
    content["figures"]["trained"]["final_avg_pool"] = {
        "knn_accuracy": None,
        "alignment": float("nan"),
        "new_figure": 3.0,
    }
    parsed = page(
        tmp_path / "report.html", report_runs.write(tmp_path / "run", content, events=False)
    )
    assert "new figure" in parsed.text and "nan" not in parsed.text and "None" not in parsed.text


def test_classes_never_predicted_are_named(tmp_path):
    content = report_runs.document()
    content["details"]["trained"]["classifier"]["never_predicted"] = [1, 0]
    parsed = page(
        tmp_path / "report.html", report_runs.write(tmp_path / "run", content, events=False)
    )
    names = content["run"]["class_names"]
    assert "classes never predicted" in parsed.text
    assert f"{names[1]}, {names[0]}" in parsed.text


def test_without_labels(tmp_path):
    content = report_runs.document()
    health = {name: report_runs.METRICS[name] for name in report_runs.NEED_NO_LABELS}
    content |= {
        "figures": {"trained": {"final_avg_pool": health}, "untrained": {"final_avg_pool": health}},
        "details": {},
        "mistakes": [],
    }
    content["run"] |= {"class_names": [], "labels": 0, "fitted_examples": 0}
    content["images"] |= {
        "labels": [-1] * report_runs.IMAGES,
        "predicted": [None] * report_runs.IMAGES,
    }
    parsed = page(
        tmp_path / "report.html", report_runs.write(tmp_path / "run", content, events=False)
    )
    assert "There are no labels to evaluate with" in parsed.text and "effective rank" in parsed.text
    assert not any(
        {"right", "wrong"} & set(span.get("class", "").split()) for span in parsed.all("span")
    )
    lines = report.results_table(content).splitlines()
    assert (
        lines[0] == "no labels, so no accuracies"
        and "| effective rank  |            |              37.2 |         37.2 |" in lines
    )


def test_hostile_names(tmp_path):
    """Whatever classes, files, runs, layers and flags are called, it is text."""
    content = report_runs.document(
        HOSTILE[1],
        class_name=lambda label: HOSTILE[label % len(HOSTILE)],
        file_name=lambda i: f"{HOSTILE[i % len(HOSTILE)]}{i}",
    )
    for name in ("train_mode", "dataset", "train_split", "eval_split"):
        content["run"][name] = HOSTILE[0]
    content["run"]["layers"].append(HOSTILE[2])
    content["figures"]["trained"][HOSTILE[2]] = {
        "knn_accuracy": 0.5,
        "linear_probe_accuracy": 0.5,
        HOSTILE[0]: 0.5,
    }
    content["flags"] |= {HOSTILE[0]: HOSTILE[1], "dataset": HOSTILE[2]}
    content |= {"environment": {HOSTILE[0]: HOSTILE[1]}, "command": HOSTILE[1]}
    content["left_out"] = [dict.fromkeys(("network", "place", "evaluation", "reason"), HOSTILE[3])]
    content["best"]["criterion"] = content["transfer"][0]["dataset"] = HOSTILE[0]
    first, second = (
        report_runs.write(tmp_path / name, content, seed) for seed, name in enumerate(("a", "b"))
    )
    parsed = page(tmp_path / "report.html", first, second)
    assert len(parsed.all("script")) == 1 and not parsed.all("img")
    assert not [
        name for _, attributes in parsed.tags for name in attributes if name.startswith("on")
    ]
    assert all(name in parsed.text for name in HOSTILE)


def test_two_runs_side_by_side(tmp_path):
    other = report_runs.document()
    other["flags"]["learning_rate"] = 0.7
    other["figures"]["trained"]["final_avg_pool"] = {**report_runs.METRICS, "knn_accuracy": 0.95}
    paths = [
        report_runs.write(tmp_path / name / "pretrain", content)
        for name, content in (("a", report_runs.document()), ("b", other))
    ]
    parsed = page(tmp_path / "report.html", *paths, paths[0])
    assert (
        "a/pretrain\u00a0· b/pretrain" in parsed.text
    )  # of one name, so told apart by their paths; each once
    differing = re.findall(r'<tr class="differs">.*?</tr>', parsed.source, re.DOTALL)
    assert ["learning_rate" in row for row in differing].count(True) == 1 and all(
        "≠" in row for row in differing
    )
    assert '<td class="best">95.0%</td>' in parsed.source.replace(' first"', '"')
    labels = [parsed.source.count(f">{name}/pretrain</text>") for name in "ab"]
    assert labels[0] == labels[1] > 5
    details_of_runs = [tag for tag in parsed.all("details") if tag.get("class") == "run"]
    assert ["open" in tag for tag in details_of_runs[:2]] == [False, True]


def test_heading_of_many_runs(tmp_path):
    parsed = page(
        tmp_path / "report.html",
        *(
            report_runs.write(tmp_path / f"<b>{number}", report_runs.document(), events=False)
            for number in range(7)
        ),
    )
    assert (
        parsed.source.count("7 runs, ") == 2
        and "&lt;b&gt;6</h1>" in parsed.source
        and "· " not in parsed.source.split("</h1>")[0]
    )


def test_identical_sheets_are_embedded_once(tmp_path):
    first, second = (
        report_runs.write(tmp_path / name, report_runs.document(name), seed=0, events=False)
        for name in "ab"
    )
    third = report_runs.write(tmp_path / "c", report_runs.document("c"), seed=1, events=False)
    assert (
        page(tmp_path / "report.html", first, second).source.count("data:image/jpeg;base64,") == 2
    )  # images and views
    parsed = page(tmp_path / "report.html", first, second, third)
    assert parsed.source.count("data:image/jpeg;base64,") == 4
    assert base64.b64encode((third / "report_images.jpg").read_bytes()).decode() in parsed.source


def test_without_the_sheets(tmp_path):
    """A results.json that was passed on alone."""
    directory = report_runs.write(tmp_path / "run", report_runs.document(), events=False)
    for path in directory.glob("*.jpg"):
        path.unlink()
    parsed = page(tmp_path / "report.html", directory)
    assert (
        {"map", "classifier"} < set(parsed.ids)
        and not {"neighbors", "views"} & set(parsed.ids)
        and "thumb" not in [span.get("class") for span in parsed.all("span")]
    )


def test_long_names_of_classes_leave_room_for_the_matrix(tmp_path):
    content = report_runs.document(class_name="<b>Felis silvestris catus {}".format)
    parsed = page(
        tmp_path / "report.html", report_runs.write(tmp_path / "run", content, events=False)
    )
    matrix = parsed.source.split('<table class="confusion">')[1].split("</table>")[0]
    full = 'title="&lt;b&gt;Felis silvestris catus 0"'
    assert matrix.count(full) == 2
    for label in range(10):
        assert matrix.count(f"&lt;b&gt;Felis … catus {label}<") == 2


def test_a_hundred_classes(tmp_path):
    parsed = page(
        tmp_path / "report.html",
        report_runs.write(tmp_path / "run", report_runs.document(classes=100), events=False),
    )
    assert "The stronger the color, the larger" in parsed.text
    assert (
        "mask-image: url(data:image/png;base64," in parsed.source and "Confused most" in parsed.text
    )
    assert not [table for table in parsed.all("table") if table.get("class") == "confusion"]
    assert (
        "the 10 worst" in parsed.text and "the other 89" in parsed.text
    )  # one class is without examples


def test_a_thousand_classes(tmp_path):
    began = time.process_time()
    page(
        tmp_path / "report.html",
        report_runs.write(tmp_path / "run", report_runs.document(classes=1000), events=False),
    )
    assert (tmp_path / "report.html").stat().st_size < 4e6 and time.process_time() - began < 60


def test_marks_of_classes_differ():
    marks = [gallery.mark(label) for label in range(61)]
    assert len(set(marks[:60])) == 60
    shapes = [shape for shape, _ in marks]
    assert all(shape != following for shape, following in itertools.pairwise(shapes))


def test_same_input_same_bytes(full, tmp_path):
    report.write([str(full[0])], str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text() == full[1].source


def _changed(name, *keys, to):
    content = report_runs.document()
    inner = content
    for key in keys:
        inner = inner[key]
    inner[name] = to
    return content


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "can't be read"),
        ([], "no file of results"),
        ({"schema": "other"}, "no file of results"),
        (_changed("version", to=2), "its version is 2, this program reads 1"),
        ({"schema": "tf_simclr.results", "version": 1}, "run is missing"),
        (
            _changed("knn_accuracy", "figures", "trained", "final_avg_pool", to="high"),
            "figures.trained.final_avg_pool.knn_accuracy is 'high', not a number or null",
        ),
        (_changed("labels", "images", to=[1]), "not of one length"),
        (
            _changed("images", "map", to=[99] * report_runs.IMAGES),
            "image 99 is used, and there are 40",
        ),
        (_changed("pca", "map", to=[[0]]), "map.pca"),
        (
            _changed("confusion", "details", "trained", "classifier", to=[[1, 2]]),
            "not as wide as high",
        ),
        (_changed("file", "images", to="../secret.jpg"), "'../secret.jpg'"),
        (_changed("step", "run", to=True), "run.step is 'True'"),
        (
            _changed("learned_labels", "run", to=1),
            "run.learned_labels is '1', not true or false",
        ),
    ],
)
def test_damaged_results(tmp_path, content, message):
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "results.json").write_text(
        content if isinstance(content, str) else json.dumps(content)
    )
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        report.write([directory], tmp_path / "report.html")
    assert (
        "results.json" in str(caught.value)
        and "\n" not in str(caught.value)
        and not (tmp_path / "report.html").exists()
    )


def test_no_results(tmp_path):
    with pytest.raises(
        UserError, match=r"it has no results\.json; give the directory of a run that was evaluated"
    ):
        report.write([tmp_path / "nowhere"], tmp_path / "report.html")
    with pytest.raises(UserError, match="none is given"):
        report.write([], tmp_path / "report.html")


def test_unwritable(tmp_path):
    directory = report_runs.write(tmp_path / "run", report_runs.document(), events=False)
    for output in (tmp_path / "nowhere" / "report.html", directory):
        with pytest.raises(UserError, match="can't be written to"):
            report.write([directory], output)
    assert not list(tmp_path.rglob("*.partial"))


def test_restarts_are_merged(tmp_path):
    """What was written after the checkpoint that a training goes on from is taken back."""
    report_runs.write_events(tmp_path, {1: 9.0, 11: 8.0, 21: 7.0, 31: 6.0, 33: 5.5})
    time.sleep(1.1)  # the names of event files tell seconds apart
    report_runs.write_events(tmp_path, {21: 6.5, 31: 5.0})
    curve = training_curves.read(tmp_path)["train/contrast_loss"]
    points = dict(zip(curve.steps.tolist(), curve.values.tolist()))
    assert points == {1: 9.0, 11: 8.0, 21: 6.5, 31: 5.0}


def test_long_and_broken_curves():
    long = training_curves.make_curve([(step, step / 2) for step in range(100_000)])
    assert len(long.steps) <= training_curves.MAX_POINTS
    assert (long.steps[0], long.steps[-1], long.values[-1]) == (0, 99_999, 49_999.5)
    assert (np.diff(long.steps) > 0).all()
    broken = training_curves.make_curve([(1, 1.0), (2, float("nan")), (3, 2.0)])
    assert broken.values.tolist() == [1.0, 2.0]


def test_learning_rates_far_apart():
    steps = np.array([1, 2, 3])
    high = line_chart.Line("a", steps, np.array([0, 1.0, 0]))
    low = line_chart.Line("b", steps, np.array([0, 0.001, 0]))
    assert "0.0001" in line_chart.draw([high, low], line_chart.Axes("step", log_y=True), "x")


@pytest.mark.filterwarnings("error")
def test_a_legend_of_many_long_names_leaves_room_for_the_lines():
    names = [f"finetune-instance_discrimination {number}" for number in range(21)]
    lines = [line_chart.Line(name, [0, 1], [0.1, 0.2], number) for number, name in enumerate(names)]
    assert line_chart.draw(lines, line_chart.Axes("step"), "x").count("<text") > len(lines)


@pytest.mark.parametrize(
    "by_chance, expected",
    [
        (None, "4.0%"),  # of an evaluation before it was saved
        (0.031, "4.0% (perfectly calibrated, about 3.1%)"),
        (0.052, "4.0%, no more than chance makes (perfectly calibrated, about 5.2%)"),
    ],
)
def test_calibration_error_beside_that_of_chance(tmp_path, by_chance, expected):
    content = report_runs.document()
    if by_chance is not None:
        details = content["details"]["trained"]["classifier"]
        details["calibration_error_by_chance"] = by_chance
    path = report_runs.write(tmp_path / "run", content, events=False)
    (read,) = runs_lib.read([path])
    caption = charts.calibration(read, 0).caption
    assert caption.startswith(f"calibration error (ECE) {expected}: below the dashed line")


@pytest.mark.parametrize(("num_classes", "is_row"), [(5, False), (6, True)])
def test_top_5_of_five_classes_is_no_row(num_classes, is_row):
    content = report_runs.document()
    content["run"]["class_names"] = [str(label) for label in range(num_classes)]
    content["figures"]["trained"]["classifier"]["label_top_5_accuracy"] = 1.0
    assert ("| classifier, top 5 " in report.results_table(content)) == is_row


def test_results_table():
    lines = report.results_table(report_runs.document()).splitlines()
    assert lines[0] == "| figure                  | raw pixels | untrained network | this network |"
    assert lines[1] == "|-------------------------|-----------:|------------------:|-------------:|"
    assert "| linear probe            |      65.0% |             37.5% |        90.3% |" in lines
    assert "| classifier, top 1       |            |                   |        90.0% |" in lines
    of_a_layer = "| block_group4   |        37.5% | 45.0% |           0.400 |          0.300 |"
    assert f"{of_a_layer}           18.6 |" in lines
    assert (
        lines[-1]
        == "few_labels is left out (trained block_group4): only one class among the labels"
    )
    content = report_runs.document()
    other = report_runs.document()
    (entry,) = other["left_out"]
    other["left_out"] = [entry, {**entry, "evaluation": "knn"}, {**entry, "reason": "other"}]
    assert report.results_table(other).splitlines()[-3:] == [
        "few_labels, knn are left out (trained block_group4): only one class among the labels",
        "",
        "few_labels is left out (trained block_group4): other",
    ]
    content["left_out"][0]["reason"] = "a | b\nc"
    assert report.results_table(content).endswith("a \\| b c")


def test_every_metric_is_explained():
    for name in (
        *report_runs.METRICS,
        "task_accuracy",
        "task_loss",
        "task_chance",
        "label_top_5_accuracy",
        "negative_log_likelihood",
        "few_labels_100_accuracy",
    ):
        metric = metric_names.metric(name)
        assert (
            metric.explanation
            and "#" not in metric.label + metric.explanation
            and metric.better in ("higher", "lower", "")
        )


def test_tensorboard_command(tmp_path):
    paths = [
        report_runs.write(tmp_path / "with space" / name, report_runs.document(name), events=False)
        for name in "ab"
    ]
    assert page_tables.tensorboard(runs_lib.read(paths[:1])) == f"tensorboard --logdir='{paths[0]}'"
    assert (
        page_tables.tensorboard(runs_lib.read(paths))
        == f"tensorboard --logdir_spec='a:{paths[0]},b:{paths[1]}'"
    )
