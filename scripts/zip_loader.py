"""The zip's `aws_backend/__init__`: runs the modules of every cold start, which are in one file, one after the other.

To import them, Python would look for each, open and read it, and keep a lock and a description of it, which costs more
than the running of most. `scripts.package` has put them in order: each stands after those that it imports. What is not
among them is imported as usual, from beside this.
"""

import sys
from _io import FileIO
from marshal import loads

FOLDER = __file__.removesuffix("aws_backend/__init__.pyc")
MODULES = f"{FOLDER}aws_backend/modules.bin"
"""A list of names and code."""


def run() -> None:
    """Run every module, as an import would."""
    with FileIO(MODULES) as file:
        modules = loads(file.readall())
    while modules:
        name, code = modules.pop(0)  # and let go of it: it adds to the peak of memory
        module = sys.modules[name] = type(sys)(name)
        package, _, last = name.rpartition(".")
        if package in sys.modules:  # a package without code of its own is left out
            setattr(sys.modules[package], last, module)
        module.__file__ = FOLDER + code.co_filename
        if module.__file__.endswith("/__init__.py"):
            module.__path__ = [module.__file__.removesuffix("/__init__.py")]
        exec(code, module.__dict__)


run()
