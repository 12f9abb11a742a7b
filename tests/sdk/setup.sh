#!/bin/sh
# Prepares what the tests need beyond cargo: a few Debian packages (PostgreSQL and a browser among them), promtool and a Python
# environment under target/ and the Node.js packages beside their drivers. Every step looks first, so a second run does
# nothing.
set -eu
cd "$(dirname "$0")/../.."

python_env=target/test-env/venv
python_pins=tests/sdk/python/requirements.txt
node_dir=tests/sdk/node
clients_dir=tests/sdk/clients
oidc_dir=tests/sdk/oidc
browser_dir=tests/sdk/browser
family_dir=tests/sdk/family
prometheus_dir=target/test-env/prometheus

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

missing_packages() {
    have cc && have c++ && have make || printf ' build-essential'
    have curl || printf ' curl'
    have openssl || printf ' openssl'
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -n "${SSL_CERT_FILE:-}" ] || printf ' ca-certificates'
    # Without ensurepip `python3 -m venv` makes an environment that has no pip.
    { have python3 && python3 -c 'import venv, ensurepip' 2>/dev/null; } || printf ' python3 python3-venv'
    have node || printf ' nodejs'
    have npm || printf ' npm'
    # The tests start servers of their own; the cluster that the package may make is not touched.
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || printf ' postgresql'
    have chromium || printf ' chromium'
}

install_packages() {
    packages=$(missing_packages)
    [ -n "$packages" ] || return 0
    have apt-get || fail "these Debian packages, or what your system calls them, are missing:$packages"
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif have sudo; then
        as_root="sudo"
    else
        fail "these Debian packages are missing, and installing them takes root or sudo:$packages"
    fi
    printf 'setup: installing%s\n' "$packages"
    # Word splitting is what turns the list into arguments.
    # shellcheck disable=SC2086
    {
        $as_root apt-get update -q
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $packages
    } >target/test-env/apt.log 2>&1 || {
        tail -n 20 target/test-env/apt.log >&2
        fail "apt-get failed; the whole of its output is in target/test-env/apt.log"
    }
}

# Only the program: the package would start a server on a port that tests and the quickstart use.
fetch_promtool() {
    [ -x "$prometheus_dir/usr/bin/promtool" ] && return 0
    have promtool && {
        mkdir -p "$prometheus_dir/usr/bin"
        ln -sf "$(command -v promtool)" "$prometheus_dir/usr/bin/promtool"
        return 0
    }
    have apt-get && have dpkg-deb || fail "promtool is missing; install Prometheus"
    printf 'setup: fetching promtool into %s\n' "$prometheus_dir"
    (cd target/test-env && rm -f prometheus_*.deb && apt-get download -q prometheus) >>target/test-env/apt.log 2>&1 ||
        fail "apt-get could not download the package prometheus; see target/test-env/apt.log"
    dpkg-deb -x target/test-env/prometheus_*.deb "$prometheus_dir"
    rm -f target/test-env/prometheus_*.deb
}

# A copy of the pins inside what was installed from them says that it is complete and current.
install_python_sdk() {
    [ -x "$python_env/bin/python" ] && cmp -s "$python_pins" "$python_env/pins.txt" && return 0
    printf 'setup: installing the Python SDK into %s\n' "$python_env"
    python3 -m venv --clear "$python_env" || fail "python3 cannot make a virtual environment"
    "$python_env/bin/python" -m pip install -q --disable-pip-version-check -r "$python_pins" ||
        fail "pip could not install $python_pins"
    cp "$python_pins" "$python_env/pins.txt"
}

# The Python SDKs of the family exclude each other by their pins: each has a folder of its own.
install_python_family() {
    for pins in tests/sdk/family/python/*.txt; do
        to=target/test-env/family/$(basename "$pins" .txt)
        cmp -s "$pins" "$to/pins.txt" && continue
        printf 'setup: installing %s\n' "$to"
        rm -rf "$to"
        "$python_env/bin/python" -m pip install -q --disable-pip-version-check --no-deps --target "$to" -r "$pins" ||
            fail "pip could not install $pins"
        cp "$pins" "$to/pins.txt"
    done
}

# install_node_packages WHAT FOLDER
install_node_packages() {
    cmp -s "$2/package-lock.json" "$2/node_modules/pins.json" && return 0
    printf 'setup: installing %s into %s/node_modules\n' "$1" "$2"
    (cd "$2" && npm ci --no-audit --no-fund --loglevel=error) || fail "npm could not install $2/package-lock.json"
    cp "$2/package-lock.json" "$2/node_modules/pins.json"
}

have cargo || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] ||
    fail "Rust is missing: install it from https://rustup.rs (1.95 or later), open a new shell and run this again"
mkdir -p target/test-env
install_packages
fetch_promtool
install_python_sdk
install_python_family
install_node_packages "the Node.js SDK" "$node_dir"
install_node_packages "the OAuth clients" "$clients_dir"
install_node_packages "the OpenID provider" "$oidc_dir"
install_node_packages "what drives the browser" "$browser_dir"
install_node_packages "the SDKs of the family" "$family_dir"
