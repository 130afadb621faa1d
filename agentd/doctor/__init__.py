"""The doctor: is everything here that agentd needs, does it hold, and if not, what mends it. One file a group."""
