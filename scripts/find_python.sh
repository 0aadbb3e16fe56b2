#!/bin/sh
# Prints the first Python on PATH that is new enough (PYTHON=... names another one), or says what is missing.
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 python}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
echo "No Python >= 3.10 with venv on PATH (on Debian: apt-get install python3 python3-venv); or set PYTHON=/path/to/python." >&2
exit 1
