"""Every error agentd raises on purpose. A message says what happened, what was expected and what to do."""

from __future__ import annotations

from datetime import datetime


class AgentdError(Exception):
    """Base of all; the command line prints the message as one line and exits with `exit_code`."""

    exit_code = 1


class ConfigurationError(AgentdError):
    """A setting, file or contract cannot be used; the message names it."""


class GitHubError(AgentdError):
    """GitHub answered with an error that a retry will not mend, or could not be reached at all.

    `status` is the HTTP status, or None when there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Unauthorized(GitHubError):
    """401: the token is missing, wrong or expired."""


class Forbidden(GitHubError):
    """403 that is no rate limit: the token lacks a right."""


class NotFound(GitHubError):
    """404 or 410: the thing is not there, or the token may not see it; an issue that was transferred, too."""


class Moved(GitHubError):
    """A redirect: the repository has another name, or the issue another repository. It is never followed.

    `location` is the address that GitHub's answer names, or empty.
    """

    location = ""


class Rejected(GitHubError):
    """405, 409 or 422: GitHub understood the request and refused it."""


class Unavailable(GitHubError):
    """5xx, a dropped connection or a time-out: whether a write happened is unknown. Look before writing again."""


class RateLimited(GitHubError):
    """A primary or secondary rate limit; nothing may be sent before `retry_at` (aware, UTC).

    `kind` is "primary" or "secondary".
    """

    def __init__(self, message: str, retry_at: datetime, kind: str, status: int | None = None) -> None:
        super().__init__(message, status)
        self.retry_at = retry_at
        self.kind = kind


class GitError(AgentdError):
    """A git command failed; the message carries the command without secrets and git's last lines."""

    def __init__(self, message: str, exit_status: int = -1, stderr: str = "") -> None:
        super().__init__(message)
        self.exit_status = exit_status
        """git's own; -1 where it was not started, did not end, or the error is none of git's"""
        self.stderr = stderr

    @property
    def is_passing(self) -> bool:
        """True for what may be over in a minute: the network, a rate limit, a full machine or the server's own trouble.

        A 403 in the middle (RPC failed) is no lack of rights: those are judged when git first asks for the refs.
        """
        words = (
            "could not be started",
            "unable to access",
            "RPC failed",
            "Could not resolve",
            "early EOF",
            "hung up",
            "Connection",
            "timed out",
            "did not end",
            "unexpected disconnect",
            "expected '",
            "Internal Server Error",
            "fatal error in commit_refs",  # GitHub's, when it could not write a ref
        )
        refused = ["error: 401", "error: 404", "Authentication failed"]
        said = f"{self} {self.stderr}"
        if "RPC failed" not in said and "rate limit" not in said:
            refused.append("error: 403")
        return any(word in said for word in words) and not any(word in said for word in refused)


class UndeclaredTransition(AgentdError):
    """A run state change that is not in the transition table."""


class ClaimLost(AgentdError):
    """The claim's generation is stale: someone else may act for the task, so this holder may not."""


class StoreError(AgentdError):
    """The store cannot be read or written: corrupt, locked, newer than the program, or its disk is full."""


class StoreRefused(StoreError):
    """The store is there and does not take this value: written again it would be refused again."""
