"""The evidence of a run as one archive."""

from __future__ import annotations

import io
import tarfile

from agentd.web.details import evidence_dir, require_run
from agentd.web.source import NotHere, Source

MOST_BYTES = 64 * 1024 * 1024


def evidence_archive(source: Source, run_id: str) -> bytes:
    """A tar.gz of the run's evidence files. Raises NotHere."""
    require_run(source, run_id)
    folder = evidence_dir(source, run_id)
    found = (
        [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
        if folder.is_dir()
        else []
    )
    if not found or sum(path.stat().st_size for path in found) > MOST_BYTES:
        raise NotHere(f"{run_id}: this host has no evidence of it that could be sent")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for path in found:
            entry = tarfile.TarInfo(f"{run_id}/{path.name}")
            entry.size, entry.mtime = path.stat().st_size, path.stat().st_mtime
            with path.open("rb") as file:
                archive.addfile(entry, file)
    return made.getvalue()
