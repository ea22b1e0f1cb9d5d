"""The house of CONTRIBUTING.md: each floor imports only from the floors below it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "styleprompter_jax"
# From the ground up; what is on one floor does not know of each other.
FLOORS = (
    {"version", "large_pages"},
    {"core"},
    {"ops"},
    {"images", "models", "editing"},
    {"losses", "data", "store", "configs"},
    {"convert", "training", "inversion"},
    {"evaluation", "search"},
    {"app"},
    {"cli", "demo"},
    {"moved", "__main__"},
)
# The package itself says only where its names are.
ROOM = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def imported(source: str):
    """What code imports of the package, by the name of the file or folder in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from styleprompter_jax import bundle" is of bundle.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == PACKAGE.name and rest:
                yield rest.split(".")[0]


def arrows():
    """(file, its room, a room that it imports), for all code of the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).parts
        room = parts[0].removesuffix(".py")
        if room != "__init__":
            for other in imported(file.read_text()):
                if other != room:
                    yield "/".join(parts), room, other


def test_no_arrow_runs_up():
    found = list(arrows())
    assert len(found) > 300  # it does read the code
    wrong = [
        f"{file} imports {other}"
        for file, room, other in found
        if not ROOM.get(other, len(FLOORS)) < ROOM.get(room, len(FLOORS))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_floor():
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir()}
    code = {room for room in rooms if (PACKAGE / room).is_dir() or
            (PACKAGE / f"{room}.py").is_file()}  # fmt: skip
    assert code - {"__init__", "__pycache__", "bundled"} == ROOM.keys()


def test_imports_are_seen():
    source = """
import styleprompter_jax.ops.ssim
from styleprompter_jax import bundle
from styleprompter_jax.images.files import sheet
def later():
    from styleprompter_jax.data import avatars
"""
    assert list(imported(source)) == ["ops", "bundle", "images", "data"]
