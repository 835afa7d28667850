/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "recpair.h"
#include "wire/virtio.h"

static void op_waits_for_the_device(void **state)
{
	struct pair *p = *state;
	uint64_t features = 0;

	assert_false(pair_readable(p->d->fd(p->d)));
	assert_int_equal(p->c->cli->get_features(p->c, &features), -EAGAIN);
	assert_int_equal(p->c->cli->get_features(p->c, &features), -EAGAIN);
	assert_true(pair_readable(p->d->fd(p->d)));
	assert_false(pair_readable(p->c->fd(p->c)));
	assert_int_equal(p->d->dev->dispatch(p->d), 0);
	assert_false(pair_readable(p->d->fd(p->d)));
	assert_true(pair_readable(p->c->fd(p->c)));
	assert_int_equal(p->c->cli->get_features(p->c, &features), 0);
	assert_int_equal(features, REC_OFFERED);
	assert_false(pair_readable(p->c->fd(p->c)));
}

/* covers: STAT-DEV-04 */
static void status_is_zero_at_first_and_after_reset(void **state)
{
	struct pair *p = *state;

	assert_int_equal(pair_get_status(p), 0);
	pair_negotiate(p);
	assert_int_equal(pair_status(p, 15), 0);
	assert_int_equal(pair_get_status(p), 15);
	assert_int_equal(pair_status(p, 0), 0);
	assert_int_equal(pair_get_status(p), 0);
	assert_int_equal(p->rec.resets, 2);
}

/* covers: RST-DEV-01 */
static void reset_is_answered_when_the_session_is_quiet(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	p->rec.hold = true;
	assert_int_equal(p->c->cli->set_status(p->c, 0), -EAGAIN);
	assert_int_equal(p->d->dev->dispatch(p->d), 0);
	assert_int_equal(p->c->cli->set_status(p->c, 0), -EAGAIN);
	assert_false(pair_readable(p->c->fd(p->c)));
	rec_answer_reset(&p->rec);
	assert_true(pair_readable(p->c->fd(p->c)));
	assert_int_equal(p->c->cli->set_status(p->c, 0), 0);
	assert_int_equal(pair_get_status(p), 0);
}

/* covers: FEAT-DEV-03, RSVF-DEV-02 */
static void features_ok_is_refused_after_a_bad_choice(void **state)
{
	static const uint64_t bad[] = {
	    0,
	    VIRTIOFS_F_INDIRECT_DESC,
	    VIRTIOFS_F_VERSION_1 | 1ULL << 5,
	    VIRTIOFS_F_VERSION_1 | 1ULL << 30,
	    VIRTIOFS_F_VERSION_1 | 1ULL << VTFS_F_BIT_SR_IOV,
	    ~0ULL,
	};
	struct pair *p = *state;

	assert_int_equal(pair_status(p, 3), 0);
	assert_int_equal(pair_status(p, 11), 0);
	assert_int_equal(pair_get_status(p), 3);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
		    PAIR_RUN(p, p->c->cli->set_features(p->c, bad[i])),
		    -EPROTO);
		assert_int_equal(pair_status(p, 11), 0);
		assert_int_equal(pair_get_status(p), 3);
		assert_int_equal(pair_status(p, 15), 0);
		assert_int_equal(pair_get_status(p), 3);
	}
	assert_string_equal(p->rec.text, "");
}

/* covers: FEAT-DEV-02, FEAT-DEV-05 */
static void every_subset_with_version_1_is_agreed_to(void **state)
{
	static const uint64_t bits[] = {VIRTIOFS_F_INDIRECT_DESC,
					VIRTIOFS_F_EVENT_IDX,
					VIRTIOFS_F_RING_PACKED};
	struct pair *p = *state;

	for (unsigned i = 0; i < 16; i++) {
		uint64_t f = VIRTIOFS_F_VERSION_1;

		for (unsigned b = 0; b < 3; b++)
			if (i & (1u << b))
				f |= bits[b];
		assert_int_equal(pair_status(p, 0), 0);
		assert_int_equal(pair_status(p, 3), 0);
		assert_int_equal(PAIR_RUN(p, p->c->cli->set_features(p->c, f)),
				 0);
		assert_int_equal(pair_status(p, 11), 0);
		assert_int_equal(pair_get_status(p), 11);
		assert_int_equal(p->rec.features, f);
	}
}

/* covers: FEAT-BTH-01 */
static void features_after_features_ok_change_nothing(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	rec_clear(&p->rec);
	assert_int_equal(
	    PAIR_RUN(p, p->c->cli->set_features(
			    p->c, VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_EVENT_IDX)),
	    -EBUSY);
	assert_string_equal(p->rec.text, "");
	assert_int_equal(p->rec.features, VIRTIOFS_F_VERSION_1);
	assert_int_equal(pair_get_status(p), 11);
}

/* covers: STAT-DEV-01 */
static void queues_run_from_driver_ok_on(void **state)
{
	struct pair *p = *state;
	uint64_t addr;

	pair_negotiate(p);
	addr = pair_map(p);
	assert_int_equal(pair_start(p, 0, addr), 0);
	assert_int_equal(pair_start(p, 1, addr), 0);
	assert_true(p->rec.started[0]);
	assert_false(p->rec.enabled[0]);
	assert_int_equal(pair_status(p, 15), 0);
	assert_true(p->rec.enabled[0]);
	assert_true(p->rec.enabled[1]);
	assert_int_equal(pair_start(p, 2, addr), 0);
	assert_true(p->rec.enabled[2]);
}

