#!/bin/sh
# Stands between cargo and rustc as RUSTC_WORKSPACE_WRAPPER and adds the coverage instrumentation that
# libFuzzer steers by, on the stable compiler. Cargo calls it for Fanfare's own crates only, so that the
# dependencies of an ordinary build are used as they are.
exec "$@" --cfg=fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
