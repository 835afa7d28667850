#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first process of tests/guest/vdpa's guest: virtiofs-server and everybody
# who uses it are in here. The pair tests run over the bus, and the benchmark,
# both ends by URI. Then, for split and packed rings: the kernel's own driver
# mounts a VDUSE device, works on it, and outlives the server's death; then the
# same device is bound to vhost_vdpa, and virtiofs-client copies trees over it.
# Each line that the host acts on begins with GUEST or WORK. FULL, of the
# kernel's command line, is 1 for all of the work.

B=/bin/busybox
M=/mnt/fs

end() {
	echo "GUEST $*"
	case $* in "not ok"*) $B tail -n 20 /mnt/server.log | $B sed 's/^/LOG /' ;; esac
	$B sync
	$B sleep 0.1
	$B poweroff -f
	while :; do $B sleep 1; done
}

step() { echo "GUEST step${ring:+ $ring}: $*"; }

# within SECONDS WHAT COMMAND...: until it is true.
within() {
	local left=$(($1 * 20)) what=$2

	shift 2
	until "$@"; do
		left=$((left - 1))
		[ $left -gt 0 ] || end "not ok: $ring: $what"
		$B sleep 0.05
	done
}

load_modules() {
	for m in $($B cat /modules/order); do
		$B insmod /modules/$m || end "not ok: insmod $m"
	done
}

start_server() {
	/bin/virtiofs-server --listen vduse:$ring --shared-dir=/mnt/src --tag=$ring \
		--xattr --queues=2 $server_options >>/mnt/server.log 2>&1 &
	server=$!
	within 30 "the server makes no device" serving
}

serving() {
	$B kill -0 $server 2>/dev/null || end "not ok: $ring: the server ended"
	[ -c /dev/vduse/$ring ] && [ "$($B grep -c '^.*serving' /mnt/server.log)" = $((starts + 1)) ] &&
		starts=$((starts + 1))
}

# It has to end well.
stop_server() {
	local status

	$B kill -TERM $server
	wait $server
	status=$?
	[ $status = 0 ] || end "not ok: $ring: the server ended with $status"
}

gone() { [ ! -e "$1" ]; }
there() { [ -e "$1" ]; }
is_dead() { ! $B kill -0 $1 2>/dev/null; }

mount_fs() { $B mount -t virtiofs $ring $M || end "not ok: $ring: mount"; }
umount_fs() { $B umount $M || end "not ok: $ring: umount"; }

bind_to() {
	echo $1 >/sys/bus/vdpa/devices/$ring/driver_override
	[ ! -e /sys/bus/vdpa/devices/$ring/driver ] ||
		echo $ring >/sys/bus/vdpa/devices/$ring/driver/unbind
	echo $ring >/sys/bus/vdpa/drivers_probe
	[ "$($B basename "$($B readlink /sys/bus/vdpa/devices/$ring/driver)")" = $1 ] ||
		end "not ok: $ring: not bound to $1"
}

