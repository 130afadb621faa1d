"""Code of the repository that OpenCode would run at its start: no switch of it keeps all of that out (1.18).

Its plugins are loaded by two parts of it, and `--pure` and OPENCODE_DISABLE_PROJECT_CONFIG reach one of them.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = ".opencode"
PLUGINS = ("plugin/*.ts", "plugin/*.js", "plugins/*.ts", "plugins/*.js")
SETTINGS = ("opencode.json", "opencode.jsonc", f"{FOLDER}/opencode.json", f"{FOLDER}/opencode.jsonc")
MARKS = (b"plugin", b"\\u")
"""In a file of settings: the word that names plugins, or an escape that may spell it."""


def refusal(program: str, workspace: str) -> str:
    """Why the program, if it is OpenCode, must not be started in the workspace; "" when it may."""
    if not Path(program).name.startswith("opencode"):
        return ""
    root = Path(workspace)
    found = next((path for pattern in PLUGINS for path in sorted((root / FOLDER).glob(pattern))), None)
    if found is None:
        found = next((root / name for name in SETTINGS if _names_plugins(root / name)), None)
    if found is None:
        return ""
    return (
        f"the repository has a plugin for OpenCode ({found.relative_to(root)}), which OpenCode would run without a "
        "question; take it out, or let another agent work on this repository"
    )


def _names_plugins(settings: Path) -> bool:
    try:
        text = settings.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(mark in text for mark in MARKS)
