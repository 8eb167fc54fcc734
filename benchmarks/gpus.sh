#!/usr/bin/env bash
# What docs/live.md and docs/fidelity.md quote, measured on two GPUs: bash benchmarks/gpus.sh PART [FOLDER]
#
# Every part is a process or a few of their own, ends within ten minutes, and leaves its files in FOLDER (results/gpus).
# again and validate add to what an earlier call left there. The order below is that of a first session.
# HARDWARE names the sheet of the GPUs that are there (h100).
set -euo pipefail
part=${1:?one of card, lanes, check, sharded, sharded-cells, four, host, kernels, profile, again, exact, validate, soak, one-profile, one-again,
    one-validate, family-profile}
out=${2:-results/gpus}
hardware=${HARDWARE:-h100}
mkdir -p "$out"
spinsim() { python3 -c 'from spinsim.cli import main; main()' "$@"; }
gpus=(--set "devices.gpu0.hardware=$hardware" --set "devices.gpu1.hardware=$hardware")
profile=$out/two-gpus-$hardware-x2.json
one_profile=$out/one-gpu-$hardware.json
costs() { echo "costs={model: profile, path: $(realpath "$1")}"; }

case $part in
card) # the same four minutes on every machine: commit what it leaves in docs/measurements/host-cards
    python3 -m benchmarks.host_card --work "$out/host-cards" ;;
lanes) # a lane for each draft: what it gains, when a lane starts, how well the law of contention predicts
    python3 -m benchmarks.draft_lanes scenarios/one-gpu.yaml "${gpus[@]:0:2}" --set limits.batch=32 \
        --out "$out/$hardware-draft-lanes.json" ;;
check) # is it right on this machine? index kernels, graphs, both GPUs, replay
    python3 -m pytest -q -p no:xdist tests/runner/test_runner_tables.py tests/runner/test_runner_triton.py
    python3 -m pytest -q -p no:xdist -x tests/live/test_cuda.py ;;
sharded) # a target over both GPUs: sums between them, output, soak, verification against one GPU and the floor
    python3 -m benchmarks.sharded --out "$out/$hardware-sharded" ;;
sharded-cells) # 13B and 8B over both GPUs: cells foretold and live, the ladder, a copy on each GPU beside
    python3 -m benchmarks.sharded_cells --gpus 2 --out "$out/$hardware-sharded-cells" ;;
four) # 30B over four GPUs, and 13B over two with drafts on GPUs of their own
    python3 -m benchmarks.sharded_cells --gpus 4 --seconds 570 --out "$out/$hardware-four" ;;
host) # what the host adds to every operation, cold and hot
    python3 -m benchmarks.host scenarios/two-gpus.yaml "${gpus[@]}" --out "$out/$hardware-host.json" ;;
kernels) # how far kernels are from their floors
    python3 -m benchmarks.kernels --seconds 150 --out "$out/$hardware-kernels.json" ;;
profile)
    spinsim profile scenarios/two-gpus.yaml "${gpus[@]}" --minutes "${MINUTES:-4}" --out "$profile" ;;
again) # another process's view of the same machine, for the intervals: call it at least three times
    spinsim profile scenarios/two-gpus.yaml "${gpus[@]}" --again --out "$profile" ;;
exact) # fp32 and a time-blind policy: every decision alike in both worlds
    spinsim validate scenarios/validate-exact.yaml --set "devices.gpu0.hardware=$hardware" \
        --repetitions 1 --seconds 2 --intervals 0 --out "$out/exact" --resume ;;
validate) # the live half; the other half is simulated on any machine: spinsim validate --again --out FOLDER/validate
    spinsim validate scenarios/validate-two-gpus.yaml "${gpus[@]}" --set "$(costs "$profile")" \
        --repetitions 2 --seconds 3 --live-only --out "$out/validate" --resume ;;
ladder) # the paper's steps, the best fixed plans, copies and the planner, in turn
    spinsim ladder scenarios/two-gpus.yaml --live "${gpus[@]}" --set "$(costs "$profile")" \
        --seconds 3 --seeds 3 --minutes "${MINUTES:-4}" --out "$out/ladder" --resume ;;
soak) # timelines; 2,000 impatient requests; bf16 tokens held against the target; transformers beside
    python3 -m benchmarks.on_gpus scenarios/two-gpus.yaml "${gpus[@]}" --timelines "$out/timelines" \
        --soak 2000 --agreement 64 --generate --out "$out/$hardware-soak.json" ;;
one-profile) # one GPU, target and drafts beside each other
    spinsim profile scenarios/one-gpu.yaml "${gpus[@]:0:2}" --minutes "${MINUTES:-2.5}" --out "$one_profile" ;;
one-again)
    spinsim profile scenarios/one-gpu.yaml "${gpus[@]:0:2}" --again --out "$one_profile" ;;
family-profile) # the embedded family as it was trained, on one GPU
    spinsim profile scenarios/family-gpu.yaml "${gpus[@]:0:2}" --minutes "${MINUTES:-1}" \
        --out "$out/family-gpu-$hardware.json" ;;
one-validate)
    spinsim validate scenarios/validate-one-gpu.yaml "${gpus[@]:0:2}" --set "$(costs "$one_profile")" \
        --repetitions 2 --seconds 3 --live-only --out "$out/validate-one" --resume ;;
*) echo "no part $part" >&2 && exit 2 ;;
esac
