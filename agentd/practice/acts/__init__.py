"""What can happen in a repository: each function changes the state, records the events and announces them to webhooks.

The REST handlers, GraphQL, a push and the Python API all come through here.
"""
