/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A function driven through its registers, by a whole client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <virtiofs/ops.h>

#include "fakefn.h"
#include "leaks.h"
#include "vq/notify.h"
#include "wire/virtio.h"

#define BIT(name) (1ULL << VTFS_F_BIT_##name)

struct fix {
	struct fake f;
	struct virtiofs_client *c;
	struct virtiofs_cliq *q;
	struct virtiofs_client_opts opts;
	struct liar_req req;
	unsigned fds;
};

static int set_up(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));

	x->fds = raw_fd_cnt();
	fake_init(&x->f);
	x->f.mapped = true;
	x->opts.size = sizeof(x->opts);
	x->opts.flags = VIRTIOFS_CLIENT_NONBLOCK;
	*state = x;
	return 0;
}

static int tear_down(void **state)
{
	struct fix *x = *state;

	/* Nobody answers DESTROY. */
	x->f.hung_up = true;
	virtiofs_client_free(x->c);
	assert_false(x->c && !x->f.freed);
	assert_false(x->f.is_open);
	fake_fini(&x->f);
	assert_int_equal(raw_fd_cnt(), x->fds);
	free(x);
	return 0;
}

/* NONBLOCK: whenever it waits, the fd must tell that it can go on. */
static int start(struct fix *x)
{
	struct fuse_init_out out;
	int r;

	if (!x->c) {
		fake_drive(&x->f);
		assert_int_equal(virtiofs_client_new(&x->c, x->f.t, &x->opts),
				 0);
	}
	for (;;) {
		struct pollfd p[2] = {
		    {.fd = virtiofs_client_fd(x->c), .events = POLLIN},
		    {.fd = x->q ? virtiofs_cliq_fd(x->q) : -1,
		     .events = POLLIN},
		};

		r = virtiofs_client_start(x->c, NULL);
		if (r != -EAGAIN)
			return r;
		if (liar_pop(&x->f.l, 1, &x->req)) {
			assert_int_equal(x->req.in.opcode, FUSE_INIT);
			liar_init_reply(&out, &x->req);
			liar_reply(&x->f.l, &x->req, 0, &out, sizeof(out));
		}
		assert_true(poll(p, 2, 10000) > 0);
		virtiofs_client_dispatch(x->c);
	}
}

static void take(struct fix *x, unsigned index)
{
	assert_int_equal(virtiofs_client_take_queue(x->c, index, 0, &x->q), 0);
}

static void submit(struct fix *x, struct fuse_attr_out *out)
{
	struct iovec room = virtiofs_iov(out, sizeof(*out));
	struct virtiofs_op *op = virtiofs_cliq_get_op(x->q);

	assert_non_null(op);
	virtiofs_prep_getattr(op, 1, &room);
	assert_int_equal(virtiofs_cliq_submit(x->q), 1);
}

/* Sleep as a program does, until its result is there. */
static void await_result(struct fix *x)
{
	struct pollfd p = {.fd = virtiofs_cliq_fd(x->q), .events = POLLIN};
	struct virtiofs_result res;
	int r;

	while ((r = virtiofs_cliq_reap(x->q, &res, 1)) == 0)
		if (!virtiofs_cliq_arm(x->q))
			assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(r, 1);
	assert_int_equal(res.error, 0);
}

static void one_request(struct fix *x, unsigned vq)
{
	struct fuse_attr_out out;

	submit(x, &out);
	assert_int_equal(liar_pop(&x->f.l, vq, &x->req), 1);
	liar_reply(&x->f.l, &x->req, 0, &out, sizeof(out));
	await_result(x);
}

/* NONBLOCK here as well. */
static int reset_queue(struct fix *x)
{
	struct pollfd p[2] = {
	    {.fd = virtiofs_client_fd(x->c), .events = POLLIN},
	    {.fd = virtiofs_cliq_fd(x->q), .events = POLLIN},
	};
	int r;

	while ((r = virtiofs_cliq_reset(x->q)) == -EAGAIN) {
		assert_true(poll(p, 2, 10000) > 0);
		virtiofs_client_dispatch(x->c);
	}
	return r;
}

/* ---- registers in order ---- */

