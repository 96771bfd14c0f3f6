"""What code counts for the key of an artifact: what it does, and neither how it is written nor where it is."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from xlrm.run.experiment import STAGES
from xlrm.store import provenance
from xlrm.store.code_digests import Code

ROOT = Path(__file__).parents[1]
MODULES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for path in sorted((ROOT / "xlrm").rglob("*.py"))
}
"""Name -> file."""


def stage_versions(code: Code) -> dict[str, str]:
    return {stage: code.version(f"xlrm.stages.{stage}") for stage in STAGES}


@pytest.fixture(scope="module")
def now() -> dict[str, str]:
    return stage_versions(Code(provenance.PACKAGE, provenance.CARRIERS))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "xlrm", tmp_path / "xlrm", ignore=shutil.ignore_patterns("__pycache__"))


def edit(path: Path, change: Callable[[ast.Module], ast.AST]) -> None:
    path.write_text(ast.unparse(change(ast.parse(path.read_text(encoding="utf-8")))), encoding="utf-8")


# The whole package


class OtherSentences(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return ast.Expr(ast.Constant("Another sentence."))
        return self.generic_visit(node)


def test_no_stage_runs_again_for_sentences_comments_and_layout(copy: Path, now: dict[str, str]) -> None:
    """Every docstring and every string under a field is another, and `unparse` leaves out comments and lays out otherwise."""
    for path in copy.rglob("*.py"):
        edit(path, OtherSentences().visit)
    found = stage_versions(Code(copy, provenance.CARRIERS))
    assert {stage: found[stage] != now[stage] for stage in STAGES} == dict.fromkeys(STAGES, False)
    assert (copy / "scorers" / "engines.py").read_text() != (ROOT / "xlrm" / "scorers" / "engines.py").read_text()


class OtherPlaces(ast.NodeTransformer):
    """Rewrites imports from xlrm, of modules whose names are in `places`."""

    def __init__(self, places: dict[str, str]):
        self.places = places

    def place(self, name: str) -> str:
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            if moved := self.places.get(".".join(parts[:count])):
                return ".".join([moved, *parts[count:]])
        return name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | list[ast.stmt]:
        if not (node.module or "").startswith("xlrm"):
            return node
        found: list[ast.stmt] = []
        for alias in node.names:
            module, _, name = self.place(f"{node.module}.{alias.name}").rpartition(".")
            local = alias.asname or alias.name
            found.append(ast.ImportFrom(module, [ast.alias(name, None if local == name else local)], 0))
        return found


def move_everything(package: Path) -> dict[str, str]:
    """Puts every room but the stages into a package of its own, and each module under another name; returns where each is now."""
    moved = package / "moved"
    moved.mkdir()
    (moved / "__init__.py").write_text('"""Knows this, and must not know that."""\n')
    places = {}
    for room in [path for path in sorted(package.iterdir()) if path.is_dir() and path.name not in ("moved", "stages")]:
        for path in room.rglob("*.py"):
            if path.name != "__init__.py":
                path.rename(path.with_stem(f"{path.stem}_there"))
                parts = path.relative_to(package).with_suffix("").parts
                places[f"xlrm.{'.'.join(parts)}"] = f"xlrm.moved.{'.'.join(parts)}_there"
        room.rename(moved / room.name)
    for path in package.rglob("*.py"):
        edit(path, OtherPlaces(places).visit)
    return places


def test_no_stage_runs_again_when_every_module_is_moved(copy: Path, now: dict[str, str]) -> None:
    places = move_everything(copy)
    assert len(places) > 100 and not (copy / "scorers" / "engines.py").exists()
    imports = f"from xlrm.stages import {', '.join(STAGES)}; from xlrm.moved.store import provenance_there as p; print(p.PACKAGE)"
    command = [sys.executable, "-W", "ignore", "-c", imports]
    result = subprocess.run(command, cwd=copy.parent, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == str(copy), f"what was moved has to work: {result.stderr}"
    assert stage_versions(Code(copy, [places.get(name, name) for name in provenance.CARRIERS])) == now


def test_no_stage_runs_again_when_modules_are_renamed_wherever_they_are_named(copy: Path, now: dict[str, str]) -> None:
    """Also where code says `module.name`; a carrier too."""
    names = {
        "models/base_models": "bases", "scorers/fingerprints": "probes", "training/kept_checkpoints": "best_weights",
        "models/chat_templates": "conversation_ids",
    }  # fmt: skip
    for path in copy.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for old, new in names.items():
            text = re.sub(rf"\b{Path(old).name}\b", new, text)
        path.write_text(text, encoding="utf-8")
    for old, new in names.items():
        (copy / f"{old}.py").rename((copy / old).with_name(f"{new}.py"))
    assert (
        "probes.TOLERANCE"
        in (copy / "registry" / "gate.py").read_text() + (copy / "registry" / "releases.py").read_text()
    )
    carriers = [name.replace("kept_checkpoints", "best_weights") for name in provenance.CARRIERS]
    assert stage_versions(Code(copy, carriers)) == now


@pytest.fixture(scope="module")
def reached(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Stage -> modules that Python's own modulefinder follows its imports to, where carriers are empty."""
    folder = tmp_path_factory.mktemp("reached")
    shutil.copytree(ROOT / "xlrm", folder / "xlrm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in provenance.CARRIERS:
        (folder / MODULES[name].relative_to(ROOT)).write_text("")
    found = {}
    for stage in STAGES:
        finder = ModuleFinder([str(folder)])
        finder.import_hook(f"xlrm.stages.{stage}")
        found[stage] = {name for name in finder.modules if name in MODULES} - set(provenance.CARRIERS)
    return found


def test_a_stage_counts_the_modules_that_it_imports(reached: dict[str, set[str]]) -> None:
    code = Code(provenance.PACKAGE, provenance.CARRIERS)
    assert {stage: set(code.reachable(f"xlrm.stages.{stage}")) for stage in STAGES} == reached
    assert "xlrm.training.trainers" in reached["reward"] and "xlrm.validation.suite" in reached["validate"]


class OtherConstant(ast.NodeTransformer):
    """Changes the first constant that is no sentence."""

    done = False

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if self.done or not isinstance(node.value, int | float | str):
            return node
        self.done = True
        return ast.Constant(node.value + type(node.value)(1))


@pytest.mark.parametrize(
    "module",
    [
        "languages", "models.chat_templates", "models.packing.layout", "registry.gate", "reporting.page", "stages.judge",
        "training.trainers", "validation.numbers",
    ],
)  # fmt: skip
def test_a_changed_constant_runs_the_stages_again_that_reach_it(
    module: str, copy: Path, now: dict[str, str], reached: dict[str, set[str]]
) -> None:
    path = copy / MODULES[f"xlrm.{module}"].relative_to(ROOT / "xlrm")
    edit(path, OtherConstant().visit)
    found = stage_versions(Code(copy, provenance.CARRIERS))
    changed = {stage for stage in STAGES if found[stage] != now[stage]}
    assert changed == {stage for stage in STAGES if f"xlrm.{module}" in reached[stage]} != set()


def test_carriers_are_no_code_of_a_stage(copy: Path, now: dict[str, str]) -> None:
    for name in provenance.CARRIERS:
        path = copy / MODULES[name].relative_to(ROOT / "xlrm")
        path.write_text(f"{path.read_text(encoding='utf-8')}\nMORE = 1\n", encoding="utf-8")
    assert stage_versions(Code(copy, provenance.CARRIERS)) == now


def test_a_carrier_that_does_not_exist_is_an_error(copy: Path) -> None:
    (copy / "store" / "objects.py").rename(copy / "store" / "storage.py")
    with pytest.raises(ModuleNotFoundError, match=r"xlrm\.store\.objects"):
        Code(copy, provenance.CARRIERS)


def test_a_module_that_does_not_exist_has_no_version() -> None:
    for name in ("xlrm.nosuch", "xlrm.stages.nosuch", "json"):
        with pytest.raises(ModuleNotFoundError, match=name):
            provenance.code_version(name)


def test_every_data_file_of_the_package_counts_for_a_stage(copy: Path, now: dict[str, str]) -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["xlrm"]
    paths = [path.relative_to(ROOT / "xlrm").as_posix() for path in (ROOT / "xlrm").rglob("*") if path.is_file()]
    data = {path for path in paths if any(fnmatch(path, pattern) for pattern in patterns)} - {
        "py.typed",
        "__init__.pyi",
    }
    counted = {path for stage in STAGES for path in provenance.files(f"xlrm.stages.{stage}") if path.suffix != ".py"}
    assert {path.relative_to(provenance.PACKAGE).as_posix() for path in counted} == data != set()
    with (copy / "validation" / "data_docs.html.j2").open("a") as file:
        file.write("<!-- changed -->")
    found = stage_versions(Code(copy, provenance.CARRIERS))
    assert "validate" in {stage for stage in STAGES if found[stage] != now[stage]}, "its page is made of it"


# Module by module

BEFORE = {
    "a": "from package import b\nfrom package.c import g\n\ndef run(x):\n    return b.f(x) + g(x)\n",
    "b": "def f(x):\n    return x\n",
    "c": "def f(x):\n    return x + 1\n\ndef g(x):\n    return x * 2\n",
}


def version(folder: Path, modules: dict[str, str], carriers: tuple[str, ...] = ()) -> str:
    package = folder / "package"
    shutil.rmtree(package, ignore_errors=True)
    for name, text in {"__init__": "", **modules}.items():
        (package / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(text)
    return Code(package, carriers).version("package.a")


RUN = "\n\ndef run(x):\n    return {} + g(x)\n"
INSIDE = "def run(x):\n    from package.c import g\n    from package import b\n    return b.f(x) + g(x)\n"
IMPORTS = "from package import b\nfrom package.c import g"
SAME = {
    "a docstring": {"a": BEFORE["a"].replace(":\n", ':\n    """Says what."""\n'), "b": '"""Module."""\n' + BEFORE["b"]},
    "a comment and layout": {"a": BEFORE["a"].replace("b.f(x) + g(x)", "(  b.f(x)  # so\n        + g(x))")},
    "an import in the function": {"a": INSIDE},
    "another alias": {
        "a": f"from package import b as d\nfrom package.c import g as h{RUN.format('d.f(x)').replace('g(x)', 'h(x)')}",
    },
    "the name itself": {"a": f"from package.b import f\nfrom package.c import g{RUN.format('f(x)')}"},
    "the module's whole name": {"a": f"import package.b\nfrom package.c import g{RUN.format('package.b.f(x)')}"},
    "a relative import": {"a": f"from . import b\nfrom .c import g{RUN.format('b.f(x)')}"},
    "an import for type checkers": {"a": BEFORE["a"].replace("\n\n", "\nif TYPE_CHECKING:\n    from package.b import f\n\n")},
    "a name by way of another module": {
        "a": f"from package import d\nfrom package.c import g{RUN.format('d.f(x)')}",
        "d": "from package.b import f\n\n__all__ = ['f']\n",
    },
    "a module in a package": {
        "a": f"from package.room import moved\nfrom package.c import g{RUN.format('moved.f(x)')}", "b": "",
        "room/__init__": '"""A room."""\n', "room/moved": BEFORE["b"],
    },
}  # fmt: skip
OTHER = {
    "a constant": {"c": BEFORE["c"].replace("* 2", "* 3")},
    "a constant nothing uses": {"c": BEFORE["c"].replace("+ 1", "+ 2")},
    "a function of the same name elsewhere": {
        "a": BEFORE["a"].replace("b.f", "c.f").replace("import b", "import b, c")
    },
    "another function": {"a": BEFORE["a"].replace("b.f(x)", "b.g(x)")},
    "an argument that hides a module": {"a": f"{IMPORTS}\n\ndef run(x, b=None):\n    return b.f(x) + g(x)\n"},
    "an annotation": {"a": BEFORE["a"].replace("run(x)", "run(x: int)")},
    "a decorator": {"a": BEFORE["a"].replace("def run", "@property\ndef run")},
    "an import of a library": {"a": f"import json\n{BEFORE['a']}"},
    "a package's code": {"__init__": "X = 1\n"},
}


@pytest.mark.parametrize("change", SAME)
def test_the_same_code_has_the_same_version(change: str, tmp_path: Path) -> None:
    assert version(tmp_path, BEFORE | SAME[change]) == version(tmp_path, BEFORE)


@pytest.mark.parametrize("change", OTHER)
def test_other_code_has_another_version(change: str, tmp_path: Path) -> None:
    assert version(tmp_path, BEFORE | OTHER[change]) != version(tmp_path, BEFORE)


def test_names_of_scopes_are_told_from_modules(tmp_path: Path) -> None:
    """A module that is renamed changes none of the variables, arguments and fields that are called as it was."""
    before = (
        "from package import b\n\n"
        "class C:\n    b: int = 1\n    later = b + 1\n    def run(self, x: 'b.f') -> list['b']:\n        return b.f(self.b)\n\n"
        "def local(x):\n    b = x\n    return [b for b in b] + [lambda b: b.f]\n\n"
        "def walrus(x):\n    [b := y for y in x]\n    return b\n\n"
        "def outer():\n    def inner():\n        return b.f\n    try:\n        return inner\n"
        "    except OSError as c:\n        return c\n"
    )
    after = (
        before.replace("from package import b", "from package.room import moved")
        .replace("return b.f(self.b)", "return moved.f(self.b)")
        .replace("        return b.f\n    try", "        return moved.f\n    try")
    )
    moved = {"a": after, "room/__init__": "", "room/moved": BEFORE["b"]}
    assert version(tmp_path, {"a": before, "b": BEFORE["b"]}) == version(tmp_path, moved)
    damaged = before.replace("return b.f(self.b)", "return self.b.f(b)")
    assert version(tmp_path, {"a": damaged, "b": BEFORE["b"]}) != version(tmp_path, moved)


def test_a_name_from_a_carrier_counts_as_no_more_than_that(tmp_path: Path) -> None:
    carried = version(tmp_path, BEFORE, ("package.b",))
    assert version(tmp_path, BEFORE | {"b": "f = print\n"}, ("package.b",)) == carried
    moved = {"a": BEFORE["a"].replace("import b", "import z as b"), "c": BEFORE["c"], "z": BEFORE["b"]}
    assert version(tmp_path, moved, ("package.z",)) == carried
    assert version(tmp_path, BEFORE | {"a": BEFORE["a"].replace("b.f", "b.h")}, ("package.b",)) != carried


SAMPLE = '''
import numpy as np
from package import b
from package.c import g as h

NUMBERS = (1, -2.5, 3j, 0x10, 1_000, True, None, ..., b"bytes", "ü\\ud800", 1e999)

class C(h, metaclass=b.M):
    """Said."""
    field: "int | None" = 3
    """Said of the field."""
    def method(self, /, a, *rest, key: str = "v", **more) -> "b.F": ...

async def run(x, y=b.f, *, z=None):
    global NUMBERS
    async with x as one, y() as (two, *three):
        await one
    text = f"a{x!r:>{y}}b" "c" f"{x=}{{}}" rf"\\d{z:.2f}"
    found = {**x, 1: 2}, {*y}, [i async for i in x if i], {k: v for k, v in y}, (u for u in x[1:2, ::3])
    try:
        match x:
            case {"a": 1, **others} | C(field=[_, *tail]) if (n := len(x)) > 1:
                yield tail
            case None | "s" | -1 as value:
                raise ValueError from value
    except* OSError as error:
        del error
    else:
        pass
    finally:
        assert x is not y, "message"
    while not x:
        x @= ~y if x < y <= z else lambda q, *, r=1: q @ r
        break
    else:
        return
'''


def test_every_version_of_python_has_the_same_digests(tmp_path: Path) -> None:
    """Recorded with Python 3.11, 3.12 and 3.13."""
    assert version(tmp_path, BEFORE | {"a": SAMPLE}) == "0936568bac097607"
