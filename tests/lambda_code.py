"""What Lambda runs, as it runs it: the zip, unpacked, and the Python it is for. Where that is not here, tests skip."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import NoReturn
from zipfile import ZipFile

import pytest

from scripts import lambda_runtime, package
from scripts.interpreters import NoInterpreter, find


@cache
def lambda_python() -> str:
    """Return a Python of Lambda's version, with nothing installed but what comes with it."""
    try:
        return find(package.PYTHON)
    except NoInterpreter as error:
        _cannot_run(str(error))


@cache
def lambda_zip() -> Path:
    """Build the zip, once for this process."""
    lambda_python()
    folder = Path(tempfile.mkdtemp(prefix="sltt-lambda-"))
    atexit.register(shutil.rmtree, folder)
    return package.build(folder / "lambda.zip")


@cache
def lambda_code() -> Path:
    """Unpack the zip, once for this process."""
    folder = lambda_zip().parent / "code"
    with ZipFile(lambda_zip()) as file:
        file.extractall(folder)
    return folder


def runtime_python() -> Path:
    """Return the Python that has AWS's runtime client."""
    if not lambda_runtime.PYTHON.exists():
        _cannot_run(f"{lambda_runtime.PYTHON} is not there; `make test` makes it where there is a Python 3.13")
    return lambda_runtime.PYTHON


def _cannot_run(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; under CI it has to run")
    pytest.skip(reason)