static const char *name_of(unsigned off)
{
	switch (off) {
	case VTFS_PCI_QUEUE_SELECT:
		return "select";
	case VTFS_PCI_QUEUE_SIZE:
		return "size";
	case VTFS_PCI_QUEUE_VECTOR:
		return "vector";
	case VTFS_PCI_QUEUE_ENABLE:
		return "enable";
	case VTFS_PCI_QUEUE_NOTIFY_OFF:
		return "notify";
	case VTFS_PCI_QUEUE_RESET:
		return "reset";
	case VTFS_PCI_QUEUE_DESC:
		return "desc";
	case VTFS_PCI_QUEUE_DRIVER:
		return "driver";
	case VTFS_PCI_QUEUE_DEVICE:
		return "device";
	default:
		return off > VTFS_PCI_QUEUE_DESC ? "high" : NULL;
	}
}

/* Queue registers from the n-th access on, values of what isn't an address. */
static void trace(struct fix *x, unsigned n, char *at, size_t len)
{
	*at = 0;
	for (; n < x->f.log_cnt; n++) {
		const struct fake_access *a = &x->f.log[n];
		const char *name = NULL;
		size_t k = strlen(at);

		if (a->region == FAKE_BAR && a->off < VTFS_PCI_COMMON_LEN)
			name = name_of((unsigned)a->off);
		if (!name)
			continue;
		if (a->write && (a->off < VTFS_PCI_QUEUE_DESC ||
				 a->off == VTFS_PCI_QUEUE_RESET))
			snprintf(at + k, len - k, "%s=%u ", name, a->value);
		else
			snprintf(at + k, len - k, a->write ? "%s= " : "%s? ",
				 name);
	}
}

/* covers: PCI-DRV-14, PCI-DRV-26 */
static void queues_are_set_up_in_order(void **state)
{
	struct fix *x = *state;
	char text[2048];

	assert_int_equal(start(x), 0);
	trace(x, 0, text, sizeof(text));
	assert_string_equal(
	    text,
	    "select=0 size? select=1 size? "
	    "select=0 size? enable? size=128 vector=1 vector? desc= high= "
	    "driver= high= device= high= notify? enable=1 "
	    "select=1 size? enable? size=128 vector=2 vector? desc= high= "
	    "driver= high= device= high= notify? enable=1 ");
}

/* The fake fails at each width that is not the register's own, at what is not
 * aligned and at writes of what is read-only, over a whole life.
 * covers: PCI-DRV-03, PCI-DRV-10, PCI-DRV-12, PCI-DRV-16 */
static void registers_are_used_as_they_are_meant(void **state)
{
	struct fix *x = *state;

	x->f.l.offered |= BIT(RING_RESET);
	x->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_RESET;
	assert_int_equal(start(x), 0);
	take(x, 1);
	one_request(x, 1);
	assert_int_equal(reset_queue(x), 0);
	one_request(x, 1);
	assert_string_equal(virtiofs_client_tag(x->c), "liar");
	virtiofs_client_free(x->c);
	x->c = NULL;
	assert_int_equal(x->f.l.status, 0);
	assert_true(x->f.freed && x->f.closes == 1);
	for (unsigned i = 0; i < x->f.log_cnt; i++) {
		const struct fake_access *a = &x->f.log[i];

		if (a->region == VTFS_PCI_CONFIG_REGION && a->write)
			assert_int_equal(a->off, VTFS_PCI_COMMAND);
	}
	/* Memory and bus master on, the pin off. */
	assert_int_equal(x->f.cfg[VTFS_PCI_COMMAND], 6);
	assert_int_equal(x->f.cfg[VTFS_PCI_COMMAND + 1], 4);
}

/* covers: PCI-DRV-13 */
static void rings_are_no_larger_than_the_device_says(void **state)
{
	static const unsigned sizes[] = {4, 5, 64, 100, 128, 256, 32768};

	for (unsigned packed = 0; packed < 2; packed++)
		for (unsigned i = 0; i < 7; i++) {
			struct fix *x;
			unsigned size = sizes[i], want = size;

			set_up((void **)&x);
			x->f.q[1].max = x->f.q[1].size = (uint16_t)size;
			if (packed) {
				x->f.l.offered |= VIRTIOFS_F_RING_PACKED;
				x->opts.features = x->f.l.offered;
			}
			x->opts.queue_size = 512;
			assert_int_equal(start(x), 0);
			if (want > 256)
				want = 256; /* hiprio's */
			while (!packed && want & (want - 1))
				want &= want - 1;
			assert_int_equal(x->f.q[1].size, want);
			assert_int_equal(x->f.q[0].size, want);
			take(x, 1);
			for (unsigned k = 0; k < 3; k++)
				one_request(x, 1);
			tear_down((void **)&x);
		}
}

