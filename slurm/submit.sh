#!/bin/bash
# Runs the pipeline as a chain of jobs, so that scoring, filter and report do not hold the training nodes:
#   slurm/submit.sh [--dry-run] CONFIG [key=value ...]
# Each job starts once the one before it has succeeded; one that fails takes those after it out of the queue.
#
# A site changes these sbatch options for each kind of job; they override the head of run_forgetfilter.sh.
TRAIN=${TRAIN:---nodes=1}                                # noisy, safe, refit: "--nodes=4 --gpus-per-node=8 --partition=gpu"
SCORE=${SCORE:-$TRAIN --nodes=1}                         # scoring and evaluation
SMALL=${SMALL:---nodes=1 --cpus-per-task=4 --time=4:00:00} # mix, filter, report: one task without a GPU
set -euo pipefail
export VENV=${VENV:-$PWD/.venv}
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "forgetfilter: $1" >&2; exit 2; }
dry=; after=; jobs=()
[ "${1:-}" != --dry-run ] || { dry=1; shift; }
[ -n "${1:-}" ] || fail "CONFIG is missing: slurm/submit.sh [--dry-run] CONFIG [key=value ...]"
[ -x "$VENV/bin/forgetfilter" ] || fail "$VENV/bin/forgetfilter is missing: set VENV to an installation that all nodes see"
"$VENV/bin/forgetfilter" config "$@" > /dev/null || exit   # a mistake is reported before anything is queued
config=$1; shift

queue() { # OPTIONS COMMAND [STAGE ...]
  local options=$1 command=$2 name=ff-$2 job; shift 2
  [ "$command" != train ] || name=ff-$1
  # shellcheck disable=SC2206  # options are several words
  local line=(sbatch --parsable --job-name="$name" $options ${after:+--dependency=afterok:$after --kill-on-invalid-dep=yes}
    "$here/run_forgetfilter.sh" "$command" "$config" "$@" "${overrides[@]}")
  if [ -n "$dry" ]; then job=JOB$((${#jobs[@]} + 1)); printf '%q ' "${line[@]}"; echo
  elif job=$("${line[@]}"); then echo "$command${*:+ $*}: job ${job%%;*}"
  else [ -z "$after" ] || scancel "${jobs[@]}"; fail "sbatch refused ${line[*]}; nothing is queued"
  fi
  after=${job%%;*}; jobs+=("$after")
}

overrides=("$@")
small="$SMALL --export=ALL,PROCESSES=1"
queue "$small" mix
queue "$TRAIN" train noisy safe control
queue "$SCORE" score
queue "$small" filter
queue "$TRAIN" train refit
queue "$SCORE" eval
queue "$small" report
