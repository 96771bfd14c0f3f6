"""The DAGs of a package as the driver enters them, and what the tasks inside each can read from it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.server.package import (
    ROOT,
    Document,
    Package,
    component_name,
    definitions,
    inputs,
    tasks,
)


@dataclass(frozen=True)
class Scope:
    """A DAG, as entered by one task."""

    package: Package
    dag: str
    """Name of the component."""
    given: frozenset[str]
    """Parameters with a value."""
    null: frozenset[str]
    """Parameters that may be null: optional, without a default, and not given."""
    artifacts: frozenset[str]
    missing: dict[str, str] = field(default_factory=dict)
    """Parameter that lacks a value although one would expect it -> why."""
    loop: bool = False

    @property
    def component(self) -> Document:
        return self.package.component(self.dag)

    @property
    def tasks(self) -> dict[str, Document]:
        return tasks(self.component)

    def place(self, task: str, key: str = "") -> str:
        return ": ".join([self.package.name, ".".join(part for part in (self.dag, task, key) if part)])


def scopes(package: Package) -> Iterator[Scope]:
    """Scope of the root, then of every DAG that a task enters. A DAG nested in itself is entered once."""
    declared = definitions(package.component(ROOT), "input", "parameters")
    null = frozenset(key for key, definition in declared.items() if nullable(definition))
    yield from _below(Scope(package, ROOT, frozenset(declared) - null, null, frozenset()), ())


def nullable(definition: Document) -> bool:
    """argocompiler/argo.go, Compile, and driver/resolve.go, resolveInputs: an optional parameter with neither
    default nor value is null."""
    return bool(definition.get("isOptional")) and definition.get("defaultValue") is None


def _below(scope: Scope, entered: tuple[str, ...]) -> Iterator[Scope]:
    yield scope
    for key, task in scope.tasks.items():
        if tasks(scope.package.of(task)) and component_name(task) not in (*entered, scope.dag):
            yield from _below(_inner(scope, key, task), (*entered, scope.dag))


def _inner(scope: Scope, key: str, task: Document) -> Scope:
    """Scope of the DAG that a task enters (driver/resolve.go, resolveInputs)."""
    name = component_name(task)
    declared = definitions(scope.package.component(name), "input", "parameters")
    passed = inputs(task, "parameters")
    absent = {parameter for parameter, source in passed.items() if source.get("componentInputParameter") in scope.null}
    missing = dict.fromkeys(absent, f"null in {scope.dag}.{key}, and so nowhere inside")
    null = {parameter for parameter in declared if parameter not in passed and nullable(declared[parameter])}
    given = {*passed, *(parameter for parameter in declared if declared[parameter].get("isOptional"))} - absent - null
    if iterator := task.get("parameterIterator"):
        # In an iteration the driver deletes the list that is iterated over from the inputs.
        listed = iterator.get("items", {}).get("inputParameter", "")
        missing[listed] = f"the list that {scope.dag}.{key} iterates over, which no iteration gets"
        null.discard(iterator.get("itemInput", ""))
        given = {*given, iterator.get("itemInput", "")} - {listed}
    return Scope(
        scope.package, name, frozenset(given), frozenset(null), frozenset(inputs(task, "artifacts")), missing,
        loop="parameterIterator" in task,
    )  # fmt: skip


def constant(source: Document) -> Any:
    """The value of an input that is fixed in the package; otherwise None."""
    return source.get("runtimeValue", {}).get("constant")
