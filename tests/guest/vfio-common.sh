# SPDX-License-Identifier: LGPL-2.1-or-later
# What the first processes of tests/guest/vfio share; sourced. Each line that
# the host acts on begins with GUEST.
B=/bin/busybox
end() {
	echo "GUEST $*"
	$B sync
	$B sleep 0.1
	$B poweroff -f
	while :; do $B sleep 1; done
}

mount_all() {
	$B mount -t proc proc /proc
	$B mount -t sysfs sys /sys
	$B mount -t devtmpfs dev /dev
	$B mount -t tmpfs tmp /tmp
	echo "GUEST Linux $($B uname -r)"
}

insert() {
	for m in "$@"; do
		more=${m#*:}
		[ "$more" != "$m" ] || more=
		[ ! -e "/modules/${m%%:*}.ko" ] || $B insmod "/modules/${m%%:*}.ko" $more ||
			end "not ok: insmod $m"
	done
}

driver_of() { d=$($B readlink "/sys/bus/pci/devices/$1/driver") && echo "${d##*/}"; }
group_of() { d=$($B readlink "/sys/bus/pci/devices/$1/iommu_group") && echo "${d##*/}"; }

# says TEXT COMMAND...: a mistake. It has to say what is wrong, in one line, and
# to exit with 1.
says() {
	want=$1
	shift
	said=$("$@" 2>&1)
	r=$?
	[ $r = 1 ] || end "not ok: $* exits with $r: $said"
	[ "$(echo "$said" | $B wc -l)" = 1 ] || end "not ok: $* says more: $said"
	case $said in
	*"$want"*) echo "GUEST ok: $said" ;;
	*) end "not ok: expected '$want': $said" ;;
	esac
}
