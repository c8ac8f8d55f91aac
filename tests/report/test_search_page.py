"""The page of a search in a real browser: clicks, marks, keys, labels.csv, 20,000 images."""

import csv
import io

import numpy as np
import pytest

from tests.helpers import browser
from tf_simclr.data import thumbnails
from tf_simclr.evaluation import compact_features
from tf_simclr.report import search_page
from tf_simclr.report.search_page import Images, Query, Thumbnails

pytestmark = pytest.mark.skipif(
    browser.find() is None, reason="neither Chromium nor Chrome is installed"
)
COUNT = 150
WIDTH = "document.documentElement.scrollWidth"
HITS = "[...document.querySelectorAll('.results li')].map(item => item.image)"
HOSTILE = '<img src=x onerror="window.harmed=1">, "ü".png'
COLUMNS = 4
KNOWN = {"photo 1.png": "known <b>", "of another split.png": "known <b>"}


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as opened:
        yield opened


def images_on_a_circle(count):
    """Images whose neighbors are those with the next numbers; the last one is not in the set."""
    angles = np.linspace(0, 3, count + 1)
    features = np.stack([np.cos(angles), np.sin(angles)], 1)
    compact = compact_features.compact(features)
    pixels = [np.full([8, 8, 3], number % 256, np.uint8) for number in range(count + 1)]
    small = [thumbnails.resize(image, 32) for image in pixels]
    per_sheet = COLUMNS**2
    sheets = []
    for first in range(0, count + 1, per_sheet):
        sheets.append(thumbnails.encode_sheet(small[first : first + per_sheet], 32, COLUMNS))
    shapes = np.full([count + 1, 2], 32)
    shapes[5] = 0  # a file that is gone
    names = [f"photo {number}.png" for number in range(count + 1)]
    names[3] = HOSTILE
    labels = ["", "known <b>"] + [""] * (count - 1)
    return Images(
        names=names,
        labels=labels,
        features=compact.values,
        rests=compact.rests,
        step=compact.step,
        count=count,
        thumbnails=Thumbnails(sheets, COLUMNS, 32, shapes),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "search.html"
    neighbors = np.array([3, 4, 2])
    queries = [
        Query(COUNT, np.array([149, 148]), np.array([0.99, 0.98])),
        Query(2, neighbors, np.full(3, 0.5)),
    ]
    text = search_page.render(images_on_a_circle(COUNT), queries, ["a <note>"], known=KNOWN)
    path.write_text(text, encoding="utf-8")
    return path


def labels_of(content):
    header, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
    assert header == ["file", "label"]
    return dict(lines)


def save(chromium, directory):
    script = "document.getElementById('save').click()"
    return labels_of(chromium.download(directory, lambda: chromium.evaluate(script)))


def test_what_a_click_does_is_said(chromium, page):
    assert "<noscript>" in page.read_text(encoding="utf-8")
    chromium.open(page)
    status = chromium.evaluate("document.getElementById('status').textContent")
    assert status.endswith("A click shows what is most like an image, a tick marks it.")


def test_a_click_changes_the_results(chromium, page):
    chromium.open(page)
    assert chromium.evaluate(HITS)[:4] == [149, 148, 147, 146]  # those of the query
    chromium.evaluate("document.querySelectorAll('.hit')[3].click()")
    hits = chromium.evaluate(HITS)
    assert set(hits[:4]) == {144, 145, 147, 148} and 146 not in hits
    assert chromium.evaluate("document.getElementById('name').textContent") == "photo 146.png"
    chromium.evaluate("document.getElementById('more').click()")
    assert len(chromium.evaluate(HITS)) == 120
    chromium.evaluate("document.getElementById('back').click()")
    assert chromium.evaluate(HITS)[0] == 149
    chromium.evaluate("document.querySelectorAll('#queries button')[1].click()")
    assert chromium.evaluate(HITS)[:3] == [3, 4, 2]  # by the full features, not by the page's
    assert (chromium.complaints(), chromium.outside()) == ([], [])


def test_marks_by_pointer(chromium, page, tmp_path):
    chromium.open(page)
    for number in (0, 2):
        chromium.evaluate(f"document.querySelectorAll('.mark input')[{number}].click()")
    assert chromium.evaluate("document.getElementById('marked').textContent") == "2 marked"
    chromium.evaluate("document.getElementById('class').value = ' new  class '")
    chromium.evaluate("document.getElementById('assign').click()")
    expected = {"photo 149.png": "new class", "photo 147.png": "new class"}
    assert save(chromium, tmp_path / "first") == {**KNOWN, **expected}
    chromium.evaluate("document.getElementById('known').click()")
    assert save(chromium, tmp_path / "second") == expected
    assert (chromium.complaints(), chromium.outside()) == ([], [])


def test_keyboard_alone(chromium, page, tmp_path):
    """Arrows, Enter, Space and Backspace; from a name that would be HTML to the CSV."""
    chromium.open(page)
    chromium.press("ArrowRight", "ArrowRight", " ", "ArrowRight", "Enter")
    assert chromium.evaluate("document.getElementById('name').textContent") == "photo 147.png"
    chromium.press("ArrowRight", " ", "Backspace", "Backspace")
    assert chromium.evaluate(HITS)[0] == 149
    marked = chromium.evaluate("[...marks]")
    assert marked[0] == 148 and len(marked) == 2
    chromium.evaluate("search(2)")
    chromium.press(" ")
    for _ in range(10):
        chromium.press("Tab")
        if chromium.evaluate("document.activeElement.id") == "class":
            break
    chromium.call("Input.insertText", text='a,"b"')
    chromium.press("Enter")
    labels = save(chromium, tmp_path / "saved")
    assert labels[HOSTILE] == labels["photo 148.png"] == 'a,"b"' and len(labels) == 5
    assert KNOWN.items() <= labels.items()
    assert chromium.evaluate("typeof window.harmed") == "undefined"
    chromium.evaluate("marks.add(9); byId('class').value = 'x'; assign()")
    chromium.open(page)
    assert chromium.dialogs() == ["beforeunload"]


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sizes_and_colors(chromium, page, width, scheme):
    chromium.open(page, width, scheme=scheme)
    background = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    assert (max(chromium.evaluate(background)) < 60) == (scheme == "dark")
    assert chromium.evaluate(WIDTH) <= width
    assert (chromium.complaints(), chromium.outside()) == ([], [])


def test_thumbnails_are_those_of_the_images(chromium, page):
    """Each is a square of one gray; read back through a canvas."""
    chromium.open(page)
    script = """(async () => {
        const values = [];
        for (const image of [0, 21, 60, 147]) {
            const style = getComputedStyle(document.body.appendChild(shot(image)));
            const picture = new Image();
            picture.src = style.backgroundImage.slice(5, -2);
            await picture.decode();
            const [x, y] = ["--x", "--y"].map(name => Number(style.getPropertyValue(name)));
            const canvas = document.createElement("canvas").getContext("2d");
            canvas.drawImage(picture, -32 * x, -32 * y);
            values.push(canvas.getImageData(16, 16, 1, 1).data[0]);
        }
        return values;
    })()"""
    assert chromium.evaluate(script) == pytest.approx([0, 21, 60, 147], abs=2)
    assert chromium.evaluate("shot(5).textContent") == "photo 5.png"


def test_twenty_thousand_images_are_searched_at_once(chromium, tmp_path, rng):
    """The page ranks as Euclidean distance of its features does, in a fraction of a second."""
    count = 20_000
    features = rng.integers(-127, 128, (count, 64), dtype=np.int8)
    rests = rng.integers(0, 50_000, count)
    images = Images(
        names=[str(number) for number in range(count)],
        labels=[""] * count,
        features=features,
        rests=rests,
        step=0.001,
        count=count,
        thumbnails=Thumbnails([], COLUMNS, 32, np.zeros([count, 2], np.int64)),
    )
    text = search_page.render(images, [Query(0, np.array([]), np.array([]))], known={})
    (tmp_path / "search.html").write_text(text, encoding="utf-8")
    chromium.open(tmp_path / "search.html")
    distances = np.square(features.astype(np.int64) - features[7]).sum(1) + rests + rests[7]
    distances[7] = 0
    expected = np.argsort(distances, kind="stable")[1:21]
    assert chromium.evaluate("rank(7)[0].slice(0, 20)") == expected.tolist()
    cosines = 1 - 0.001**2 / 2 * distances[expected]
    assert chromium.evaluate("rank(7)[1].slice(0, 20)") == pytest.approx(cosines.tolist())
    script = (
        "(() => { const start = performance.now(); rank(9); return performance.now() - start; })()"
    )
    assert min(chromium.evaluate(script) for _ in range(5)) < 500  # milliseconds
