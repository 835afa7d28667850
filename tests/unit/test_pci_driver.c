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
#include <string.h>

#include "pcifix.h"
#include "wire/virtio.h"

#define BIT(name) (1ULL << VTFS_F_BIT_##name)

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
static void trace(struct pcifix *x, unsigned n, char *at, size_t len)
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
	struct pcifix *x = *state;
	char text[2048];

	assert_int_equal(px_start(x), 0);
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
	struct pcifix *x = *state;

	x->f.l.offered |= BIT(RING_RESET);
	x->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_RESET;
	assert_int_equal(px_start(x), 0);
	px_take(x, 1);
	px_one_request(x, 1);
	assert_int_equal(px_reset_queue(x), 0);
	px_one_request(x, 1);
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

/* ---- reset ---- */

/* covers: PCI-DRV-15 */
static void reset_is_over_when_status_reads_zero(void **state)
{
	struct pcifix *x = *state;

	x->f.reset_lag = 30;
	assert_int_equal(px_start(x), 0);
	assert_int_equal(x->f.reset_lag, 0);
	assert_int_equal(x->f.early, 0);
}

static void reset_that_never_ends_is_given_up(void **state)
{
	struct pcifix *x = *state;

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
	struct pcifix *x = *state;
	char text[1024];
	unsigned n;

	x->f.l.offered |= BIT(RING_RESET);
	x->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_RESET;
	assert_int_equal(px_start(x), 0);
	px_take(x, 1);
	px_one_request(x, 1);
	n = x->f.log_cnt;
	x->f.qreset_lag = 3;
	assert_int_equal(px_reset_queue(x), 0);
	trace(x, n, text, sizeof(text));
	assert_string_equal(
	    text, "select=1 reset=1 reset? reset? reset? reset? enable? "
		  "select=1 size? enable? size=128 vector=2 vector? desc= "
		  "high= driver= high= device= high= notify? enable=1 ");
	for (unsigned k = 0; k < 3; k++)
		px_one_request(x, 1);
}

static void queue_that_runs_after_its_reset(void **state)
{
	struct pcifix *x = *state;

	x->f.l.offered |= BIT(RING_RESET);
	x->opts.features = VIRTIOFS_FEATURES_DEFAULT | VIRTIOFS_F_RING_RESET;
	assert_int_equal(px_start(x), 0);
	px_take(x, 1);
	x->f.stays_enabled = true;
	assert_int_equal(px_reset_queue(x), -EPROTO);
	x->f.stays_enabled = false;
}

/* Without RING_RESET's register the feature is not there. */
static void features_need_their_registers(void **state)
{
	struct pcifix *x = *state;

	fake_no_caps(&x->f);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 56);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_DEVICE, FAKE_BAR, FAKE_DEVICE, 44);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
			0x1000);
	x->f.l.offered = UINT64_MAX & ~VIRTIOFS_F_RING_PACKED;
	x->opts.features = UINT64_MAX;
	assert_int_equal(px_start(x), 0);
	assert_int_equal(x->f.l.features & BIT(RING_RESET), 0);
	assert_int_equal(x->f.l.features & BIT(NOTIF_CONFIG_DATA), 0);
	assert_true(x->f.l.features & BIT(ACCESS_PLATFORM));
	assert_true(x->f.l.features & BIT(NOTIFICATION_DATA));
}

/* ---- configuration ---- */

static void config_is_read_again_when_its_generation_changes(void **state)
{
	struct pcifix *x = *state;

	x->f.changes = 40;
	assert_int_equal(px_start(x), 0);
	/* Nothing of the old tag. */
	assert_int_equal(virtiofs_client_tag(x->c)[0], (char)('l' + 40));
	assert_int_equal(strcmp(virtiofs_client_tag(x->c) + 1, "iar"), 0);
}

/* Old at its beginning and new at its end, again and again the same. */
static void config_is_never_half_old(void **state)
{
	struct pcifix *x = *state;

	x->f.torn = 6;
	assert_int_equal(px_start(x), 0);
	assert_string_equal(virtiofs_client_tag(x->c), "liar");
	assert_int_equal(x->f.torn, 0);
}

