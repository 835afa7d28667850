#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every manual page formats without a warning, and names no page that isn't
# there. Usage: manual.sh MAN_DIR
set -eu
cd "$1"
if ! command -v man >/dev/null; then
	echo "skipped: no man(1), package man-db"
	exit 77
fi

status=0
cnt=0
err=$(mktemp)
trap 'rm -f "$err"' EXIT
all=$(for page in *.[1-8]; do
	echo "$page"
	case $page in *.3) ./names-of "$page" | sed 's/$/.3/' ;; esac
done)
for page in *.[1-8]; do
	cnt=$((cnt + 1))
	LC_ALL=C.UTF-8 MANWIDTH=78 man --warnings -l "$page" >/dev/null 2>"$err" ||
		status=1
	[ ! -s "$err" ] || {
		sed "s|^|$page: |" "$err"
		status=1
	}
	for ref in $(sed -n 's/^\.BR \(virtiofs[a-z0-9_-]*\|virtiofs\\-[a-z]*\) (\([1-8]\)).*/\1.\2/p' "$page"); do
		ref=$(echo "$ref" | tr -d '\\')
		echo "$all" | grep -qx "$ref" || {
			echo "$page: refers to $ref, which is not there"
			status=1
		}
	done
done
echo "$cnt pages"
[ "$cnt" -gt 0 ] && exit $status
