#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first process of a guest with an IOMMU, for tests/guest/vfio: no mount,
# but virtiofs-client on the function itself. VT_RINGS says how, and VT_PHYS if
# the device takes the machine's own addresses; each line that the host acts on
# begins with GUEST.
B=/bin/busybox
end() {
	echo "GUEST $*"
	$B sync
	$B sleep 0.1
	$B poweroff -f
	while :; do $B sleep 1; done
}

$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
$B mount -t tmpfs tmp /tmp
for m in $($B cat /modules/order); do
	case $m in
	vfio_iommu_type1.ko) more=allow_unsafe_interrupts=1 ;;
	*) more= ;;
	esac
	$B insmod "/modules/$m" $more || end "not ok: insmod $m"
done
echo "GUEST Linux $($B uname -r)"

fn=
for d in /sys/bus/pci/devices/*; do
	[ "$($B cat "$d/vendor") $($B cat "$d/device")" = "0x1af4 0x105a" ] && fn=${d##*/}
done
[ -n "$fn" ] || end "not ok: no virtio-fs function"

# Mistakes first: each has to say what is wrong.
says() {
	want=$1
	shift
	said=$("$@" 2>&1) && end "not ok: $* did not fail"
	case $said in
	*"$want"*) echo "GUEST ok: $want" ;;
	*) end "not ok: expected '$want': $said" ;;
	esac
}
was=$($B readlink "/sys/bus/pci/devices/$fn/driver")
says "not vfio-pci; as root" virtiofs-client "vfio:$fn" info
says "no such PCI function" virtiofs-client vfio:0000:77:00.0 info
bound=$(virtiofs-client bind "$fn") || end "not ok: bind"
echo "GUEST $bound"
if [ "$VT_PHYS" = 1 ]; then
	says "huge pages" virtiofs-client "vfio:$fn" info
	echo 64 >/proc/sys/vm/nr_hugepages
fi

# Are the addresses those that the cell is about? Without huge pages the client
# can't use the machine's own.
check_addresses() {
	pages=$($B cat /proc/sys/vm/nr_hugepages)
	case $VT_PHYS,$(echo "$1" | $B grep 'virtio in use') in
	1,*ACCESS_PLATFORM*) end "not ok: ACCESS_PLATFORM is in use" ;;
	0,*ACCESS_PLATFORM*) [ "$pages" = 0 ] || end "not ok: $pages huge pages" ;;
	0,*) end "not ok: ACCESS_PLATFORM is not in use" ;;
	esac
}

n=0
run() {
	n=$((n + 1))
	info=$(virtiofs-client "$@" "vfio:$fn" info 2>&1) || end "not ok: info $*: $info"
	echo "GUEST info $*: $(echo "$info" | $B tr '\n' ' ' | $B tr -s ' ' | $B cut -c 1-400)"
	check_addresses "$info"
	$B rm -rf /tmp/got
	virtiofs-client "$@" "vfio:$fn" get -r /tree /tmp/got 2>/tmp/err ||
		end "not ok: get $*: $($B head -n 3 /tmp/err)"
	(cd /tmp/got && $B sha256sum -c -s sums) || end "not ok: what get $* brought"
	virtiofs-client "$@" "vfio:$fn" put -r /tmp/got "/put-$n" 2>/tmp/err ||
		end "not ok: put $*: $($B head -n 3 /tmp/err)"
	echo "GUEST ok: run $n: $*"
}
for ring in $VT_RINGS; do
	for irq in irqs poll; do
		set --
		[ $ring = split ] || set -- "$@" --packed
		[ $irq = irqs ] || set -- "$@" --poll
		run "$@"
	done
done

virtiofs-client unbind "$fn" || end "not ok: unbind"
[ "$($B readlink "/sys/bus/pci/devices/$fn/driver")" = "$was" ] ||
	end "not ok: the function is not with its own driver again"
end "done $n runs"
