"""Digests of a package's code by what it does: of syntax trees without docstrings, comments and layout, and without
the modules' places and names.

Statements that import from the package itself are left out. A name that one of them binds counts as the code of the
module that defines it and the name there, so that modules can be renamed or moved and imports written otherwise.
Python 3.11 to 3.13 give the same digests.
"""

import ast
import hashlib
import importlib.util
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

DATA = (".yaml", ".csv", ".j2", ".html", ".md", ".txt")
"""Endings of data files that count with the module beside them, if code asks for its `__file__`."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, *_COMPREHENSIONS)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
_WITHOUT_MEANING = ("ctx", "kind", "type_comment")

Bound = dict[str, str | None]
"""Names of a scope -> the dotted name of what an import from the package binds; None for all other names."""
Scopes = tuple[tuple[bool, Bound], ...]
"""Scopes from the module's to the innermost: (whether it is a class's, whose names its functions do not see; its
names)."""


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    root: str
    """Name of the package."""
    tree: ast.Module

    @cached_property
    def imports(self) -> tuple[str, ...]:
        """Dotted names of all imports in the module, including those in functions and under TYPE_CHECKING."""
        return tuple(name for node in _statements(self.tree) for _, name in self.bindings(node))

    @cached_property
    def bound(self) -> Bound:
        return self.bound_in(self.tree.body)

    def bindings(self, node: ast.AST) -> Iterator[tuple[str, str]]:
        """(name, dotted name that it stands for) for each name of an import."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], alias.name
        elif isinstance(node, ast.ImportFrom):
            package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                yield alias.asname or alias.name, f"{source}.{alias.name}"

    def of_package(self, name: str) -> bool:
        return name.split(".")[0] == self.root

    def bound_in(self, body: list) -> Bound:
        """Names that these statements or expressions bind in their own scope."""
        bound: Bound = {}
        elsewhere: set[str] = set()
        for node in _in_scope(body):
            if isinstance(node, ast.Global | ast.Nonlocal):
                elsewhere.update(node.names)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for name, target in self.bindings(node):
                    # `import package.module` binds the package; an alias stands for the module itself.
                    whole = target if isinstance(node, ast.ImportFrom) or name not in target.split(".")[:1] else name
                    bound[name] = whole if self.of_package(target) else bound.get(name)
            else:
                for name in _names(node):
                    bound.setdefault(name, None)
        return {name: target for name, target in bound.items() if name not in elsewhere}


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Statements in modules, classes, functions, branches and loops."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(tree, field, ())
        for node in inner if isinstance(inner, list) else ():
            yield node
            yield from _statements(node)


