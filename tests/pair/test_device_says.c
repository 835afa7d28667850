/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a device says of itself before a driver has it, over every transport:
 * features, config space, queues, status. The driver is the transport's client
 * end and nothing else.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <virtiofs/virtiofs.h>

#include "transport/transport.h"
#include "wire/virtio.h"

struct pair {
	struct virtiofs_device *dev;
	struct virtiofs_transport *t; /* the client's end */
	struct vtfs_cli_sink sink;
	struct vtfs_log log;
	unsigned lost;
};

typedef void (*make_fn)(struct virtiofs_transport **dev,
			struct virtiofs_transport **cli);

static void make_inproc(struct virtiofs_transport **dev,
			struct virtiofs_transport **cli)
{
	assert_int_equal(virtiofs_inproc_pair(dev, cli), 0);
}

static void make_vhost_user(struct virtiofs_transport **dev,
			    struct virtiofs_transport **cli)
{
	int fds[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(virtiofs_vhost_user_device_fd(dev, fds[0]), 0);
	assert_int_equal(virtiofs_vhost_user_client_fd(cli, fds[1]), 0);
}

static const make_fn transports[] = {make_inproc, make_vhost_user};
#define TRANSPORTS (sizeof(transports) / sizeof(transports[0]))

static int no_request(struct virtiofs_req *req)
{
	return virtiofs_req_error(req, -ENOSYS);
}

static void on_change(struct vtfs_cli_sink *s)
{
}

static void on_lost(struct vtfs_cli_sink *s, int error)
{
	((struct pair *)((char *)s - offsetof(struct pair, sink)))->lost++;
}

static const struct vtfs_cli_sink_ops sink_ops = {
    .config_changed = on_change,
    .lost = on_lost,
};

/* Both sides in turn until the op has its answer. */
#define AWAIT(p, call)                                                         \
	({                                                                     \
		int r_, tries_ = 200;                                          \
		while ((r_ = (call)) == -EAGAIN && tries_--)                   \
			turn(p);                                               \
		r_;                                                            \
	})

static void turn(struct pair *p)
{
	struct pollfd fds[2] = {
	    {virtiofs_device_fd(p->dev), POLLIN, 0},
	    {p->t->fd(p->t), POLLIN, 0},
	};

	poll(fds, 2, 1000);
	assert_true(virtiofs_device_dispatch(p->dev) >= 0);
}

static void open_pair(struct pair *p, make_fn make,
		      const struct virtiofs_device_opts *opts)
{
	const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						.request = no_request};
	struct virtiofs_transport *dev;

	memset(p, 0, sizeof(*p));
	make(&dev, &p->t);
	assert_int_equal(virtiofs_device_new(&p->dev, dev, &ops, opts, NULL),
			 0);
	p->sink.ops = &sink_ops;
	p->sink.log = &p->log;
	assert_int_equal(p->t->cli->attach(p->t, &p->sink), 0);
	assert_int_equal(AWAIT(p, p->t->cli->connect(p->t)), 0);
}

static void close_pair(struct pair *p)
{
	virtiofs_transport_free(p->t);
	virtiofs_device_free(p->dev);
}

static uint8_t get_status(struct pair *p)
{
	uint8_t status = 0xff;

	assert_int_equal(AWAIT(p, p->t->cli->get_status(p->t, &status)), 0);
	return status;
}

static int set_status(struct pair *p, uint8_t status)
{
	return AWAIT(p, p->t->cli->set_status(p->t, status));
}

/* covers: RSVF-DEV-01, RSVF-DEV-06, RSVF-BTH-01, FEAT-DEV-01, FEAT-DEV-04 */
static void offers_only_what_it_can_do(void **state)
{
	const uint64_t known = VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_INDIRECT_DESC |
			       VIRTIOFS_F_EVENT_IDX | VIRTIOFS_F_RING_PACKED;
	const uint64_t asked[] = {
	    0,
	    VIRTIOFS_F_VERSION_1,
	    VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_PACKED,
	    known,
	};
	size_t i, k;

	for (i = 0; i < TRANSPORTS; i++) {
		for (k = 0; k < sizeof(asked) / sizeof(asked[0]); k++) {
			struct virtiofs_device_opts opts = {
			    .size = sizeof(opts),
			    .tag = "t",
			    .features = asked[k],
			};
			struct pair p;
			uint64_t f = 0;

			open_pair(&p, transports[i], &opts);
			assert_int_equal(
			    AWAIT(&p, p.t->cli->get_features(p.t, &f)), 0);
			assert_true(f & VIRTIOFS_F_VERSION_1);
			assert_int_equal(f & ~known, 0);
			assert_false(f & 1ULL << VTFS_F_BIT_SR_IOV);
			assert_false(f & 1ULL << 30);
			assert_true(
			    f ==
			    (asked[k] ? asked[k] : VIRTIOFS_FEATURES_DEFAULT));
			close_pair(&p);
		}
	}
}

