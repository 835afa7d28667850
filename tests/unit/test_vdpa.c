/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client end of the vDPA bus, over a kernel that the test plays. */
#include <errno.h>
#include <linux/vhost.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "fakekernel.h"
#include "leaks.h"
#include "recsink.h"
#include "transport/vdpa/client.h"
#include "wire/virtio.h"

#ifndef VHOST_VDPA_RESUME
#define VHOST_VDPA_RESUME _IO(VHOST_VIRTIO, 0x7E)
#endif

#define PAGE 4096u

/* What the kernel and its device are like. */
static struct {
	uint32_t id;
	uint64_t backend, backend_set;
	uint64_t offered, features;
	struct vhost_vdpa_iova_range range;
	uint32_t config_size;
	unsigned char config[64];
	uint16_t max;
	uint32_t vqs;
	uint8_t status;
	int config_fd;
	unsigned long fails; /* this request fails so */
	int error;
} k;

static struct virtiofs_transport *t;
static struct rec_client rc;
static unsigned fds_before;

static int get_config(unsigned char *arg)
{
	struct vhost_vdpa_config head;

	memcpy(&head, arg, sizeof(head));
	if (!head.len || head.off > k.config_size ||
	    head.len > k.config_size - head.off)
		return -EINVAL;
	memcpy(arg + sizeof(head), k.config + head.off, head.len);
	return 0;
}

static int put(void *arg, const void *from, size_t len)
{
	memcpy(arg, from, len);
	return 0;
}

static int set_status(uint8_t status)
{
	fk_log("status %x;", status);
	k.status = status;
	return 0;
}

static int vring(const char *what, const struct vhost_vring_state *s)
{
	fk_log("%s %u %x;", what, s->index, s->num);
	return 0;
}

static int vring_addr(const struct vhost_vring_addr *a)
{
	fk_log("addr %u %llx %llx %llx;", a->index, a->desc_user_addr,
	       a->avail_user_addr, a->used_user_addr);
	return 0;
}

static int vring_fd(const char *what, const struct vhost_vring_file *f)
{
	fk_log("%s %u %d;", what, f->index, f->fd);
	return 0;
}

static int kernel(int fd, unsigned long request, void *arg)
{
	if (request == k.fails)
		return -k.error;
	switch (request) {
	case VHOST_SET_OWNER:
		fk_log("owner;");
		return 0;
	case VHOST_VDPA_GET_DEVICE_ID:
		return put(arg, &k.id, sizeof(k.id));
	case VHOST_GET_BACKEND_FEATURES:
		return put(arg, &k.backend, sizeof(k.backend));
	case VHOST_SET_BACKEND_FEATURES:
		return put(&k.backend_set, arg, sizeof(k.backend_set));
	case VHOST_VDPA_GET_IOVA_RANGE:
		return put(arg, &k.range, sizeof(k.range));
	case VHOST_VDPA_SET_CONFIG_CALL:
		return put(&k.config_fd, arg, sizeof(k.config_fd));
	case VHOST_GET_FEATURES:
		return put(arg, &k.offered, sizeof(k.offered));
	case VHOST_SET_FEATURES:
		return put(&k.features, arg, sizeof(k.features));
	case VHOST_VDPA_GET_VQS_COUNT:
		return put(arg, &k.vqs, sizeof(k.vqs));
	case VHOST_VDPA_GET_CONFIG_SIZE:
		return put(arg, &k.config_size, sizeof(k.config_size));
	case VHOST_VDPA_GET_CONFIG:
		return get_config(arg);
	case VHOST_VDPA_GET_STATUS:
		return put(arg, &k.status, sizeof(k.status));
	case VHOST_VDPA_SET_STATUS:
		return set_status(*(uint8_t *)arg);
	case VHOST_VDPA_GET_VRING_NUM:
		return put(arg, &k.max, sizeof(k.max));
	case VHOST_SET_VRING_NUM:
		return vring("num", arg);
	case VHOST_SET_VRING_BASE:
		return vring("base", arg);
	case VHOST_VDPA_SET_VRING_ENABLE:
		return vring("enable", arg);
	case VHOST_SET_VRING_ADDR:
		return vring_addr(arg);
	case VHOST_SET_VRING_KICK:
		return vring_fd("kick", arg);
	case VHOST_SET_VRING_CALL:
		return vring_fd("call", arg);
	case VHOST_VDPA_SUSPEND:
		fk_log("suspend;");
		return 0;
	case VHOST_VDPA_RESUME:
		fk_log("resume;");
		return 0;
	}
	return -ENOTTY;
}

