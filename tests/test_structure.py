"""The structure of the code: who imports whom, what is written down once, what is never called."""

import ast
import pathlib
import re

from tf_simclr.commands.run import COMMANDS
from tf_simclr.config.registry import MODES
from tf_simclr.runs import files as run_files

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tf_simclr"
MODULES = sorted(PACKAGE.glob("**/*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("**/*.py"))
MAX_ENTRIES = 17  # at the root of the package
MAX_FLOORS = 10  # the longest chain of imports between libraries
WITHOUT_TENSORFLOW = (
    "errors",
    "config/*",
    "runs/*",
    "report/*",
    "commands/stages",
    "commands/planning/batch_sizes",
    "commands/planning/budget",
    "commands/planning/costs",
    "commands/planning/facts",
    "commands/planning/network_choice",
    "commands/planning/networks",
    "commands/planning/recipe_text",
    "commands/planning/rule",
    "commands/planning/rules",
    "evaluation/results",
)
UNSAFE_MODULES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SAFE_YAML = ("safe_load", "safe_dump", "compose", "SafeLoader", "YAMLError")
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_ARGUMENTS = {"allow_pickle", "shell", "enable_unsafe_deserialization"}


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def libraries():
    """{name: (its files, names of its deps)} of BUILD, whose language is close enough to Python."""
    rules = {}
    for call in ast.walk(parse(ROOT / "BUILD")):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("py_"):
            arguments = {keyword.arg: keyword.value for keyword in call.keywords}
            deps = {text.lstrip(":") for text in texts(arguments.get("deps"))}
            patterns = texts(arguments["srcs"])
            files = {path for pattern in patterns for path in ROOT.glob(pattern)}
            (name,) = texts(arguments["name"])
            rules[name] = (files, deps)
    return rules


def texts(node):
    """All texts in a part of BUILD."""
    if node is None:
        return []
    constants = [child for child in ast.walk(node) if isinstance(child, ast.Constant)]
    return [constant.value for constant in constants]


def dependencies():
    """{name of a library: names of those that it imports}."""
    return {name: deps for name, (_, deps) in libraries().items()}


def imported_names(path):
    """The dotted names that a file imports."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_files(path):
    """The files of the project that a file imports."""
    for name in imported_names(path):
        base = ROOT / name.replace(".", "/")
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.exists():
                yield file


def test_every_file_is_in_one_library():
    files = [path for files, _ in libraries().values() for path in files]
    assert sorted(files) == sorted([*MODULES, ROOT / "run.py"])


def test_a_folder_is_one_library():
    library_of = {path: name for name, (files, _) in libraries().items() for path in files}
    for folder in [path for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]:
        names = {library_of[path] for path in folder.glob("**/*.py")}
        assert names == {folder.name}


def test_deps_are_the_imports():
    library_of = {path: name for name, (files, _) in libraries().items() for path in files}
    root = PACKAGE / "__init__.py"
    for name, (files, deps) in libraries().items():
        imported = {file for path in files for file in imported_files(path) if file != root}
        used = {library_of[file] for file in imported} - {name}
        wanted = deps - {"package"}
        assert used == wanted, f"{name}: imports {sorted(used)}, BUILD says {sorted(wanted)}"


def test_imports_only_go_down():
    """No cycle, and not too many floors: a library stands above all that it imports."""
    deps = dependencies()
    floors = 0
    while deps:
        lowest = {name for name, wanted in deps.items() if not wanted}
        assert lowest, f"a cycle among {sorted(deps)}"
        deps = {name: wanted - lowest for name, wanted in deps.items() if name not in lowest}
        floors += 1
    assert floors <= MAX_FLOORS


def test_the_root_of_the_package_can_be_overlooked():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


def test_tests_mirror_the_folders():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    tests = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert tests - {"__pycache__", "helpers"} <= folders


def test_names_of_run_files_are_written_once():
    """Whoever looks for what writes a file of a run directory finds its name in one place."""
    values = {value for name, value in vars(run_files).items() if name.isupper()}
    names = {value for value in values if isinstance(value, str) and re.search(r"\w\.\w", value)}
    assert len(names) > 10
    allowed = {PACKAGE / "runs" / "files.py", PACKAGE / "config" / "recipes.py"}
    for path in set(MODULES) - allowed:
        literals = {node.value for node in ast.walk(parse(path)) if isinstance(node, ast.Constant)}
        assert not names & literals, f"{path}: {names & literals}"


def test_every_mode_has_a_command():
    assert set(COMMANDS) == set(MODES)


def test_only_the_program_reads_global_flags():
    for path in MODULES:
        reads = re.search(r"\bFLAGS\b", path.read_text())
        assert not reads or path == PACKAGE / "commands" / "program.py", path


def test_what_must_not_import_tensorflow():
    for pattern in WITHOUT_TENSORFLOW:
        assert list(PACKAGE.glob(f"{pattern}.py")), pattern
    paths = [path for name in WITHOUT_TENSORFLOW for path in PACKAGE.glob(f"{name}.py")]
    for path in paths:
        roots = {name.split(".")[0] for name in imported_names(path)}
        assert not roots & {"tensorflow", "keras"}, path


def test_nothing_runs_what_it_reads():
    """No file that comes from elsewhere is unpickled or evaluated; YAML has its safe loader."""
    for path in [*MODULES, ROOT / "run.py"]:
        roots = {name.split(".")[0] for name in imported_names(path)}
        assert not roots & UNSAFE_MODULES, path
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in UNSAFE_CALLS, path
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "yaml":
                assert node.attr in SAFE_YAML, path
            if isinstance(node, ast.keyword):
                assert node.arg not in UNSAFE_ARGUMENTS, path


def test_text_has_an_encoding():
    """Without one the machine's locale decides: the class 猫 can't be written in many."""
    num_calls = 0
    for path in [*MODULES, *BENCHMARKS, ROOT / "run.py"]:
        for call in text_calls(parse(path)):
            num_calls += 1
            keywords = {keyword.arg for keyword in call.keywords}
            assert "encoding" in keywords, f"{path}:{call.lineno}: {ast.unparse(call)}"
    assert num_calls > 20


def text_calls(tree):
    """Calls that read or write text files: `open` and the methods of paths."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        is_method = isinstance(call.func, ast.Attribute)
        name = call.func.attr if is_method else getattr(call.func, "id", "")
        if name == "open":
            (mode, *_) = [*call.args[0 if is_method else 1 :], ast.Constant("r")]
            # What is opened by other methods, such as images, is no text constant.
            is_text = isinstance(mode, ast.Constant) and "b" not in mode.value
        else:
            # Our own functions of these names take a path besides.
            is_text = (name, len(call.args)) in (("read_text", 0), ("write_text", 1))
        if is_text:
            yield call


def test_the_table_of_imports_is_that_of_build():
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split("## Who may import whom")[1].split("\n## ")[0]
    table = {}
    for name, deps in re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE):
        table[name] = set() if deps == "nothing" else set(deps.split(", "))
    assert table == dependencies()
