#!/bin/sh
# secrets_in_output.sh FILE: fails if a captured output holds a secret.
#
# Looked for: JWTs, private keys, API tokens, and every value that a test put on a line of its own in a file
# target/test-env/secrets/*.txt. A finding names the line and the kind, never the value: this output is kept too.
set -eu
root=$(dirname "$0")/..

[ $# = 1 ] && [ -r "$1" ] || {
    printf 'usage: secrets_in_output.sh FILE\n' >&2
    exit 2
}
output=$1
found=0

# kind, then the options and pattern for grep
look_for() {
    kind=$1
    shift
    # 1 means nothing was found; anything above it is a failure to look, which must not pass for a clean result.
    lines=$(grep -a -n "$@" "$output") || {
        [ $? = 1 ] && return 0
        printf 'cannot search %s for a %s\n' "$output" "$kind" >&2
        exit 2
    }
    found=1
    printf '%s\n' "$lines" | cut -d: -f1 | while read -r line; do
        printf '%s:%s: %s\n' "$output" "$line" "$kind"
    done
}

look_for 'JWT' -E 'eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}'
look_for 'private key' -E -e '-----BEGIN [A-Z0-9 ]*PRIVATE KEY'
look_for 'API token' -E 'pcl_[A-Za-z0-9_-]{16,}'

values=$(mktemp)
trap 'rm -f "$values"' EXIT
for list in "$root"/target/test-env/secrets/*.txt; do
    [ -e "$list" ] || continue
    # A short line would match by chance, an empty one always.
    grep -a -E '.{8,}' "$list" >"$values" || continue
    look_for "value of $(basename "$list" .txt)" -F -f "$values"
done

[ "$found" = 0 ] || {
    printf 'secrets in the output of the tests: see the lines named above\n' >&2
    exit 1
}
