"""A report in a real browser: no complaint, no request, the map answers, phones, dark mode."""

import numpy as np
import pytest
from PIL import Image

from tests.helpers import browser, report_runs
from tests.helpers.report_runs import HOSTILE
from tf_simclr import report

pytestmark = pytest.mark.skipif(
    browser.find() is None, reason="neither Chromium nor Chrome is installed"
)
# Not against innerWidth, which on a phone grows with what does not fit.
WIDTH = "document.documentElement.scrollWidth"
BACKGROUND = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
TIP = """(tip => [
    tip.hidden,
    tip.textContent.trim(),
    getComputedStyle(tip.querySelector('.thumb')).backgroundPosition,
])(document.querySelector('.tip'))"""


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """The page of two runs with everything there is."""
    path = tmp_path_factory.mktemp("browser")
    report.write(
        [
            report_runs.write(path / name, report_runs.document(name), seed)
            for seed, name in enumerate(("pretrain", "finetune"))
        ],
        path / "report.html",
    )
    return path / "report.html"


def middle(chromium, number):
    """Where a point of the open map is in the window."""
    return chromium.evaluate(f"""(() => {{
        const point = document.querySelectorAll('details[open] .board use')[{number}];
        point.scrollIntoView({{block: 'center', behavior: 'instant'}});
        const box = point.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    }})()""")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page(chromium, two_runs, width, scheme):
    chromium.open(two_runs, width, scheme=scheme)
    assert (chromium.complaints(), chromium.outside()) == ([], [])
    chromium.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert chromium.evaluate(WIDTH) <= width
    assert (max(chromium.evaluate(BACKGROUND)) < 60) == (scheme == "dark")
    assert (
        min(
            chromium.evaluate(
                "getComputedStyle(document.querySelector('.chart "
                "text')).fill.match(/[0-9]+/g).map(Number)"
            )
        )
        > 130
    ) == (scheme == "dark")


def test_a_table_that_goes_on_has_a_shadow(chromium, two_runs, tmp_path):
    """At the edge behind which there is more of it, and nowhere else."""
    chromium.open(two_runs, 360)
    table = "document.querySelector('#evaluations .scroll')"
    chromium.evaluate(f"{table}.scrollIntoView({{behavior: 'instant'}})")

    def darkest(end):
        """Of the pixels of a header row at both edges."""
        chromium.evaluate(f"{table}.scrollLeft = {end}")
        box = chromium.evaluate(
            f"(() => {{ const box = {table}.getBoundingClientRect(); "
            "return [box.left, box.right, box.top]; })()"
        )
        left, right, top = map(round, box)
        chromium.screenshot(tmp_path / "page.png")
        gray = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
        return gray[top + 2, left + 2], gray[top + 2, right - 4]

    paper = 250
    assert chromium.evaluate(f"{table}.scrollWidth > {table}.clientWidth + 60")
    left, right = darkest(0)
    assert left > paper and right < 0.9 * paper
    left, right = darkest(30)
    assert left < 0.95 * paper and right < 0.9 * paper
    left, right = darkest(9999)
    assert left < 0.9 * paper and right > paper