/* What it could not honour is refused when the device is made. */
static void features_it_lacks_are_refused(void **state)
{
	const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						.request = no_request};
	unsigned bit;

	for (bit = 0; bit < 64; bit++) {
		struct virtiofs_device_opts opts = {
		    .size = sizeof(opts),
		    .tag = "t",
		    .features = VIRTIOFS_F_VERSION_1 | 1ULL << bit,
		};
		struct virtiofs_transport *d, *c;
		struct virtiofs_device *dev;
		int r;

		make_inproc(&d, &c);
		r = virtiofs_device_new(&dev, d, &ops, &opts, NULL);
		if (bit == 28 || bit == 29 || bit == 32 || bit == 34 ||
		    bit == 35 || bit == 40) {
			assert_int_equal(r, 0);
			virtiofs_device_free(dev);
		} else {
			assert_int_equal(r, -EOPNOTSUPP);
		}
		virtiofs_transport_free(c);
	}
}

/* covers: FS-BTH-04, FS-DEV-02, CFG-DEV-01, CFG-BTH-01, FS-BTH-05 */
static void config_space_is_there_before_features_ok(void **state)
{
	static const struct {
		const char *tag;
		unsigned queues;
		unsigned char image[4]; /* little endian */
	} devices[] = {
	    {"a tag", 0, {1, 0, 0, 0}},
	    {"a tag", 1, {1, 0, 0, 0}},
	    {"t", 200, {200, 0, 0, 0}},
	    {"012345678901234567890123456789012345", 7, {7, 0, 0, 0}},
	    {"\xc3\xa4\xe2\x82\xac", 2, {2, 0, 0, 0}},
	};
	size_t i, k;

	for (i = 0; i < TRANSPORTS; i++) {
		for (k = 0; k < sizeof(devices) / sizeof(devices[0]); k++) {
			struct virtiofs_device_opts opts = {
			    .size = sizeof(opts),
			    .tag = devices[k].tag,
			    .num_request_queues = devices[k].queues,
			};
			unsigned char image[40] = {0}, cfg[40];
			struct pair p;

			open_pair(&p, transports[i], &opts);
			set_status(&p, 0);
			set_status(&p, VTFS_STATUS_ACKNOWLEDGE);
			set_status(&p, VTFS_STATUS_ACKNOWLEDGE |
					   VTFS_STATUS_DRIVER);
			memset(cfg, 0xee, sizeof(cfg));
			assert_int_equal(
			    AWAIT(&p, p.t->cli->get_config(p.t, cfg, 40, 0)),
			    0);
			memcpy(image, devices[k].tag, strlen(devices[k].tag));
			memcpy(image + 36, devices[k].image, 4);
			assert_memory_equal(cfg, image, sizeof(image));
			close_pair(&p);
		}
	}
}

/* A back-end whose front-end has the tag: what it does not know it does not
 * show, rather than a tag that no driver takes. */
static void device_without_tag_has_no_config_space(void **state)
{
	static const char *const tags[] = {NULL, ""};
	size_t i, k;

	for (i = 0; i < TRANSPORTS; i++) {
		for (k = 0; k < 2; k++) {
			struct virtiofs_device_opts opts = {
			    .size = sizeof(opts),
			    .tag = tags[k],
			};
			unsigned char cfg[40];
			struct pair p;

			open_pair(&p, transports[i], &opts);
			assert_int_equal(
			    AWAIT(&p, p.t->cli->get_config(p.t, cfg, 40, 0)),
			    -EOPNOTSUPP);
			close_pair(&p);
		}
	}
}

static void tag_that_is_no_tag_is_refused(void **state)
{
	const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						.request = no_request};
	struct virtiofs_device_opts opts = {
	    .size = sizeof(opts),
	    .tag = "0123456789012345678901234567890123456",
	};
	struct virtiofs_transport *d, *c;
	struct virtiofs_device *dev;

	make_inproc(&d, &c);
	assert_int_equal(virtiofs_device_new(&dev, d, &ops, &opts, NULL),
			 -EINVAL);
	assert_non_null(strstr(virtiofs_last_error(), "tag"));
	virtiofs_transport_free(c);
}

