# SPDX-License-Identifier: Apache-2.0
# What one types often. `just` lists it; each line also works by hand.

_list:
    @just --list

# Everything that CI runs.
ci:
    .ci/run

# Format, then the lints that CI denies.
check:
    cargo fmt --all
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Every test, the examples that need no GPU included.
test:
    cargo test --workspace

# The lines that ARCHITECTURE.md draws, in seconds.
tidy:
    cargo test --package tidy

# Write the generated protobuf code anew, after a change to a .proto file.
codegen:
    UPDATE_GENERATED=1 cargo test --package device-api-core --all-features --test generated_code

# The API documentation, in the browser.
doc:
    cargo doc --workspace --no-deps --all-features --open

# The benchmarks.
bench *ARGS:
    cargo bench --workspace {{ ARGS }}

# Licences, banned and duplicate crates, sources.
deny:
    cargo deny check licenses bans sources
