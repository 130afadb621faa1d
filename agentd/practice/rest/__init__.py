"""The REST handlers, one file a chapter of GitHub's reference; each registers its routes when it is imported."""

from importlib import import_module

CHAPTERS = (
    "users", "repos", "issues", "labels", "comments", "timeline", "milestones", "reactions", "relations",
    "branches", "refs", "objects", "contents", "pulls", "merging", "reviews", "review_comments",
    "statuses", "checks", "commits", "search", "webhooks",
)  # fmt: skip


def load() -> None:
    """Imports every chapter, so that its routes are known."""
    for name in CHAPTERS:
        import_module(f"{__name__}.{name}")
