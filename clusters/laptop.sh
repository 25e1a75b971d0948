#!/usr/bin/env bash
# One machine, nothing but pip: our own Ray head, controller and edge, all on loopback.
#
#   start   clusters/laptop.sh
#   stop    raymaas down
#
# The store is ~/.raymaas/store; --storage file:///data/models or s3://bucket/models puts it elsewhere.
set -euo pipefail
exec raymaas up "$@"
