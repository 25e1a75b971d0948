#!/usr/bin/env bash
# A Ray head somebody else runs: raymaas joins it, and leaves it as it was.
#
#   start   RAY_AUTH_MODE=token clusters/existing-head.sh [host:port of its GCS]
#   stop    raymaas down        (with the same RAY_AUTH_* variables)
#
# Run it on the head's machine: controller and edge stay on loopback.
set -euo pipefail
exec raymaas up --address "${1:-auto}" "${@:2}"
