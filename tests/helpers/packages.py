"""Packages of somebody else, which the tests import."""


def write_module(folder, monkeypatch, name, text):
    """Makes `name` ("package.module") importable in a test, with `text` as its content."""
    package, module = name.split(".")
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    (folder / package / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