static int set_up(void **state)
{
	fds_before = raw_fd_cnt();
	fk_reset();
	fk.ioctl = kernel;
	memset(&k, 0, sizeof(k));
	k.id = 26;
	/* MSG_V2, BATCH, ASID, SUSPEND, RESUME, and one of the future */
	k.backend = 0x3e | 1ULL << 40;
	k.offered = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_PACKED |
		    VIRTIOFS_F_RING_RESET | VTFS_F_ACCESS_PLATFORM;
	k.range.last = UINT64_MAX;
	k.config_size = 40;
	k.max = 256;
	k.vqs = 3;
	assert_int_equal(
	    virtiofs_transport_open_client(&t, "vdpa:/dev/vhost-vdpa-7"), 0);
	rec_client_init(&rc, t);
	return 0;
}

static int tear_down(void **state)
{
	virtiofs_transport_free(t);
	t = NULL;
	fk_reset();
	assert_int_equal(raw_fd_cnt(), fds_before);
	return 0;
}

static void connect_now(void)
{
	uint64_t features;

	assert_int_equal(t->cli->connect(t), 0);
	assert_int_equal(t->cli->get_features(t, &features), 0);
	fk.text[0] = 0;
}

/* The messages since the last call, as text: "begin;update ADDR LEN;...". */
static const char *messages(void)
{
	static char text[1024];
	struct vhost_msg_v2 m;
	size_t len = 0;

	text[0] = 0;
	while (recv(fk.ours, &m, sizeof(m), 0) == (ssize_t)sizeof(m)) {
		const struct vhost_iotlb_msg *io = &m.iotlb;
		const char *what = io->type == VHOST_IOTLB_BATCH_BEGIN ? "begin"
				   : io->type == VHOST_IOTLB_BATCH_END ? "end"
				   : io->type == VHOST_IOTLB_UPDATE ? "update"
				   : io->type == VHOST_IOTLB_INVALIDATE
				       ? "invalidate"
				       : "?";

		assert_int_equal(m.type, VHOST_IOTLB_MSG_V2);
		assert_int_equal(m.asid, 0);
		if (io->type == VHOST_IOTLB_UPDATE)
			assert_int_equal(io->perm, VHOST_ACCESS_RW);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s",
					what);
		if (io->type == VHOST_IOTLB_UPDATE ||
		    io->type == VHOST_IOTLB_INVALIDATE)
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						" %llx %llx", io->iova,
						io->size);
		len += (size_t)snprintf(text + len, sizeof(text) - len, ";");
	}
	return text;
}

/* Nobody maps it here: any pages and any fd will do. */
static int map(unsigned pages, uint64_t *ret)
{
	const struct virtiofs_region region = {
	    .size = sizeof(region),
	    .addr = (void *)(uintptr_t)0x7000000,
	    .len = (size_t)pages * PAGE,
	    .fd = 0,
	};

	return t->cli->map(t, &region, ret);
}

static void connecting_agrees_on_what_both_know(void **state)
{
	uint64_t features = 0;
	unsigned vqs = 0;

	assert_int_equal(t->cli->connect(t), 0);
	assert_string_equal(fk.text, "owner;");
	/* not ASID, not what nobody here knows */
	assert_int_equal(k.backend_set, 0x36);
	assert_int_equal(t->cli->get_features(t, &features), 0);
	/* a queue can't be reset alone on this bus */
	assert_int_equal(features, k.offered & ~VIRTIOFS_F_RING_RESET);
	assert_int_equal(t->cli->queue_cnt(t, &vqs), 0);
	assert_int_equal(vqs, 3);
	/* and again: the kernel resets what is closed */
	assert_int_equal(t->cli->connect(t), 0);
	assert_int_equal(fk.opens, 2);
}

