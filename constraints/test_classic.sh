#!/usr/bin/env bash
# Installs the classic environment (constraints/classic.txt) into .venv-classic and runs the tests in it.
set -euo pipefail
cd "$(dirname "$0")/.."
"${PYTHON:-python3.11}" -m venv --clear .venv-classic
. .venv-classic/bin/activate
pip install --quiet -e '.[demo,test]' -c constraints/classic.txt tf-keras tensorflow-io tflite-runtime
pip check
python -m pytest -q "$@"
