"""BUILD against the imports of the code: imports only go down, and BUILD says what is true."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent


def targets():
    """{target: (its files, its deps)} of BUILD, whose language is close enough to Python."""
    found = {}
    for call in ast.walk(ast.parse((ROOT / "BUILD").read_text())):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("py_"):
            rule = {keyword.arg: keyword.value for keyword in call.keywords}
            srcs = rule["srcs"]
            patterns = [
                element.value
                for element in (srcs.args[0] if isinstance(srcs, ast.Call) else srcs).elts
            ]
            files = {path for pattern in patterns for path in ROOT.glob(pattern)}
            found[rule["name"].value] = (
                files,
                {dep.value.lstrip(":") for dep in rule["deps"].elts} if "deps" in rule else set(),
            )
    return found


def imports(path):
    """The files of the project that `path` imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            base = ROOT / name.replace(".", "/")
            yield from (
                file for file in (base.with_suffix(".py"), base / "__init__.py") if file.exists()
            )


def test_every_file_has_one_target():
    files = [path for files, _ in targets().values() for path in files]
    assert sorted(files) == sorted([*ROOT.glob("tf_simclr/**/*.py"), ROOT / "run.py"])


def test_deps_are_the_imports():
    owner = {path: name for name, (files, _) in targets().items() for path in files}
    root = ROOT / "tf_simclr" / "__init__.py"
    for name, (files, deps) in targets().items():
        used = {owner[file] for path in files for file in imports(path) if file != root} - {name}
        assert used == deps - {"package"}, (
            f"{name}: imports {sorted(used)}, BUILD says {sorted(deps)}"
        )


def test_no_cycles():
    deps = {name: set(wanted) for name, (_, wanted) in targets().items()}
    while deps:
        leaves = {name for name, wanted in deps.items() if not wanted}
        assert leaves, f"a cycle among {sorted(deps)}"
        deps = {name: wanted - leaves for name, wanted in deps.items() if name not in leaves}


def test_only_run_reads_global_flags():
    for path in ROOT.glob("tf_simclr/**/*.py"):
        assert not re.search(r"\bFLAGS\b", path.read_text()), path


def test_what_must_not_import_tensorflow():
    names = ("errors", "config/*", "runs/*", "report/*", "commands/stages", "evaluation/results")
    for path in [path for name in names for path in ROOT.glob(f"tf_simclr/{name}.py")]:
        modules = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in _modules(node)
        }
        assert not modules & {"tensorflow", "keras"}, path


def _modules(node):
    if isinstance(node, ast.ImportFrom):
        return [node.module]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_nothing_runs_what_it_reads():
    """No file that comes from elsewhere is unpickled or evaluated; YAML has its safe loader alone."""
    for path in [*ROOT.glob("tf_simclr/**/*.py"), ROOT / "run.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, (ast.Import, ast.ImportFrom))
                else []
            )
            assert not {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"} & {
                name.split(".")[0] for name in names
            }, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), path
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "yaml":
                assert node.attr in ("safe_load", "YAMLError"), path
            if isinstance(node, ast.keyword):
                assert node.arg not in ("allow_pickle", "shell", "enable_unsafe_deserialization"), (
                    path
                )
