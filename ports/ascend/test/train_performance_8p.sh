#!/usr/bin/env bash
# The Ascend port's test/train_performance_8p.sh on i3d; without arguments it prints its usage.
exec "${PYTHON:-python}" -m i3d.cli.ports.ascend train_performance_8p.sh "$@"
