"""The structure of the code: who may import what."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import PACKAGE, ROOT, TESTS

# By their names inside the package: data.windows.
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}
SCRIPTS = {f"scripts.{path.stem}": path for path in (ROOT / "scripts").rglob("*.py")}

TOOLS = [path.stem for path in (ROOT / "scripts" / "dev" / "tools").glob("[a-z]*.py")]


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
    assert importers_of("mido") == {
        "midi.reader",
        "midi.writer",
        "benchmarks.baselines.midi_readers",
    }
    assert importers_of("orbax") == {"run_dir.checkpoint"}
    doors = {name for name in importers_of("tyro") if name.split(".")[0] != "commands"}
    assert doors == {"benchmarks.flags", *(f"scripts.{name}" for name in TOOLS)}
    # It names the opcodes of a pickle and reads their arguments, but runs none.
    assert importers_of("pickletools") == {"preparation.sources.pickled_strings"}


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


# Files from outside are read by `stored` alone, which verifies them. Who else opens something:
OPENS = {
    "storage.reading": "the one reader",
    "storage.atomic": "writes",
    "storage.outputs": "writes",
    "corpus.writer": "writes a new corpus",
    "training.reporting.metrics_file": "appends to its own file, read by `storage.reading` before",
    "corpus.parsed_files": "ids of a file that `storage.reading` opened",
    "preparation.journal": "writes; what another process left is read by `stored`",
    "storage.file_lock": "its own lock files: no links, no pipes, of a bounded size",
    "runtime.streams": "standard streams",
    "data.windows": "a mapped file, to prefetch from",
    "preparation.parsing": "MIDI files: regular ones, of a bounded size, with their time of change",
    "midi.reader": "a MIDI file that the user named, of a bounded size; it may be a pipe",
    "storage.private_cache": "its own entries, each with a digest",
    "storage.private_folder": "folders, step by step",
    "nn.cpu.build": "our own sources, and what they were compiled to",
    "runtime.versions": "our own sources",
}
# What measures reads what it wrote itself.
PRODUCT = {
    name: path for name, path in MODULES.items() if not name.startswith(("benchmarks.", "aot."))
}
READS = {"read_bytes", "read_text"}  # of a Path
NUMPY_READS = {"np.load", "np.memmap", "np.fromfile"}


def opens_files(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            mode = ast.unparse(node.args[0]) if node.args else ""
            if (
                called in {"open", "io.open", "os.open", *NUMPY_READS}
                or ("." in called and called.split(".")[-1] in READS)
                or (called.endswith(".open") and re.fullmatch("'[rwxab+]+'", mode))
            ):
                return True
    return False


def test_files_from_outside_have_one_reader() -> None:
    assert {name for name, path in PRODUCT.items() if opens_files(path)} <= set(OPENS)


def test_opening_a_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    for code in (
        "open(x)", "with path.open('rb') as f: pass", "Path(x).read_bytes()", "x.read_text()",
        "np.load(x, allow_pickle=False)", "os.open(x, os.O_RDONLY)", "np.memmap(x)", "io.open(x)",
    ):  # fmt: skip
        path.write_text(code)
        assert opens_files(path), code
    path.write_text("read_bytes(x, most=5)\nCorpus.open(x)\nshelf.open()")
    assert not opens_files(path)


def test_only_a_command_imports_the_trainer() -> None:
    assert importers_of("jaxmusic.trainer") <= {"commands.train", *SCRIPTS}


BELOW_DATA = ("midi", "tokenizers", "corpus", "preparation")


@pytest.mark.parametrize(
    "module",
    [
        "midi.reader",
        "tokenizers.tokenizer",
        "corpus.corpus",
        "preparation.prepare",
        "preparation.parsing",
        "preparation.worker_pool",
        "corpus.summary",
        "config",
        "data.windows",
    ],
)
def test_parsing_starts_without_jax(module: str) -> None:
    code = f"import sys, jaxmusic.{module}; print('jax' in sys.modules, 'flax' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["training.step", "training.programs", "distributed.mesh"])
def test_the_step_and_the_mesh_load_no_midi_and_no_corpus(module: str) -> None:
    unwanted = {"mido", *(f"jaxmusic.{name}" for name in BELOW_DATA)}
    code = f"""
import sys, jaxmusic.{module}
loaded = [name for name in sys.modules if name.startswith(tuple({sorted(unwanted)}))]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


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


WRITTEN = {".py", ".cc", ".h", ".sh"}


def folders_below(folder: Path) -> list[Path]:
    return [
        folder, *(path for path in folder.rglob("*") if path.is_dir() and path.name[0] not in "._")
    ]  # fmt: skip


@pytest.mark.parametrize("folder", [PACKAGE, ROOT / "scripts", TESTS], ids=lambda path: path.name)
def test_files_are_of_a_readable_size(folder: Path) -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in folder.rglob("*")
        if path.suffix in WRITTEN
    }
    assert lengths and {path: count for path, count in lengths.items() if count > 350} == {}


@pytest.mark.parametrize("folder", folders_below(PACKAGE) + folders_below(ROOT / "scripts"))
def test_a_folder_has_at_most_nine_files(folder: Path) -> None:
    files = [
        path.name for path in folder.iterdir() if path.is_file() and path.name != "__init__.py"
    ]
    assert len(files) <= 9, files


# Tests of whole commands, of compilers and of the developers' tools have folders of their own.
UNMIRRORED = {"end_to_end", "compilers", "dev", "helpers"}
OF_SEVERAL_MODULES = {
    "aot/test_compile_tpu.py",
    "preparation/test_duplicates.py",
    "tokenizers/test_music21.py",  # the oracle
    "test_structure.py",
}


def has_module(tests: Path) -> bool:
    """Whether test_reader_limits.py has a module reader_limits, or reader, in its package."""
    folder = PACKAGE / tests.relative_to(TESTS).parent
    name = tests.stem.removeprefix("test_")
    return any(
        name == module.stem or name.startswith(f"{module.stem}_")
        for module in folder.glob("*.py")
        if module.name != "__init__.py"
    )


def test_tests_mirror_the_package() -> None:
    apart = {
        path.relative_to(TESTS).as_posix()
        for path in TESTS.rglob("test_*.py")
        if path.relative_to(TESTS).parts[0] not in UNMIRRORED and not has_module(path)
    }
    assert apart == OF_SEVERAL_MODULES
