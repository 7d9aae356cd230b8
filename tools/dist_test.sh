#!/usr/bin/env bash
# MMAction2's tools/dist_test.sh on i3d: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [flags of tools/test.py]
# More machines: NNODES, NODE_RANK, MASTER_ADDR and PORT, the same on all but for NODE_RANK.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [flags of tools/test.py]" >&2
    exit 2
fi
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node-rank="${NODE_RANK:-0}" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="${PORT:-29500}" \
    --nproc-per-node="$3" "$(dirname "$0")/test.py" "$1" "$2" --launcher pytorch "${@:4}"
