"""The structure of the code: who may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {path.stem: path for path in (ROOT / "jaxmusic").glob("*.py")}
SCRIPTS = {path.stem: path for path in (ROOT / "scripts").glob("*.py")}


def imports_of(path: Path) -> set[str]:
    """All modules that a file imports, at its top or inside; not those for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def importers_of(package: str) -> set[str]:
    return {
        name
        for name, path in {**MODULES, **SCRIPTS}.items()
        if any(module == package or module.startswith(package + ".") for module in imports_of(path))
    }


def test_each_library_has_one_door() -> None:
    assert importers_of("mido") == {"midi"}
    assert importers_of("orbax") == {"checkpoint"}
    assert importers_of("tyro") <= {"config", *SCRIPTS}
    # It names the opcodes of a pickle and reads their arguments, but runs none.
    assert importers_of("pickletools") == {"pickled_texts"}


RUNS_CODE = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "jsonpickle", "shelve",
    "marshal", "yaml", "code", "codeop", "runpy",
}  # fmt: skip
ALL_SOURCES = [*MODULES.values(), *sorted((ROOT / "scripts").rglob("*.py"))]


def ways_to_run_data(path: Path) -> list[str]:
    """Where a file's code could run what it reads."""
    found = [name for name in imports_of(path) if name.split(".")[0] in RUNS_CODE]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called in ("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"):
            found.append(called)
        elif called.split(".")[-1] in ("load", "read_array") and called.startswith(
            ("np.", "numpy.")
        ):
            found += [called] if keywords.get("allow_pickle") != "False" else []
        elif keywords.get("allow_pickle", "False") != "False":
            found.append(called)
    return found


def test_nothing_that_is_read_can_run_code() -> None:
    for path in ALL_SOURCES:
        assert ways_to_run_data(path) == [], path


def test_ways_to_run_data_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    for code in (
        "import pickle", "from pickle import loads", "import joblib.numpy_pickle", "import marshal",
        "def f():\n    import yaml", "eval(x)", "exec(x)", "__import__(x)", "np.load(x)",
        "numpy.load(x, allow_pickle=True)", "np.save(x, y, allow_pickle=True)",
    ):  # fmt: skip
        path.write_text(code)
        assert ways_to_run_data(path), code
    path.write_text("np.load(x, allow_pickle=False)\nre.compile(x)\nimport pickletools")
    assert ways_to_run_data(path) == []


def test_only_scripts_import_train() -> None:
    assert importers_of("jaxmusic.train") <= set(SCRIPTS)


@pytest.mark.parametrize(
    "module",
    [
        "midi",
        "tokens",
        "corpus",
        "preparing",
        "parsing",
        "workers",
        "inventory",
        "config",
        "windows",
    ],
)
def test_parsing_starts_without_jax(module: str) -> None:
    code = f"import sys, jaxmusic.{module}; print('jax' in sys.modules, 'flax' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]


def test_the_package_resolves_its_names_lazily() -> None:
    code = """
import sys, jaxmusic
assert "jax" not in sys.modules and "numpy" not in sys.modules
assert callable(jaxmusic.read_tokens)
assert "jax" not in sys.modules
for name in jaxmusic.__all__:
    assert getattr(jaxmusic, name) is not None, name
try:
    jaxmusic.nothing
except AttributeError as error:
    assert "nothing" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_no_public_name_is_a_modules_name() -> None:
    import jaxmusic  # noqa: PLC0415

    assert not set(jaxmusic.__all__) & set(MODULES)


def test_imports_have_no_circles() -> None:
    inside = {
        name: {module.split(".")[1] for module in imports_of(path)
               if module.startswith("jaxmusic.")}
        for name, path in MODULES.items()
    }  # fmt: skip
    done: set[str] = set()
    while len(done) < len(inside):
        ready = {name for name in inside.keys() - done if inside[name] <= done}
        assert ready, f"a circle among {sorted(inside.keys() - done)}"
        done |= ready


def test_files_are_of_a_readable_size() -> None:
    for path in {**MODULES, **SCRIPTS}.values():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