static void a_platform_that_translates_is_accepted(void **state)
{
	connect_now();
	assert_int_equal(t->cli->own_features(t, 0), VTFS_F_ACCESS_PLATFORM);
	assert_int_equal(t->cli->set_features(t, VIRTIOFS_F_VERSION_1), 0);
	assert_int_equal(k.features, VIRTIOFS_F_VERSION_1);
}

static void what_is_no_file_system_is_refused(void **state)
{
	k.id = 2;
	assert_int_equal(t->cli->connect(t), -ENODEV);
	assert_non_null(strstr(virtiofs_last_error(), "type 2"));
	k.id = 26;
	k.backend = 1 << VHOST_BACKEND_F_IOTLB_BATCH;
	assert_int_equal(t->cli->connect(t), -EOPNOTSUPP);
	k.backend = 0x3e;
	for (int i = 0; i < 3; i++) {
		static const unsigned long requests[] = {
		    VHOST_SET_OWNER, VHOST_VDPA_GET_IOVA_RANGE,
		    VHOST_VDPA_SET_CONFIG_CALL};

		k.fails = requests[i];
		k.error = EPERM;
		assert_int_equal(t->cli->connect(t), -EPERM);
	}
	k.fails = 0;
	fk.open_errno = EBUSY;
	assert_int_equal(t->cli->connect(t), -EBUSY);
	assert_non_null(strstr(virtiofs_last_error(), "another program"));
	fk.open_errno = ENOENT;
	assert_int_equal(t->cli->connect(t), -ENOENT);
	assert_non_null(strstr(virtiofs_last_error(), "vhost_vdpa"));
}

static void nothing_is_asked_of_a_device_that_is_not_open(void **state)
{
	uint64_t v;
	uint8_t status;

	assert_int_equal(t->cli->get_features(t, &v), -ENOTCONN);
	assert_int_equal(t->cli->get_status(t, &status), -ENOTCONN);
	assert_int_equal(t->cli->stop_queue(t, 0), -ENOTCONN);
	assert_int_equal(map(1, &v), -ENOTCONN);
	assert_int_equal(t->cli->unmap(t, PAGE), -ENOTCONN);
}

static void memory_before_driver_ok_is_one_batch(void **state)
{
	uint64_t a, b;

	connect_now();
	assert_int_equal(map(2, &a), 0);
	assert_int_equal(map(1, &b), 0);
	assert_int_equal(a, PAGE);
	assert_int_equal(b, 3 * PAGE);
	assert_string_equal(messages(), "begin;update 1000 2000;"
					"update 3000 1000;");
	assert_int_equal(t->cli->set_status(t, VTFS_STATUS_FEATURES_OK), 0);
	assert_string_equal(messages(), "");
	assert_int_equal(t->cli->set_status(t, VTFS_STATUS_DRIVER_OK), 0);
	assert_string_equal(messages(), "end;");
	assert_int_equal(map(1, &b), 0);
	assert_string_equal(messages(), "begin;update 4000 1000;end;");
	assert_int_equal(t->cli->unmap(t, a), 0);
	assert_string_equal(messages(), "begin;invalidate 1000 2000;end;");
}

static void a_kernel_without_batches_gets_none(void **state)
{
	uint64_t a;

	k.backend = 1 << VHOST_BACKEND_F_IOTLB_MSG_V2;
	connect_now();
	assert_int_equal(map(2, &a), 0);
	assert_int_equal(t->cli->unmap(t, a), 0);
	assert_int_equal(t->cli->set_status(t, VTFS_STATUS_DRIVER_OK), 0);
	assert_string_equal(messages(), "update 1000 2000;"
					"invalidate 1000 2000;");
}

