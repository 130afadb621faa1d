"""What a stranger can check of a run after its end."""
