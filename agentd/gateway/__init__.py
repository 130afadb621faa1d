"""The model gateway: the only way from a run to a model.

A call's way: doors (who listens) -> handler (one HTTP request) -> writer (reserve) -> upstreams (the real service) ->
usage (what it cost) -> writer (settle). The run holds a key that is worth nothing elsewhere; the real one stays here.
"""
