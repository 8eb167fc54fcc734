#!/usr/bin/env bash
# The two long-context ladders, live on two GPUs, as docs/measurements/ladders foretells each.
#
#     bash benchmarks/ladders.sh OUT          # at most 370 seconds, loading included
#
# REASONING_MINUTES and LONG_MINUTES bound the two, and LADDERS says which. PREDICTIONS names another folder of
# predictions. A ladder goes on where an earlier session left it, if OUT holds its folder.
set -uo pipefail
out=${1:?a folder for the results}
hardware=h100
nvidia-smi -L | grep -q H200 && hardware=h200
predictions=${PREDICTIONS:-docs/measurements/ladders/foretold}
climb() {  # scenario, minutes
    mkdir -p "$out"
    python3 -m spinsim ladder "scenarios/$1-two-gpus.yaml" --live --resume --out "$out/$1-$hardware" \
        --predicted "$predictions/$1-$hardware/prediction.json" --minutes "$2"
}
for ladder in ${LADDERS:-reasoning long-context}; do
    case $ladder in
        reasoning) climb "$ladder" "${REASONING_MINUTES:-3.7}" ;;
        *) climb "$ladder" "${LONG_MINUTES:-2.5}" ;;
    esac
done