def _names(node: ast.AST) -> Iterator[str]:
    """Names that a node other than an import binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, _NAMED) and node.name:
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def _in_scope(body: list) -> Iterator[ast.AST]:
    """All nodes except those inside nested scopes; `:=` in a comprehension binds outside of it."""
    todo = list(body)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, _COMPREHENSIONS):
            yield from (inner.target for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr))
        elif not isinstance(node, _SCOPES):
            todo += ast.iter_child_nodes(node)


class Reader:
    """Reads the tree of a module as nested lists. `names` lists, in order, the dotted names that refer to the
    package; in the nested lists each is replaced by what `shown` returns for it."""

    def __init__(self, module: Module, shown: Callable[[str], Any]):
        self.module, self.shown = module, shown
        self.names: list[str] = []
        self.asks_for_file = False
        """Whether the module asks for its own `__file__`."""
        self.content = self._body(module.tree.body, ((False, module.bound),))

    def _body(self, statements: list[ast.stmt], scopes: Scopes) -> list:
        return [self._node(statement, scopes) for statement in statements if not self._means_nothing(statement)]

    def _means_nothing(self, node: ast.stmt) -> bool:
        """Whether a statement has no effect: docstrings, strings under fields, `pass`, imports from the package,
        `__all__`, and code for type checkers only."""
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Constant)
        if isinstance(node, ast.Import | ast.ImportFrom):
            return all(self.module.of_package(target) for _, target in self.module.bindings(node))
        if isinstance(node, ast.If):
            return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" and not node.orelse
        exports = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        return exports or isinstance(node, ast.Pass)

    def _value(self, value: Any, scopes: Scopes) -> Any:
        if isinstance(value, list):
            statements = value and isinstance(value[0], ast.stmt)
            return self._body(value, scopes) if statements else [self._value(item, scopes) for item in value]
        return self._node(value, scopes) if isinstance(value, ast.AST) else value

    def _node(self, node: ast.AST, scopes: Scopes) -> list:
        if isinstance(node, ast.Constant):
            return _constant(node.value)
        if isinstance(node, ast.JoinedStr):
            return ["JoinedStr", *self._pieces(node, scopes)]
        if isinstance(node, (ast.Name, ast.Attribute)) and (name := _dotted(node)):
            if target := _look_up(name.split(".")[0], scopes):
                self.names.append(".".join([target, *name.split(".")[1:]]))
                return ["package", self.shown(self.names[-1])]
            self.asks_for_file |= name == "__file__"
        if isinstance(node, ast.Import):
            kept = [alias for alias in node.names if not self.module.of_package(alias.name)]
            return ["Import", *(self._node(alias, scopes) for alias in kept)]
        return [type(node).__name__, *self._fields(node, scopes)]

    def _fields(self, node: ast.AST, scopes: Scopes) -> Iterator[list]:
        inner = self._inner(node, scopes)
        for field in _order(node._fields):
            value = getattr(node, field, None)
            if value is None or value == []:  # Python versions differ in their fields
                continue
            if field in ("annotation", "returns"):
                value = _unquoted(value)
            if isinstance(node, _COMPREHENSIONS) and field == "generators":
                yield [field, [self._generator(part, i, scopes, inner) for i, part in enumerate(node.generators)]]
            else:
                outside = field != "body" and inner is not scopes and not isinstance(node, _COMPREHENSIONS)
                yield [field, self._value(value, scopes if outside else inner)]

    def _generator(self, node: ast.comprehension, place: int, outer: Scopes, inner: Scopes) -> list:
        """A comprehension's iterable; the first one is evaluated outside of its scope."""
        fields = {field: self._value(value, inner) for field, value in ast.iter_fields(node)}
        if place == 0:
            fields["iter"] = self._value(node.iter, outer)
        return sorted(map(list, fields.items()))

    def _inner(self, node: ast.AST, scopes: Scopes) -> Scopes:
        """Scopes inside a node, with its own if it opens one."""
        if isinstance(node, ast.ClassDef):
            return (*scopes, (True, self.module.bound_in(node.body)))
        if isinstance(node, _FUNCTIONS):
            body = node.body if isinstance(node.body, list) else [node.body]
            arguments = [arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)]
            return (*scopes, (False, dict.fromkeys(arg.arg for arg in arguments) | self.module.bound_in(body)))
        if isinstance(node, _COMPREHENSIONS):
            return (*scopes, (False, self.module.bound_in([generator.target for generator in node.generators])))
        return scopes

    def _pieces(self, node: ast.JoinedStr, scopes: Scopes) -> Iterator[Any]:
        """Parts of an f-string, with adjacent literal text joined, because Python versions split it differently."""
        text = ""
        for piece in node.values:
            if isinstance(piece, ast.Constant):
                text += str(piece.value)
                continue
            yield from [text] if text else []
            text = ""
            yield self._node(piece, scopes)
        yield from [text] if text else []


@cache
def _order(fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(fields).difference(_WITHOUT_MEANING)))


def _constant(value: Any) -> list:
    return ["Constant", type(value).__name__, value if isinstance(value, str) else repr(value)]