static void queue_needs_features_ok_and_a_number(void **state)
{
	struct pair *p = *state;
	uint64_t addr = pair_map(p);

	assert_int_equal(pair_start(p, 0, addr), -EBUSY);
	pair_negotiate(p);
	assert_int_equal(pair_start(p, REC_QUEUES, addr), -EINVAL);
	p->rec.start_r = -EFAULT;
	assert_int_equal(pair_start(p, 0, addr), -EFAULT);
	p->rec.start_r = 0;
	assert_int_equal(pair_start(p, 0, addr), 0);
	assert_int_equal(pair_start(p, 0, addr), -EBUSY);
	assert_int_equal(PAIR_RUN(p, p->c->cli->stop_queue(p->c, 0)), 0);
	assert_false(p->rec.started[0]);
	assert_int_equal(pair_start(p, 0, addr), 0);
	assert_int_equal(PAIR_RUN(p, p->c->cli->stop_queue(p->c, 99)), -EINVAL);
}

static void stop_waits_for_the_drain(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	assert_int_equal(pair_start(p, 1, pair_map(p)), 0);
	p->rec.hold = true;
	assert_int_equal(p->c->cli->stop_queue(p->c, 1), -EAGAIN);
	assert_int_equal(p->d->dev->dispatch(p->d), 0);
	assert_int_equal(p->rec.stopping, 1);
	assert_int_equal(p->c->cli->stop_queue(p->c, 1), -EAGAIN);
	rec_answer_stop(&p->rec, 5, 5);
	assert_int_equal(p->c->cli->stop_queue(p->c, 1), 0);
}

static void memory_is_the_same_in_both_halves(void **state)
{
	struct pair *p = *state;
	uint64_t addr = pair_map(p);
	unsigned char *there = vtfs_table_ptr(p->rec.table, addr + 5, 1);

	assert_non_null(there);
	assert_ptr_not_equal(there, p->mem + 5);
	p->mem[5] = 42;
	assert_int_equal(*there, 42);
	p->rec.hold = true;
	assert_int_equal(p->c->cli->unmap(p->c, addr), -EAGAIN);
	p->d->dev->dispatch(p->d);
	assert_int_equal(p->c->cli->unmap(p->c, addr), -EAGAIN);
	rec_answer_table(&p->rec);
	assert_int_equal(p->c->cli->unmap(p->c, addr), 0);
	assert_null(vtfs_table_ptr(p->rec.table, addr, 1));
	p->rec.hold = false;
	assert_int_equal(PAIR_RUN(p, p->c->cli->unmap(p->c, addr)), -ENOENT);
}

static void memory_without_a_file_is_used_in_place(void **state)
{
	static char bytes[100];
	struct pair *p = *state;
	struct virtiofs_region r = {
	    .size = sizeof(r), .addr = bytes, .len = sizeof(bytes), .fd = -1};
	uint64_t addr;

	assert_int_equal(PAIR_RUN(p, p->c->cli->map(p->c, &r, &addr)), 0);
	assert_ptr_equal(vtfs_table_ptr(p->rec.table, addr, 100), bytes);
	assert_int_equal(PAIR_RUN(p, p->c->cli->map(p->c, &r, &addr)), -EINVAL);
}

static void config_space_is_read_whole(void **state)
{
	struct pair *p = *state;
	unsigned char buf[44];

	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(PAIR_RUN(p, p->c->cli->get_config(p->c, buf, 44, 0)),
			 0);
	assert_string_equal((char *)buf, "recorder");
	assert_int_equal(buf[36], REC_QUEUES - 1);
	assert_int_equal(buf[43], 0);
	assert_int_equal(p->c->cli->get_config(p->c, buf, 257, 0), -EINVAL);
}

/* covers: STAT-DEV-03 */
static void broken_queue_tells_the_driver(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	assert_int_equal(pair_start(p, 1, pair_map(p)), 0);
	assert_int_equal(pair_status(p, 15), 0);
	p->d->dev->broken(p->d, 1);
	assert_true(pair_readable(p->c->fd(p->c)));
	assert_int_equal(p->c->cli->dispatch(p->c), 0);
	assert_int_equal(p->rc.changes, 1);
	assert_false(pair_readable(p->c->fd(p->c)));
	assert_int_equal(pair_get_status(p), 15 | VTFS_STATUS_NEEDS_RESET);
	assert_int_equal(pair_status(p, 0), 0);
	assert_int_equal(pair_get_status(p), 0);
}

static void broken_before_driver_ok_is_only_a_bit(void **state)
{
	struct pair *p = *state;

	pair_negotiate(p);
	p->d->dev->broken(p->d, 1);
	assert_false(pair_readable(p->c->fd(p->c)));
	assert_int_equal(pair_get_status(p), 11 | VTFS_STATUS_NEEDS_RESET);
	assert_int_equal(pair_status(p, 15 | VTFS_STATUS_NEEDS_RESET), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, pair_set_up, pair_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(op_waits_for_the_device),
	    T(status_is_zero_at_first_and_after_reset),
	    T(reset_is_answered_when_the_session_is_quiet),
	    T(features_ok_is_refused_after_a_bad_choice),
	    T(every_subset_with_version_1_is_agreed_to),
	    T(features_after_features_ok_change_nothing),
	    T(queues_run_from_driver_ok_on),
	    T(queue_needs_features_ok_and_a_number),
	    T(stop_waits_for_the_drain),
	    T(memory_is_the_same_in_both_halves),
	    T(memory_without_a_file_is_used_in_place),
	    T(config_space_is_read_whole),
	    T(broken_queue_tells_the_driver),
	    T(broken_before_driver_ok_is_only_a_bit),
	};

	return cmocka_run_group_tests_name("inproc", tests, NULL, NULL);
}
