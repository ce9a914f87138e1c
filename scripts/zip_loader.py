"""The zip's `aws_backend/__init__`: it runs the modules of every cold start, which are all in one file.

To import them, Python would search for each file, open and read it, and create a lock and a spec for it. For most of
them, this costs more than running them. `scripts.package` has sorted them: each is after the modules that it imports.
All other modules are imported as usual, from the files next to this one.
"""

import sys
from _io import FileIO
from marshal import loads

FOLDER = __file__.removesuffix("aws_backend/__init__.pyc")
MODULES = f"{FOLDER}aws_backend/modules.bin"
"""The file with the list of module names and their code."""


def run() -> None:
    """Run every module as an import would."""
    with FileIO(MODULES) as file:
        modules = loads(file.readall())
    while modules:
        name, code = modules.pop(0)  # removed from the list, to lower the peak of memory
        module = sys.modules[name] = type(sys)(name)
        package, _, last = name.rpartition(".")
        if package in sys.modules:  # a package without its own code is not in the list
            setattr(sys.modules[package], last, module)
        module.__file__ = FOLDER + code.co_filename
        if module.__file__.endswith("/__init__.py"):
            module.__path__ = [module.__file__.removesuffix("/__init__.py")]
        exec(code, module.__dict__)


run()
