"""The design: which way imports go, one door per heavy library, what stages and components are, how long code gets."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from statistics import median, quantiles

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components import RUNS
from xlrm import errors
from xlrm.run.experiment import STAGES, stage_module

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
    for package in ("xlrm", "components", "pipelines")
    for path in sorted((ROOT / package).rglob("*.py"))
}
"""Module name -> file."""
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
TASKS = ("configure", "conclude")
"""Components that are no face of stages: the first and the last task of a run."""
COMPONENTS = tuple(
    name.removeprefix("components.")
    for name, path in SOURCES.items()
    if name.startswith("components.")
    and "@dsl.component" in path.read_text(encoding="utf-8")
    and name.removeprefix("components.") not in TASKS
)

DOORS = {
    "trl": "xlrm.training.dpo xlrm.training.online_rl xlrm.training.rollouts xlrm.training.sft xlrm.training.trainers",
    "peft": "xlrm.training.trainers",
    "great_expectations": "xlrm.validation.suite",
    "lingua": "xlrm.validation.language_id",
    "mlflow": "xlrm.tracking.direct_store xlrm.tracking.mlflow_client xlrm.tracking.mlflow_registry xlrm.tracking.mlflow_runs",
    "boto3": "xlrm.store.buckets",
    "botocore": "xlrm.store.buckets",
    "matplotlib": "xlrm.reporting.plots",
    "sklearn": "xlrm.analysis.bag_of_words xlrm.evaluation.length_control",
    "openai": "xlrm.models.endpoint_engine",
    "vllm": "xlrm.models.vllm_engine",
    "fastapi": "xlrm.serving.web",
    "uvicorn": "xlrm.serving.server",
    "prometheus_client": "xlrm.serving.metrics",
    "kubernetes": "components._cluster pipelines.doctor",
}
"""Heavy library -> the modules that import it, one but for a reason: TRL's trainers of rewards, pairs, samples and
demonstrations are classes with hooks of their own, all in `training`; two regressions have nothing in common but
scikit-learn; Kubernetes is asked by tasks in a cluster, and looked at from outside."""
HEAVY = ("torch", "transformers", "trl", "datasets", "vllm", "mlflow", "great_expectations", "lingua", "matplotlib")


@cache
def imports(name: str) -> set[str]:
    """What a module imports, anywhere in it: inside functions and under TYPE_CHECKING too."""
    return imports_of(ast.walk(TREES[name]))


def imports_of(nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    return found


def importers(library: str) -> list[str]:
    return [name for name in SOURCES if any(one.split(".")[0] == library for one in imports(name))]


def test_every_package_is_seen() -> None:
    assert {name.split(".")[0] for name in SOURCES} == {"xlrm", "components", "pipelines"}
    assert {"kfp", "components._stage"} <= imports("components.align"), "imports are missed, on top or in functions"


@pytest.mark.parametrize("forbidden", ["kfp", "kubernetes", "components", "pipelines"])
def test_xlrm_knows_nothing_of_what_runs_it(forbidden: str) -> None:
    found = [name for name in importers(forbidden) if name.startswith("xlrm")]
    assert not found, f"{found} import {forbidden}; arrows go pipelines -> components -> xlrm, never back"


def test_what_is_installed_is_there_for_every_stage() -> None:
    """A library hidden in the process of a step would be missing in a cluster, and there in a test."""
    found = [name for name, path in SOURCES.items() if "sys.modules" in path.read_text(encoding="utf-8")]
    assert not found, f"{found}: sys.modules is Python's own"


@pytest.mark.parametrize(("library", "door"), DOORS.items())
def test_a_heavy_library_has_one_door(library: str, door: str) -> None:
    assert importers(library) == door.split(), f"only {door} may import {library}; let the others call what it offers"


def test_what_is_imported_from_another_package_is_public() -> None:
    found = [
        f"{name}: {one}"
        for name in SOURCES
        for one in imported(name)
        if one.split(".")[0] != name.split(".")[0] and one.split(".")[0] in ("xlrm", "components", "pipelines")
        if any(part.startswith("_") and not part.startswith("__") for part in one.split("."))
    ]
    assert not found, "a leading underscore is for the package itself"


def imported(name: str) -> set[str]:
    """Modules and the names from them."""
    froms = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.ImportFrom) and not node.level]
    return imports(name) | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}


def test_import_linter_agrees() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said = f"{result.stdout}{result.stderr}"
    assert result.returncode == 0, f"the layers are in pyproject.toml, [tool.importlinter]:\n{said}"


@pytest.mark.parametrize(
    "statement",
    [
        "import xlrm.cli",
        "from pathlib import Path; from xlrm.run.experiment import load; load(Path('configs/demo.yaml'))",
        "from kfp.compiler import Compiler; from pipelines import cross_lingual_transfer, placement; "
        "Compiler().compile(cross_lingual_transfer.build(placement.current()), sys.argv[1])",
    ],
    ids=["command line", "experiment", "compile"],
)
def test_nothing_heavy_is_imported_before_a_stage_runs(statement: str, tmp_path: Path) -> None:
    script = f"import sys; {statement}; print([name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "package.yaml")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[]", f"imported by `{statement}`; import heavy modules inside functions"


def test_the_command_line_imports_only_what_is_installed_with_it() -> None:
    """A library that only an extra brings is missing where xlrm is installed without extras."""
    script = "import sys, xlrm.cli; print(*(name for name in sys.modules if name.split('.')[0] == 'xlrm'))"
    command = [sys.executable, "-W", "ignore", "-c", script]
    modules = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    brought, packages = installed_with(dependencies), metadata.packages_distributions()
    assert "xlrm.cli" in modules and {"rich", "botocore"} <= brought
    missing = [
        f"{name}: {library}"
        for name in modules
        for library in sorted({one.split(".")[0] for one in imports_of(TREES[name].body)} - {"xlrm"})
        if library not in sys.stdlib_module_names
        if brought.isdisjoint(map(canonicalize_name, packages.get(library, ())))
    ]
    assert not missing, "no dependency in pyproject.toml brings it"


def installed_with(requirements: list[str]) -> set[str]:
    """Distributions that these bring, directly or not."""
    todo, brought = list(map(Requirement, requirements)), set()
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        if name not in brought and (one.marker is None or one.marker.evaluate({"extra": ""})):
            brought.add(name)
            todo += map(Requirement, metadata.requires(name) or ())
    return brought


# Stages


def undocumented(cls: ast.ClassDef) -> Iterator[str]:
    """Fields that no string follows."""
    for node, following in zip(cls.body, [*cls.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id != "seed":
            value = following.value if isinstance(following, ast.Expr) else None
            if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
                yield node.target.id


def config_classes(stage: str) -> list[type]:
    """A stage's Config, those it extends, and those its fields are made of."""
    found, todo = [], [stage_module(stage).Config]
    while todo:
        cls = todo.pop()
        if cls not in found:
            found.append(cls)
            todo += [base for base in cls.__mro__[1:] if base.__module__.startswith("xlrm")]
            parts = [part for field in cls.model_fields.values() for part in _parts(field.annotation)]
            todo += [part for part in parts if inspect.isclass(part) and hasattr(part, "model_fields")]
    return found


