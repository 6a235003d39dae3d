#!/bin/bash
# From a fresh clone to a training that lost a rank and finished all the same. Usage: examples/quickstart.sh
# Installs what is missing, builds a release, starts a private Slurm cluster and sshd on this machine, submits
# examples/char-gpt over SSH, kills one of its ranks in the middle, shows how the run goes on, and tidies up.
# The exit code is 0 only if the run resumed from a checkpoint and finished.
#
# TRAINCTL_BIN_DIR=FOLDER: use the trainctl and trainctl-agent in it, and build nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

steps=500 kill_at=220 victim=3            # of four ranks; a checkpoint is made every 50 steps
build_limit=1500 run_limit=300 short_limit=120 # seconds
name=quickstart
private='' run='' follower='' phases=() sandbox=()

say() { printf '%s\n' "$@"; }
fail() {
    printf 'quickstart: %s\n' "$*" >&2
    exit 1
}

begin() {
    phase=$1 phase_began=$SECONDS
    say "" "== $phase"
}
end() {
    local took=$((SECONDS - phase_began))
    phases+=("$(printf '%5d s  %s' "$took" "$phase")")
    say "   ($took s)"
}

tidy_up() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP # a second Ctrl-C must not leave half of it
    set +e
    [ -z "$follower" ] || kill "$follower" 2>/dev/null
    if [ "${#sandbox[@]}" -gt 0 ]; then
        say "" "== tidying up"
        timeout "$short_limit" "$bin/trainctl" sandbox down "${sandbox[@]}" || code=1
    fi
    [ -z "$private" ] || rm -rf "$private"
    exit "$code"
}
trap tidy_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 141' PIPE

# /tmp, whatever TMPDIR is: paths of Unix sockets are short, and Slurm's files take plain paths only.
private=$(mktemp -d /tmp/trainctl-quickstart.XXXXXX)

install_and_build() {
    begin "installing what is missing (apt)"
    .ci/install.sh build sandbox example
    end
    begin "building a release with all $(nproc) CPUs: build/release"
    local log=$private/build.log
    [ ! -t 1 ] || log=/dev/stdout
    if ! { cmake --preset release && timeout "$build_limit" cmake --build --preset release --parallel; } >"$log"; then
        [ "$log" = /dev/stdout ] || tail -n 30 "$log" >&2
        fail "the build failed"
    fi
    end
}

