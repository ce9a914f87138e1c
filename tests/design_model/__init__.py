"""An explicit-state model of the log: every state that two writers, a reader and faults bring about; what holds there.

`python -m tests.design_model` checks it and prints what it found; docs/model.md says what that means.
"""
