"""The command policy: what a shell command may run, judged from its text. Pure: nothing here reads, writes or starts.

A rail for an honest agent and a line of audit, not a boundary: an allowed interpreter runs whatever it is given, and
the sandbox is what holds it. Order of a judgement: text -> shfmt's tree -> programs, and tree-sitter's second vote.
"""
