"""The user's own list of native plugins that presets may use: name -> path. A preset never says where.

The list is `plugins.toml` in neuralsynth's settings folder::

    [plugins]
    "Zam Compressor" = "/usr/lib/vst3/ZamCompX2.vst3"
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from neuralsynth.errors import EnvironmentProblem


def plugin_list_path() -> Path:
    """The user's list of allowed plugins: `plugins.toml` in the folder where this system keeps settings."""
    if sys.platform == "win32":
        home = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Application Support"
    else:
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "neuralsynth" / "plugins.toml"


def allowed_plugins() -> dict[str, Path]:
    """Read the user's list: plugin name -> path, from the table `[plugins]`; empty where there is no list."""
    path = plugin_list_path()
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise EnvironmentProblem(
            f'{path}: cannot be read ({error}); write lines such as Name = "/path/x.vst3"'
        ) from error
    plugins = document.get("plugins", {})
    if not isinstance(plugins, dict) or not all(isinstance(p, str) for p in plugins.values()):
        raise EnvironmentProblem(f"{path}: [plugins] must map names to paths")
    return {name: Path(place).expanduser() for name, place in plugins.items()}