def test_names_of_rows_stay_in_a_wide_table(chromium, two_runs, tmp_path):
    """With an edge, which cuts off what scrolls behind them."""
    chromium.open(two_runs, 360)
    table = "document.querySelector('#evaluations .scroll')"
    left = f"{table}.querySelector('tbody th').getBoundingClientRect().left"
    before = chromium.evaluate(left)
    chromium.evaluate(f"{table}.scrollLeft = 60")
    assert chromium.evaluate(f"{table}.scrollLeft") == 60
    assert chromium.evaluate(left) == pytest.approx(before, abs=1)
    name = f"{table}.querySelector('tbody th')"
    chromium.evaluate(f"{name}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = f"(box => [box.right, box.top, box.bottom])({name}.getBoundingClientRect())"
    right, top, bottom = map(round, chromium.evaluate(box))
    chromium.screenshot(tmp_path / "page.png")
    gray = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    edge = gray[top + 2 : bottom - 2, right - 1 : right + 2]
    assert edge.min(1).max() < 240  # in each row of pixels


def test_map(chromium, two_runs):
    """Mouse, finger and keyboard show an image; the legend selects its class."""
    chromium.open(two_runs)
    script = TIP.replace("document.", "document.querySelector('details[open] .map').")
    assert chromium.evaluate(script)[0]
    x, y = middle(chromium, 13)
    chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    hidden, text, position = chromium.evaluate(script)
    assert not hidden and text.startswith("test/") and "class " in text and "%" in position
    number = int(text.split("/")[1].split()[0])
    columns, rows = report_runs.COLUMNS, report_runs.IMAGES // report_runs.COLUMNS
    percentages = [float(part.rstrip("%")) for part in position.split()]
    assert percentages == pytest.approx(
        [100 * (number % columns) / (columns - 1), 100 * (number // columns) / (rows - 1)], abs=0.01
    )
    chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert chromium.evaluate(script)[0]
    chromium.evaluate("document.querySelector('details[open] .board svg').focus()")
    chromium.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
    assert not chromium.evaluate(script)[0]
    before = middle(chromium, 13)
    chromium.evaluate("document.querySelector('details[open] [value=b]').click()")
    chromium.evaluate(
        "Promise.all(document.getAnimations().map(animation => animation.finished)).then(() => 0)"
    )
    assert middle(chromium, 13) != before
    chromium.evaluate("document.querySelector('details[open] .legend button:nth-child(2)').click()")
    lit = (
        "[...document.querySelectorAll('details[open] .board use.on')]"
        ".map(point => point.dataset.label)"
    )
    assert set(chromium.evaluate(lit)) == {"0"} and chromium.complaints() == []


def test_finger(chromium, two_runs):
    chromium.open(two_runs, 360)
    x, y = middle(chromium, 5)
    for kind, points in (("touchStart", [{"x": x + 4, "y": y}]), ("touchEnd", [])):
        chromium.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    assert not chromium.evaluate("document.querySelector('details[open] .tip').hidden")
    assert chromium.evaluate(WIDTH) == 360


def test_print(chromium, two_runs):
    """On paper everything is open, light and with its images."""
    chromium.open(two_runs, 800, scheme="dark", media="print")
    assert min(chromium.evaluate(BACKGROUND)) > 200
    assert chromium.evaluate(
        "[...document.querySelectorAll('details > :not(summary)')].every(one => "
        "one.checkVisibility() && one.getBoundingClientRect().height > 0)"
    )
    assert (
        chromium.evaluate("getComputedStyle(document.querySelector('.thumb')).printColorAdjust")
        == "exact"
    )
    assert chromium.evaluate(WIDTH) == 800
    tables = "[...document.querySelectorAll('.scroll')]"
    assert chromium.evaluate(f"{tables}.every(one => one.scrollWidth <= one.clientWidth)")


def test_hostile_names(chromium, tmp_path):
    hostile = [name.replace("alert(1)", "window.harmed=1") for name in HOSTILE]
    content = report_runs.document(
        hostile[1],
        class_name=lambda label: hostile[label % len(hostile)],
        file_name=lambda number: hostile[number % len(hostile)],
    )
    content["left_out"][0]["reason"] = content["command"] = content["environment"]["python"] = (
        hostile[-1]
    )
    report.write(
        [report_runs.write(tmp_path / "run", content, events=False)], tmp_path / "report.html"
    )
    chromium.open(tmp_path / "report.html", 360)
    x, y = chromium.evaluate(
        "(() => { const box = document.querySelector('.board').getBoundingClientRect(); "
        "scrollTo(0, box.y); return [box.x + 20, 20]; })()"
    )
    chromium.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    chromium.evaluate(
        "document.querySelector('.board svg').dispatchEvent(new KeyboardEvent('keydown', {key: "
        "'ArrowRight'}))"
    )
    assert chromium.evaluate("document.querySelector('.tip p').textContent").startswith(
        tuple(hostile)
    )
    assert chromium.evaluate("typeof window.harmed") == "undefined"
    assert (chromium.complaints(), chromium.outside()) == ([], []) and chromium.evaluate(
        WIDTH
    ) == 360


def test_the_checks_see_what_they_look_for(chromium, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<body style='background: #fff'><div style='width: 2000px'>wide</div><img "
        "src='http://127.0.0.1:9/x.png'><script>console.error('seen'); undefined.x;</script>"
    )
    chromium.open(bad, 360, scheme="dark")
    complaints = chromium.complaints()
    assert (
        any("seen" in complaint for complaint in complaints)
        and any("Uncaught" in complaint for complaint in complaints)
        and chromium.outside() == ["http://127.0.0.1:9/x.png"]
    )
    assert chromium.evaluate(WIDTH) > 360 and min(chromium.evaluate(BACKGROUND)) == 255
