"""Whether what an agent left may be published: the difference it made, judged from objects."""

from __future__ import annotations

from agentd.git.changes import blobs, changes, is_binary, sizes
from agentd.model import Verdict
from agentd.policy.diff import SYMLINK, Change, Content, DiffRules, judge
from agentd.run.desk import Desk
from agentd.sandbox.redact import masked, secrets_in


def judge_diff(desk: Desk, before: str, after: str) -> tuple[Verdict, ...]:
    """What of the difference between two commits or trees is not allowed; each Verdict is an Event too."""
    settings = desk.context.settings.diff
    rules = DiffRules(settings.max_files, settings.max_bytes, settings.protected, settings.binary, settings.secrets)
    found = changes(desk.context.mirror, before, after)
    verdicts = judge(desk.task.task_id, found, _contents(desk, found, rules.max_bytes), rules)
    for verdict in verdicts:
        desk.decided(verdict)
    return verdicts


def _contents(desk: Desk, found: tuple[Change, ...], max_bytes: int) -> dict[str, Content]:
    mirror, new = desk.context.mirror, [change for change in found if change.is_new_content]
    size = sizes(mirror, [change.new_sha for change in new])
    if sum(size.values()) > max_bytes:
        return {change.path: Content(size[change.new_sha]) for change in new}  # refused without being read
    text = blobs(mirror, size)
    # What was in the file before is not this run's doing; a file that is far larger is not looked at for that.
    before = [change.old_sha for change in new if set(change.old_sha) != {"0"}]
    old = {sha: length for sha, length in sizes(mirror, before).items() if length <= max_bytes} if before else {}
    known = blobs(mirror, old)
    return {
        change.path: Content(
            size[change.new_sha],
            change.new_mode != SYMLINK and is_binary(text[change.new_sha]),
            text[change.new_sha].decode(errors="surrogateescape") if change.new_mode == SYMLINK else "",
            tuple(
                masked(secret)
                for secret in secrets_in(text[change.new_sha], desk.secrets)
                if secret not in known.get(change.old_sha, b"")
            ),
        )
        for change in new
    }
