#!/bin/sh
# Installs the Debian packages that are missing, from packages.txt beside this file. Asks nothing.
# Usage: install.sh [GROUP...]   groups: build sandbox accounting tests example; none: all of them
set -eu

list=$(dirname "$0")/packages.txt
groups=${*:-build sandbox accounting tests example}
wanted=
for group in $groups; do
    packages=$(awk -v group="[$group]" '/^\[/ { on = $0 == group } on && /^[a-z0-9]/' "$list")
    if [ -z "$packages" ]; then
        echo "install.sh: there is no group '$group' in $list" >&2
        exit 2
    fi
    wanted="$wanted $packages"
done

missing=
# shellcheck disable=SC2086 # one line for each package
for package in $(printf '%s\n' $wanted | sort -u); do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "packages: all there ($groups)"
    exit 0
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install.sh: not root, and no sudo; as root: apt-get install -y$missing" >&2
        exit 1
    fi
    as_root="sudo"
fi
echo "packages: installing$missing"
# The environment goes through env: sudo drops variables. Dpkg keeps configuration files that were changed.
set -- env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3
$as_root "$@" update
# shellcheck disable=SC2086 # one word for each package
$as_root "$@" install --no-install-recommends $missing
