"""The arrows between rooms: a module imports only from its own room and from those before it, and the walls hold."""

import ast
from pathlib import Path

import kerasptb

PACKAGE = Path(kerasptb.__file__).parent

# As CONTRIBUTING draws them. Rooms of one line may not import from one another.
RUNS = (
    ("utils",),
    ("arguments", "cells", "native"),
    ("data", "engine"),
    ("frozen", "reading"),
    ("evaluation", "runs"),
    ("keyboard",),
    ("export", "serving"),
)
TRAINS = (
    ("compat", "pipeline"),
    ("ops",),
    ("layers", "losses", "metrics", "optimizers", "regularizers"),
    ("trainers", "acceleration"),
    ("callbacks",),
    ("presets",),
    ("models",),
    ("conversion", "dynamic_evaluation", "explanation", "run"),
    ("training",),
    ("tuning",),
)
# Faces: over both sides. A run is asked by both, and `info` and the command line ask all.
FACES = (("info",), ("cli",))
LEVEL = {room: level for level, rooms in enumerate((*RUNS, *TRAINS, *FACES)) for room in rooms}
RUNNING, TRAINING = ({room for rooms in side for room in rooms} for side in (RUNS, TRAINS))
# Doors in the wall, inside functions: what runs a model asks there for what Keras alone can do.
DOORS = {
    ("kerasptb.export.keyboard", "kerasptb.conversion.litert"),  # a part of the pack, left out without TensorFlow
    ("kerasptb.export.c", "kerasptb.conversion.frozen"),  # of a Keras model
    ("kerasptb.run", "kerasptb.models.language_model"),  # `load_model`
    ("kerasptb.run", "kerasptb.dynamic_evaluation"),  # learns while it reads
}
FRAMEWORKS = {"keras", "tensorflow", "jax", "torch", "matplotlib", "keras_tuner"}
MAY_IMPORT_TENSORFLOW = {"kerasptb.engine.saved_model"}  # which reads a SavedModel


def room_of(module):
    return module.partition(".")[2].partition(".")[0]


def submodule(module, name):
    """What `from module import name` imports."""
    path = PACKAGE.parent / module.replace(".", "/") / name
    return f"{module}.{name}" if path.with_suffix(".py").exists() or path.is_dir() else module


def public_names():
    """The room of each public name of the package."""
    for node in ast.walk(ast.parse((PACKAGE / "__init__.pyi").read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.name, f"kerasptb.{node.module or alias.name}") for alias in node.names)


PUBLIC = dict(public_names())


def modules():
    """Every module of the package with its tree; a stub says what its package imports when a name is first used."""
    for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        yield name, path, ast.parse(path.read_text())


def names_of(module, path, node):
    """The modules that a node of a tree imports, or names by their attributes: `kerasptb.reading.Reader`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level:
            package = module.split(".")[: len(module.split(".")) - node.level + 1]
            source = ".".join([*package, *filter(None, [node.module])])
        else:
            source = node.module
        return [submodule(source, alias.name) for alias in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kerasptb":
        return [PUBLIC[node.attr]] if node.attr in PUBLIC else []
    return []


def inside_functions(tree):
    """The nodes of a tree that run only when a function is called; of types alone, none runs."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {inner for function in functions for statement in function.body for inner in ast.walk(statement)}


def of_types(tree):
    """The nodes that only type checkers see."""
    guarded = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    return {inner for node in guarded for statement in node.body for inner in ast.walk(statement)}


def imports():
    """Every (module, imported module, whether inside a function) of the package but for types."""
    for module, path, tree in modules():
        if module in ("kerasptb", "kerasptb.__main__"):
            continue
        lazy, types = inside_functions(tree), of_types(tree)
        for node in ast.walk(tree):
            if node not in types:
                yield from ((module, name, node in lazy) for name in names_of(module, path, node))


IMPORTS = [*imports()]


def test_every_module_is_in_a_room():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(LEVEL)


def test_arrows_point_one_way():
    wrong = set()
    for module, imported, _ in IMPORTS:
        here, there = room_of(module), room_of(imported) if imported.startswith("kerasptb.") else ""
        if not there or there == here or (module, imported) in DOORS:
            continue
        if LEVEL[there] >= LEVEL[here]:
            wrong.add(f"{module} imports {imported}")
    assert wrong == set()


def test_what_runs_a_model_needs_nothing_of_what_trains_it():
    """The first wall: neither its modules nor a framework; `run` needs them only behind its doors."""
    wrong, through = set(), set()
    for module, imported, is_lazy in IMPORTS:
        if room_of(module) not in RUNNING and module != "kerasptb.run":
            continue
        top = imported.partition(".")[0]
        if top in FRAMEWORKS and (module not in MAY_IMPORT_TENSORFLOW or not is_lazy):
            wrong.add(f"{module} imports {imported}")
        if top == "kerasptb" and room_of(imported) in TRAINING - {room_of(module)}:
            if (module, imported) in DOORS and is_lazy:
                through.add((module, imported))
            else:
                wrong.add(f"{module} imports {imported}")
    assert wrong == set()
    assert through == DOORS


def test_reading_never_reaches_into_the_keyboard():
    """The second wall; the order of the rooms says it too."""
    below = {"reading", "evaluation", "runs", "engine", "data"}
    wrong = {(module, name) for module, name, _ in IMPORTS if room_of(module) in below and room_of(name) == "keyboard"}
    assert wrong == set()


def test_no_module_imports_itself_in_a_circle():
    arrows = {}
    for module, imported, _ in IMPORTS:
        if imported.startswith("kerasptb."):
            arrows.setdefault(module, set()).add(imported)
    stubs = {module for module, path, _ in modules() if path.suffix == ".pyi"}  # which import when a name is used
    done, path = set(), []

    def visit(module):
        if module in done or module in stubs:
            return
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        path.append(module)
        for imported in arrows.get(module, ()):
            if imported in arrows:
                visit(imported)
        done.add(path.pop())

    for module in list(arrows):
        visit(module)
    assert len(done) > 80