static void config_that_never_settles(void **state)
{
	struct pcifix *x = *state;

	x->f.changes = UINT32_MAX;
	assert_int_equal(px_start(x), -EPROTO);
}

static void config_space_smaller_than_its_fields(void **state)
{
	struct pcifix *x = *state;

	fake_no_caps(&x->f);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_COMMON, FAKE_BAR, 0, 64);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_DEVICE, FAKE_BAR, FAKE_BAR_LEN - 36,
			0x1000);
	fake_virtio_cap(&x->f, VTFS_PCI_CFG_NOTIFY, FAKE_BAR, FAKE_NOTIFY,
			0x1000);
	assert_int_equal(px_start(x), -EPROTO);
}

/* ---- a function that takes its time, or goes ---- */

/* Each access is asked for, and answered only later: the same registers, the
 * same number of times. */
static void slow_function_is_never_waited_for(void **state)
{
	struct pcifix *x = *state;
	unsigned quick[VTFS_PCI_COMMON_LEN];
	struct pcifix *y;

	px_set_up((void **)&y);
	assert_int_equal(px_start(y), 0);
	for (unsigned i = 0; i < VTFS_PCI_COMMON_LEN; i++)
		quick[i] = fake_writes(&y->f, i);
	px_tear_down((void **)&y);
	x->f.slow = true;
	assert_int_equal(px_start(x), 0);
	for (unsigned i = 0; i < VTFS_PCI_COMMON_LEN; i++)
		assert_int_equal(fake_writes(&x->f, i), quick[i]);
	px_take(x, 1);
	px_one_request(x, 1);
	x->f.slow = false;
}

static void function_that_reads_as_ones_is_gone(void **state)
{
	struct pcifix *x = *state;
	struct virtiofs_result res;

	x->f.gone = true;
	assert_int_equal(px_start(x), -ENOTCONN);
	x->f.gone = false;
	assert_int_equal(px_start(x), 0);
	px_take(x, 1);
	x->f.gone = true;
	fake_raise(&x->f, 0);
	/* The first finds out, the second is told. */
	virtiofs_client_dispatch(x->c);
	virtiofs_client_dispatch(x->c);
	assert_int_equal(virtiofs_cliq_reap(x->q, &res, 1), -ENOTCONN);
	x->f.gone = false;
	assert_int_equal(px_start(x), 0);
	assert_int_equal(x->f.opens, 3);
	assert_int_equal(x->f.closes, 2);
	px_one_request(x, 1);
}

static void function_that_cannot_be_opened(void **state)
{
	struct pcifix *x = *state;

	x->f.open_r = -EACCES;
	assert_int_equal(px_start(x), -EACCES);
	x->f.open_r = 0;
	assert_int_equal(px_start(x), 0);
}

/* covers: PCI-DRV-23 */
static void legacy_function_is_not_touched(void **state)
{
	struct pcifix *x = *state;

	fake_no_caps(&x->f);
	assert_int_equal(px_start(x), -ENODEV);
	assert_int_equal(x->f.log_cnt, 0);
}

/* I/O BARs are not decoded, so nothing is there: registers in one are none. */
static void io_bars_are_nobodys(void **state)
{
	struct pcifix *x = *state;
	unsigned char *bars = x->f.cfg + VTFS_PCI_BAR0;

	fake_put32(bars + 4 * FAKE_BAR, 0xc001);
	assert_int_equal(px_start(x), -EPROTO);
	/* The high half of BAR 2's address looks like one of 64 bits, whose
	 * other half BAR 4 is not. */
	fake_put32(bars + 8, 0xfd000000 | VTFS_PCI_BAR_64);
	fake_put32(bars + 12, VTFS_PCI_BAR_64);
	assert_int_equal(px_start(x), -EPROTO);
	fake_put32(bars + 4 * FAKE_BAR, 0xfe000000 | VTFS_PCI_BAR_64);
	assert_int_equal(px_start(x), 0);
}

/* A capability with which registers are reached through the configuration
 * space is there, and is not used: no access to judge.
 * covers: PCI-DRV-22 */
