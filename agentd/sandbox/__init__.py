"""What holds a run: the bubblewrap profile, its limits, the way out of it, and the helper that judges commands."""
