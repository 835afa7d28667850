#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first process of the cell "mistakes" of tests/guest/vfio: each is made,
# from a machine on which nothing is prepared to one on which all is right, and
# virtiofs-client has to say what is wrong.
. /vfio-common.sh
mount_all

FS=0000:00:05.0       # behind the IOMMU, in a group with
PARTNER=0000:00:05.1  # this one, no file system
BESIDE=0000:00:06.0   # takes the machine's own addresses
BRIDGE=0000:00:07.0
FREE=                 # on a bus that the IOMMU leaves out
for d in /sys/bus/pci/devices/*; do
	[ "$($B cat "$d/vendor")" = 0x1af4 ] && [ ! -e "$d/iommu_group" ] && FREE=${d##*/}
done
[ -n "$FREE" ] || end "not ok: every function has an IOMMU"
[ "$(group_of $FS)" = "$(group_of $PARTNER)" ] || end "not ok: the two are in two groups"
GROUP=/dev/vfio/$(group_of $FS)
own=$(driver_of $FS)

with() { [ "$(driver_of "$1")" = "$2" ] || end "not ok: $1 is with $(driver_of "$1"), not $2"; }
is() {
	want=$1
	shift
	said=$("$@" 2>&1) || end "not ok: $*: $said"
	case $said in
	*"$want"*) echo "GUEST ok: $(echo "$said" | $B head -n 1)" ;;
	*) end "not ok: expected '$want': $said" ;;
	esac
}
# nobody KIB COMMAND...: who may lock that much memory. In a shell of its own.
nobody() {
	ulimit -l "$1" || end "not ok: ulimit -l $1"
	shift
	$B su nobody -s /bin/sh -c "exec $*"
}
parameter() { echo "$2" >"/sys/module/vfio_iommu_type1/parameters/$1"; }

# ---- nothing is prepared ----

says "vfio:0000:77:00.0: no such PCI function" virtiofs-client vfio:0000:77:00.0 info
says "not a PCI address like 0000:00:04.0" virtiofs-client vfio:00:05.0 info
says "$own has it, not vfio-pci; as root: virtiofs-client bind $FS" virtiofs-client "vfio:$FS" info
says "$FREE: no IOMMU stands before it" virtiofs-client "vfio:$FREE" info
says "module vfio-pci is not loaded" virtiofs-client bind $FS
with $FS "$own"

# ---- bind ----

insert irqbypass iommufd vfio vfio-pci-core vfio-pci
says "is no PCI function" virtiofs-client bind 0000:77:00.0
says "is no PCI function" virtiofs-client bind ../../etc
says "no IOMMU stands before '$FREE'" virtiofs-client bind "$FREE"
with "$FREE" "$own"
says "driver_override': Permission denied" nobody 64 virtiofs-client bind $FS
with $FS "$own"
# It takes no bridge: its own driver has it again, and none other is wanted.
says "vfio-pci did not take '$BRIDGE'" virtiofs-client bind $BRIDGE
with $BRIDGE pcieport
[ "$($B cat /sys/bus/pci/devices/$BRIDGE/driver_override)" = "(null)" ] ||
	end "not ok: the override of $BRIDGE stays"
says "vfio-pci does not have" virtiofs-client unbind $FS
is "vfio:$FS has to wait for $PARTNER" virtiofs-client bind $FS
with $FS vfio-pci

# ---- the group ----

says "while $PARTNER of the same group is with $own" virtiofs-client "vfio:$FS" info
is "vfio:$PARTNER is ready: $GROUP" virtiofs-client bind $PARTNER
is "vfio:$FS is ready: $GROUP" virtiofs-client bind $FS
is "is ready" virtiofs-client bind $BESIDE
says "$GROUP: Permission denied" nobody 64 virtiofs-client "vfio:$FS" info
$B chown nobody "$GROUP"
$B chmod 600 /dev/vfio/vfio
says "/dev/vfio/vfio" nobody 64 virtiofs-client "vfio:$FS" info
$B chmod 666 /dev/vfio/vfio

# ---- the IOMMU ----

says "no type 1 IOMMU (is the module vfio_iommu_type1 there?)" virtiofs-client "vfio:$FS" info
insert vfio_iommu_type1
says "interrupts are not remapped" virtiofs-client "vfio:$FS" info
parameter allow_unsafe_interrupts Y
says "can't be pinned: RLIMIT_MEMLOCK is 65536 bytes" nobody 64 virtiofs-client "vfio:$FS" info
is "tag" nobody unlimited virtiofs-client "vfio:$FS" info
parameter dma_entry_limit 1
says "takes no more pieces of memory than 1" virtiofs-client "vfio:$FS" info
parameter dma_entry_limit 65535

# ---- the function ----

says "not a virtio file system" virtiofs-client "vfio:$PARTNER" info
# One client has it while it waits for who reads what it brings.
$B mkfifo /tmp/go
{
	virtiofs-client "vfio:$FS" cat /tree/large || echo "not ok" >/tmp/first
} | {
	$B head -c 100 >/tmp/first
	read -r _ </tmp/go
	$B sha256sum >/tmp/rest
} &
while [ ! -s /tmp/first ]; do $B sleep 0.1; done
says "$GROUP is in use" virtiofs-client "vfio:$FS" info
says "$GROUP is in use" virtiofs-client "vfio:$PARTNER" info
echo >/tmp/go
wait
is "tag" virtiofs-client "vfio:$FS" info

# ---- the machine's own addresses ----

says "(vm.nr_hugepages)" virtiofs-client "vfio:$BESIDE" info
echo 64 >/proc/sys/vm/nr_hugepages
$B chown nobody "/dev/vfio/$(group_of $BESIDE)"
says "which only root may know" nobody unlimited virtiofs-client "vfio:$BESIDE" info
is "tag" virtiofs-client "vfio:$BESIDE" info

# ---- back ----

says "driver_override': Permission denied" nobody 64 virtiofs-client unbind $FS
with $FS vfio-pci
for f in $FS $PARTNER $BESIDE; do
	virtiofs-client unbind $f || end "not ok: unbind $f"
	with $f "$own"
done
end "done"