/* covers: STAT-DEV-04 */
static void status_is_0_at_first_and_after_a_reset(void **state)
{
	size_t i;

	for (i = 0; i < TRANSPORTS; i++) {
		struct virtiofs_device_opts opts = {.size = sizeof(opts),
						    .tag = "t"};
		struct pair p;

		open_pair(&p, transports[i], &opts);
		assert_int_equal(get_status(&p), 0);
		assert_int_equal(set_status(&p, 1), 0);
		assert_int_equal(set_status(&p, 3), 0);
		assert_int_equal(get_status(&p), 3);
		assert_int_equal(set_status(&p, 0), 0);
		assert_int_equal(get_status(&p), 0);
		close_pair(&p);
	}
}

/* Up to FEATURES_OK with these; does it stick? */
static bool features_stick(struct pair *p, uint64_t features)
{
	int r;

	assert_int_equal(set_status(p, 0), 0);
	assert_int_equal(set_status(p, 1), 0);
	assert_int_equal(set_status(p, 3), 0);
	r = AWAIT(p, p->t->cli->set_features(p->t, features));
	if (r < 0)
		return false;
	if (set_status(p, 11) < 0)
		return false;
	return get_status(p) & VTFS_STATUS_FEATURES_OK;
}

/* covers: FEAT-DEV-02, FEAT-DEV-05, ROB-BTH-03 */
static void every_valid_subset_is_agreed_to_and_again(void **state)
{
	static const uint64_t bits[] = {
	    VIRTIOFS_F_INDIRECT_DESC,
	    VIRTIOFS_F_EVENT_IDX,
	    VIRTIOFS_F_RING_PACKED,
	};
	unsigned set, k;
	size_t i;

	for (i = 0; i < TRANSPORTS; i++) {
		struct virtiofs_device_opts opts = {
		    .size = sizeof(opts),
		    .tag = "t",
		    .features = VIRTIOFS_F_VERSION_1 | bits[0] | bits[1] |
				bits[2],
		};
		struct pair p;

		open_pair(&p, transports[i], &opts);
		for (set = 0; set < 16; set++) {
			uint64_t f = VIRTIOFS_F_VERSION_1;

			for (k = 0; k < 3; k++)
				f |= set >> k & 1 ? bits[k] : 0;
			assert_true(features_stick(&p, f));
		}
		for (k = 0; k < 100; k++)
			assert_true(features_stick(&p, opts.features));
		close_pair(&p);
	}
}

/* covers: FEAT-DEV-03, ROB-BTH-03 */
static void invalid_set_is_not_agreed_to(void **state)
{
	static const uint64_t bad[] = {
	    VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_RING_PACKED, /* not offered */
	    VIRTIOFS_F_VERSION_1 | 1ULL << 35, VIRTIOFS_F_VERSION_1 | 1,
	    VIRTIOFS_F_EVENT_IDX, /* no VERSION_1 */
	};
	size_t i, k;

	for (i = 0; i < TRANSPORTS; i++) {
		for (k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
			struct virtiofs_device_opts opts = {
			    .size = sizeof(opts),
			    .tag = "t",
			};
			struct pair p;

			open_pair(&p, transports[i], &opts);
			assert_false(features_stick(&p, bad[k]));
			close_pair(&p);
		}
	}
}

/* covers: VQ-BTH-01 */
static void number_of_queues_is_bounded(void **state)
{
	static const uint32_t cnts[] = {65535, 65536, 0x7fffffff, UINT32_MAX};
	const struct virtiofs_device_ops ops = {.size = sizeof(ops),
						.request = no_request};
	size_t i;

	for (i = 0; i < sizeof(cnts) / sizeof(cnts[0]); i++) {
		struct virtiofs_device_opts opts = {
		    .size = sizeof(opts),
		    .tag = "t",
		    .num_request_queues = cnts[i],
		};
		struct virtiofs_client_opts copts = {
		    .size = sizeof(copts),
		    .num_request_queues = cnts[i],
		};
		struct virtiofs_transport *d, *c;
		struct virtiofs_client *client;
		struct virtiofs_device *dev;

		make_inproc(&d, &c);
		assert_int_equal(
		    virtiofs_device_new(&dev, d, &ops, &opts, NULL), -EINVAL);
		assert_int_equal(virtiofs_client_new(&client, c, &copts),
				 -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(offers_only_what_it_can_do),
	    cmocka_unit_test(features_it_lacks_are_refused),
	    cmocka_unit_test(config_space_is_there_before_features_ok),
	    cmocka_unit_test(device_without_tag_has_no_config_space),
	    cmocka_unit_test(tag_that_is_no_tag_is_refused),
	    cmocka_unit_test(status_is_0_at_first_and_after_a_reset),
	    cmocka_unit_test(every_valid_subset_is_agreed_to_and_again),
	    cmocka_unit_test(invalid_set_is_not_agreed_to),
	    cmocka_unit_test(number_of_queues_is_bounded),
	};

	return cmocka_run_group_tests_name("device says", tests, NULL, NULL);
}
