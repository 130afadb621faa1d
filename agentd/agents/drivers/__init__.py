"""Programs that stand before an agent which wants a conversation: they hold it, and write what happens as JSON lines.

They run beside the agent, in its sandbox, where agentd is not: the standard library and each other are all they import.
`agentd.agents.driving` copies them into the run's home and starts them; driver_events.py reads what they write.

    python -I -S -c '...' acp OPTIONS -- PROGRAM [ARGUMENT]...  < prompt
"""
