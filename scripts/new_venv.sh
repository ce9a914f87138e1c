#!/bin/sh
# Makes a virtual environment: new_venv.sh PYTHON FOLDER. Where PYTHON cannot, it says why in one line and leaves no
# folder behind. It is a shell script because no Python that is too old could read a program written for 3.11.
set -eu
python=$1
folder=$2
needs="sltt needs Python 3.11 or newer"

fail() {
    echo "$1" >&2
    exit 1
}

version=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
    fail "$needs; '$python' does not run. Use PYTHON=python3.11"
major=${version%%.*}
minor=${version#*.}
minor=${minor%%.*}
if [ "$major" -lt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -lt 11 ]; }; then
    fail "$needs; '$python' is $version. Use PYTHON=python3.11"
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "'$python' ($version) has no module venv or ensurepip; install them (Debian: python3-venv), or use another PYTHON="

existed=$([ -e "$folder" ] && echo yes || echo no)
if ! "$python" -m venv "$folder"; then
    [ "$existed" = yes ] || rm -rf "$folder"
    fail "'$python' ($version) could not make the environment $folder"
fi
