"""Clone, fetch and push: git's own http-backend as a CGI program in front of the bare repositories."""

from __future__ import annotations

import asyncio
import functools
import gzip
import re
import subprocess
from pathlib import Path

from aiohttp import web

from agentd.practice.access import CHALLENGE, in_scope, token_of
from agentd.practice.acts.refs import RefMove, refs_moved
from agentd.practice.bare import ZERO, environment
from agentd.practice.log import Seen
from agentd.practice.refusal import Refused
from agentd.practice.webhooks import deliver
from agentd.practice.world import Repo, Token, World

PATH = re.compile(r"/([^/]+)/([^/]+?)(\.git)?/(info/refs|git-upload-pack|git-receive-pack)")
CHUNK_BYTES = 1 << 16
LONGEST_HEADER_BYTES = 1 << 16


@functools.cache
def backend() -> str:
    """The path of git http-backend."""
    folder = subprocess.run(["git", "--exec-path"], check=True, capture_output=True, text=True).stdout.strip()
    return str(Path(folder) / "git-http-backend")


def is_git(request: web.Request) -> bool:
    return PATH.fullmatch(request.path) is not None


async def answer(world: World, request: web.Request, seen: Seen) -> web.StreamResponse:
    """One request of a git client."""
    match = PATH.fullmatch(request.path)
    assert match is not None
    owner, name, _, service = match.groups()
    pushing = "git-receive-pack" in (service, request.query.get("service"))
    try:
        token = token_of(world, request.headers.get("Authorization"))
        seen.user = token.user.login if token else None
        repo = allowed_repo(world, f"{owner}/{name}", token, pushing)
    except Refused as refused:
        headers = CHALLENGE if refused.status == 401 else {}
        return web.Response(status=refused.status, text=str(refused), headers=headers)
    if service != "git-receive-pack":
        return await run_backend(world, repo, request, seen, service)
    async with repo.lock:
        before = await wanted_moves(repo, seen.body, request.headers.get("Content-Encoding"))
        response = await run_backend(world, repo, request, seen, service)
        moves = [move for move in before if (repo.git.resolve(move.ref) or ZERO) == move.new]
        assert token is not None
        await refs_moved(world, repo, token.user, moves)
    await deliver(world)
    return response


def allowed_repo(world: World, full_name: str, token: Token | None, pushing: bool) -> Repo:
    """The repository, if this token may do this to it."""
    user = token.user if token else None
    try:
        repo = world.repo(full_name)
    except KeyError:
        repo = None
    visible = repo is not None and world.allows(repo, user, "read") and (not repo.private or in_scope_of(token, repo))
    if token is None and (pushing or not visible):
        raise Refused(401, "No anonymous access; give a token as the password.")
    if repo is None or not visible:
        raise Refused(404, "Repository not found.")
    if pushing:
        assert token is not None
        if not world.allows(repo, user, "write") or token.read_only or not in_scope_of(token, repo):
            raise Refused(403, f"Permission to {repo.full_name}.git denied to {token.user.login}.")
    return repo


def in_scope_of(token: Token | None, repo: Repo) -> bool:
    return token is not None and in_scope(token, repo.private)


async def wanted_moves(repo: Repo, body: bytes, encoding: str | None) -> list[RefMove]:
    """The ref updates a push asks for, read from the head of its body (pkt-lines up to the first flush)."""
    data = gzip.decompress(body) if encoding == "gzip" else body
    moves, at = [], 0
    while len(data) >= at + 4:
        length = int(data[at : at + 4], 16)
        if length == 0:
            break
        line = data[at + 4 : at + length].split(b"\0", 1)[0].decode(errors="replace").rstrip("\n")
        at += length
        words = line.split(" ", 2)
        if len(words) == 3 and len(words[0]) == 40:
            moves.append(RefMove(words[2], words[0], words[1]))
    return moves


async def run_backend(world: World, repo: Repo, request: web.Request, seen: Seen, service: str) -> web.StreamResponse:
    """Runs the CGI program and streams what it prints."""
    process = await asyncio.create_subprocess_exec(
        backend(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=cgi_environment(world, repo, request, seen, service),
    )
    assert process.stdin is not None and process.stdout is not None
    feeding = asyncio.create_task(feed(process.stdin, seen.body))
    try:
        head = await process.stdout.readuntil(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(fields.pop("Status", "200").split(" ")[0])
        response = web.StreamResponse(status=status, headers=fields)
        await response.prepare(request)
        while chunk := await process.stdout.read(CHUNK_BYTES):
            await response.write(chunk)
        await process.wait()
        await feeding
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        feeding.cancel()
    return response


async def feed(stdin: asyncio.StreamWriter, body: bytes) -> None:
    try:
        stdin.write(body)
        await stdin.drain()
        stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass


def cgi_environment(world: World, repo: Repo, request: web.Request, seen: Seen, service: str) -> dict[str, str]:
    env = {
        **environment(),
        "GIT_PROJECT_ROOT": str(world.root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{repo.git.path.relative_to(world.root)}/{service}",
        "QUERY_STRING": request.query_string,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(seen.body)),
        "REMOTE_USER": seen.user or "",
        "REMOTE_ADDR": request.remote or "",
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
    }
    hidden = [] if world.config.custom_refs else ["refs", "!refs/heads", "!refs/tags"]
    for index, value in enumerate(hidden):
        env |= {f"GIT_CONFIG_KEY_{index}": "receive.hideRefs", f"GIT_CONFIG_VALUE_{index}": value}
    return env | ({"GIT_CONFIG_COUNT": str(len(hidden))} if hidden else {})
