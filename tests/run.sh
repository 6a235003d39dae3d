#!/bin/sh
# Installs what is missing, builds, and runs the tests through ctest. Usage: tests/run.sh [--nightly]
# fast: all that CI runs. --nightly adds long soaks and many seeds.
set -eu
cd "$(dirname "$0")/.."

labels='^fast$'
case "${1:-}" in
'') ;;
--nightly) labels='^(fast|nightly)$' ;;
*)
    echo "usage: tests/run.sh [--nightly]" >&2
    exit 2
    ;;
esac

install_limit=1800 build_limit=2400 test_limit=1500 # seconds
[ "$labels" = '^fast$' ] || test_limit=28800
jobs=2 test_jobs=3 # most tests wait
export CCACHE_NOHASHDIR=1 CCACHE_BASEDIR="$PWD"

timeout "$install_limit" .ci/install.sh
for preset in dev release; do
    echo "== build: $preset"
    cmake --preset "$preset" >/dev/null
    timeout "$build_limit" cmake --build --preset "$preset" -j "$jobs"
done

echo "== tests: $labels"
# The long summary is ctest's own last lines; the JUnit file is for machines.
code=0
timeout "$test_limit" ctest --preset dev -L "$labels" -j "$test_jobs" --output-junit "$PWD/build/tests.xml" || code=$?
[ "$code" != 124 ] || echo "tests/run.sh: the tests took longer than $test_limit s" >&2
exit "$code"
