#!/usr/bin/env bash
# What docs/live.md and docs/fidelity.md quote, measured on two H200s: bash benchmarks/h200.sh PART [FOLDER]
#
# Every part is a process or a few of their own, ends within ten minutes, and leaves its files in FOLDER (results/h200).
# ladder, again and validate add to what an earlier call left there. The order below is that of a first session.
set -euo pipefail
part=${1:?one of check, host, kernels, profile, again, exact, validate, ladder, soak, one}
out=${2:-results/h200}
mkdir -p "$out"
spinsim() { python -c 'from spinsim.cli import main; main()' "$@"; }
ladder=scenarios/h200-ladder.yaml
profile=$out/h200-ladder-h200-x2.json

case $part in
check) # is it right on this machine? index kernels, graphs, both GPUs, replay
    python -m pytest -q -p no:xdist tests/live_runner/test_runner_tables.py tests/live_runner/test_runner_triton.py
    python -m pytest -q -p no:xdist -x tests/live/test_cuda.py ;;
host) # what the host adds to every operation, cold and hot
    python -m benchmarks.host $ladder --out "$out/h200-host.json" ;;
kernels) # how far kernels are from their floors
    python -m benchmarks.kernels --seconds 150 --out "$out/h200-kernels.json" ;;
profile)
    spinsim profile $ladder --minutes 5 --out "$profile" ;;
again) # another process's view of the same machine, for the intervals: call it at least twice
    spinsim profile $ladder --again --out "$profile" ;;
exact) # fp32 and a time-blind policy: every decision alike in both worlds
    spinsim validate scenarios/validate-h200-exact.yaml --repetitions 1 --seconds 2 --intervals 0 --out "$out/exact" --resume ;;
validate) # the live half; the other half is simulated on any machine: spinsim validate --again --out FOLDER/validate
    cp "$profile" profiles/h200-ladder-h200-x2.json
    spinsim validate scenarios/validate-h200.yaml --repetitions 2 --seconds 3 --live-only --out "$out/validate" --resume ;;
ladder) # three calls give three repetitions in three processes
    python -m benchmarks.ladder $ladder --repetitions 3 --resume --seconds 170 --out "$out/h200-ladder.json" ;;
soak) # 2,000 impatient requests, bf16 tokens held against the target, transformers beside
    python -m benchmarks.ladder $ladder --repetitions 0 --soak 2000 --agreement 64 --generate --resume --out "$out/h200-ladder.json" ;;
one) # one GPU, two lanes
    spinsim profile scenarios/h200-ladder-one.yaml --minutes 3 --out "$out/h200-ladder-one-h200.json"
    cp "$out/h200-ladder-one-h200.json" profiles/
    spinsim validate scenarios/validate-h200-one.yaml --repetitions 2 --seconds 3 --live-only --out "$out/validate-one" --resume ;;
*) echo "no part $part" >&2 && exit 2 ;;
esac
