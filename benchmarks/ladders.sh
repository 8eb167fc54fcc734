#!/usr/bin/env bash
# The two long-context ladders, live on two GPUs, each predicted first.
#
#     bash benchmarks/ladders.sh OUT          # about 280 seconds, loading included
#
# Each ladder goes on where an earlier session left it, if OUT holds its folder.
set -uo pipefail
out=${1:?a folder for the results}
hardware=h100
nvidia-smi -L | grep -q H200 && hardware=h200
gpus=(--set "devices.gpu0.hardware=$hardware" --set "devices.gpu1.hardware=$hardware")
steps=()
for step in vanilla "+ selection" "+ decomposition" "+ pipeline" "best fixed serial" "best fixed" replicas planned; do
    steps+=(--step "$step")
done
climb() {  # scenario, seconds, seeds, minutes
    mkdir -p "$out"
    python3 -m spinsim ladder "scenarios/$1-two-gpus.yaml" --live --resume --out "$out/$1-$hardware" "${gpus[@]}" \
        --seconds "$2" --seeds "$3" --minutes "$4" "${steps[@]}"
}
climb reasoning 2.5 3 "${REASONING_MINUTES:-2.4}"
climb long-context 8 2 "${LONG_MINUTES:-2.2}"
