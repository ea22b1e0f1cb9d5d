"""The configs that the package contains."""

from pathlib import Path

PACKAGE = "styleprompter_jax.configs"
# In a checkout, this is a link to configs/. Git on Windows needs core.symlinks for it.
FOLDER = Path(__file__).parents[1] / "configs"


def config_names() -> list[str]:
    """Returns the config names that `get_config` accepts, sorted."""
    return sorted(f.stem for f in FOLDER.glob("*.py") if not f.stem.startswith("_"))
