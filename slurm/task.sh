#!/usr/bin/env bash
# One task of a job array: the arguments are a command, to which the task's number is added.
# slurm/submit.sh submits it. Near the time limit, or when Slurm takes the node away, the command is
# told to stop, and the task goes back into the queue: it goes on after its last whole epoch.
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"
[ -x .venv/bin/python ] && PATH="$PWD/.venv/bin:$PATH"
export TQDM_MININTERVAL=30

# LOCAL_CACHE: a folder on the node's own disk, which the shared cache is copied to before.
if [ -n "${LOCAL_CACHE:-}" ]; then
    mkdir -p "$LOCAL_CACHE"
    flock "$LOCAL_CACHE/.lock" cp -r --update "${AEFLOW_CACHE:-cache}/." "$LOCAL_CACHE/"
    export AEFLOW_CACHE="$LOCAL_CACHE"
fi

"$@" "$SLURM_ARRAY_TASK_ID" &
running=$!
stop_and_requeue() {
    kill -TERM "$running"
    wait "$running"
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    exit 143
}
trap stop_and_requeue USR1 TERM
wait "$running"
