# Everything a person or CI needs. `make test` installs what the tests need beyond cargo, where it may.

.PHONY: demo test crash flood scale soak fuzz corpus bench image start deny lint fmt doc

demo:
	cargo run --release -- demo

# The fuzz targets try the same inputs each time here; `make fuzz` tries new ones.
test:
	BOLERO_RANDOM_SEED=1 BOLERO_RANDOM_ITERATIONS=2000 cargo test --locked
	@$(MAKE) --no-print-directory lint deny

# The promise of the journal at length: 1,000 kills under load, and 100 power cuts of each kind, which need root and loop devices.
crash:
	TRIPLINE_CRASH_ROUNDS=1000 cargo test --locked --test it crash:: -- --nocapture
	TRIPLINE_POWER_ROUNDS=100 cargo test --locked --test it power:: -- --nocapture

# A long life: 15 minutes unless SOAK_SECONDS says otherwise. Prints a table and plots of memory, descriptors and disk.
SOAK_SECONDS ?= 900
soak:
	TRIPLINE_SOAK_SECONDS=$(SOAK_SECONDS) cargo test --locked --release --test it soak:: -- --nocapture

# Every fuzz target for a minute unless FUZZ_SECONDS says otherwise, guided by coverage; FUZZ=rules:: picks some. Needs a C++
# compiler; the first build takes long. It begins with what tests/corpus keeps. An input that fails is put there too, so that
# `cargo test` tries it from then on.
FUZZ_SECONDS ?= 60
fuzz:
	tests/fuzz.sh explore $(FUZZ_SECONDS) $(FUZZ)

# What `make fuzz` found beside what is kept, made small, becomes what is kept.
corpus:
	tests/fuzz.sh keep $(FUZZ)

# 9,900 slow connections of 10,000, and slowhttptest where it is installed; prints how long genuine deliveries took meanwhile.
flood:
	TRIPLINE_FLOOD_CONNECTIONS=9900 TRIPLINE_FLOOD_DELIVERIES=5000 TRIPLINE_SLOWHTTPTEST_SECONDS=20 \
		cargo test --locked --release --test it floods:: -- --nocapture --test-threads 1

# Polling at scale: a million items, 10,000 changes in one pass, ten minutes of quiet, a hole of 50,000 changes at 50 requests a minute.
scale:
	TRIPLINE_SCALE_ITEMS=1000000 TRIPLINE_SCALE_CHANGES=10000 TRIPLINE_SCALE_PASSES=600 TRIPLINE_SCALE_SINGLE=20 \
		TRIPLINE_SCALE_HOLE=16667 TRIPLINE_SCALE_RATE=50 \
		cargo test --locked --release --test it scale:: -- --nocapture --test-threads 1

# The image, built and run without a Docker daemon. Needs root and buildah; says so where they are missing.
image:
	TRIPLINE_IMAGE=1 cargo test --locked --test it deploy::the_image_takes -- --nocapture

# Writes start.txt anew: the functions that run until the daemon waits for its first event, as valgrind's callgrind sees them.
START_SECONDS ?= 60
start:
	CARGO_PROFILE_RELEASE_STRIP=none cargo build --release --locked --target-dir target/start
	dir=$$(mktemp -d) && cd $$dir && mkdir rules && secret=a-secret-of-this-start-and-no-other && \
	printf '%s\n' 'rule: never' 'events: queueItem.added' 'match: {QueueItem: {Reference: [none]}}' \
		'steps: [{http: {method: POST, url: "http://127.0.0.1:9/never", body: {}}}]' > rules/never.yaml && \
	printf '%s\n' 'listen: 127.0.0.1:0' 'admin: 127.0.0.1:0' 'state: state' 'rules: rules/' \
		"orchestrators: {o: {url: 'http://127.0.0.1:9', edition: standalone, auth: {token: $$secret}, folder: F}}" \
		"sources: {hook: {webhook: {orchestrator: o, secrets: [$$secret]}}}" > tripline.yaml && { \
		(sleep $$(($(START_SECONDS) / 2)); $(CURDIR)/target/start/release/tripline healthcheck -c tripline.yaml) & \
		timeout $(START_SECONDS) valgrind --tool=callgrind --demangle=no --callgrind-out-file=start.out \
			$(CURDIR)/target/start/release/tripline run -c tripline.yaml; \
		{ grep '^#' $(CURDIR)/start.txt; grep -ao 'fn=([0-9]*) _\(ZN\|R\)[^ ]*' start.out \
			| sed 's/.* //; s/17h[0-9a-f]\{16\}E.*/*/; s/Cs[0-9A-Za-z]*_/Cs*_/g' | grep '\*' | LC_ALL=C sort -u; } > start.new; \
	} && mv start.new $(CURDIR)/start.txt && rm -r $$dir

# Licences, sources and banned crates of all dependencies (cargo install cargo-deny).
deny:
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --locked check bans licenses sources; \
	else echo "SKIPPED deny: cargo-deny is not installed (cargo install cargo-deny)"; fi

# Formatting, lints and documentation, warnings denied.
lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet

bench:
	cargo bench --locked --bench journal
	cargo bench --locked --bench matching
	cargo bench --locked --bench rules
	cargo bench --locked --bench store
	cargo bench --locked --bench intake
	cargo bench --locked --bench import
	cargo bench --locked --bench connectors
	cargo bench --locked --bench runs

fmt:
	cargo fmt --all

doc:
	cargo doc --no-deps --open
