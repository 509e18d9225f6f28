#!/usr/bin/env bash
# What has become of a plan, then every table and the article from the runs that are there.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
python -m aeflow_utils status "$1"
python -m aeflow_utils notebooks 06 00 --profile "$2"