# Bit 34 of the features that were negotiated.
check_ring() {
	local features

	features=$($B cat /sys/bus/virtio/devices/*/features)
	echo "GUEST features $ring $features"
	[ "$(echo $features | $B cut -c35)" = $1 ] || end "not ok: $ring: bit 34 is not $1"
	[ "$(echo $features | $B cut -c34)" = 1 ] || end "not ok: $ring: no ACCESS_PLATFORM"
}

# All of it once: what differs between the rings is not in the files.
work() {
	if [ $full = 1 ]; then
		/bin/guest-work guest $M/$ring
	else
		$B cp $M/$ring/in/blob $M/$ring/pattern || end "not ok: $ring: cp"
	fi
}

look() {
	if [ $full = 1 ]; then
		/bin/guest-work $1 $M/$ring
	else
		$B cmp $M/$ring/in/blob $M/$ring/pattern || end "not ok: $ring: cmp"
	fi
}

kernel_driver() {
	step "the kernel's driver mounts it"
	bind_to virtio_vdpa
	check_ring $1
	mount_fs
	$B mkdir $M/$ring || end "not ok: $ring: mkdir"
	$B cp -a /mnt/src/in $M/$ring/in || end "not ok: $ring: cp"
	work
	umount_fs
	mount_fs
	look look
	umount_fs
}

server_dies() {
	step "the server dies between two mounts"
	mount_fs
	umount_fs
	kill_server
	start_server
	mount_fs
	look glance
	step "and amid one, with requests on their way"
	readers=
	for i in 1 2 3; do
		(while $B dd if=$M/$ring/pattern of=/dev/null bs=1M iflag=direct 2>/dev/null; do :; done) &
		readers="$readers $!"
	done
	$B sleep 0.3
	kill_server
	start_server
	for r in $readers; do
		within 60 "a reader waits for a server that is gone" is_dead $r
	done
	$B ls $M/$ring/in >/dev/null 2>&1 && end "not ok: $ring: a mount survived its server"
	within 60 "the mount of a server that is gone stays" $B umount $M
	mount_fs
	look glance
	umount_fs
}

# A lock that is waited for is older than all that was answered since. Whoever
# took what is in flight for the last that came would answer another request
# twice, which breaks the queue, and this one never.
server_dies_behind_a_lock() {
	step "and with a request that others have passed"
	mount_fs
	/bin/lock-file $M/$ring/lock &
	holder=$!
	within 10 "no file to lock" there $M/$ring/lock
	$B sleep 0.2
	/bin/lock-file $M/$ring/lock &
	waiter=$!
	$B sleep 0.3
	$B ls $M/$ring/in >/dev/null
	$B cat $M/$ring/pattern >/dev/null
	$B kill -0 $waiter || end "not ok: $ring: nobody waits for the lock"
	kill_server
	start_server
	within 20 "who waits for a lock is not told" is_dead $waiter
	wait $waiter
	[ $? = 5 ] || end "not ok: $ring: the wait for a lock did not end with EIO"
	$B kill -9 $holder
	wait $holder 2>/dev/null
	within 20 "the mount of a server that is gone stays" $B umount $M
	mount_fs
	look glance
	umount_fs
	! $B dmesg | $B grep -E 'is not a head|virtio.*(broken|bad)' || end "not ok: $ring: a queue broke"
}

kill_server() {
	$B kill -9 $server
	wait $server 2>/dev/null
	# What it had open may be closed a moment later.
	within 10 "a dead server is still the device" is_free
}

is_free() { (exec 3<>/dev/vduse/$ring) 2>/dev/null; }

sums() { (cd $1 && $B find . -type f -exec $B sha256sum {} + | $B sort); }

uri=vdpa:/dev/vhost-vdpa-0

# client OPTIONS COMMAND ARGUMENT...
client() {
	local options=$1

	shift
	/bin/virtiofs-client $options $uri "$@" >/mnt/client.log 2>&1 ||
		end "not ok: $ring: virtiofs-client $*: $($B tail -n 1 /mnt/client.log)"
}

our_client() {
	local options=

	step "our client drives it"
	[ $1 = 0 ] || options=--packed
	bind_to vhost_vdpa
	within 10 "/dev/vhost-vdpa-0" there /dev/vhost-vdpa-0
	client "$options" info
	$B sed 's/^/GUEST info /' /mnt/client.log
	$B mkdir -p /mnt/copies
	client "$options --queues 2" get -r /tree /mnt/copies
	client "$options --queues 2" put -r /mnt/copies/tree /back-$ring
	sums /mnt/src/tree >/mnt/sums
	[ "$($B wc -l </mnt/sums)" -gt 100 ] || end "not ok: $ring: no tree"
	sums /mnt/copies/tree | $B cmp - /mnt/sums || end "not ok: $ring: what was got differs"
	sums /mnt/src/back-$ring | $B cmp - /mnt/sums || end "not ok: $ring: what was put differs"
	echo "GUEST $($B wc -l </mnt/sums) files got and put over vdpa, checksums equal"
	$B rm -rf /mnt/copies
	# The benchmark on a server that runs already.
	bench $options --file bench $uri
	# Who is killed amid its work leaves a device for the next.
	/bin/virtiofs-client $options $uri cat $($B yes /in/blob | $B head -n 100) >/dev/null 2>&1 &
	$B sleep 0.2
	$B kill -9 $! || end "not ok: $ring: virtiofs-client ended before it was killed"
	wait $! 2>/dev/null
	client "$options" ls /
}

# bench ARGUMENT...: two measurements, of which nothing is judged.
bench() {
	/bin/pair --count 50 --rounds 1 --op read --depth 1,8 "$@" >/mnt/bench.log 2>&1 ||
		end "not ok: pair $*: $($B tail -n 1 /mnt/bench.log)"
	[ "$($B grep -c ",read,$layout," /mnt/bench.log)" = 2 ] || end "not ok: pair $*: too few lines"
	$B sed -n 's/^vdpa:/GUEST bench vdpa:/p' /mnt/bench.log
}

# Both ends by URI: pair makes the device, we put it on the bus.
bench_by_uri() {
	layout=split
	bench --device vduse:bench $uri &
	bench=$!
	within 30 "pair makes no device" there /dev/vduse/bench
	echo 0 >/sys/bus/vdpa/drivers_autoprobe
	/bin/vdpa-dev add bench || end "not ok: vdpa-dev add"
	echo bench >/sys/bus/vdpa/drivers/vhost_vdpa/bind
	wait $bench
	/bin/vdpa-dev del bench || end "not ok: vdpa-dev del"
	echo 1 >/sys/bus/vdpa/drivers_autoprobe
}

# Both ends in one program; without FULL over four combinations, not 16. Not
# needs_reset: this bus tells a client nothing of the kind. Not queue_reset: it
# knows no reset of one queue.
pair_tests() {
	[ $FULL = 1 ] || export VIRTIOFS_TEST_FEW=1
	for t in session batches in_order notify; do
		for ring in split packed; do
			/bin/test_$t vdpa $ring >/mnt/pair.log 2>&1 || {
				$B grep -v -E ' (RUN|OK) ' /mnt/pair.log | $B sed 's/^/LOG /'
				end "not ok: test_$t vdpa $ring"
			}
			echo "GUEST pair $t $ring:" $($B sed -n 's/^\[  PASSED  \] //p; s/^\[  SKIPPED \] test_/not here: /p' /mnt/pair.log |
				$B sort -u)
		done
	done
}

the_end() {
	step "the end"
	stop_server
	there /dev/vduse/$ring || end "not ok: $ring: a device left the bus with its server"
	/bin/vdpa-dev del $ring || end "not ok: $ring: vdpa-dev del"
	# What is left of it is nobody's: made anew, and removed.
	start_server
	stop_server
	gone /dev/vduse/$ring || end "not ok: $ring: a device outlived a clean end"
}

one_ring() {
	ring=$1
	server_options=$2
	full=$4
	layout=$1
	: >/mnt/server.log
	starts=0
	start_server
	/bin/vdpa-dev add $ring || end "not ok: $ring: vdpa-dev add"
	kernel_driver $3
	server_dies
	# Packed rings have no record of what is in flight.
	[ $ring = packed ] || server_dies_behind_a_lock
	our_client $3
	the_end
}

$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
$B mount -t tmpfs -o size=1500M tmpfs /mnt
$B mkdir -p $M /mnt/src /run
echo "GUEST Linux $($B uname -r)"
load_modules
FULL=${FULL:-0}
pair_tests
ring=
bench_by_uri
step "what is served"
/bin/guest-work make /mnt/src
# All bytes go through pages of the kernel's and an emulated processor.
[ $FULL = 1 ] || {
	$B dd if=/mnt/src/in/blob of=/mnt/blob bs=1M count=6 2>/dev/null
	$B mv /mnt/blob /mnt/src/in/blob
}
$B dd if=/mnt/src/in/blob of=/mnt/src/bench bs=1M count=2 2>/dev/null
# Thrice the same 40 files: each program that starts takes its time here.
$B mkdir -p /mnt/src/tree/0/0 /mnt/src/tree/0/1 /mnt/src/tree/0/2
for i in $($B seq 1 40); do
	$B dd if=/mnt/src/bench of=/mnt/src/tree/0/$((i % 3))/$i bs=4001 count=$((i * i % 50)) skip=$i 2>/dev/null
done
$B cp -a /mnt/src/tree/0 /mnt/src/tree/1
$B cp -a /mnt/src/tree/0 /mnt/src/tree/2
one_ring split --sandbox=none 0 $FULL
one_ring packed "--packed --sandbox=chroot" 1 0
end "done vdpa"
