#!/usr/bin/env bash
# A frozen plan as three jobs, each after the one before: features, runs, report.
#
#   python -m aeflow_utils plan --profile paper --out plan.csv
#   slurm/submit.sh plan.csv
#
# Again, it submits what is not done. What your cluster gives a task:
GPUS="${GPUS:-1}"              # 0 where nodes have none: a node without refuses the whole array
CPUS="${CPUS:-8}"
MEMORY="${MEMORY:-32G}"
TIME="${TIME:-12:00:00}"
AT_ONCE="${AT_ONCE:-8}"        # tasks of the runs at a time
STOP_AHEAD="${STOP_AHEAD:-120}" # seconds before TIME at which a task stops and is queued again
LOGS="${LOGS:-results/slurm}"
read -ra MORE <<< "${MORE:-}"  # more of sbatch's options: --partition=..., --account=...
# Of the environment: AEFLOW_DATA; AEFLOW_CACHE, a fast disk that all nodes see; LOCAL_CACHE, a
# folder on each node's own disk to copy it to.
set -euo pipefail

plan=$(realpath "$1")
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
tasks=$(python -m aeflow_utils status "$plan" --todo tasks)
features=$(python -m aeflow_utils status "$plan" --todo features)
profile=$(python -m aeflow_utils status "$plan" --todo profile)
if [ -z "$tasks" ]; then
    echo "every run of $plan is done"
    exit
fi
mkdir -p "$LOGS"
options=(--parsable --cpus-per-task="$CPUS" --mem="$MEMORY" "${MORE[@]}")
array=("${options[@]}" --time="$TIME" --requeue --open-mode=append --signal="B:USR1@$STOP_AHEAD"
    --output="$LOGS/%x-%a.log")
[ "$GPUS" = 0 ] || array+=(--gres="gpu:$GPUS")

first=$(sbatch "${array[@]}" --job-name=features --array="$features" \
    slurm/task.sh python -m aeflow_utils prepare "$plan" --features)
# A set whose features fail does not stop the runs of others.
runs=$(sbatch "${array[@]}" --job-name=runs --array="$tasks%$AT_ONCE" \
    --dependency="afterany:$first" slurm/task.sh python -m aeflow_utils run --plan "$plan" --task)
report=$(sbatch "${options[@]}" --job-name=report --time=1:00:00 --output="$LOGS/report.log" \
    --dependency="afterany:$runs" slurm/report.sh "$plan" "$profile")
echo "features $first, runs $runs, report $report; logs in $LOGS"
