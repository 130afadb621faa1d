"""GraphQL as far as agentd and PyGithub use it."""

from agentd.practice.graphql.answer import answer_graphql

__all__ = ["answer_graphql"]
