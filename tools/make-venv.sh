#!/bin/sh
# Make .venv with the Python given. Debian keeps a part of Python's own library in a package of its
# own; as root it is installed, else the sentence says what to ask for.
set -eu

python="$1"

if ! command -v "$python" > /dev/null; then
    echo "There is no $python: install Python 3.11 or newer, or name it: make PYTHON=..." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$("$python" --version) is too old: name Python 3.11 or newer: make PYTHON=..." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv
    else
        echo "Python's venv is missing: install the package python3-venv" >&2
        exit 1
    fi
fi
# One made by another Python, or half made, is made anew.
"$python" -m venv --clear .venv
