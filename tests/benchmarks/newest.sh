#!/usr/bin/env bash
# Try the newest release of every dependency, whatever the upper bounds in pyproject.toml say, with the candidate of
# Hydra 1.4 and OmegaConf 2.4: a fresh environment, then the tests that need no process, or what you say instead.
#     tests/benchmarks/newest.sh [ENVIRONMENT [PYTEST ARGUMENTS...]]
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=${1:-$(mktemp -d)/newest}
shift || true
[ $# -gt 0 ] || set -- -m "not process and not sweep and not slow and not browser"

python3 -m venv "$environment"
python="$environment/bin/python"
# Lower bounds alone. PIP_CONSTRAINT and the other variables of pip hold as ever.
readarray -t newest < <("$python" - <<'PYTHON'
import re, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
for line in [*project["dependencies"], *(line for name in extras for line in extras[name])]:
    if not line.startswith(("sweep", "hydra-core", "omegaconf")):
        print(re.sub(r",?<[\d.]+", "", line))
PYTHON
)
# Builds of torch without CUDA are 4 GB smaller, and newer in pip's eyes where both indexes have a version.
"$python" -m pip install --quiet --extra-index-url https://download.pytorch.org/whl/cpu \
    "${newest[@]}" "hydra-core>=1.4.0rc1" "omegaconf>=2.4.0rc1"
"$python" -m pip install --quiet --no-deps --editable .
"$python" -m pip list
"$python" -m pytest -q "$@"
