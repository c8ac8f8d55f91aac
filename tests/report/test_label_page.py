"""The page that asks for classes, in a real browser: keys, undo, storage, names, labels.csv."""

import csv
import functools
import http.server
import io
import threading

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.helpers import browser
from tf_simclr.data import label_file, thumbnails
from tf_simclr.report import label_page
from tf_simclr.report.label_page import Neighbor, Question

pytestmark = pytest.mark.skipif(
    browser.find() is None, reason="neither Chromium nor Chrome is installed"
)
COUNT = 20
HOSTILE_NAMES = (
    'quo"te.png',
    "com,ma;semi.png",
    "Bär öß 猫.png",
    "<script>window.harmed=1</script>.png",
    " leading.png",
    "trailing.png ",
    "deep er/'single' &amp; =1+1.png",
    "file.png",
    "back\\slash.png",
    "x" * 120 + ".png",
)
WIDTH = "document.documentElement.scrollWidth"
STATUS = "document.getElementById('status').textContent"
NAME = "document.getElementById('name').textContent"
NO_STORAGE = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('none') }})"


@pytest.fixture(scope="module")
def opened():
    with browser.Browser() as chromium:
        yield chromium


@pytest.fixture
def chromium(opened):
    """The browser of all tests, without what the one before has left in its storage."""
    yield opened
    opened.evaluate("localStorage.clear()")


