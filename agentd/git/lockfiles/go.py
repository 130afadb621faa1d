"""Go modules: go.sum. Where go.mod conflicts too, as when both sides add a module, there is nothing to resolve."""

from __future__ import annotations

from agentd.git.lockfiles import manifests
from agentd.git.lockfiles.entry import Entry, LockfileUnreadable
from agentd.git.lockfiles.manager import Manager
from agentd.git.lockfiles.reading import lines_of


def read(content: bytes) -> dict[str, Entry]:
    """Every line by module and version, as `golang.org/x/text v0.3.0/go.mod`."""
    found = {}
    for number, line in enumerate(lines_of(content), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not words[2].startswith("h1:"):
            raise LockfileUnreadable(f"line {number}: expected `module version h1:hash`")
        module, version, digest = words
        found[f"{module} {version}"] = Entry(module, version, (), frozenset([digest]), False)
    return found


MANAGER = Manager(
    name="go",
    lockfiles=("go.sum",),
    manifests=("go.mod",),
    program="go",
    regenerate=("go", "mod", "tidy"),
    # `go mod verify` looks at what was downloaded, not at what is missing.
    check=("go", "list", "-mod=readonly", "-deps", "./..."),
    read=read,
    requirements=manifests.go,
    hosts=("proxy.golang.org", "sum.golang.org"),
    env={
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=mod -buildvcs=false",
        "GOPATH": "{home}/go",
        "GOCACHE": "{home}/go-build",
        # No version control of a module's own: only what the proxy has.
        "GOVCS": "*:off",
    },
    version_flag="version",
    has_edges=False,
)