static void ring_too_small_for_a_request(void **state)
{
	struct fix *x = *state;

	x->f.q[1].max = x->f.q[1].size = 2;
	assert_int_equal(start(x), -EPROTO);
	x->f.q[1].max = x->f.q[1].size = 0;
	assert_int_equal(start(x), -EPROTO);
}

/* What was allocated is what counts. */
static void size_that_grows_changes_nothing(void **state)
{
	struct fix *x = *state;

	x->f.grows = true;
	x->f.q[0].max = x->f.q[0].size = 16;
	x->f.q[1].max = x->f.q[1].size = 16;
	assert_int_equal(start(x), 0);
	assert_int_equal(x->f.q[1].size, 16);
	take(x, 1);
	for (unsigned k = 0; k < 40; k++)
		one_request(x, 1);
}

/* Set up for more than there is now. */
static void size_that_shrinks_is_refused(void **state)
{
	struct fix *x = *state;

	x->f.shrinks = true;
	x->opts.queue_size = 256;
	assert_int_equal(start(x), -EPROTO);
}

/* ---- reset ---- */

/* covers: PCI-DRV-15 */
static void reset_is_over_when_status_reads_zero(void **state)
{
	struct fix *x = *state;

	x->f.reset_lag = 30;
	assert_int_equal(start(x), 0);
	assert_int_equal(x->f.reset_lag, 0);
	assert_int_equal(x->f.early, 0);
}

static void reset_that_never_ends_is_given_up(void **state)
{
	struct fix *x = *state;

	x->f.reset_lag = UINT32_MAX;
	x->opts.flags = 0;
	x->opts.timeout_ms = 30;
	fake_drive(&x->f);
	assert_int_equal(virtiofs_client_new(&x->c, x->f.t, &x->opts), 0);
	assert_int_equal(virtiofs_client_start(x->c, NULL), -ETIMEDOUT);
	assert_int_equal(x->f.early, 0);
	/* And again from the beginning. */
	x->f.reset_lag = 0;
	assert_int_equal(x->f.opens, 1);
	assert_int_equal(virtiofs_client_start(x->c, NULL), -ETIMEDOUT);
	assert_int_equal(x->f.opens, 2);
	assert_int_equal(liar_pop(&x->f.l, 1, &x->req), 1);
}

/* covers: PCI-DRV-17 */
static void queue_reset_is_awaited_and_all_is_set_up_anew(void **state)
{
	struct fix *x = *state;
	char text[1024];
	unsigned n;

	x->f.l.offered |= BIT(RING_RESET);
	x->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_RESET;
	assert_int_equal(start(x), 0);
	take(x, 1);
	one_request(x, 1);
	n = x->f.log_cnt;
	x->f.qreset_lag = 3;
	assert_int_equal(reset_queue(x), 0);
	trace(x, n, text, sizeof(text));
	assert_string_equal(
	    text, "select=1 reset=1 reset? reset? reset? reset? enable? "
		  "select=1 size? enable? size=128 vector=2 vector? desc= "
		  "high= driver= high= device= high= notify? enable=1 ");
	for (unsigned k = 0; k < 3; k++)
		one_request(x, 1);
}

static void queue_that_runs_after_its_reset(void **state)
{
	struct fix *x = *state;

	x->f.l.offered |= BIT(RING_RESET);
	x->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_RESET;
	assert_int_equal(start(x), 0);
	take(x, 1);
	x->f.stays_enabled = true;
	assert_int_equal(reset_queue(x), -EPROTO);
	x->f.stays_enabled = false;
}

/* Without RING_RESET's register the feature is not there. */
static void features_need_their_registers(void **state)
{
	struct fix *x = *state;

	fake_no_caps(&x->f);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 56);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_DEVICE, FAKE_BAR, FAKE_DEVICE, 44);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
			0x1000);
	x->f.l.offered = UINT64_MAX & ~VIRTIOFS_F_RING_PACKED;
	x->opts.features = UINT64_MAX;
	assert_int_equal(start(x), 0);
	assert_int_equal(x->f.l.features & BIT(RING_RESET), 0);
	assert_int_equal(x->f.l.features & BIT(NOTIF_CONFIG_DATA), 0);
	assert_true(x->f.l.features & BIT(ACCESS_PLATFORM));
	assert_true(x->f.l.features & BIT(NOTIFICATION_DATA));
}