static void addresses_stay_within_the_device_s_range(void **state)
{
	uint64_t a, b, c;

	k.range.first = UINT64_MAX - 4 * PAGE + 1 - 100; /* not of a page */
	connect_now();
	assert_int_equal(map(2, &a), 0);
	assert_int_equal(a, UINT64_MAX - 4 * PAGE + 1);
	assert_int_equal(map(3, &c), -ENOSPC);
	assert_int_equal(map(2, &b), 0);
	assert_int_equal(b, a + 2 * PAGE);
	assert_int_equal(map(1, &c), -ENOSPC);
	/* what is given back is given out again */
	assert_int_equal(t->cli->unmap(t, a), 0);
	assert_int_equal(t->cli->unmap(t, a), -ENOENT);
	assert_int_equal(map(1, &c), 0);
	assert_int_equal(c, a);
	assert_int_equal(map(1, &c), 0);
	assert_int_equal(c, a + PAGE);
	assert_int_equal(map(1, &c), -ENOSPC);
	k.range.last = k.range.first + PAGE;
	connect_now();
	assert_int_equal(map(1, &c), -ENOSPC);
}

static void no_more_maps_than_there_is_room_for(void **state)
{
	uint64_t a;

	connect_now();
	for (unsigned i = 0; i < VDPA_MAPS_MAX; i++) {
		assert_int_equal(map(1, &a), 0);
		assert_int_equal(a, (uint64_t)(i + 1) * PAGE);
		messages();
	}
	assert_int_equal(map(1, &a), -ENOSPC);
	assert_int_equal(t->cli->unmap(t, 5 * PAGE), 0);
	assert_int_equal(map(1, &a), 0);
	assert_int_equal(a, 5 * PAGE);
}

static void memory_that_cannot_be_shared_is_refused(void **state)
{
	struct virtiofs_region r = {.size = sizeof(r),
				    .addr = (void *)(uintptr_t)0x7000000,
				    .len = PAGE,
				    .fd = -1};
	uint64_t a;

	connect_now();
	assert_int_equal(t->cli->map(t, &r, &a), -EINVAL);
	r.fd = 0;
	r.len = PAGE - 1;
	assert_int_equal(t->cli->map(t, &r, &a), -EINVAL);
	/* the kernel refuses: nothing is remembered */
	shutdown(fk.ours, SHUT_RDWR);
	assert_true(map(1, &a) < 0);
	assert_int_equal(t->cli->unmap(t, PAGE), -ENOENT);
}

static void a_queue_is_set_up(void **state)
{
	struct vtfs_queue_setup q = {.vq = 2,
				     .num = 128,
				     .desc = 0x1000,
				     .driver = 0x2000,
				     .device = 0x3000,
				     .avail_base = 5,
				     .used_base = 7,
				     .kick_fd = 50,
				     .call_fd = 51,
				     .enabled = true};
	uint32_t max = 0;

	connect_now();
	assert_int_equal(t->cli->set_features(t, VIRTIOFS_F_VERSION_1), 0);
	assert_int_equal(t->cli->start_queue(t, &q), 0);
	assert_string_equal(fk.text, "num 2 80;base 2 5;addr 2 1000 2000 3000;"
				     "call 2 51;kick 2 50;enable 2 1;");
	fk.text[0] = 0;
	q.avail_base = q.used_base = 0x8000;
	assert_int_equal(t->cli->set_features(t, VIRTIOFS_F_VERSION_1 |
						     VIRTIOFS_F_RING_PACKED),
			 0);
	assert_int_equal(t->cli->start_queue(t, &q), 0);
	assert_non_null(strstr(fk.text, "base 2 80008000;"));
	assert_int_equal(t->cli->queue_max(t, 3, &max), 0);
	assert_int_equal(max, 256);
	q.num = 96;
	assert_int_equal(t->cli->start_queue(t, &q), -EINVAL);
}

