# `make compare`: builds Holdfast, the load tool and the peers, then runs them in turn (see docs/benchmarks.md).
# COMPARE passes options on: make compare COMPARE="--quick --scenario echo-64".

GORILLA_PEER := target/peers/peer-gorilla

.PHONY: compare peers

peers: $(GORILLA_PEER) ## Build the servers that Holdfast is compared with
	cargo build --release -p holdfast-peers

$(GORILLA_PEER): bench/peers/gorilla/main.go bench/peers/gorilla/build.sh
	bench/peers/gorilla/build.sh $@

compare: peers ## Compare CPU and memory with other servers, side by side
	cargo build --release -p holdfast -p holdfast-bench -p holdfast-compare
	target/release/holdfast-compare $(COMPARE)
