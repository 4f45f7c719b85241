#!/bin/sh
# Parse every JavaScript module of the folders given, the vendored ones excepted.
set -eu

if ! command -v node > /dev/null; then
    echo "node is missing: JavaScript is not checked (make tools)" >&2
    [ "${CI:-}" = true ] && exit 1
    exit 0
fi

failed=0
for folder in "$@"; do
    [ -d "$folder" ] || continue
    for file in $(find "$folder" \( -name '*.js' -o -name '*.mjs' \) -not -path '*/vendor/*' | sort); do
        # Read as a module, whatever a package.json further up may say.
        if ! message=$(node --input-type=module --check < "$file" 2>&1); then
            echo "$file:"
            echo "$message"
            failed=1
        fi
    done
done
exit $failed
