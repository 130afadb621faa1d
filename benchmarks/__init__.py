"""What scripts/bench measures, one file a subject. Every figure stands beside a limit or a peer of the same run."""
