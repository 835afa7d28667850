#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The library as a user has it: installed, found by pkg-config, and the small
# programs built against that and nothing else, talking to each other.
# Usage: installed.sh SOURCE_DIR BUILD_DIR PREFIX SANITIZERS COMPILER...
set -eu
src=$1
build=$2
prefix=$3
sanitize=$4
shift 4

dir=$(mktemp -d)
server=
cleanup() {
	[ -z "$server" ] || kill "$server" 2>/dev/null || :
	rm -rf "$dir"
}
trap cleanup EXIT
fail() {
	echo "FAILED: $*" >&2
	exit 1
}

DESTDIR=$dir/root meson install -C "$build" --no-rebuild --quiet \
	>"$dir/install.log" 2>&1 || {
	cat "$dir/install.log"
	fail "meson install"
}
pc=$(find "$dir/root" -name virtiofs.pc)
[ -n "$pc" ] || fail "no virtiofs.pc was installed"
export PKG_CONFIG_PATH="${pc%/*}"
export PKG_CONFIG_SYSROOT_DIR="$dir/root"
cflags=$(pkg-config --cflags virtiofs)
libs=$(pkg-config --libs virtiofs)
libdir=$(pkg-config --variable=libdir virtiofs)
case $libdir in "$prefix"/*) libdir=$dir/root$libdir ;; esac
export LD_LIBRARY_PATH="$libdir"
[ -e "$libdir/libvirtiofs.so.0" ] || fail "no libvirtiofs.so.0 in $libdir"
for h in "$src"/include/virtiofs/*.h; do
	[ -e "$dir/root$prefix/include/virtiofs/${h##*/}" ] ||
		fail "${h##*/} is not installed"
done

flags="-std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror"
[ "$sanitize" = none ] || flags="$flags -fsanitize=$sanitize"
for name in hello_server cat_client fast_client; do
	# shellcheck disable=SC2086 # flags are words
	"$@" $flags $cflags -o "$dir/$name" "$src/examples/$name.c" $libs \
		-pthread || fail "$name.c against the installed library"
done
# No library but ours and the C library's own.
needed=$(readelf -d "$dir/cat_client" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
echo "$needed" | grep -qx libvirtiofs.so.0 ||
	fail "cat_client is not linked with libvirtiofs.so.0: $needed"

uri=vhost-user:$dir/hello.sock
"$dir/hello_server" "$uri" &
server=$!
i=0
while [ ! -S "$dir/hello.sock" ]; do
	kill -0 "$server" 2>/dev/null || fail "hello_server ended"
	i=$((i + 1))
	[ $i -lt 600 ] || fail "hello_server does not listen"
	sleep 0.05
done
want="Hello, virtqueue!"
got=$("$dir/cat_client" "$uri" hello) || fail "cat_client"
[ "$got" = "$want" ] || fail "cat_client printed '$got'"
got=$("$dir/cat_client" "$uri" hello) || fail "cat_client, second time"
[ "$got" = "$want" ] || fail "cat_client printed '$got' the second time"
if "$dir/cat_client" "$uri" nothing 2>"$dir/err"; then
	fail "cat_client found a file that is not there"
fi
[ -s "$dir/err" ] || fail "cat_client failed without a word"
timeout 60 "$dir/fast_client" "$uri" hello >"$dir/out" 2>&1 || {
	cat "$dir/out"
	fail "fast_client"
}
grep -qx "18 bytes" "$dir/out" || fail "fast_client: $(cat "$dir/out")"
kill -0 "$server" 2>/dev/null || fail "hello_server did not survive"
echo "programs run against $libdir"
