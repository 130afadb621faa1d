"""Traces of runs: spans made from the store, and where they are sent."""
