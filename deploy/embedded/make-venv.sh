#!/bin/sh
# Makes the virtual environment with the newest suitable Python, or says in one sentence what is
# missing. Plain sh and the standard library only: nothing is installed yet when this runs.
set -eu
venv=$1

python=
for candidate in "${PYTHON:-}" python3.14 python3.13 python3.12 python3.11 python3 python; do
    if [ -n "$candidate" ] && "$candidate" -c \
        'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Portalkeeper needs Python 3.11, 3.12, 3.13 or 3.14: install one, or name it with PYTHON=/path/to/python." >&2
    exit 1
fi

"$python" - <<'EOF'
import platform
import sys

machine = platform.machine().lower()
if sys.platform not in ("linux", "darwin"):
    sys.exit("The embedded servers run on Linux and macOS: on Windows use WSL 2 or docker compose.")
if machine not in ("x86_64", "amd64", "arm64", "aarch64"):
    sys.exit(f"The embedded servers exist for x86-64 and arm64, not for {machine}: use docker compose.")
if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
    sys.exit("The embedded servers need glibc and this system has another C library (Alpine?): use docker compose.")
EOF

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "This Python lacks its venv module: install it (Debian and Ubuntu: apt install python3-venv), then repeat." >&2
    exit 1
fi
if ! "$python" -m venv "$venv"; then
    rm -rf "$venv"
    echo "The virtual environment $venv could not be made: see above, then repeat." >&2
    exit 1
fi
# Pip itself first: older ones refuse a lock in which one package wants extras of another.
if ! "$venv/bin/python" -m pip install --quiet --require-hashes -r requirements/installer.txt; then
    rm -rf "$venv"
    echo "The installer could not be fetched: is there a network, or a package index set? Then repeat." >&2
    exit 1
fi
