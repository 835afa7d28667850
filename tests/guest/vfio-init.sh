#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first process of a guest with an IOMMU, for tests/guest/vfio: no mount,
# but virtiofs-client on the function itself. VT_RINGS says how, and VT_PHYS if
# the device takes the machine's own addresses.
. /vfio-common.sh
mount_all
insert irqbypass iommufd vfio vfio_iommu_type1:allow_unsafe_interrupts=1 vfio-pci-core vfio-pci

fn=
for d in /sys/bus/pci/devices/*; do
	[ "$($B cat "$d/vendor") $($B cat "$d/device")" = "0x1af4 0x105a" ] && fn=${d##*/}
done
[ -n "$fn" ] || end "not ok: no virtio-fs function"

was=$(driver_of "$fn")
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

# The benchmark runs over it; nothing of it is judged.
set -- --count 50 --rounds 1 --op read --depth 1,8 --file bench
[ "$VT_RINGS" = split ] || set -- --packed "$@"
bench=$(pair "$@" "vfio:$fn" 2>&1) || end "not ok: pair: $bench"
[ "$(echo "$bench" | $B grep -c "^vfio:.*,read,$VT_RINGS,")" = 2 ] || end "not ok: pair: $bench"
echo "$bench" | $B sed -n 's/^vfio:/GUEST bench &/p'

virtiofs-client unbind "$fn" || end "not ok: unbind"
[ "$(driver_of "$fn")" = "$was" ] ||
	end "not ok: the function is not with its own driver again"
end "done $n runs"