def _parts(annotation) -> Iterator:
    yield annotation
    for argument in typing.get_args(annotation):
        yield from _parts(argument)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_a_strict_config_with_a_sentence_for_every_field(stage: str) -> None:
    for cls in config_classes(stage):
        where = f"{cls.__module__}.{cls.__name__}"
        assert cls.model_config.get("frozen") is True, f"{where}: ConfigDict(frozen=True, ...)"
        assert cls.model_config.get("extra") == "forbid", f'{where}: ConfigDict(extra="forbid", ...)'
        tree = next(n for n in TREES[cls.__module__].body if isinstance(n, ast.ClassDef) and n.name == cls.__name__)
        assert not list(undocumented(tree)), f"{where}: a string under each field says what it means, in which unit"


def test_an_undocumented_field_is_found() -> None:
    cls = ast.parse('class C:\n    a: int\n    "Said."\n    b: int = 1\n    c: str\n    seed: int = 42').body[0]
    assert list(undocumented(cls)) == ["b", "c"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_from_a_config_and_directories(stage: str) -> None:
    first, *others = inspect.signature(stage_module(stage).run).parameters.values()
    assert first.name == "config", f"xlrm/stages/{stage}.py: run(config, *, inputs..., output)"
    assert "output" in [p.name for p in others], f"xlrm/stages/{stage}.py: run takes `output`, where it writes"
    loose = [p.name for p in others if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert not loose, f"xlrm/stages/{stage}.py: {loose} go after the *, they are given by name"


STAGE_LINES = 80
LONG_STAGES = {"translate": 82}
"""Stages that are longer, with the lines they have: a number here can only fall."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_no_algorithm(stage: str) -> None:
    lines = len(SOURCES[f"xlrm.stages.{stage}"].read_text(encoding="utf-8").splitlines())
    assert lines <= LONG_STAGES.get(stage, STAGE_LINES), (
        f"xlrm/stages/{stage}.py: {lines} lines; a package has the rest"
    )
    assert stage not in LONG_STAGES or lines == LONG_STAGES[stage] > STAGE_LINES, f"{stage}: LONG_STAGES says more"


def test_the_command_calls_no_function_of_a_stage() -> None:
    found = sorted(name for name in imports("xlrm.cli") if name.startswith("xlrm.stages"))
    assert not found, f"xlrm/cli.py imports {found}; what it needs of a stage is in a package"


# Components


def function(component: str) -> ast.FunctionDef:
    found = [n for n in TREES[f"components.{component}"].body if isinstance(n, ast.FunctionDef) and n.name == component]
    assert found, f"components/{component}.py has no function {component}; a component is named as its file and stage"
    return found[0]


def test_every_stage_is_run_by_a_component() -> None:
    assert set(COMPONENTS) == set(RUNS), "components/__init__.py, RUNS, and a file for each component"
    missing = set(STAGES) - {stage for stages in RUNS.values() for stage in stages}
    assert not missing, f"no component runs {missing}: components/__init__.py, RUNS"


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_has_no_logic(component: str) -> None:
    body = [
        node for node in function(component).body if not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call)
    ]
    assert [ast.unparse(node) for node in body] == [
        "from components._stage import run", "run(steps, made, page)",
    ], f"components/{component}.py: logic belongs in xlrm/stages"  # fmt: skip


# Files and functions


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_says_what_it_is(name: str) -> None:
    assert not TREES[name].body or ast.get_docstring(TREES[name]), f"{SOURCES[name].relative_to(ROOT)}: no docstring"


@pytest.mark.parametrize("path", sorted((ROOT / "xlrm").glob("*/**/__init__.py")), ids=lambda path: path.parent.name)
def test_a_room_says_in_two_sentences_what_it_knows_and_must_not_know(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert len(tree.body) == 1, f"{path}: a docstring and nothing else"
    sentences = re.findall(r"[.](?=\s|$)", ast.get_docstring(tree) or "")
    assert len(sentences) == 2, f"{path}: what the room knows, and what it must not know"


WORDS = {"found": 1, "many": 0, "one": 1, "said": 0, "told": 0}
"""Names that tell a reader nothing, with how often they are given to a variable or a parameter: a number here can only fall."""


def test_new_code_names_things_by_the_words_of_the_field() -> None:
    stored = [
        node.id if isinstance(node, ast.Name) else node.arg
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    ]
    assert {word: stored.count(word) for word in WORDS} == WORDS, "records, message, options; not found, said, one"


def docstrings(tree: ast.AST) -> Iterator[str]:
    """Strings that stand alone: of modules, classes and functions, and under fields and constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value.strip()


@pytest.mark.parametrize("folder", ["xlrm", "components", "pipelines", "benchmarks", "tests"])
def test_a_docstring_begins_with_its_subject(folder: str) -> None:
    """A noun or a verb; "Of a run that failed" leaves a reader to guess what of it."""
    files = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / folder).rglob("*.py"))}
    bad = [
        f"{path.relative_to(ROOT)}: {text[:60]}"
        for path in files
        for text in docstrings(files[path])
        if text[:3] == "Of "
    ]
    assert not bad, "begin with what it is: a noun or a verb"


