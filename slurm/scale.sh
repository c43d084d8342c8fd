#!/bin/bash
# Runs a study: a job for each pending member (a model and a seed of `scale`), and a last job that gathers.
#   slurm/scale.sh [--dry-run] CONFIG [key=value ...]
# slurm/compare.sh does the same with the cells of `compare`, in waves: first those whose models the others take over.
# The same command again runs only what failed.
#
# A site changes these sbatch options; they override the head of run_forgetfilter.sh.
MEMBER=${MEMBER:---nodes=1}                                    # each member: "--nodes=4 --gpus-per-node=8 --partition=gpu"
GATHER=${GATHER:---nodes=1 --cpus-per-task=4 --time=1:00:00}   # one task without a GPU
STUDY=${STUDY:-scale}                                         # compare.sh sets this
AT_ONCE=${AT_ONCE:-100}                                        # how many members run at the same time
set -euo pipefail
export VENV=${VENV:-$PWD/.venv}
script=$(cd "$(dirname "$0")" && pwd)/run_forgetfilter.sh

fail() { echo "forgetfilter: $1" >&2; exit 2; }
dry=
[ "${1:-}" != --dry-run ] || { dry=1; shift; }
[ -n "${1:-}" ] || fail "CONFIG is missing: slurm/scale.sh [--dry-run] CONFIG [key=value ...]"
[ -x "$VENV/bin/forgetfilter" ] || fail "$VENV/bin/forgetfilter is missing: set VENV to an installation that all nodes see"
found=$("$VENV/bin/forgetfilter" "$STUDY" "$@" --pending) || exit   # a mistake is reported before anything is queued
read -r name waves <<< "$found"; name=ff-$STUDY-$name
[ -n "$dry" ] || [ -z "$(squeue --noheader --me --name="$name")" ] || fail "$name is still in the queue: squeue --name=$name"

queue() { # SBATCH-OPTION ...: prints the job id, or what would be called
  if [ -n "$dry" ]; then { printf '%q ' sbatch "$@"; echo; } >&2; echo JOB; return; fi
  local job; job=$(sbatch --parsable --job-name="$name" "$@"); echo "${job%%;*}"
}

after=()
# shellcheck disable=SC2086  # options are several words, and so are the waves
for pending in $waves; do
  job=$(queue $MEMBER --array="$pending%$AT_ONCE" "${after[@]}" --output=%x-%A-%a.log "$script" "$STUDY" "$@")
  [ -n "$dry" ] || echo "members $pending: job $job"
  after=(--dependency="afterany:$job")
done
# shellcheck disable=SC2086
job=$(queue $GATHER --export=ALL,PROCESSES=1 "${after[@]}" "$script" "$STUDY" "$@" --gather)
[ -n "$dry" ] || echo "gather: job $job"
