#!/usr/bin/env bash
# The two long-context ladders, live on two GPUs, as docs/measurements/ladders foretells each.
#
#     bash benchmarks/ladders.sh OUT          # at most 250 seconds, loading included
#
# With four GPUs the two run beside each other, each on a pair of its own:
#
#     LADDERS=reasoning REASONING_MINUTES=6.4 CUDA_VISIBLE_DEVICES=0,1 bash benchmarks/ladders.sh OUT &
#     LADDERS=long-context LONG_MINUTES=6.4 CUDA_VISIBLE_DEVICES=2,3 bash benchmarks/ladders.sh OUT & wait
#
# REASONING_MINUTES and LONG_MINUTES bound the two, and LADDERS says which. REASONING_STEPS and LONG_STEPS name
# steps, separated by commas, where not all that are foretold find time. PREDICTIONS names another folder of
# predictions. A ladder goes on where an earlier session left it, if OUT holds its folder.
set -uo pipefail
out=${1:?a folder for the results}
hardware=h100
nvidia-smi -L | grep -q H200 && hardware=h200
predictions=${PREDICTIONS:-docs/measurements/ladders/foretold}
climb() {  # scenario, minutes, steps
    local name=$1 minutes=$2 names step
    local -a chosen=()
    IFS=, read -ra names <<<"$3"
    for step in "${names[@]}"; do chosen+=(--step "$step"); done
    mkdir -p "$out"
    python3 -m spinsim ladder "scenarios/$name-two-gpus.yaml" --live --resume --out "$out/$name-$hardware" \
        --predicted "$predictions/$name-$hardware/prediction.json" --minutes "$minutes" "${chosen[@]}"
}
for ladder in ${LADDERS:-reasoning long-context}; do
    case $ladder in
        reasoning) climb "$ladder" "${REASONING_MINUTES:-2.7}" "${REASONING_STEPS:-}" ;;
        # A run reads its contexts for 12 s first.
        *) climb "$ladder" "${LONG_MINUTES:-1.5}" "${LONG_STEPS:-}" ;;
    esac
done
