/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bus.h"
#include "combo.h"
#include "leaks.h"
#include "transport/vhost_user/client.h"
#include "vq/impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *transport = "inproc";
static uint64_t layout;

static uint64_t seed = 88172645463325252ULL;

uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 11) % below;
}

void rnd_fill(unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)rnd(256);
}

/* ---- both ends ---- */

void make_pair(struct virtiofs_transport **d, struct virtiofs_transport **c)
{
	int sv[2];

	if (!strcmp(transport, "vdpa")) {
		if (virtiofs_transport_open_device(d, BUS_DEVICE_URI) < 0 ||
		    virtiofs_transport_open_client(c, BUS_CLIENT_URI) < 0)
			fail_msg("vdpa: %s", virtiofs_last_error());
		return;
	}
	if (!strcmp(transport, "inproc")) {
		assert_int_equal(virtiofs_inproc_pair(d, c), 0);
		return;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	if (!strcmp(transport, "vfio-user")) {
		assert_int_equal(virtiofs_vfio_user_device_fd(d, sv[0]), 0);
		assert_int_equal(virtiofs_vfio_user_client_fd(c, sv[1]), 0);
		return;
	}
	assert_int_equal(virtiofs_vhost_user_device_fd(d, sv[0]), 0);
	assert_int_equal(virtiofs_vhost_user_client_fd(c, sv[1]), 0);
	if (!strcmp(transport, "vhost-user-iommu"))
		vtfs_vhost_user_client_iommu(*c);
}

void join_ends(void)
{
	if (!strcmp(transport, "vdpa"))
		bus_join();
}

bool hides_status(void)
{
	return !strcmp(transport, "vdpa");
}

uint64_t own_features(void)
{
	if (!strcmp(transport, "vfio-user") || !strcmp(transport, "vdpa"))
		return VTFS_F_ACCESS_PLATFORM;
	return 0;
}

void spoil_ring(struct vtfs_vq *vq)
{
	struct vtfs_wire_packed_desc *slot = vq->desc;
	struct vtfs_wire_avail *avail = vq->driver;

	if (vtfs_vq_packed(vq)) {
		slot += vq->drv.next;
		slot->id = 0xffff;
		__atomic_store_n(&slot->flags, htole16(vq->drv.avail_flags),
				 __ATOMIC_RELEASE);
	} else {
		__atomic_store_n(&avail->idx,
				 htole16((uint16_t)(vq->drv.next + 5000)),
				 __ATOMIC_RELEASE);
	}
}

void fix_start(struct fix *f, const struct combo *co, unsigned queues)
{
	struct virtiofs_device_opts dopts = {
	    .size = sizeof(dopts),
	    .tag = "memfs",
	    .num_request_queues = queues,
	    .features = VIRTIOFS_FEATURES_DEFAULT | layout,
	};
	struct virtiofs_client_opts copts = {
	    .size = sizeof(copts),
	    .num_request_queues = queues,
	    .queue_size = co->num,
	    .features = VIRTIOFS_F_VERSION_1 | co->features,
	};
	struct virtiofs_transport *d, *c;

	memset(f, 0, sizeof(*f));
	make_pair(&d, &c);
	f->m = memfs_start(d, &dopts);
	if (!f->m)
		fail_msg("device: %s", virtiofs_last_error());
	join_ends();
	assert_int_equal(virtiofs_client_new(&f->c, c, &copts), 0);
	if (virtiofs_client_start(f->c, NULL) < 0)
		fail_msg("start: %s", virtiofs_last_error());
	f->info.size = sizeof(f->info);
	assert_int_equal(virtiofs_client_get_info(f->c, &f->info), 0);
	assert_int_equal(f->info.features,
			 VIRTIOFS_F_VERSION_1 | co->features | own_features());
	assert_int_equal(f->info.request_queues, queues);
}

void fix_end(struct fix *f)
{
	virtiofs_client_free(f->c);
	memfs_free(f->m);
}

size_t most(const struct fix *f)
{
	size_t pages = (size_t)f->info.max_pages * PAGE;

	return pages < f->info.max_write ? pages : f->info.max_write;
}

uint64_t create(struct fix *f, const char *name, uint64_t *ret_fh)
{
	struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};
	struct virtiofs_create_out out;

	assert_int_equal(virtiofs_call_create(f->c, 1, name, &in, &out), 0);
	*ret_fh = out.open.fh;
	return out.entry.nodeid;
}

/* ---- all combinations ---- */

void over_all(void (*fn)(const struct combo *co))
{
	static const uint32_t sizes[] = {4, 8, 128, 1024};
	/* Each value of each property once. */
	unsigned step = getenv("VIRTIOFS_TEST_FEW") ? 5 : 1;
	unsigned fds = raw_fd_cnt();

	for (unsigned i = 0; i < 16; i += step) {
		struct combo co = {layout, sizes[i & 3]};

		if (i & 4)
			co.features |= VIRTIOFS_F_EVENT_IDX;
		if (i & 8)
			co.features |= VIRTIOFS_F_INDIRECT_DESC;
		fn(&co);
		bus_leave();
		assert_int_equal(raw_fd_cnt(), fds);
		assert_int_equal(raw_memfd_map_cnt(), 0);
	}
}

int take_args(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr,
			"usage: %s inproc|vhost-user|vhost-user-iommu|"
			"vfio-user|vdpa split|packed [TEST]\n",
			argv[0]);
		return 2;
	}
	transport = argv[1];
	layout = !strcmp(argv[2], "packed") ? VIRTIOFS_F_RING_PACKED : 0;
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	return 0;
}