# The pid of the one process that is this rank of this run: the environment tells.
find_rank() {
    local file
    for file in $(grep -lszxF "TRAINCTL_RUN=$run" /proc/[0-9]*/environ | xargs -r grep -lszxF "RANK=$1"); do
        grep -qsaF train.py "${file%environ}cmdline" || continue
        file=${file#/proc/}
        say "${file%/environ}"
        return 0
    done
    return 1
}

kill_rank() {
    local pid
    pid=$(find_rank "$victim") || fail "rank $victim of $run is not to be found"
    say "   >>> kill -9 $pid: rank $victim is dead"
    kill -9 "$pid"
    killed_at=${EPOCHREALTIME/[.,]/}
}

# Shows a few of the lines that the ranks print, and kills a rank as soon as one tells of step $kill_at.
watch_run() {
    local line text where='attempt 1, generation 1' killed_at='' resumed=''
    local printed_step='] step ([0-9]+) loss' file_header='^==> attempt 0*([0-9]+), g0*([0-9]+)/'
    exec 3< <(exec timeout "$run_limit" "$bin/trainctl" logs -f "$run" 2>&1)
    follower=$!
    while IFS= read -r line <&3; do
        text="${line#*'] '}"
        if [[ $line =~ $file_header ]]; then
            where="attempt ${BASH_REMATCH[1]}, generation ${BASH_REMATCH[2]}"
        elif [[ $line =~ $printed_step ]]; then
            local step=${BASH_REMATCH[1]}
            if [ -n "$killed_at" ] && [ "$where" != 'attempt 1, generation 1' ] && [ -z "$resumed" ]; then
                resumed=yes
                local tenths=$(((${EPOCHREALTIME/[.,]/} - killed_at) / 100000))
                say "   >>> training again: a step $((tenths / 10)).$((tenths % 10)) s after the kill, on the same job"
            fi
            ((step % 50)) || say "   $where | $text"
            if [ -z "$killed_at" ] && [ "$step" -ge "$kill_at" ]; then
                kill_rank
            fi
        elif [[ $line == *'] '*weights* || $line == *Error:* || $line == "$run: "* ]]; then
            say "   $where | $text"
        fi
    done
    exec 3<&-
    local code=0
    wait "$follower" || code=$?
    follower=
    [ "$code" = 0 ] || fail "the run did not finish (exit code $code)"
    [ -n "$killed_at" ] || fail "no rank was killed: step $kill_at was never seen"
}

# Reads the run's own record and journal; fails where it did not go on from the newest checkpoint, inside the same job,
# or did not finish.
check_resumed() {
    timeout "$short_limit" "$bin/trainctl" status "$run" --json >"$private/status.json"
    /usr/bin/python3 - "$private/status.json" "$steps" <<'END'
import glob, json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    run = json.load(file)
trained = [attempt for attempt in run["attempts"] if attempt["owner"] and attempt["outcome"]]
if run["state"] != "finished" or len(trained) != 1:
    sys.exit(f"quickstart: {len(trained)} attempts trained, and the run is {run['state']}")
events = []
for name in glob.glob(run["dir"] + "/journal/*.jsonl"):
    with open(name, encoding="utf-8") as file:
        events += [json.loads(line) for line in file if line.endswith("\n")]
events.sort(key=lambda event: event["wall_ms"])
begun = [event["data"] for event in events if event["event"] == "generation_started"]
ended = [event["data"] for event in events if event["event"] == "generation_ended"]
outcome = trained[0]["outcome"]
if len(begun) != 2 or not begun[1]["resume_from"] or outcome["last_step"] != int(sys.argv[2]):
    sys.exit(f"quickstart: {len(begun)} generations, the last from {begun[-1]['resume_from']!r}, ended at {outcome['last_step']}")
print(f"   generation 1, {ended[0]['trained_s']:.0f} s: {ended[0]['text']}")
print(f"   generation 2, {ended[1]['trained_s']:.0f} s: from {begun[1]['resume_from'].rpartition('/')[2]} to step {outcome['last_step']}")
print(f"   from the failure being seen to the start of generation 2: {begun[1]['standstill_ms']} ms, in the same job {trained[0]['owner']['job']}")
END
}

if [ -n "${TRAINCTL_BIN_DIR:-}" ]; then
    bin=$TRAINCTL_BIN_DIR
    say "using $bin/trainctl: nothing is installed or built"
else
    install_and_build
    bin=$PWD/build/release
fi
# From here on nothing of trainctl's own files in the user's home is read or written.
export XDG_CONFIG_HOME=$private/config XDG_STATE_HOME=$private/state XDG_CACHE_HOME=$private/cache
unset TRAINCTL_AGENT

begin "a private Slurm cluster with an sshd"
sandbox=(--name "$name" --state "$private/sandbox")
timeout "$short_limit" "$bin/trainctl" sandbox up "${sandbox[@]}" --nodes 2 --gpus-per-node 0
end

begin "submitting examples/char-gpt over SSH"
# At most 50 steps a second: the kill must come before the end, on any machine.
command="/usr/bin/python3 -u train.py --steps $steps --checkpoint-every 50 --checkpoint-dir {checkpoint_dir} --step-time-min 0.02"
run=$(timeout "$short_limit" "$bin/trainctl" submit examples/char-gpt/experiment.yaml \
    --set "cluster=$name" --set "launch.command=$command" --set "progress.total_steps=$steps")
end

begin "training $run: 4 ranks on 2 nodes, and at step $kill_at rank $victim is killed"
watch_run
end

begin "what happened: trainctl status $run"
timeout "$short_limit" "$bin/trainctl" status "$run"
check_resumed
end

say "" "$(printf '%s\n' "${phases[@]}")" "$(printf '%5d s  %s' "$SECONDS" "in all")"