def test_errors_are_compared_by_their_fields() -> None:
    """Sentences are for readers and may be reworded; `match` is for errors of libraries."""
    own = {name for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, errors.XlrmError)}
    matched = [
        f"{path.name}:{node.lineno}"
        for path in sorted((ROOT / "tests").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises"
        if own & {ast.unparse(node.args[0])} and any(keyword.arg == "match" for keyword in node.keywords)
    ]
    assert not matched, "compare where and value, as `refused` of tests/refusals.py does"


def test_components_and_pipelines_import_what_exists() -> None:
    """Imports inside a component's body are first run in a container: here their names are looked up."""
    for name, tree in TREES.items():
        for node in ast.walk(tree) if not name.startswith("xlrm") else ():
            if isinstance(node, ast.ImportFrom) and re.match(r"(xlrm|components|pipelines)\b", node.module or ""):
                names = {alias.name for alias in node.names if f"{node.module}.{alias.name}" not in SOURCES}
                missing = names - set(dir(importlib.import_module(node.module)))
                assert not missing, f"{name}: {node.module} has no {missing}"


def test_json_that_is_written_is_valid_json() -> None:
    """Python's json writes NaN and Infinity by default, which no other reader takes; what is hashed is not written."""
    for name, tree in TREES.items():
        hashed = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and "sha256" in ast.unparse(call.func)]
        within = {id(node) for call in hashed for node in ast.walk(call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump"):
                strict = any(keyword.arg == "allow_nan" for keyword in node.keywords)
                assert strict or id(node) in within, f"{name}:{node.lineno}: json.dumps without allow_nan=False"


def test_functions_and_files_stay_short() -> None:
    lengths = {
        f"{name}.{node.name}": node.end_lineno - node.lineno + 1
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    longest = sorted(lengths, key=lengths.get, reverse=True)[:5]
    said = ", ".join(f"{name} ({lengths[name]})" for name in longest)
    assert median(lengths.values()) <= 12, f"half of the functions have more than 12 lines; the longest: {said}"
    assert quantiles(lengths.values(), n=10)[-1] <= 40, f"one function in ten has more than 40 lines: {said}"
    files = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in SOURCES.items()}
    long = {name: lines for name, lines in files.items() if lines > 400}
    assert not long, f"files of more than 400 lines: {long}; two things that change for different reasons are two files"
