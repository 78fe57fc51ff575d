# Sourced by the tests that are shell scripts: cases as TAP, in a folder of their own that goes when
# they end. The plan comes last: echo "1..$n"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
export HOME="$tmp/home" XDG_DATA_HOME="$tmp/data" XDG_CACHE_HOME="$tmp/cache"
n=0
log=$tmp/log
cd "$tmp" || exit 1

check() { # check NAME COMMAND...: one case; what it says is shown when it fails
    n=$((n + 1))
    name=$1
    shift
    if "$@" >"$log" 2>&1; then echo "ok $n - $name"; else
        echo "not ok $n - $name"
        sed 's/^/# /' "$log"
    fi
}