@pytest.fixture
def served(tmp_path):
    """The address of the folder of a test over HTTP.

    Now and then Chromium gives a page of a file a storage of its own, which is gone at the next
    visit: about one visit in 150.
    """
    handler = functools.partial(QuietHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("Cache-Control", "no-store")  # a page that is written anew is read anew
        super().end_headers()

    def log_message(self, *unused):
        pass


@pytest.fixture(scope="module")
def digits():
    """(images uint8 [n, 8, 8, 3], classes [n]) of more digits than are asked for."""
    images, labels = load_digits(return_X_y=True)
    pixels = np.uint8(images[:100] * 15).reshape(-1, 8, 8, 1)
    return np.repeat(pixels, 3, -1), labels[:100]


def neighbor(digits, number, looks_same):
    image = thumbnails.encode(digits[0][number], 48)
    return Neighbor(f"digit {number}.png", image, looks_same)


def questions(digits, names=None):
    """The first digits; beside each two others of its class, and one of another class."""
    images, labels = digits
    asked_for = []
    for number in range(COUNT if names is None else len(names)):
        others = COUNT + np.flatnonzero(labels[COUNT:] == labels[number])[:2]
        different = COUNT + np.flatnonzero(labels[COUNT:] != labels[number])[0]
        near = [neighbor(digits, other, True) for other in others]
        name = names[number] if names else f"digit {number}.png"
        image = thumbnails.encode(images[number], 256)
        near.append(neighbor(digits, different, False))
        asked_for.append(Question(name, image, f"typical of {number}", number, tuple(near)))
    return asked_for


def write(path, asked_for, class_names=(), known=None, splits=None):
    note = "python run.py <b>--labels</b>"
    page = label_page.render(asked_for, class_names, known or {}, note=note, splits=splits)
    path.write_text(page, encoding="utf-8")
    return path


def labels_of(content):
    """{file: class} of a labels.csv."""
    header, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
    assert header == ["file", "label"]
    assert len(dict(lines)) == len(lines)
    return dict(lines)


def save(chromium, directory):
    return labels_of(chromium.download(directory, lambda: chromium.press("s", control=True)))


def test_twenty_digits_by_keys(chromium, digits, tmp_path):
    """With an undo, a skip, a "not sure", a "none of these" and two taken along."""
    names = [str(label) for label in range(10)]
    known = {"old, image.png": "7"}
    chromium.open(write(tmp_path / "label.html", questions(digits), names, known))
    keys = [str(label) for label in digits[1][:COUNT]]
    keys[4:5] = ["1", "Backspace", keys[4]]  # a mistake
    expected = {f"digit {number}.png": str(digits[1][number]) for number in range(COUNT)}
    chromium.press(*keys[:8])  # digits 0 to 5
    chromium.press("ArrowRight", "?", "-")
    for number in (6, 7, 8):
        del expected[f"digit {number}.png"]
    chromium.press(" ", *keys[11:])
    for each in questions(digits)[9].neighbors[:2]:
        expected[each.name] = str(digits[1][9])
    assert chromium.evaluate("document.getElementById('summary').textContent") == (
        "17 of 20 images labeled, 1 none of these, 1 not sure, 1 skipped."
    )
    assert save(chromium, tmp_path / "saved") == {**known, **expected}
    assert (chromium.complaints(), chromium.outside()) == ([], [])


def test_a_class_that_comes_later_changes_no_keys(chromium, digits, tmp_path):
    """Digits stay their own keys; "A" and "a", which no key tells apart, have none."""
    names = ("0", "7", "A", "a", "b")
    chromium.open(write(tmp_path / "label.html", questions(digits)[:5], names))
    keys = "usedClasses().map(([name, , key]) => key ?? '')"
    assert chromium.evaluate(keys) == ["0", "7", "", "", "b"]
    chromium.press("0", "+")
    chromium.call("Input.insertText", text="cat")
    chromium.press("Enter", "Escape")
    assert chromium.evaluate(keys) == ["0", "7", "", "", "b", "1"]
    chromium.press("0", "7", "b", "1")
    labels = save(chromium, tmp_path / "saved")
    assert list(labels.values()) == ["0", "0", "7", "b", "cat"]


def test_signs_on_the_keys_of_digits_are_no_answers(chromium, digits, tmp_path):
    """Of a French keyboard, where Shift makes the digit."""
    chromium.open(write(tmp_path / "label.html", questions(digits)[:1], ("cat",)))
    for action in (
        "!actionOf({key: '-', code: 'Digit6', shiftKey: false})",
        "actionOf({key: '&', code: 'Digit1', shiftKey: false})",
        "actionOf({key: '1', code: 'Digit1', shiftKey: true})",
        "actionOf({key: '-', code: 'NumpadSubtract', shiftKey: false})",
    ):
        assert chromium.evaluate(f"Boolean({action})"), action


def test_what_readers_of_all_kinds_are_told(chromium, digits, tmp_path):
    """With a screen reader, without scripts, for the first time."""
    path = write(tmp_path / "label.html", questions(digits)[:2], ("0", "cat"), {"old.png": "cat"})
    assert "<noscript>" in path.read_text(encoding="utf-8")
    chromium.open(path)
    labels = "[...document.querySelectorAll('#classes button')].map(one => one.ariaLabel)"
    assert chromium.evaluate(labels) == ["0, 0 labels, key 0", "cat, 1 label, key 1"]
    headings = "[...document.querySelectorAll('h1')].map(one => one.textContent)"
    assert chromium.evaluate(headings) == ["Images to label"]
    hint = "document.querySelector('#near .hint').textContent"
    assert chromium.evaluate(hint) == "Those that you click get the same class."


def test_what_was_taken_along_follows_a_correction(chromium, digits, tmp_path):
    asked_for = questions(digits)[:2]
    chromium.open(write(tmp_path / "label.html", asked_for, ("cat", "dog")))
    chromium.press(" ", "1", "1")
    chromium.evaluate("document.getElementById('overview').open = true")
    chromium.evaluate("render()")
    chromium.evaluate("document.querySelector('#all button').click()")
    chromium.press("2")
    beside = [neighbor.name for neighbor in asked_for[0].neighbors[:2]]
    expected = {"digit 0.png": "dog", "digit 1.png": "cat", **dict.fromkeys(beside, "dog")}
    assert save(chromium, tmp_path / "saved") == expected


def test_splits_of_the_table_stay(chromium, digits, tmp_path):
    known, splits = (
        {"old.png": "cat", "held out.png": "dog"},
        {"old.png": "train", "held out.png": "test"},
    )
    asked_for = questions(digits)[:1]
    chromium.open(write(tmp_path / "label.html", asked_for, ("cat", "dog"), known, splits))
    chromium.press("2")
    content = chromium.download(tmp_path / "saved", lambda: chromium.press("s", control=True))
    table = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert table[0] == ["file", "label", "split"]
    rows = [
        ["digit 0.png", "dog", "train"],
        ["held out.png", "dog", "test"],
        ["old.png", "cat", "train"],
    ]
    assert sorted(table[1:]) == rows


def test_the_skipped_come_again(chromium, digits, tmp_path):
    chromium.open(write(tmp_path / "label.html", questions(digits)[:3], ("cat", "dog")))
    chromium.press("ArrowRight", "1", "ArrowRight")
    assert not chromium.evaluate("document.getElementById('end').hidden")
    chromium.evaluate("document.getElementById('again').click()")
    chromium.press("2", "2")
    names = {"digit 0.png": "dog", "digit 1.png": "cat", "digit 2.png": "dog"}
    assert save(chromium, tmp_path / "saved") == names


def test_keyboard_alone_from_no_class(chromium, digits, tmp_path):
    """Classes are typed first; Tab and Enter reach what has no key of its own."""
    chromium.open(write(tmp_path / "label.html", questions(digits)[:3]))
    for text in ("cat", " big   dog ", "Cat"):  # the field has the focus
        chromium.call("Input.insertText", text=text)
        chromium.press("Enter")
    assert chromium.evaluate("document.getElementById('message').textContent") == (
        "There is a class cat already."
    )
    chromium.press("Escape", "2", "+")
    chromium.call("Input.insertText", text='<i>"é",')
    chromium.press("Enter", "Escape", "3")
    for _ in range(30):
        chromium.press("Tab")
        if chromium.evaluate("document.activeElement.dataset.neighbor") == "2":
            break
    chromium.press("Enter", "1")
    labels = save(chromium, tmp_path / "saved")
    other = questions(digits)[2].neighbors[2].name
    assert labels == {
        "digit 0.png": "big dog",
        "digit 1.png": '<i>"é",',
        "digit 2.png": "cat",
        other: "cat",
    }


def test_more_classes_than_keys(chromium, digits, tmp_path):
    """Digits, then letters; all others by a part of their name."""
    names = [f"class {number:02}" for number in range(40)]
    chromium.open(write(tmp_path / "label.html", questions(digits)[:3], names), width=360)
    chromium.press("9", "z", "/")
    chromium.call("Input.insertText", text="s 38")
    chromium.press("Enter")
    labels = save(chromium, tmp_path / "saved")
    assert list(labels.values()) == ["class 08", "class 34", "class 38"]
    assert chromium.evaluate(WIDTH) == 360


def test_a_class_is_renamed(chromium, digits, tmp_path):
    path = write(tmp_path / "label.html", questions(digits)[:2], ("dgo",), {"old.png": "dgo"})
    chromium.open(path)
    assert chromium.evaluate("result() === result()")  # of many known labels it takes a while
    chromium.press("1")
    chromium.evaluate("document.getElementById('editor').open = true")
    chromium.evaluate("new Promise(done => setTimeout(done, 50))")
    chromium.evaluate("document.querySelector('#names input').select()")
    chromium.evaluate("document.querySelector('#names input').focus()")
    chromium.call("Input.insertText", text="dog")
    chromium.press("Enter")
    labels = save(chromium, tmp_path / "saved")
    assert labels == {"old.png": "dog", "digit 0.png": "dog"}


def test_what_is_kept_between_visits(chromium, digits, tmp_path, served):
    """The answers, and the neighbors taken along; not those of another round."""
    path = write(tmp_path / "label.html", questions(digits)[:4], ("cat", "dog"))
    page = f"{served}/{path.name}"
    chromium.open(page)
    chromium.press(" ", "1", "2")
    chromium.open(page)
    assert chromium.dialogs() == ["beforeunload"]
    assert chromium.evaluate(STATUS) == "3 of 4 · 2 done · 4 labels"
    assert len(save(chromium, tmp_path / "saved")) == 4
    chromium.open(page)
    assert chromium.dialogs() == []
    chromium.press("Backspace", "Backspace")
    assert chromium.evaluate(STATUS) == "1 of 4 · 0 done · 0 labels"
    assert chromium.evaluate("document.querySelectorAll('#neighbors [aria-pressed=true]').length")
    chromium.press("1", "1")
    write(path, questions(digits)[:3], ("cat", "dog"))
    chromium.open(page)
    assert chromium.evaluate(STATUS) == "1 of 3 · 0 done · 0 labels"


def test_without_storage(chromium, digits, tmp_path):
    path = write(tmp_path / "label.html", questions(digits)[:2], ("cat", "dog"))
    script = chromium.call("Page.addScriptToEvaluateOnNewDocument", source=NO_STORAGE)
    try:
        chromium.open(path)
        assert not chromium.evaluate("document.getElementById('unkept').hidden")
        chromium.press("1", "2")
        labels = save(chromium, tmp_path / "saved")
    finally:
        chromium.call("Page.removeScriptToEvaluateOnNewDocument", **script)
    assert list(labels.values()) == ["cat", "dog"] and chromium.complaints() == []
    chromium.open(path)
    assert chromium.evaluate("document.getElementById('unkept').hidden")


def test_names_survive(chromium, digits, tmp_path):
    """Into the CSV, and through --labels back to the images; none is read as HTML."""
    classes = ['<img src=x onerror="window.harmed=1">', 'a,"b"', "Grün;Weiß"]
    names = list(HOSTILE_NAMES)
    known = {'known <b>,".png': classes[1]}
    chromium.open(write(tmp_path / "label.html", questions(digits, names), classes, known), 360)
    shown = []
    for number in range(len(names)):
        shown.append(chromium.evaluate(NAME))
        chromium.press(str(number % 3 + 1))
    chromium.evaluate("document.getElementById('editor').open = true")
    assert shown == names
    expected = {name: classes[number % 3] for number, name in enumerate(names)}
    expected |= known
    content = chromium.download(tmp_path / "saved", lambda: chromium.press("s", control=True))
    assert labels_of(content) == expected
    assert chromium.evaluate("typeof window.harmed") == "undefined"
    assert (chromium.complaints(), chromium.outside()) == ([], [])
    assert chromium.evaluate(WIDTH) == 360
    table = tmp_path / "labels.csv"
    table.write_bytes(content)
    images = {name: str(tmp_path / name) for name in expected}
    labels = label_file.read("labels.csv", [str(tmp_path)], images)
    assert (labels.classes, labels.notes) == (expected, ())


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sizes_and_colors(chromium, digits, tmp_path, width, scheme):
    names = [str(label) for label in range(10)]
    path = write(tmp_path / "label.html", questions(digits), names)
    chromium.open(path, width, scheme=scheme)
    background = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    assert (max(chromium.evaluate(background)) < 60) == (scheme == "dark")
    chromium.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert chromium.evaluate(WIDTH) <= width
    side = chromium.evaluate("document.getElementById('image').getBoundingClientRect().width")
    beside = "document.querySelector('#neighbors img').getBoundingClientRect().width"
    assert side > 3 * chromium.evaluate(beside)


def test_touch(chromium, digits, tmp_path):
    chromium.open(write(tmp_path / "label.html", questions(digits)[:2], ("cat", "dog")), 360)
    for selector in ("#neighbors button", "[data-class='1']"):
        x, y = chromium.evaluate(f"""(() => {{
            const button = document.querySelector("{selector}");
            button.scrollIntoView({{block: 'center', behavior: 'instant'}});
            const box = button.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()""")
        point = {"x": x, "y": y}
        for kind in ("mousePressed", "mouseReleased"):
            chromium.call(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **point
            )
    names = {"digit 0.png", questions(digits)[0].neighbors[0].name}
    assert save(chromium, tmp_path / "saved") == dict.fromkeys(names, "dog")
