# Everything a person or CI needs. `make test` installs what the tests need beyond cargo, where it may.

.PHONY: demo test bench lint fmt doc

demo:
	cargo run --release -- demo

test:
	cargo test --locked
	@$(MAKE) --no-print-directory lint

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
