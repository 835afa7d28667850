#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each public header must compile as the only thing in a file, twice, in every
# language that programs use. Usage: headers-alone.sh INCLUDE_DIR gcc|clang
set -eu
inc=$1
case $2 in
gcc) cxx=g++ ;;
clang) cxx=clang++ ;;
esac
for cc in "$2" "$cxx"; do
	if ! command -v "$cc" >/dev/null; then
		echo "skipped: no $cc"
		exit 77
	fi
done

status=0
cnt=0
# alone COMPILER LANGUAGE STANDARD HEADER
alone() {
	cnt=$((cnt + 1))
	printf '#include <virtiofs/%s>\n#include <virtiofs/%s>\n' "$4" "$4" |
	"$1" -x "$2" -std="$3" -Wall -Wextra -Wpedantic -Werror \
		-I"$inc" -fsyntax-only - || {
		echo "FAILED: $4 with $1 -std=$3"
		status=1
	}
}

for path in "$inc"/virtiofs/*.h; do
	header=${path##*/}
	for std in c99 c11; do
		alone "$2" c $std "$header"
	done
	for std in c++11 c++20; do
		alone "$cxx" c++ $std "$header"
	done
done
echo "$cnt compiled with $2"
[ $cnt -gt 0 ] && exit $status
