#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# A project that has this one as a meson subproject: by dependency() and by
# the variable virtiofs_dep; nothing of ours is installed into it but what a
# library must. Usage: subproject.sh SOURCE_DIR
set -eu
src=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() {
	echo "FAILED: $*" >&2
	cat "$dir/log" >&2 2>/dev/null || :
	exit 1
}

mkdir -p "$dir/top/subprojects/libvirtiofs"
# As a checkout would be: without the build directories lying about here.
for part in include libvirtiofs pkgconfig examples docs tests \
	meson.build meson_options.txt; do
	ln -s "$src/$part" "$dir/top/subprojects/libvirtiofs/$part"
done
cat >"$dir/top/meson.build" <<'END'
project('top', 'c', default_options: ['werror=true', 'warning_level=2'])
by_name = dependency('virtiofs', fallback: ['libvirtiofs', 'virtiofs_dep'])
by_variable = subproject('libvirtiofs').get_variable('virtiofs_dep')
foreach name, dep : {'by_name': by_name, 'by_variable': by_variable}
  test(name, executable(name, 'main.c', dependencies: dep))
endforeach
END
cat >"$dir/top/main.c" <<'END'
#include <virtiofs/virtiofs.h>

int main(void)
{
	struct virtiofs_transport *t;

	return virtiofs_version()[0] != '0' ||
	       virtiofs_transport_open_client(&t, "nothing:") >= 0;
}
END

meson setup --wrap-mode=nodownload "$dir/build" "$dir/top" >"$dir/log" 2>&1 ||
	fail "meson setup"
ninja -C "$dir/build" >"$dir/log" 2>&1 || fail "build"
meson test -C "$dir/build" --no-suite libvirtiofs >"$dir/log" 2>&1 ||
	fail "the programs"
grep -q '^Ok: *2 *$' "$dir/log" || fail "not two tests ran"
if find "$dir/build" -name 'virtiofs-server' -o -name 'test_*' | grep -q .; then
	fail "a subproject builds programs or tests of its own"
fi
echo "usable as a subproject"
