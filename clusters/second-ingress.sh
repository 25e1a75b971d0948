#!/usr/bin/env bash
# One more ingress host of a cluster: an edge of its own here, following the controller of the first host.
#
#   first    raymaas up --address auto --host 10.0.0.5 --control-host 10.0.0.5 --control-port 8090
#            with API keys (raymaas keys), on a private network: the controller speaks plain HTTP
#   secret   scp first:.raymaas/run/edge-secret /etc/raymaas/edge-secret; chmod 600 /etc/raymaas/edge-secret
#   start    clusters/second-ingress.sh 10.0.0.5:8090 /etc/raymaas/edge-secret --host 10.0.0.6
#   stop     SIGTERM
#
# Run it on a node of the Ray cluster. As a systemd unit: Restart=always, RestartSec=0, KillMode=process. Clients find the
# hosts by DNS or a load balancer, which may ask each for /v2/health/live.
set -euo pipefail
exec raymaas edge --control "$1" --secret-file "$2" "${@:3}"
