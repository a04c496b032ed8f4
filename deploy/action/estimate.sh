#!/usr/bin/env bash
# Runs COMMAND up to the benchmark of each training in it, then shows their estimates in the job's summary and, if
# COMMENT is true, as the comment of the pull request that an earlier call made, or as a new one.
set -euo pipefail

bash -euo pipefail -c "$COMMAND"

found="$(mktemp)"
{
  echo "### Estimates of the trainings"
  echo
  greenlove runs --experiment "$MLFLOW_EXPERIMENT_NAME" --markdown
} > "$found"

cat "$found" >> "${GITHUB_STEP_SUMMARY:-/dev/stdout}"
if [ "${COMMENT:-true}" = true ] && [ -n "${PULL_REQUEST:-}" ]; then
  gh pr comment "$PULL_REQUEST" --edit-last --create-if-none --body-file "$found"
fi
rm "$found"
