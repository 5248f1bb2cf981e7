"""The arrows between rooms: a module imports only from its own room and from those before it."""

import ast
from pathlib import Path

import kerasptb

PACKAGE = Path(kerasptb.__file__).parent

# As CONTRIBUTING draws them. Rooms of one line may not import from one another.
ROOMS = (
    ("utils", "compat"),
    ("arguments", "data"),
    ("cells",),
    ("ops",),
    ("layers", "losses", "metrics", "optimizers", "regularizers"),
    ("trainers", "acceleration"),
    ("callbacks",),
    ("presets",),
    ("models",),
    ("reading", "explanation", "info"),
    ("evaluation",),
    ("runs",),
    ("training",),
    ("export",),
    ("serving", "tuning"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
# `python -m kerasptb.tuning.search` is `kerasptb tune`.
AGAINST = {("tuning", "cli")}


def room_of(module):
    return module.partition(".")[2].partition(".")[0]


def submodule(module, name):
    """What `from module import name` imports."""
    path = PACKAGE.parent / module.replace(".", "/") / name
    return f"{module}.{name}" if path.with_suffix(".py").exists() or path.is_dir() else module


def imports():
    """Every (module, imported module) of the package, those inside functions too."""
    for root in (PACKAGE, PACKAGE / "tuning"):  # a link, which `rglob` doesn't follow
        for path in root.rglob("*.py"):
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [submodule(node.module, alias.name) for alias in node.names]
                else:
                    continue
                yield from ((module, name) for name in names if name.startswith("kerasptb."))


def test_every_module_is_in_a_room():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(LEVEL)


def test_arrows_point_one_way():
    wrong = set()
    for module, imported in imports():
        here, there = room_of(module), room_of(imported)
        if not here or here in ("__main__", there) or (here, there) in AGAINST:
            continue
        if LEVEL[there] >= LEVEL[here]:
            wrong.add(f"{module} imports {imported}")
    assert wrong == set()


def test_no_module_imports_itself_in_a_circle():
    arrows = {}
    for module, imported in imports():
        if module not in ("kerasptb", "kerasptb.__main__") and (room_of(module), room_of(imported)) not in AGAINST:
            arrows.setdefault(module, set()).add(imported)
    done, path = set(), []

    def visit(module):
        if module in done:
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
