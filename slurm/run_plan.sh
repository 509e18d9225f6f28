#!/usr/bin/env bash
# One run of the study a task, as a job array. From the checkout, after `make reproduce` has
# installed the environment once (or with your own environment active):
#
#   n=$(python -m aeflow_utils plan --profile paper | wc -l)
#   sbatch --array=0-$((n - 1))%8 slurm/run_plan.sh
#
# Ablations and folds: `plan --grid` in the first line, and GRID=--grid before sbatch.
#
# Set AEFLOW_DATA to the data folder before. A task that was stopped goes on from its last epoch
# when it is submitted again; a finished one returns at once. Features are cached in AEFLOW_CACHE
# (default: cache/ in the checkout), which all tasks share: put it on a fast disk.
#SBATCH --job-name=aeflow
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --output=results/slurm-%A_%a.log
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
export TQDM_MININTERVAL=30
python -m aeflow_utils run --profile "${AEFLOW_PROFILE:-paper}" --index "$SLURM_ARRAY_TASK_ID" ${GRID:-}
