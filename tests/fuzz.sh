#!/bin/sh
# The fuzz targets under libFuzzer, with the stable compiler: what `make fuzz` and `make corpus` do.
#   tests/fuzz.sh explore SECONDS [FILTER]   each target for so long
#   tests/fuzz.sh keep [FILTER]              small inputs that cover most of what was found become tests/corpus
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
build=$root/target/fuzz
found=$build/found
# Of each target at most this many inputs are kept, and none that is longer.
KEPT_MAX=48
BYTES_MAX=512

mode=$1
shift
seconds=60
if [ "$mode" = explore ]; then
    seconds=$1
    shift
fi
filter=${1:-fuzz::}

# Counters of what is executed, as libFuzzer reads them; bolero brings libFuzzer and is the entrance.
export RUSTC_BOOTSTRAP=1 BOLERO_FUZZER=libfuzzer
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module --cfg fuzzing_libfuzzer -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-stack-depth"
host=$(rustc -vV | sed -n 's/^host: //p')
binary=$(cargo test --locked --profile fuzz --target "$host" --target-dir "$build" --lib --no-run --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
[ -n "$binary" ] || { echo "the targets could not be built" >&2; exit 1; }

run() { # TARGET ARGUMENT…
    target=$1
    shift
    BOLERO_LIBFUZZER_ARGS="$*" "$binary" "$target" --exact --nocapture --quiet --test-threads 1
}

for target in $("$binary" "$filter" --list 2>/dev/null | sed -n 's/^\(.*fuzz::.*\): test$/\1/p' | grep -v ::inputs_are_kept); do
    name=$(echo "$target" | sed 's/fuzz:://; s/::/./g')
    kept=$root/tests/corpus/$name
    mkdir -p "$kept" "$found/$name"
    echo "== $target"
    if [ "$mode" = explore ]; then
        run "$target" "$found/$name" "$kept" "-artifact_prefix=$kept/" -timeout=10 "-max_total_time=$seconds" -print_final_stats=1
    else
        cp "$kept"/* "$found/$name/" 2>/dev/null || true
        # One after the other, largest first, libFuzzer notes what each covers that none before it did: few of them cover most.
        inputs=$(find "$found/$name" -type f -size "-${BYTES_MAX}c" -printf '%s %p\n' | sort -rn | cut -d' ' -f2-)
        printf '%s\n0\n%s\n' "$(echo "$inputs" | wc -l)" "$inputs" >"$build/control"
        run "$target" -merge_inner=1 "-merge_control_file=$build/control" >/dev/null 2>&1
        rm -f "$kept"/*
        # Those that add most.
        sed -n 's/^COV //p' "$build/control" | awk 'NF > 1 { print NF - 1, $1 + 1 }' | sort -rn | head -n "$KEPT_MAX" |
            while read -r _ number; do echo "$inputs" | sed -n "${number}p"; done | while read -r input; do cp "$input" "$kept/"; done
        echo "$(ls "$kept" | wc -l) inputs, $(cat "$kept"/* | wc -c) bytes"
    fi
done