def _unquoted(annotation: ast.expr) -> ast.expr:
    """The expression in an annotation written as a string."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _dotted(node: ast.expr) -> str | None:
    """a.b.c for attributes of a name; None for other expressions."""
    if isinstance(node, ast.Attribute):
        return f"{before}.{node.attr}" if (before := _dotted(node.value)) else None
    return node.id if isinstance(node, ast.Name) else None


def _look_up(name: str, scopes: Scopes) -> str | None:
    for place, (is_class, bound) in enumerate(reversed(scopes)):
        if name in bound and not (is_class and place):
            return bound[name]
    return None


@dataclass(frozen=True)
class Reading:
    """What a module contributes to digests."""

    shape: str
    """Digest of its tree, in which names of the package are replaced by their names in the modules that define them."""
    sources: tuple[str | None, ...]
    """Modules that define these names, in order; None for a carrier."""
    folders: frozenset[Path]
    """Folders of its data files."""


class Code:
    """The code of the package in `folder`. `carriers` are modules that never count, nor do their imports.

    Raises ModuleNotFoundError for a carrier or a requested module that does not exist.
    """

    def __init__(self, folder: Path, carriers: Collection[str] = ()):
        self.folder, self.carriers = folder, frozenset(carriers)
        self._modules: dict[str, Module | None] = {}
        self._reading = cache(self._read)
        for name in sorted(self.carriers):
            self.module(name)

    def version(self, module: str) -> str:
        """Digest, in 16 hexadecimal digits, of `module`, of all modules of the package that are imported when it
        runs, and of the data files that these read. It does not depend on where they are or on their modules' names."""
        code = {self._digest(name) for name in self.reachable(module)} - {""}
        data = {_digest([path.name, hashlib.sha256(path.read_bytes()).hexdigest()]) for path in self.data(module)}
        return _digest([sorted(code), sorted(data)])[:16]

    def reachable(self, module: str) -> tuple[str, ...]:
        """Names of `module`, of its direct and indirect imports in the package, and of the packages that contain
        them."""
        self.module(module)
        reached: dict[str, None] = {}
        todo = [module]
        while todo:
            name = todo.pop()
            if name in reached or name in self.carriers or (parsed := self._find(name)) is None:
                continue
            reached[name] = None
            for target in (name, *(target for target in parsed.imports if parsed.of_package(target))):
                parts = target.split(".")
                todo += [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return tuple(sorted(reached))

    def data(self, module: str) -> list[Path]:
        """Data files beside the modules whose `__file__` is used."""
        folders = {folder for name in self.reachable(module) for folder in self._reading(name).folders}
        return sorted(path for folder in folders for path in folder.iterdir() if path.suffix in DATA)

    def files(self, module: str) -> list[Path]:
        """All files that count for the module."""
        return sorted([*(self.module(name).path for name in self.reachable(module)), *self.data(module)])

    def libraries(self, module: str) -> set[str]:
        """Top-level names that the modules import from outside the package."""
        names = {target.split(".")[0] for name in self.reachable(module) for target in self.module(name).imports}
        return names - {self.folder.name}

    def module(self, name: str) -> Module:
        if (module := self._find(name)) is None:
            raise ModuleNotFoundError(f"no module {name!r} in {self.folder}")
        return module

    def _find(self, name: str) -> Module | None:
        if name not in self._modules:
            root, *parts = name.split(".")
            base = self.folder.joinpath(*parts)
            paths = (base / "__init__.py", *([base.with_suffix(".py")] if parts else []))
            path = next((path for path in paths if root == self.folder.name and path.is_file()), None)
            tree = path and ast.parse(path.read_text(encoding="utf-8"))
            self._modules[name] = Module(name, path, root, tree) if path and tree else None
        return self._modules[name]

    def _read(self, name: str) -> "Reading":
        """Digest of a module's tree and the modules that define its names."""
        module = self.module(name)
        reader = Reader(module, lambda dotted: self._resolve(dotted)[1])
        folders = {self._split(dotted)[0].path.parent for dotted in reader.names if dotted.endswith(".__file__")}
        if reader.asks_for_file:
            folders.add(module.path.parent)
        sources = [self._resolve(dotted)[0] for dotted in reader.names]
        return Reading(_digest(reader.content) if reader.content else "", tuple(sources), frozenset(folders))

    def _digest(self, name: str) -> str:
        """Digest of a module and of the modules that define its names; empty for a module without statements."""
        reading = self._reading(name)
        return reading.shape and _digest(
            [reading.shape, *(source and self._reading(source).shape for source in reading.sources)]
        )

    def _resolve(self, dotted: str) -> tuple[str | None, list[str]]:
        """(module, names in it) that define a dotted name; the module is None for a carrier, whose code does not
        count."""
        seen = set()
        while dotted not in seen:
            seen.add(dotted)
            module, rest = self._split(dotted)
            again = module.bound.get(rest[0]) if rest else None
            if module.name in self.carriers or not again:
                break
            dotted = ".".join([again, *rest[1:]])
        return None if module.name in self.carriers else module.name, rest

    def _split(self, dotted: str) -> tuple[Module, list[str]]:
        parts = dotted.split(".")
        for count in range(len(parts), 1, -1):
            if module := self._find(".".join(parts[:count])):
                return module, parts[count:]
        return self.module(parts[0]), parts[1:]


def _digest(content: list) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
