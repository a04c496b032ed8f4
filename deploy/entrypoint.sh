#!/bin/sh
# server: a tracking server that keeps its runs in the working directory; serve RUN_ID: that run's estimator as a
# service; anything else is run as it is.
set -eu

case "${1:-server}" in
  server)
    [ "$#" -eq 0 ] || shift
    exec mlflow server --host 0.0.0.0 --port "${PORT:-5000}" \
      --backend-store-uri "sqlite:///$PWD/mlflow.db" --artifacts-destination "$PWD/artifacts" "$@"
    ;;
  serve)
    run_id="$2"
    shift 2
    exec mlflow models serve --host 0.0.0.0 --port "${PORT:-5001}" \
      -m "runs:/$run_id/greenlove-estimator" --env-manager local "$@"
    ;;
  *)
    exec "$@"
    ;;
esac
