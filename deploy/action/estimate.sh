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

# GitHub takes comments of up to 65,536 characters: of more trainings than that, the totals alone.
if [ "$(wc -c < "$found")" -gt 65000 ]; then
  grep -v '^|' "$found" > "$found.short"
  echo "The table of all trainings is in the job's summary." >> "$found.short"
  mv "$found.short" "$found"
fi
if [ "${COMMENT:-true}" = true ] && [ -n "${PULL_REQUEST:-}" ]; then
  gh pr comment "$PULL_REQUEST" --edit-last --create-if-none --body-file "$found"
fi
rm "$found"
