#!/bin/sh
# tools/install, as TAP: an installation and a bundle run from elsewhere with nothing of this tree.
#
#   SNUG_BIN=build/snug tests/tools/test_install.sh
#
# The tree cannot be hidden from them here, so each file is asked what it would load.
set -u
cd "$(dirname "$0")/../.." || exit 1
source=$(pwd -P)
build=$(cd "$(dirname "${SNUG_BIN:-build/snug}")" && pwd -P)
export BUILD="$build"
unset SNUG_TOOLS SNUG_BACKENDS SNUG_SELF
root=$(sed -n 's/^SNUG_SYSROOT=//p' .deps/env)
export PATH="$source/.deps/bin:$PATH"
if [ -z "$root" ]; then
    echo '1..0 # SKIP with system libraries this is meson install'
    exit 0
fi
. "$source/tests/tools/tap.sh"

skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

fails_with() { # fails_with TEXT COMMAND...: status not 0, and TEXT in what it says
    text=$1
    shift
    if said=$("$@" 2>&1); then echo "did not fail: $said"; return 1; fi
    case $said in *"$text"*) ;; *) echo "says: $said"; return 1 ;; esac
}

says() { # says TEXT COMMAND...
    text=$1
    shift
    said=$("$@" 2>&1) || { echo "status $?: $said"; return 1; }
    case $said in *"$text"*) ;; *) echo "says: $said"; return 1 ;; esac
}

# Every library of every program and backend lies in TREE or is the system's own (a sanitizer's).
loads_only_from() { # loads_only_from TREE PROGRAM...
    tree=$1
    shift
    for file in "$@" "$tree"/lib/snug/ggml/*.so; do
        list=$("$tree"/lib/snug/ld-linux*.so.* --library-path "$tree/lib/snug" --list "$file") || return 1
        printf '%s\n' "$list"
        case $list in *"$source"* | *'not found'*) echo "in $file"; return 1 ;; esac
        case $(patchelf --print-rpath "$file") in *"$source"*) echo "rpath of $file"; return 1 ;; esac
    done
}

names_final_loader() { # names_final_loader FILE PREFIX
    case $(patchelf --print-interpreter "$1") in "$2"/lib/snug/ld-linux*) ;; *) patchelf --print-interpreter "$1"; return 1 ;; esac
}

same_files() { # an installation over one: nothing lost, nothing left over
    cp "$prefix/lib/snug/INSTALLED" "$tmp/before" && echo lib/snug/old.so >>"$prefix/lib/snug/INSTALLED" &&
        : >"$prefix/lib/snug/old.so" && "$source/tools/install" '' "$prefix" || return 1
    [ ! -e "$prefix/lib/snug/old.so" ] && cmp "$tmp/before" "$prefix/lib/snug/INSTALLED" &&
        (cd "$prefix" && find . ! -type d | sed 's|^\./||' | LC_ALL=C sort) | cmp - "$tmp/before"
}

uses() { # uses SNUG: the ways that need backends, a worker process, and the tools
    says 'devices      CPU' "$1" probe --quiet &&
        says '"tg2"' "$1" bench model.gguf -p 4 -n 2 -r 1 --json --quiet &&
        says 'llama-server --model' "$1" run model.gguf --print --quiet
}

example() {
    export PKG_CONFIG_PATH="$1/lib/pkgconfig"
    # shellcheck disable=SC2046
    ${CC:-cc} -o "$tmp/inspect" "$source/examples/inspect.c" $(pkg-config --cflags --libs snug) &&
        says 'llama, F16: 32 layers' "$tmp/inspect" llama3-8b || return 1
    # shellcheck disable=SC2046
    ${CC:-cc} -o "$tmp/plan" "$source/examples/plan.c" $(pkg-config --cflags --libs snug) &&
        says 'llama-server --model ./llama3-8b-plan.gguf' "$tmp/plan" llama3-8b rtx3060-12g
}

nothing_left() { "$source/tools/install" --uninstall '' "$1" && rmdir "$1" || { find "$1"; return 1; }; }

prefix=$tmp/prefix
check install_says_where says "$prefix/bin/snug" "$source/tools/install" '' "$prefix"
check install_again_replaces_all same_files
check installed_files_need_nothing_of_the_tree loads_only_from "$prefix" "$prefix/bin/snug" "$prefix"/lib/snug/bin/llama-*
check installed_program_names_its_loader names_final_loader "$prefix/bin/snug" "$prefix"
check installed_synth says model.gguf "$prefix/bin/snug" synth smollm2-135m --layers 1 --type q4_0 -o model.gguf
check installed_inspect says 'architecture llama' "$prefix/bin/snug" inspect model.gguf
check installed_probe_bench_run uses "$prefix/bin/snug"
check installed_tool_finds_its_backend says 'loaded CPU backend from' "$prefix/lib/snug/bin/llama-bench" --list-devices
if grep -q __asan_init "$build/libsnug.a"; then
    skip pkg_config_builds_the_examples 'built with a sanitizer'
else
    check pkg_config_builds_the_examples example "$prefix"
fi
check install_to_destdir_with_a_space says "$tmp/a dest/opt/a snug/bin/snug" "$source/tools/install" "$tmp/a dest" '/opt/a snug'
check destdir_is_not_in_the_program names_final_loader "$tmp/a dest/opt/a snug/bin/snug" '/opt/a snug'
check uninstall_leaves_nothing nothing_left "$prefix"
check uninstall_of_nothing_is_refused fails_with 'no snug is installed' "$source/tools/install" --uninstall '' "$prefix"
check prefix_that_is_relative_is_refused fails_with 'absolute path' "$source/tools/install" '' some/folder
check prefix_below_a_file_is_refused fails_with 'is a file' "$source/tools/install" '' "$tmp/model.gguf/x"
if [ "$(id -u)" = 0 ]; then
    skip prefix_not_writable_is_refused 'root may write anywhere'
else
    mkdir "$tmp/shut" && chmod 555 "$tmp/shut"
    check prefix_not_writable_is_refused fails_with 'PREFIX=' "$source/tools/install" '' "$tmp/shut/x"
fi
check bundle_is_made "$source/tools/install" --bundle "$tmp/made"
mkdir "$tmp/moved to" && mv "$tmp/made" "$tmp/moved to/snug"
tree="$tmp/moved to/snug"
ln -s "$tree/bin/snug" "$tmp/link"
check bundle_needs_nothing_of_the_tree loads_only_from "$tree" "$tree"/lib/snug/exe/*
check bundle_through_a_link uses "$tmp/link"
check bundle_tool_finds_its_backend says 'loaded CPU backend from' "$tree/lib/snug/bin/llama-bench" --list-devices
echo "1..$n"
