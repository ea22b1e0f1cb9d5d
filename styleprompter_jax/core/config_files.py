"""Where the configs are that come with the package."""

from pathlib import Path

PACKAGE = "styleprompter_jax.configs"
# In a checkout a link to configs/; git on Windows needs core.symlinks for it.
FOLDER = Path(__file__).parents[1] / "configs"


def config_names() -> list[str]:
    """What `get_config` knows by name."""
    return sorted(f.stem for f in FOLDER.glob("*.py") if not f.stem.startswith("_"))
