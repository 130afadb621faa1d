"""Do overlays work here, for this user, between these folders? Asked by using one, since no setting can tell."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from functools import cache
from pathlib import Path

from agentd.errors import AgentdError
from agentd.sandbox.launch import start
from agentd.sandbox.profile import Lower, SandboxSpec

TRY = """set -e
echo more >> kept; [ "$(cat kept)" = "base
more" ]
echo new > new; mv new renamed; [ "$(cat renamed)" = new ]
mv moved folder/moved; [ ! -e moved ]; [ "$(cat folder/moved)" = moved ]
rm gone; [ ! -e gone ]
rm -r folder/old; mkdir folder/old; [ -z "$(ls -A folder/old)" ]
chmod 755 tool; ln kept linked
"""
FILES = {"kept": "base\n", "moved": "moved\n", "gone": "x", "folder/old/file": "x", "tool": "x"}
TIMEOUT_SECONDS = 10.0


@cache
def overlay_problem(bases: Path, workspaces: Path) -> str:
    """Why no workspace in the one folder can lie over a base in the other; empty when it can. Asked once a process."""
    name = f".probe-{secrets.token_hex(4)}"
    base, place = bases / name, workspaces / name
    try:
        workspaces.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (base / "folder" / "old", place / "upper", place / "work"):
            folder.mkdir(parents=True, mode=0o700)
        for file, text in FILES.items():
            (base / file).write_text(text)
        spec = SandboxSpec(place / "upper", lower=Lower(base, place / "work"))
        with start(spec, ["/bin/sh", "-c", TRY]) as contained:
            said = contained.process.communicate(timeout=TIMEOUT_SECONDS)[0].decode(errors="replace").strip()
            failed = contained.process.returncode != 0
        if failed:
            return f"files in an overlay do not behave: {said or 'a change was not seen'}"
        if any((base / file).read_text() != text for file, text in FILES.items()):
            return "a change in an overlay reached what is below it"
    except (AgentdError, OSError, subprocess.SubprocessError) as error:
        return f"no overlay can be mounted here: {error}"
    finally:
        for folder in (base, place):
            subprocess.run(["chmod", "-R", "u+rwX", str(folder)], capture_output=True)
            shutil.rmtree(folder, ignore_errors=True)
    return ""
