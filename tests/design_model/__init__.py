"""An explicit-state model of the log: all states of two writers, a reader and faults, and the invariants there.

`python -m tests.design_model` checks it and prints the result; docs/model.md explains it.
"""