/* ---- configuration ---- */

static void config_is_read_again_when_its_generation_changes(void **state)
{
	struct fix *x = *state;

	x->f.changes = 40;
	assert_int_equal(start(x), 0);
	/* Nothing of the old tag. */
	assert_int_equal(virtiofs_client_tag(x->c)[0], (char)('l' + 40));
	assert_int_equal(strcmp(virtiofs_client_tag(x->c) + 1, "iar"), 0);
}

/* Old at its beginning and new at its end, again and again the same. */
static void config_is_never_half_old(void **state)
{
	struct fix *x = *state;

	x->f.torn = 6;
	assert_int_equal(start(x), 0);
	assert_string_equal(virtiofs_client_tag(x->c), "liar");
	assert_int_equal(x->f.torn, 0);
}

static void config_that_never_settles(void **state)
{
	struct fix *x = *state;

	x->f.changes = UINT32_MAX;
	assert_int_equal(start(x), -EPROTO);
}

static void config_space_smaller_than_its_fields(void **state)
{
	struct fix *x = *state;

	fake_no_caps(&x->f);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_DEVICE, FAKE_BAR, FAKE_BAR_LEN - 36,
			0x1000);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
			0x1000);
	assert_int_equal(start(x), -EPROTO);
}

/* ---- doorbells ---- */

/* covers: PCI-DRV-18, PCI-DRV-27, PCI-DRV-28 */
static void doorbell_says_what_was_negotiated(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		bool data = i & 1, config = i & 2, mapped = i & 4;
		uint32_t id = config ? 0x701 : 1, value;
		struct fix *x;

		set_up((void **)&x);
		x->f.mapped = mapped;
		x->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
		x->f.l.offered |= data ? BIT(NOTIFICATION_DATA) : 0;
		x->f.l.offered |= config ? BIT(NOTIF_CONFIG_DATA) : 0;
		assert_int_equal(start(x), 0);
		take(x, 1);
		memset(x->f.bells, 0xee, sizeof(x->f.bells));
		x->f.q[1].bells = 0;
		one_request(x, 1);
		if (mapped) {
			assert_true(fake_rung(&x->f, 1, &value));
			if (!data)
				id |= 0xeeee0000;
		} else {
			value = x->f.q[1].bell;
			assert_int_equal(x->f.q[1].bells, 1);
			assert_int_equal(x->f.q[1].bell_len, data ? 4 : 2);
		}
		/* INIT was the first request. */
		if (data)
			id = le32toh(vtfs_notify_data((uint16_t)id, 2));
		assert_int_equal(value, id);
		tear_down((void **)&x);
	}
	(void)state;
}

static void eventfd_that_stands_for_a_doorbell_is_rung(void **state)
{
	struct fix *x = *state;
	uint64_t n;

	x->f.mapped = false;
	x->f.bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	x->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
	x->fds++;
	assert_int_equal(start(x), 0);
	take(x, 1);
	one_request(x, 1);
	assert_int_equal(read(x->f.bell_fd, &n, 8), 8);
	assert_int_equal(n, 2);
	assert_int_equal(x->f.q[1].bells, 0);
	virtiofs_client_free(x->c);
	x->c = NULL;
	close(x->f.bell_fd);
	x->fds--;
}

/* covers: PCI-DRV-18 */
static void doorbell_outside_of_its_structure(void **state)
{
	static const uint16_t offs[] = {0x400, 0xffff, 0x3fff};
	struct fix *x = *state;

	for (unsigned i = 0; i < 3; i++) {
		x->f.q[1].notify_off = offs[i];
		assert_int_equal(start(x), -EPROTO);
	}
	x->f.q[1].notify_off = 0x3ff;
	assert_int_equal(start(x), 0);
}

static void all_queues_may_share_a_doorbell(void **state)
{
	struct fix *x = *state;
	uint32_t value;

	x->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
	fake_no_caps(&x->f);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_DEVICE, FAKE_BAR, FAKE_DEVICE, 44);
	fake_put32(fake_virtio_cap(&x->f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR,
				   FAKE_NOTIFY, 2) +
		       VTFS_PCI_CAP_NOTIFY_MULTIPLIER,
		   0);
	assert_int_equal(start(x), 0);
	memset(x->f.bells, 0xee, sizeof(x->f.bells));
	take(x, 1);
	one_request(x, 1);
	x->f.q[0].notify_off = 0;
	assert_true(fake_rung(&x->f, 0, &value));
	assert_int_equal(value, 0xeeee0001);
}

