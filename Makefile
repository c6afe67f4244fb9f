# Everything a person or CI needs. `make test` installs what the tests need beyond cargo, where it may.

.PHONY: demo test crash bench lint fmt doc

demo:
	cargo run --release -- demo

test:
	cargo test --locked
	@$(MAKE) --no-print-directory lint

# The promise of the journal at length: 1,000 kills under load, and 100 power cuts of each kind, which need root and loop devices.
crash:
	TRIPLINE_CRASH_ROUNDS=1000 cargo test --locked --test it crash:: -- --nocapture
	TRIPLINE_POWER_ROUNDS=100 cargo test --locked --test it power:: -- --nocapture

# Formatting, lints and documentation, warnings denied.
lint:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet

bench:
	cargo bench --locked --bench journal
	cargo bench --locked --bench matching
	cargo bench --locked --bench intake

fmt:
	cargo fmt --all

doc:
	cargo doc --no-deps --open
