"""The world to practise in: a GitHub that fits in a process, on real bare git repositories."""

from agentd.practice.hub import PracticeGitHub
from agentd.practice.log import RequestRecord

__all__ = ["PracticeGitHub", "RequestRecord"]