/* ---- interrupts ---- */

static void two_queues(struct fix *x)
{
	x->f.l.queue_cnt = 3;
	x->f.l.config[VTFS_CONFIG_QUEUES] = 2;
	x->f.q[2].max = x->f.q[2].size = 256;
	x->opts.num_request_queues = 2;
}

/* covers: PCI-DRV-25 */
static void any_number_of_vectors_will_do(void **state)
{
	for (unsigned vectors = 0; vectors <= 6; vectors++) {
		struct virtiofs_cliq *q;
		struct fix *x;

		set_up((void **)&x);
		two_queues(x);
		x->f.vectors = vectors;
		assert_int_equal(start(x), 0);
		assert_int_equal(x->f.vector_cnt, vectors < 4 ? vectors : 4);
		take(x, 1);
		one_request(x, 1);
		one_request(x, 1);
		q = x->q;
		take(x, 2);
		one_request(x, 2);
		x->q = q;
		one_request(x, 1);
		tear_down((void **)&x);
	}
	(void)state;
}

/* The system has fewer than the function. */
static void fewer_vectors_than_asked_for(void **state)
{
	struct fix *x = *state;

	x->f.vectors_had = 2;
	assert_int_equal(start(x), 0);
	assert_int_equal(x->f.q[1].vector, 1);
	assert_int_equal(x->f.q[0].vector, 1);
	take(x, 1);
	one_request(x, 1);
}

/* covers: PCI-DRV-24 */
static void vector_that_reads_back_as_none_is_polled(void **state)
{
	struct fix *x = *state;

	x->f.vector_limit = 2;
	assert_int_equal(start(x), 0);
	assert_int_equal(x->f.q[0].vector, 1);
	assert_int_equal(x->f.q[1].vector, VTFS_PCI_NO_VECTOR);
	take(x, 1);
	one_request(x, 1);
	one_request(x, 1);
}

/* covers: PCI-DRV-19 */
static void isr_is_not_read(void **state)
{
	struct fix *x = *state;

	assert_int_equal(start(x), 0);
	take(x, 1);
	/* The fake fails at a read of it. */
	for (unsigned i = 0; i < 10; i++)
		one_request(x, 1);
}

/* One vector for all: it may mean the configuration and any queue.
 * covers: PCI-DRV-29 */
static void shared_vector_means_all_of_them(void **state)
{
	struct virtiofs_cliq *q[2];
	struct fuse_attr_out out[2];
	struct fix *x = *state;

	two_queues(x);
	x->f.vectors = 1;
	assert_int_equal(start(x), 0);
	for (unsigned i = 0; i < 2; i++) {
		take(x, i + 1);
		q[i] = x->q;
		submit(x, &out[i]);
		/* Whatever came before. */
		while (virtiofs_cliq_arm(x->q))
			;
	}
	for (unsigned i = 0; i < 2; i++) {
		/* The device writes to the ring, and calls no one yet. */
		close(x->f.l.q[i + 1].setup.call_fd);
		x->f.l.q[i + 1].setup.call_fd = -1;
		assert_int_equal(liar_pop(&x->f.l, i + 1, &x->req), 1);
		liar_reply(&x->f.l, &x->req, 0, &out[i], sizeof(out[i]));
	}
	x->f.l.status |= VTFS_STATUS_NEEDS_RESET;
	fake_raise(&x->f, 0);
	for (unsigned i = 0; i < 2; i++) {
		struct pollfd p = {.fd = virtiofs_cliq_fd(q[i]),
				   .events = POLLIN};
		struct virtiofs_result res;

		assert_int_equal(poll(&p, 1, 10000), 1);
		assert_int_equal(virtiofs_cliq_reap(q[i], &res, 1), 1);
		assert_int_equal(res.error, 0);
	}
	virtiofs_client_dispatch(x->c);
	x->q = q[0];
	assert_int_equal(virtiofs_cliq_reap(x->q, NULL, 0), 0);
	assert_int_equal(
	    virtiofs_client_get_info(
		x->c, &(struct virtiofs_client_info){.size = sizeof(size_t)}),
	    -ENOTCONN);
	x->f.l.status = 0;
}

