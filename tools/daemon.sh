# Sourced by tools/demo and tools/measure: a daemon on free ports of the loopback, and its clean end.

bin=${BIN:-target/release}
daemon_log=$(mktemp)
daemon=

# Starts the daemon and waits until it accepts. Sets `daemon` (its process) and `address`.
start_daemon() {
    "$bin/holdfast" serve --listen 127.0.0.1:0 --control 127.0.0.1:0 "$@" >"$daemon_log" &
    daemon=$!
    trap 'kill "$daemon" 2>/dev/null || true; rm -f "$daemon_log"' EXIT
    for _ in $(seq 200); do
        grep -q '^ready' "$daemon_log" && break
        kill -0 "$daemon" || { echo "the daemon did not start" >&2; return 1; }
        sleep 0.05
    done
    address=$(sed -n 's/^ready listen=\([^ ]*\).*/\1/p' "$daemon_log")
}

# Stops it with SIGTERM; fails where it does not end cleanly.
stop_daemon() {
    kill -TERM "$daemon"
    wait "$daemon" || { echo "the daemon did not stop cleanly" >&2; return 1; }
    trap - EXIT
    rm -f "$daemon_log"
}
