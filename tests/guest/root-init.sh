#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# First process of an initramfs whose kernel has virtio-fs as modules: mounts
# what the command line calls root (root=TAG rootfstype=virtiofs rw), goes there.
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t devtmpfs dev /dev
for m in $($B cat /modules/order); do
	$B insmod "/modules/$m" || echo "GUEST not ok: insmod $m"
done
for word in $($B cat /proc/cmdline); do
	case $word in root=*) tag=${word#root=} ;; esac
done
if ! $B mount -t virtiofs -o rw "$tag" /mnt; then
	echo "GUEST not ok: mount $tag as root"
	$B poweroff -f
fi
$B umount /proc
$B mount --move /dev /mnt/dev
exec $B switch_root /mnt /sbin/init
