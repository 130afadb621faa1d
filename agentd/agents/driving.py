"""Starting an agent through one of the programs in drivers/, which hold its conversation inside the sandbox."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from agentd.agents.protocol import LaunchSpec

SOURCES = Path(__file__).parent / "drivers"
FOLDER = ".agentd"
"""In the run's home; written anew before every start, since the agent can write there too."""

# Appended, so that nothing in the folder stands before the standard library.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from drivers.{name} import main; sys.exit(main(sys.argv[1:]))"


def driven(
    spec: LaunchSpec, driver: str, argv: Sequence[str], *more: str, with_options: bool = True
) -> tuple[str, ...]:
    """The command that starts the driver of that name in front of the agent's program; `more` are options for it."""
    python = spec.hook[0] if spec.hook else "python3" if spec.sandboxed else sys.executable
    # Nor is compiled code taken from the folder: an earlier turn of the agent may have put some there.
    command = [python, "-I", "-S", "-X", "pycache_prefix=/dev/null", "-c", _START.format(name=driver)]
    start = (*command, str(spec.home / FOLDER))
    if not with_options:
        return (*start, "--", *argv)
    options = [f"--hook={word}" for word in spec.hook]
    options += [f"--resume={spec.resume}"] if spec.resume else []
    options += more
    options += [f"--model={spec.profile.model}"] if spec.profile.model else []
    return (*start, *options, "--", *argv)


def driver_files(spec: LaunchSpec) -> dict[Path, str]:
    """The drivers' own text, to be written into the run's home."""
    folder = spec.home / FOLDER / "drivers"
    return {folder / source.name: source.read_text() for source in sorted(SOURCES.glob("*.py"))}
