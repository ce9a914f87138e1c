"""The storage-agnostic half of the sync backend: the change log, its model, its contract, its REST API.

Nothing here knows AWS; `aws_backend` builds on this package, never the reverse. Importing the package
loads nothing: a Lambda pays only for the modules it names.
"""

__version__ = "0.1.0"
