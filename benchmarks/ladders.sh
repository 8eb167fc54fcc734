#!/usr/bin/env bash
# The two long-context ladders, live on two GPUs, as docs/measurements/ladders foretells each.
#
#     bash benchmarks/ladders.sh OUT          # at most 250 seconds, loading included
#
# REASONING_MINUTES and LONG_MINUTES bound the two, and LADDERS says which. PREDICTIONS names another folder of
# predictions. A ladder goes on where an earlier session left it, if OUT holds its folder.
set -uo pipefail
out=${1:?a folder for the results}
hardware=h100
nvidia-smi -L | grep -q H200 && hardware=h200
predictions=${PREDICTIONS:-docs/measurements/ladders/foretold}
climb() {  # scenario, minutes, options
    name=$1 minutes=$2
    shift 2
    mkdir -p "$out"
    python3 -m spinsim ladder "scenarios/$name-two-gpus.yaml" --live --resume --out "$out/$name-$hardware" \
        --predicted "$predictions/$name-$hardware/prediction.json" --minutes "$minutes" "$@"
}
for ladder in ${LADDERS:-reasoning long-context}; do
    case $ladder in
        reasoning) climb "$ladder" "${REASONING_MINUTES:-2.7}" ;;
        # A run reads its contexts for 14 s first: no more than these steps find time.
        *) climb "$ladder" "${LONG_MINUTES:-1.5}" --step vanilla --step "best fixed serial" --step "best fixed" \
            --step planned ;;
    esac
done