static void configuration_change_is_heard(void **state)
{
	struct fix *x = *state;
	struct pollfd p;

	assert_int_equal(start(x), 0);
	p = (struct pollfd){.fd = virtiofs_client_fd(x->c), .events = POLLIN};
	for (unsigned i = 0; i < 3; i++) {
		virtiofs_client_dispatch(x->c);
		assert_int_equal(poll(&p, 1, 0), 0);
		fake_raise(&x->f, 0);
		assert_int_equal(poll(&p, 1, 10000), 1);
		x->f.log_cnt = 0;
		virtiofs_client_dispatch(x->c);
		assert_int_equal(fake_reads(&x->f, VTFS_PCI_DEVICE_STATUS), 1);
	}
}

/* ---- a function that takes its time, or goes ---- */

/* Each access is asked for, and answered only later: the same registers, the
 * same number of times. */
static void slow_function_is_never_waited_for(void **state)
{
	struct fix *x = *state;
	unsigned quick[VTFS_PCI_COMMON_LEN];
	struct fix *y;

	set_up((void **)&y);
	assert_int_equal(start(y), 0);
	for (unsigned i = 0; i < VTFS_PCI_COMMON_LEN; i++)
		quick[i] = fake_writes(&y->f, i);
	tear_down((void **)&y);
	x->f.slow = true;
	assert_int_equal(start(x), 0);
	for (unsigned i = 0; i < VTFS_PCI_COMMON_LEN; i++)
		assert_int_equal(fake_writes(&x->f, i), quick[i]);
	take(x, 1);
	one_request(x, 1);
	x->f.slow = false;
}

static void function_that_reads_as_ones_is_gone(void **state)
{
	struct fix *x = *state;
	struct virtiofs_result res;

	x->f.gone = true;
	assert_int_equal(start(x), -ENOTCONN);
	x->f.gone = false;
	assert_int_equal(start(x), 0);
	take(x, 1);
	x->f.gone = true;
	fake_raise(&x->f, 0);
	/* The first finds out, the second is told. */
	virtiofs_client_dispatch(x->c);
	virtiofs_client_dispatch(x->c);
	assert_int_equal(virtiofs_cliq_reap(x->q, &res, 1), -ENOTCONN);
	x->f.gone = false;
	assert_int_equal(start(x), 0);
	assert_int_equal(x->f.opens, 3);
	assert_int_equal(x->f.closes, 2);
	one_request(x, 1);
}

static void function_that_cannot_be_opened(void **state)
{
	struct fix *x = *state;

	x->f.open_r = -EACCES;
	assert_int_equal(start(x), -EACCES);
	x->f.open_r = 0;
	assert_int_equal(start(x), 0);
}

/* covers: PCI-DRV-23 */
static void legacy_function_is_not_touched(void **state)
{
	struct fix *x = *state;

	fake_no_caps(&x->f);
	assert_int_equal(start(x), -ENODEV);
	assert_int_equal(x->f.log_cnt, 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(queues_are_set_up_in_order),
	    T(registers_are_used_as_they_are_meant),
	    cmocka_unit_test(rings_are_no_larger_than_the_device_says),
	    T(ring_too_small_for_a_request),
	    T(size_that_grows_changes_nothing),
	    T(size_that_shrinks_is_refused),
	    T(reset_is_over_when_status_reads_zero),
	    T(reset_that_never_ends_is_given_up),
	    T(queue_reset_is_awaited_and_all_is_set_up_anew),
	    T(queue_that_runs_after_its_reset),
	    T(features_need_their_registers),
	    T(config_is_read_again_when_its_generation_changes),
	    T(config_is_never_half_old),
	    T(config_that_never_settles),
	    T(config_space_smaller_than_its_fields),
	    cmocka_unit_test(doorbell_says_what_was_negotiated),
	    T(eventfd_that_stands_for_a_doorbell_is_rung),
	    T(doorbell_outside_of_its_structure),
	    T(all_queues_may_share_a_doorbell),
	    cmocka_unit_test(any_number_of_vectors_will_do),
	    T(fewer_vectors_than_asked_for),
	    T(vector_that_reads_back_as_none_is_polled),
	    T(isr_is_not_read),
	    T(shared_vector_means_all_of_them),
	    T(configuration_change_is_heard),
	    T(slow_function_is_never_waited_for),
	    T(function_that_reads_as_ones_is_gone),
	    T(function_that_cannot_be_opened),
	    T(legacy_function_is_not_touched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
