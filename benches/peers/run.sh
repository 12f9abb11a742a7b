#!/bin/sh
# run.sh HARNESS_DIR [options of the harness]: the comparison with other proxies, this gateway among them.
#
# Works on a copy, so the harness is left as it was. Uses $GATEWAY_BIN, else the dist build of this checkout.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

[ $# -ge 1 ] && [ -f "$1/harness.py" ] || {
    printf 'usage: run.sh HARNESS_DIR [options]   (HARNESS_DIR holds harness.py and proxies/)\n' >&2
    exit 2
}
harness=$1
shift

if [ -z "${GATEWAY_BIN:-}" ]; then
    (cd "$root" && cargo build --profile dist --locked --bin portcullis)
    GATEWAY_BIN="${CARGO_TARGET_DIR:-$root/target}/dist/portcullis"
fi
export GATEWAY_BIN
# nginx and haproxy are where a user's PATH does not look.
export PATH="$PATH:/usr/sbin:/sbin"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -R "$harness/." "$scratch"
cp "$here/50-gateway.toml" "$scratch/proxies/"
cp "$here/gateway.yaml" "$here/policy.yaml" "$scratch/configs/"

mkdir -p "$root/target/peers"
# A later --out among the options wins over this one; --check and --report write nothing.
"$scratch/run" --out "$root/target/peers" "$@"
