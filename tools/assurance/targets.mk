# What other tools say about the code (see docs/assurance.md). Each says what it needs where that is missing.

.PHONY: nemesis miri asan loom coverage mutants sbom

nemesis: ## Let everything go wrong at once for SECONDS=600, by a random seed or SEED=…
	NEMESIS_SEED=$(or $(SEED),$(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')) NEMESIS_SECONDS=$(or $(SECONDS),600) \
		cargo test -p holdfast --test nemesis whatever -- --nocapture

miri: ## Run what is pure in the ring and in the protocol under Miri (needs a nightly toolchain with miri and rust-src)
	@tools/assurance/miri

asan: ## Run the ring's tests under AddressSanitizer, those on real sockets too
	@tools/assurance/asan

loom: ## Try the mailbox and the doorbell in every order of threads' steps
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release -p holdfast-ring --lib orders

coverage: ## Say how many lines the tests of each crate reach; TESTS="-p holdfast --lib" for some (needs llvm of rustc's version)
	@tools/assurance/coverage $(TESTS)

mutants: ## Test the tests of hub, token and limits: PART=0/20 takes every twentieth change (needs cargo-mutants)
	@tools/assurance/mutants $(or $(PART),0/1)

sbom: ## Write reports/sbom.json: what the daemon is made of (CycloneDX; needs cargo-cyclonedx)
	@tools/assurance/sbom
