#!/usr/bin/env bash
# The MindSpore port's scripts/run_standalone_train.sh on i3d; without arguments it prints its usage.
exec "${PYTHON:-python}" -m i3d.cli.ports.mindspore run_standalone_train.sh "$@"
