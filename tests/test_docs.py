"""README.md, CONTRIBUTING.md and docs/: links, commands, names of flags and files, line lengths."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = sorted(ROOT.glob("docs/*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", *DOCS]
SET_UP = (
    "pip install -r requirements.txt && python run.py --mode=train_then_eval",
    "pip install -r requirements-test.txt && python -m pytest tests",
)
OTHER_FLAGS = {  # {whose: flags that are not in the configuration}
    "tf2onnx.convert": ["saved-model", "signature_def", "output"],
    "run.py": {"config", "help", "name", "train_summary_steps", "variable_schema"},
    "benchmarks": {
        *(
            "batch",
            "calls",
            "depth",
            "folder",
            "photos",
            "plot",
            "root",
            "rounds",
            "seeds",
            "steps",
            "table",
        ),
        *("times", "torch_python", "views", "warm_up", "width", "without_keras"),
    },
    "tensorboard": {"logdir"},
    "tensorflow_model_server": {"model_base_path", "model_name", "port", "rest_api_port"},
    "saved_model_cli": {"all", "dir", "inputs", "signature_def", "tag_set"},
    "pytest, ruff": {"check", "last-failed"},
    "TensorFlow Model Garden": {"config_file", "experiment", "params_override"},
    "solo-learn": {"config-name", "config-path"},
}
FOLDERS = r"(?:\.ci|benchmarks|docs|official_configs|tests|tf_simclr)"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def split_code(text):
    """(lines outside of fenced code blocks, code blocks without their fences)."""
    prose, blocks, block = [], [], None
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            if block is None:
                block = []
            else:
                blocks.append("\n".join(block))
                block = None
        elif block is None:
            prose.append(line)
        else:
            block.append(line)
    assert block is None, "a code block is not closed"
    return prose, blocks


def code_spans(text):
    """What stands in backticks outside of code blocks."""
    return re.findall(r"`([^`]+)`", "\n".join(split_code(text)[0]))


def links(text):
    """The targets of all links outside of code."""
    prose = re.sub(r"`[^`]+`", "code", "\n".join(split_code(text)[0]))
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose)


def anchors(text):
    """The anchors that GitHub gives to the headings: {str}."""
    counts = {}
    for line in split_code(text)[0]:
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if not heading:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])  # the text of a link
        words = re.sub(r"[^\w\- ]", "", words.lower())
        anchor = words.replace(" ", "-")
        counts[anchor] = counts.get(anchor, 0) + 1
        if counts[anchor] > 1:
            counts[f"{anchor}-{counts[anchor] - 1}"] = 1
    return set(counts)


def test_anchors():
    text = "# A\n```\n# code\n```\n## All `x`: y & z\n## A\n### [B c](d.md), e-f\n## A\n"
    assert anchors(text) == {"a", "a-1", "a-2", "all-x-y--z", "b-c-e-f"}


def test_links():
    text = "[a](b.md#c) `[d](e)` and [`f`](g)\n```\n[h](i)\n```\n"
    assert links(text) == ["b.md#c", "g"]


def test_readme_is_short_and_has_the_two_commands():
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    _, blocks = split_code(text)
    assert blocks[:2] == list(SET_UP)


@each_page
def test_links_resolve(page):
    for target in links(page.read_text()):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert file.is_relative_to(ROOT), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{page.name}: {target}"


def test_readme_links_every_page():
    linked = {target.partition("#")[0] for target in links(README.read_text())}
    missing = {page.relative_to(ROOT).as_posix() for page in PAGES if page != README} - linked
    assert not missing


@each_page
def test_prose_has_at_most_100_columns(page):
    prose, _ = split_code(page.read_text())
    long = [line for line in prose if len(line) > 100 and not line.startswith("|")]
    assert not long


def module_file(name):
    """What `python -m name` runs."""
    path = name.replace(".", "/")
    return f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"


@each_page
def test_files_exist(page):
    text = page.read_text()
    named = [span for span in code_spans(text) if re.fullmatch(rf"{FOLDERS}/[\w./-]*", span)]
    modules = re.findall(r"python -m ((?:benchmarks|tf_simclr)[\w.]+)", text)
    named += [module_file(name) for name in modules]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing


def test_recipes_are_those_of_official_configs():
    text = (ROOT / "docs" / "recipes.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    recipes = [path.stem for path in ROOT.glob("official_configs/*.yaml")]
    assert sorted(listed) == sorted(recipes)


@each_page
def test_flags_exist(page):
    table = (ROOT / "docs" / "flags.md").read_text()
    known = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)).union(*OTHER_FLAGS.values())
    mentioned = re.findall(r"(?<![\w-])--(?:[\w-]+\.)?([A-Za-z][\w-]*)", page.read_text())
    assert set(mentioned) <= known


def test_flags_are_generated():
    """`docs/flags.md` is what the command in its introduction prints."""
    command = [sys.executable, "-m", "tf_simclr.config.command_line"]
    generated = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "flags.md").read_text() == generated.stdout


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-test.txt"])
def test_requirements_are_explained(name):
    text = (ROOT / "docs" / "dependencies.md").read_text()
    lines = (ROOT / name).read_text().splitlines()
    required = [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-r"))]
    assert [line for line in required if f"`{line}`" not in text] == []
