"""agentd: label a GitHub issue, get a verified pull request back."""

__version__ = "0.1.0"