static void window_in_the_configuration_space_is_left_alone(void **state)
{
	struct pcifix *x = *state;
	unsigned char *cap, was[20];

	cap = fake_cap(&x->f, VTFS_PCI_CAP_ID_VNDR, 20);
	cap[3] = VTFS_PCI_CFG_PCI;
	memcpy(was, cap, sizeof(was));
	assert_int_equal(px_start(x), 0);
	px_take(x, 1);
	px_one_request(x, 1);
	assert_memory_equal(cap, was, sizeof(was));
	for (unsigned i = 0; i < x->f.log_cnt; i++)
		if (x->f.log[i].region == VTFS_PCI_CONFIG_REGION)
			assert_int_equal(x->f.log[i].off, VTFS_PCI_COMMAND);
}

static bool awake(struct virtiofs_transport *t)
{
	struct pollfd p = {.fd = t->fd(t), .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static unsigned losses;

static void on_change(struct vtfs_cli_sink *s)
{
}

static void on_lost(struct vtfs_cli_sink *s, int error)
{
	assert_int_equal(error, -ENOTCONN);
	losses++;
}

/* Not by each op that finds nobody there. */
static void loss_is_told_once(void **state)
{
	static const struct vtfs_cli_sink_ops ops = {on_change, on_lost};
	struct vtfs_cli_sink sink = {.ops = &ops};
	struct pcifix *x = *state;
	struct virtiofs_transport *t;
	uint8_t status;

	losses = 0;
	fake_drive(&x->f);
	t = x->f.t;
	assert_int_equal(t->cli->attach(t, &sink), 0);
	for (unsigned i = 1; i < 3; i++) {
		x->f.gone = false;
		assert_int_equal(t->cli->connect(t), 0);
		x->f.gone = true;
		for (unsigned k = 0; k < 3; k++) {
			assert_int_equal(t->cli->get_status(t, &status),
					 -ENOTCONN);
			assert_int_equal(awake(t), k == 0);
			assert_int_equal(t->cli->dispatch(t), -ENOTCONN);
			assert_int_equal(losses, i);
		}
	}
	virtiofs_transport_free(t);
}

/* What an op has to tell to dispatch wakes nobody while a later op waits for
 * the function; it is told afterwards all the same. */
static void earlier_news_keeps_no_op_awake(void **state)
{
	struct pcifix *x = *state;
	struct virtiofs_transport *t;
	uint8_t status;

	fake_drive(&x->f);
	t = x->f.t;
	assert_int_equal(t->cli->connect(t), 0);
	assert_int_equal(t->cli->set_features(t, VIRTIOFS_F_VERSION_1), 0);
	assert_false(awake(t));
	fake_raise(&x->f, 0);
	assert_int_equal(t->cli->get_status(t, &status), 0);
	assert_true(awake(t));
	x->f.slow = x->f.silent = true;
	assert_int_equal(t->cli->get_status(t, &status), -EAGAIN);
	assert_false(awake(t));
	assert_int_equal(t->cli->get_status(t, &status), 0);
	assert_true(awake(t));
	x->f.slow = false;
	virtiofs_transport_free(t);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, px_set_up, px_tear_down)
	const struct CMUnitTest tests[] = {
	    T(queues_are_set_up_in_order),
	    T(registers_are_used_as_they_are_meant),
	    T(reset_is_over_when_status_reads_zero),
	    T(reset_that_never_ends_is_given_up),
	    T(queue_reset_is_awaited_and_all_is_set_up_anew),
	    T(queue_that_runs_after_its_reset),
	    T(features_need_their_registers),
	    T(config_is_read_again_when_its_generation_changes),
	    T(config_is_never_half_old),
	    T(config_that_never_settles),
	    T(config_space_smaller_than_its_fields),
	    T(slow_function_is_never_waited_for),
	    T(function_that_reads_as_ones_is_gone),
	    T(function_that_cannot_be_opened),
	    T(legacy_function_is_not_touched),
	    T(io_bars_are_nobodys),
	    T(window_in_the_configuration_space_is_left_alone),
	    T(loss_is_told_once),
	    T(earlier_news_keeps_no_op_awake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
