#!/bin/sh
# Run the tests of the page's pure modules with Node's own test runner.
set -eu

if ! command -v node > /dev/null; then
    echo "node is missing: the page's pure modules are not tested (make tools)" >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
fi

# Its report is read only when something fails.
report=$(node --test tests/ui/pure/*.test.mjs 2>&1) || {
    echo "$report"
    exit 1
}
echo "$report" | grep -E '^# (pass|fail)|^ℹ (pass|fail)' | tr '\n' ' '
echo