static void stopping_suspends_and_starting_resumes(void **state)
{
	struct vtfs_queue_setup q = {.num = 128, .kick_fd = -1, .call_fd = -1};

	connect_now();
	assert_int_equal(t->cli->stop_queue(t, 0), 0);
	assert_int_equal(t->cli->stop_queue(t, 1), 0);
	assert_string_equal(fk.text, "suspend;");
	assert_int_equal(t->cli->start_queue(t, &q), 0);
	assert_string_equal(strrchr(fk.text, ' '), " 0;resume;");
	/* one that can't be resumed needs a reset */
	k.backend = 1 << VHOST_BACKEND_F_IOTLB_MSG_V2 |
		    1 << VHOST_BACKEND_F_SUSPEND;
	connect_now();
	assert_int_equal(t->cli->stop_queue(t, 0), 0);
	assert_int_equal(t->cli->start_queue(t, &q), -EOPNOTSUPP);
	assert_int_equal(t->cli->set_status(t, 0), 0);
	assert_int_equal(t->cli->start_queue(t, &q), 0);
	/* one that can't be suspended says so, and asks nothing */
	k.backend = 1 << VHOST_BACKEND_F_IOTLB_MSG_V2;
	connect_now();
	assert_int_equal(t->cli->stop_queue(t, 0), -EOPNOTSUPP);
	assert_string_equal(fk.text, "");
}

static void a_short_configuration_reads_as_zeroes(void **state)
{
	unsigned char cfg[44], zero[44] = {0};

	connect_now();
	memset(k.config, 0x55, sizeof(k.config));
	memset(cfg, 0xff, sizeof(cfg));
	assert_int_equal(t->cli->get_config(t, cfg, 44, 0), 0);
	assert_memory_equal(cfg, k.config, 40);
	assert_memory_equal(cfg + 40, zero, 4);
	assert_int_equal(t->cli->get_config(t, cfg, 44, 40), 0);
	assert_memory_equal(cfg, zero, 44);
	assert_int_equal(t->cli->get_config(t, cfg, 8, 36), 0);
	assert_memory_equal(cfg, k.config, 4);
	assert_memory_equal(cfg + 4, zero, 4);
	assert_int_equal(t->cli->get_config(t, cfg, SIZE_MAX, 0), -EINVAL);
}

static void a_changed_configuration_is_told_once(void **state)
{
	connect_now();
	assert_int_equal(t->cli->dispatch(t), 0);
	assert_int_equal(rc.changes, 0);
	eventfd_write(k.config_fd, 1);
	assert_int_equal(t->cli->dispatch(t), 0);
	assert_int_equal(t->cli->dispatch(t), 0);
	assert_int_equal(rc.changes, 1);
}

static void a_refused_ioctl_says_what_it_was_for(void **state)
{
	connect_now();
	k.fails = VHOST_VDPA_SET_STATUS;
	k.error = EIO;
	assert_int_equal(t->cli->set_status(t, 0), -EIO);
	assert_non_null(strstr(virtiofs_last_error(), "resetting it"));
	assert_non_null(strstr(virtiofs_last_error(), "vhost-vdpa-7"));
	/* an older kernel */
	k.fails = VHOST_VDPA_GET_VQS_COUNT;
	k.error = ENOTTY;
	assert_int_equal(t->cli->queue_cnt(t, NULL), -EOPNOTSUPP);
}

static void a_path_is_needed(void **state)
{
	struct virtiofs_transport *none;

	assert_int_equal(virtiofs_transport_open_client(&none, "vdpa:"),
			 -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(connecting_agrees_on_what_both_know),
	    T(a_platform_that_translates_is_accepted),
	    T(what_is_no_file_system_is_refused),
	    T(nothing_is_asked_of_a_device_that_is_not_open),
	    T(memory_before_driver_ok_is_one_batch),
	    T(a_kernel_without_batches_gets_none),
	    T(addresses_stay_within_the_device_s_range),
	    T(no_more_maps_than_there_is_room_for),
	    T(memory_that_cannot_be_shared_is_refused),
	    T(a_queue_is_set_up),
	    T(stopping_suspends_and_starting_resumes),
	    T(a_short_configuration_reads_as_zeroes),
	    T(a_changed_configuration_is_told_once),
	    T(a_refused_ioctl_says_what_it_was_for),
	    cmocka_unit_test(a_path_is_needed),
	};

	return cmocka_run_group_tests_name("vdpa", tests, NULL, NULL);
}
