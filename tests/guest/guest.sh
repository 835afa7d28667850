#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The guest's first process: mounts the virtio-fs, works on it, unmounts,
# mounts again, and ends. The kernel's command line gives the VT_ variables:
#   VT_TAG      the file system's tag
#   VT_WORK     the program of work.c
#   VT_MODULES  folder with the file "order" or, in user-mode Linux, the
#               kernel's own modules
#   VT_BUSYBOX  the only other program that is used
#   VT_REBOOT   1: the first boot ends with a reboot, not with power off
#   VT_ZERO_PAGE  set: the work hands the device a page that isn't shared
#   VT_MODE     work, share-1 or share-2 (the parts of two guests on one
#               directory), or copy (for the demo: copy the tree VT_FROM into
#               the mount and the mount out)
# Each line that the host acts on begins with GUEST or WORK.

B=${VT_BUSYBOX:-/bin/busybox}
M=/mnt/fs

end() {
	echo "GUEST $*"
	$B sync
	$B sleep 0.1
	$B poweroff -f
	# A guest that can't power off must not run on.
	while :; do $B sleep 1; done
}

load_modules() {
	if [ -e "$VT_MODULES/order" ]; then
		for m in $($B cat "$VT_MODULES/order"); do
			$B insmod "$VT_MODULES/$m" || end "not ok: insmod $m"
		done
	else
		for m in fuse virtiofs; do
			$B insmod "$VT_MODULES/kernel/fs/fuse/$m.ko" || end "not ok: insmod $m"
		done
	fi
}

show_features() {
	for d in /sys/bus/virtio/devices/*; do
		[ "$($B cat "$d/device")" = 0x001a ] || continue
		echo "GUEST features $($B cat "$d/features") status $($B cat "$d/status")"
	done
}

mount_fs() {
	$B mount -t virtiofs "$VT_TAG" $M || end "not ok: mount -t virtiofs $VT_TAG"
}

umount_fs() {
	$B umount $M || end "not ok: umount"
}

first_boot() {
	echo 1 >$M/boots
	$VT_WORK guest $M
	umount_fs
	mount_fs
	$VT_WORK look $M
	echo 1 >$M/boot-1
	umount_fs
	[ "$VT_REBOOT" = 1 ] || return
	echo "GUEST done boot 1"
	$B reboot -f
	$B sleep 60
	end "not ok: reboot"
}

later_boot() {
	echo "$1" >$M/boots
	$VT_WORK glance $M
	umount_fs
	mount_fs
	echo "$1" >"$M/boot-$1"
	umount_fs
	mount_fs
	[ "$($B cat "$M/boot-$1")" = "$1" ] || end "not ok: boot-$1 is lost"
	umount_fs
}

copy_trees() {
	$B cp -a "$VT_FROM" $M/copied-in || end "not ok: copy in"
	(cd "$VT_FROM" && $B find . -type f -exec $B sha256sum {} +) |
		$B sort >/mnt/from.sums
	umount_fs
	mount_fs
	$B cp -a $M/copied-in /mnt/out || end "not ok: copy out"
	(cd /mnt/out && $B find . -type f -exec $B sha256sum {} +) |
		$B sort >/mnt/out.sums
	$B cmp /mnt/from.sums /mnt/out.sums || end "not ok: the checksums differ"
	echo "GUEST $($B wc -l </mnt/out.sums) files copied in and out, checksums equal"
	umount_fs
}

$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
[ -c /dev/null ] || $B mount -t devtmpfs dev /dev
# The root may be the host's own tree, read-only: work below a private folder.
$B mount -t tmpfs tmpfs /mnt || end "not ok: tmpfs"
$B mkdir -p $M
echo "GUEST Linux $($B uname -r)"
load_modules
show_features
mount_fs
boots=$($B cat $M/boots 2>/dev/null)
case $VT_MODE in
share-*)
	$VT_WORK "$VT_MODE" $M
	umount_fs
	end "done $VT_MODE"
	;;
copy)
	copy_trees
	end "done copy"
	;;
esac
if [ -z "$boots" ]; then
	first_boot
	end "done boot 1"
else
	boots=$((boots + 1))
	later_boot $boots
	end "done boot $boots"
fi
