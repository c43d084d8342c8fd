#!/bin/bash
# The whole pipeline as one job over all its nodes:   sbatch slurm/run_forgetfilter.sh CONFIG [key=value ...]
# One stage of it:                                  sbatch slurm/run_forgetfilter.sh train CONFIG noisy safe
#
# A site changes these lines; each can also be given to sbatch (--partition=..., --nodes=...). Lines with ## are off.
##SBATCH --partition=gpu --account=NAME
#SBATCH --nodes=1
##SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --ntasks-per-node=1 --requeue --signal=B:USR1@180
#SBATCH --job-name=forgetfilter --output=%x-%j.log --open-mode=append
# module load cuda; export NCCL_SOCKET_IFNAME=ib0  # what the nodes need goes here, or before sbatch
VENV=${VENV:-$SLURM_SUBMIT_DIR/.venv}              # on every node
SRUN_OPTIONS=${SRUN_OPTIONS:-}                     # such as --container-image=...; see slurm/README.md
gpus=${SLURM_GPUS_ON_NODE:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}
PROCESSES=${PROCESSES:-$((gpus > 0 ? gpus : 1))}   # the ranks of each node: its GPUs; set it on CPU nodes
MAX_REQUEUES=${MAX_REQUEUES:-20}                   # a job that is stopped more often stays stopped
LOGS=${LOGS:-$PWD/logs}                            # the ranks' output, one file for each job, node and restart
set -uo pipefail
warned=; trap 'warned=1' USR1 TERM                 # before the time limit, or to make room for another job
restart=${SLURM_RESTART_COUNT:-0}
echo "== job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, restart $restart"
export SLURM_EXPORT_ENV=ALL SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"   # srun would take over neither

fail() { echo "forgetfilter: $1" >&2; exit 2; }
case ${1:-} in run | mix | train | score | filter | eval | report | scale | compare) command=$1; shift ;; *) command=run ;; esac
[ -e "${1:-}" ] || fail "${1:-CONFIG} is missing: sbatch slurm/run_forgetfilter.sh CONFIG [key=value ...]"
[ -z "${SLURM_ARRAY_TASK_ID:-}" ] || set -- "$@" --member "$SLURM_ARRAY_TASK_ID"   # slurm/scale.sh, compare.sh
# 66 is the answer of a node. Any other failure comes from srun: a node that has just come back may refuse its first launch.
for wait_seconds in 0 5 20 60; do
  sleep "$wait_seconds"
  # shellcheck disable=SC2016,SC2086  # $0 is for the node; options are several words
  srun $SRUN_OPTIONS --ntasks-per-node=1 bash -c '[ -x "$0" ] || exit 66' "$VENV/bin/torchrun"
  looked=$?
  [[ $looked =~ ^(0|66)$ || -n $warned ]] && break
done
[ "$looked" != 66 ] || fail "a node of $SLURM_JOB_NODELIST has no $VENV/bin/torchrun: set VENV to an installation that all nodes see"
[[ $looked = 0 || -n $warned ]] || fail "srun starts nothing on $SLURM_JOB_NODELIST: its reason is above; see SRUN_OPTIONS"
mkdir -p "$LOGS" || fail "$LOGS cannot be made: set LOGS to a folder that all nodes can write to"

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export TORCHRUN="$VENV/bin/torchrun" RANK_LOG="$LOGS/${SLURM_JOB_NAME//\//-}-$SLURM_JOB_ID"
# torchrun ignores the warning USR1, but its ranks do not. It must not pass on TERM, because Slurm itself signals all.
export FORGETFILTER_LAUNCHER="srun $SRUN_OPTIONS --ntasks-per-node=1 --kill-on-bad-exit=1 \
  bash -c 'trap \"\" USR1 TERM; log=\$RANK_LOG-\$SLURMD_NODENAME-$restart.log
  exec \"\$TORCHRUN\" \"\$@\" > >(tee -a \"\$log\") 2> >(tee -a \"\$log\" >&2)' - --signals-to-handle=SIGINT,SIGHUP,SIGQUIT \
  --nnodes=$SLURM_JOB_NUM_NODES --nproc-per-node=$PROCESSES --rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID \
  --rdzv-endpoint=$head:$((10000 + SLURM_JOB_ID % 20000))"   # a port below those that systems give away

(trap '' USR1; exec "$VENV/bin/forgetfilter" "$command" "$@" "launch.nodes=$SLURM_JOB_NUM_NODES" "launch.processes=$PROCESSES") &
worker=$!
while kill -0 $worker 2>/dev/null; do   # a signal ends `wait` early; it is warned repeatedly, because it may still be starting
  if [ -z "$warned" ]; then wait $worker; else kill -USR1 $worker 2>/dev/null; sleep 1; fi
done
wait $worker; code=$?
[ $code -le 128 ] || code=75            # ended by a signal, for example without memory: a lost rank

job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}; job=${job:-$SLURM_JOB_ID}   # one member alone
# a job that was warned still shows as RUNNING; one that is being cancelled or at its time limit shows as COMPLETING
if [ $code = 75 ] && [[ ! $(scontrol show job "$job") =~ JobState=RUNNING|Reason=TimeLimit ]]; then
  echo "== cancelled with everything saved; to go on: scontrol requeue $job, or submit it again"
elif [ $code = 75 ] && [ "$restart" -lt "$MAX_REQUEUES" ]; then
  echo "== stopped, requeued ($((restart + 1)) of at most $MAX_REQUEUES)"
  scontrol requeue "$job" || echo "== the requeue is refused: submit the same command again to go on"
fi
exit $code
