/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests whose translations are missing, come late, and go. */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"
#include "session/dev.h"

#define FIRST	   (RAW_BUFS / RAW_PAGE)
#define PAGE_OF(i) ((RAW_BUFS + (i)*CELL_LEN) / RAW_PAGE)
#define ROOM_OF(i) (PAGE_OF(i) + CELL_ROOM / RAW_PAGE)

static int set_up(void **state)
{
	struct program *p;

	program_new(state);
	p = *state;
	p->num = 128;
	program_open(p, VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_INDIRECT_DESC |
			    VTFS_F_ACCESS_PLATFORM);
	p->keep = true;
	p->raw.lazy = true;
	p->raw.miss_cnt = 0;
	return 0;
}

static void map(struct program *p, uint64_t first, uint64_t cnt,
		unsigned access)
{
	raw_do(&p->raw, raw_map, RAW_RANGE(first, cnt, access));
	program_run(p);
}

static void map_cell(struct program *p, unsigned i)
{
	map(p, PAGE_OF(i), CELL_LEN / RAW_PAGE, RAW_RW);
}

static bool missed(const struct program *p, uint64_t addr, unsigned access)
{
	for (unsigned i = 0; i < p->raw.miss_cnt; i++) {
		const struct vtfs_miss *m = &p->raw.misses[i];

		if (addr - m->addr < m->len && m->access == access)
			return true;
	}
	return false;
}

/* A READ of len bytes: its room is lent out. */
static void send_read(struct program *p, unsigned vq, unsigned i, uint32_t len)
{
	const struct fuse_read_in in = {.size = len};

	send_frame(p, vq, i, FUSE_READ, &in, sizeof(in), 16 + len);
}

/* ---- misses ---- */

/* covers: VHU-DEV-21 */
static void a_request_waits_for_its_translation_and_others_do_not(void **state)
{
	struct program *p = *state;

	map_cell(p, 1);
	send_statfs(p, 1, 0); /* not mapped */
	send_statfs(p, 1, 1);
	send_statfs(p, 2, 2); /* nor this */
	program_run(p);
	assert_int_equal(p->cnt, 1);
	assert_int_equal(p->reqs[0]->in->unique, UNIQUE(1));
	assert_true(missed(p, cell_addr(0), VTFS_MAP_READ));
	assert_true(missed(p, cell_addr(0) + CELL_ROOM, VTFS_MAP_WRITE));
	assert_true(missed(p, cell_addr(2), VTFS_MAP_READ));
	virtiofs_req_error(p->reqs[0], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 1), 0);
	map_cell(p, 2);
	assert_int_equal(p->cnt, 2);
	assert_int_equal(p->reqs[1]->in->unique, UNIQUE(2));
	/* Half of it does not help. */
	map(p, PAGE_OF(0), 1, VTFS_MAP_READ);
	assert_int_equal(p->cnt, 2);
	map_cell(p, 0);
	assert_int_equal(p->cnt, 3);
	assert_int_equal(virtiofs_req_reply(p->reqs[2], "late", 5), 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_string_equal(reply_bytes(p, 0), "late");
	virtiofs_req_error(p->reqs[1], 0);
}

static void descriptors_are_read_once_however_late_they_are_served(void **state)
{
	struct program *p = *state;

	send_statfs(p, 1, 0);
	program_run(p);
	/* What the driver writes there now is nobody's business. */
	for (unsigned i = 0; i < 64; i++)
		p->raw.q[1].desc[i].addr = htole64(cell_addr(3));
	map_cell(p, 3);
	assert_int_equal(p->cnt, 0);
	map_cell(p, 0);
	assert_int_equal(p->cnt, 1);
	assert_int_equal(p->reqs[0]->in->unique, UNIQUE(0));
	virtiofs_req_error(p->reqs[0], -ENOENT);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -ENOENT);
}

static void misses_are_answered_in_any_order(void **state)
{
	struct program *p = *state;

	for (unsigned i = 0; i < 20; i++)
		send_read(p, 1 + i % 2, i, 12 << 10);
	program_run(p);
	assert_int_equal(p->cnt, 0);
	raw_do(&p->raw, raw_map_missed, 0);
	program_run(p);
	assert_int_equal(p->cnt, 20);
	for (unsigned i = 0; i < 20; i++) {
		memset(p->reqs[i]->room[0].iov_base, 'r', 4096);
		virtiofs_req_filled(p->reqs[i], 4096);
	}
	program_run(p);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(reply_of(p, 1 + i % 2, i), 0);
		assert_memory_equal(reply_bytes(p, i), "rrrr", 4);
	}
}

/* A frame whose room is three pages apart from one another. */
static void send_scattered(struct program *p, unsigned vq, unsigned i)
{
	struct raw_desc d[4] = {
	    {cell_addr(i), put_frame(p, i, FUSE_STATFS, "", 0), 0}};

	for (unsigned j = 1; j < 4; j++)
		d[j] = (struct raw_desc){cell_addr(i) + 2 * j * RAW_PAGE, 64,
					 VTFS_DESC_F_WRITE};
	raw_post(&p->raw.q[vq], raw_chain(&p->raw.q[vq], d, 4));
}

/* Many more holes than fit into the list of what is asked. */
static void more_holes_than_can_be_asked_at_once(void **state)
{
	struct program *p = *state;
	unsigned total = 0;

	for (unsigned i = 0; i < 64; i++)
		send_scattered(p, 1 + i % 2, i);
	program_run(p);
	assert_int_equal(p->cnt, 0);
	for (unsigned round = 0; round < 100 && p->cnt < 64; round++) {
		total += p->raw.miss_cnt;
		raw_do(&p->raw, raw_map_missed, 0);
		program_run(p);
	}
	assert_int_equal(p->cnt, 64);
	assert_true(total >= 4 * 64);
	for (unsigned i = 0; i < 64; i++)
		virtiofs_req_error(p->reqs[i], 0);
}

static void an_indirect_table_may_be_missing_and_lie_in_pieces(void **state)
{
	struct program *p = *state;
	struct vtfs_wire_desc *table;
	/* Two entries of 16 bytes on either side of a page's end. */
	size_t at = RAW_BUFS + 3 * CELL_LEN + RAW_PAGE - 16;
	struct raw_desc d = {raw_addr(at), 32, VTFS_DESC_F_INDIRECT};

	put_frame(p, 0, FUSE_STATFS, "", 0);
	table = (void *)(p->raw.mem + at);
	table[0] = (struct vtfs_wire_desc){htole64(cell_addr(0)), htole32(40),
					   htole16(VTFS_DESC_F_NEXT),
					   htole16(1)};
	table[1] = (struct vtfs_wire_desc){htole64(cell_addr(0) + CELL_ROOM),
					   htole32(200),
					   htole16(VTFS_DESC_F_WRITE), 0};
	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], &d, 1));
	program_run(p);
	assert_true(missed(p, raw_addr(at), VTFS_MAP_READ));
	assert_false(missed(p, cell_addr(0), VTFS_MAP_READ));
	map(p, PAGE_OF(3), 1, VTFS_MAP_READ);
	assert_int_equal(p->cnt, 0);
	map(p, PAGE_OF(3) + 1, 1, RAW_RW);
	assert_int_equal(p->cnt, 0);
	/* Its entries were read by now, once. */
	table[0].addr = table[1].addr = 0;
	assert_true(missed(p, cell_addr(0), VTFS_MAP_READ));
	map_cell(p, 0);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], -ENOENT);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -ENOENT);
}

static void a_late_table_that_breaks_the_rules_breaks_the_queue(void **state)
{
	struct program *p = *state;
	size_t at = RAW_BUFS + 3 * CELL_LEN;
	struct raw_desc d = {raw_addr(at), 32, VTFS_DESC_F_INDIRECT};
	struct vtfs_wire_desc *table = (void *)(p->raw.mem + at);

	table[0] = (struct vtfs_wire_desc){htole64(cell_addr(0)), htole32(40),
					   htole16(VTFS_DESC_F_INDIRECT), 0};
	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], &d, 1));
	program_run(p);
	assert_int_equal(p->raw.broken, 0);
	map_cell(p, 3);
	assert_int_equal(p->raw.broken, 2);
	raw_do(&p->raw, raw_reset, 0);
	program_run(p);
	assert_int_equal(p->raw.reset_done, 1);
}

/* covers: VHU-DEV-21 */
static void what_may_only_be_read_is_not_written(void **state)
{
	struct program *p = *state;

	map(p, PAGE_OF(0), CELL_LEN / RAW_PAGE, VTFS_MAP_READ);
	map(p, PAGE_OF(1), CELL_LEN / RAW_PAGE, VTFS_MAP_WRITE);
	send_statfs(p, 1, 0);
	send_statfs(p, 2, 1);
	program_run(p);
	assert_int_equal(p->cnt, 0);
	assert_true(missed(p, cell_addr(0) + CELL_ROOM, VTFS_MAP_WRITE));
	assert_false(missed(p, cell_addr(0), VTFS_MAP_READ));
	assert_true(missed(p, cell_addr(1), VTFS_MAP_READ));
	map(p, ROOM_OF(0), 1, RAW_RW);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
}

static void what_is_absent_fails_its_requests_alone(void **state)
{
	struct program *p = *state;

	/* The frame is there, and its reply's header; not the rest. */
	map(p, PAGE_OF(0), 1, VTFS_MAP_READ);
	map(p, ROOM_OF(0), 1, RAW_RW);
	send_read(p, 1, 0, 12 << 10);
	send_statfs(p, 1, 1);
	program_run(p);
	raw_do(&p->raw, raw_deny, RAW_RANGE(ROOM_OF(0) + 1, 1, VTFS_MAP_READ));
	program_run(p);
	no_reply(p, 1);
	raw_do(&p->raw, raw_deny, RAW_RANGE(ROOM_OF(0) + 1, 1, VTFS_MAP_WRITE));
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -EFAULT);
	no_reply(p, 1);
	/* Without room for a header it comes back empty. */
	raw_do(&p->raw, raw_deny, RAW_RANGE(ROOM_OF(1), 1, VTFS_MAP_WRITE));
	program_run(p);
	assert_int_equal(reply_of(p, 1, 1), 1);
	/* The next one asks again. */
	p->raw.miss_cnt = 0;
	send_statfs(p, 1, 1);
	program_run(p);
	assert_true(missed(p, cell_addr(1), VTFS_MAP_READ));
	map_cell(p, 1);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], 0);
}

/* The frame's second part is absent: what stands before it is all that is
 * looked at, and the reply goes where it belongs. */
static void a_reply_finds_its_place_behind_what_is_absent(void **state)
{
	struct program *p = *state;
	const struct raw_desc d[3] = {
	    {cell_addr(0), put_frame(p, 0, FUSE_STATFS, "", 0), 0},
	    {cell_addr(2), 16, 0},
	    {cell_addr(0) + CELL_ROOM, 200, VTFS_DESC_F_WRITE}};

	map_cell(p, 0);
	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 3));
	program_run(p);
	raw_do(&p->raw, raw_deny, RAW_RANGE(PAGE_OF(2), 1, VTFS_MAP_READ));
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), -EFAULT);
	assert_int_equal(p->cnt, 0);
}

/* A part that no IOMMU could map fails the chain, also after it has waited for
 * the others. */
static void a_fault_is_remembered_while_others_are_missing(void **state)
{
	struct program *p = *state;
	const struct raw_desc d[3] = {
	    {cell_addr(0), put_frame(p, 0, FUSE_STATFS, "", 0), 0},
	    {UINT64_MAX - 7, 16, 0},
	    {cell_addr(0) + CELL_ROOM, 200, VTFS_DESC_F_WRITE}};

	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], d, 3));
	program_run(p);
	no_reply(p, 1);
	map_cell(p, 0);
	assert_int_equal(reply_of(p, 1, 0), -EFAULT);
	assert_int_equal(p->cnt, 0);
}

/* Nobody is asked for it. */
static void a_table_that_wraps_fails_at_once(void **state)
{
	struct program *p = *state;
	const struct raw_desc d = {UINT64_MAX - 15, 32, VTFS_DESC_F_INDIRECT};
	uint32_t id, len;

	raw_post(&p->raw.q[1], raw_chain(&p->raw.q[1], &d, 1));
	program_run(p);
	assert_int_equal(p->raw.miss_cnt, 0);
	assert_true(raw_used(&p->raw.q[1], &id, &len));
	assert_int_equal(len, 0);
}

/* ---- the end ---- */

static void a_stop_fails_those_that_wait(void **state)
{
	struct program *p = *state;

	send_statfs(p, 1, 0);
	map(p, PAGE_OF(1), 1, VTFS_MAP_READ);
	map(p, ROOM_OF(1), 1, VTFS_MAP_WRITE);
	send_read(p, 1, 1, 12 << 10);
	program_run(p);
	raw_do(&p->raw, raw_stop, 1);
	program_run(p);
	assert_int_equal(p->raw.stopped, 1);
	assert_int_equal(p->raw.avail_base, 3); /* and INIT */
	/* Not mapped; mapped as far as the header goes. */
	assert_int_equal(reply_of(p, 1, 0), 1);
	assert_int_equal(reply_of(p, 1, 1), -EIO);
}

static void a_reset_and_a_loss_drop_those_that_wait(void **state)
{
	struct program *p = *state;
	unsigned char *copy;

	send_statfs(p, 1, 0);
	send_statfs(p, 2, 1);
	program_run(p);
	raw_do(&p->raw, raw_reset, 0);
	program_run(p);
	assert_int_equal(p->raw.reset_done, 1);
	raw_do(&p->raw, raw_setup, 128);
	program_run(p);
	send_statfs(p, 1, 0);
	program_run(p);
	copy = snapshot(p);
	raw_do(&p->raw, raw_lost, 0);
	program_run(p);
	assert_int_equal(p->raw.reset_done, 2);
	assert_memory_equal(copy, p->raw.mem, RAW_LEN);
	free(copy);
}

static void free_drops_those_that_wait(void **state)
{
	struct program *p = *state;

	send_statfs(p, 1, 0);
	map_cell(p, 1);
	send_statfs(p, 1, 1);
	program_run(p);
	raw_do(&p->raw, raw_flush, 0);
	program_run(p);
	virtiofs_req_error(p->reqs[0], 0);
}

static void init_does_not_wait_for_those_that_wait(void **state)
{
	struct program *p = *state;
	const struct fuse_init_in in = make_init(7, 45);

	map_cell(p, CELLS - 1);
	send_statfs(p, 1, 0);
	program_run(p);
	send_frame(p, 1, CELLS - 1, FUSE_INIT, &in, sizeof(in), 80);
	program_run(p);
	assert_int_equal(reply_of(p, 1, CELLS - 1), 0);
	assert_int_equal(p->inits, 2);
	map_cell(p, 0);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], 0);
}

/* Nothing changes for it until the session has ended: dispatch sleeps. */
static void a_request_held_on_hiprio_wakes_nobody(void **state)
{
	struct program *p = *state;
	struct pollfd f = {.fd = virtiofs_device_fd(p->dev), .events = POLLIN};

	for (unsigned i = 0; i < 4; i++)
		map_cell(p, i);
	send_statfs(p, 1, 0);
	program_run(p);
	send_frame(p, 0, 1, FUSE_DESTROY, "", 0, 16);
	program_run(p);
	/* Until that end each queue tells what it lets go of. */
	map(p, PAGE_OF(3), 1, 0);
	send_statfs(p, 0, 2);
	for (unsigned i = 0; i < 20; i++)
		virtiofs_device_dispatch(p->dev);
	assert_int_equal(poll(&f, 1, 0), 0);
	assert_int_equal(p->cnt, 1);
	virtiofs_req_error(p->reqs[0], 0);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(reply_of(p, 0, 1), 0);
	assert_int_equal(p->cnt, 2);
	virtiofs_req_error(p->reqs[1], 0);
}

/* ---- translations that go ---- */

/* covers: VHU-DEV-22 */
static void an_invalidation_waits_for_what_is_lent_out(void **state)
{
	struct program *p = *state;
	uint64_t before;

	map_cell(p, 0);
	map_cell(p, 1);
	send_read(p, 1, 0, 12 << 10);
	send_read(p, 2, 1, 12 << 10);
	program_run(p);
	assert_int_equal(p->cnt, 2);
	before = p->raw.retired;
	/* Pages beside it are nobody's. */
	map(p, PAGE_OF(2), 1, 0);
	assert_int_equal(p->raw.retired, before + 1);
	assert_int_equal(p->interrupts, 0);
	map(p, ROOM_OF(0) + 2, 1, 0);
	assert_int_equal(p->raw.retired, before + 1);
	assert_int_equal(p->interrupts, 1);
	assert_ptr_equal(p->interrupted[0], p->reqs[0]);
	/* Meanwhile the bytes are there. */
	memset(p->reqs[0]->room[0].iov_base, 'x', 12 << 10);
	virtiofs_req_filled(p->reqs[0], 12 << 10);
	program_run(p);
	assert_int_equal(p->raw.retired, before + 2);
	assert_int_equal(reply_of(p, 1, 0), 0);
	/* And now it is missing. */
	p->raw.miss_cnt = 0;
	send_read(p, 1, 0, 12 << 10);
	program_run(p);
	assert_int_equal(p->cnt, 2);
	assert_true(
	    missed(p, cell_addr(0) + CELL_ROOM + 2 * RAW_PAGE, VTFS_MAP_WRITE));
	virtiofs_req_error(p->reqs[1], 0);
}

static bool is_readable(int fd)
{
	struct pollfd f = {.fd = fd, .events = POLLIN};

	return poll(&f, 1, 0) == 1;
}

/* Queue 1, and what it has in store: nothing. */
static struct virtiofs_devq *take(struct program *p)
{
	struct virtiofs_devq *q;

	assert_int_equal(virtiofs_device_take_queue(p->dev, 1, 0, &q), 0);
	assert_int_equal(virtiofs_devq_dispatch(q), 0);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	return q;
}

/* What comes and goes is the business of few: the others sleep on. */
static void a_queue_is_woken_for_what_it_waits_for(void **state)
{
	struct program *p = *state;
	struct virtiofs_devq *q = take(p);

	map_cell(p, 1);
	map(p, PAGE_OF(1), 1, 0);
	assert_false(is_readable(virtiofs_devq_fd(q)));
	send_statfs(p, 1, 0);
	assert_int_equal(virtiofs_devq_dispatch(q), 0);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	program_run(p);
	map_cell(p, 1);
	map(p, PAGE_OF(0), 1, RAW_RW);
	assert_false(is_readable(virtiofs_devq_fd(q)));
	map(p, ROOM_OF(0), 1, RAW_RW);
	assert_true(is_readable(virtiofs_devq_fd(q)));
	assert_int_equal(virtiofs_devq_arm(q), 1);
	assert_int_equal(virtiofs_devq_dispatch(q), 1);
	virtiofs_req_error(p->reqs[0], -ENOENT);
	virtiofs_devq_flush(q);
	assert_int_equal(reply_of(p, 1, 0), -ENOENT);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	/* Its ring, too, is something that it waits for. */
	raw_do(&p->raw, raw_flush, 0);
	program_run(p);
	assert_int_equal(virtiofs_devq_arm(q), 0);
	map(p, 0, FIRST, RAW_RW);
	assert_true(is_readable(virtiofs_devq_fd(q)));
	virtiofs_devq_release(q);
}

/* Its owner was slow: nobody else would ask. */
static void what_came_and_went_unseen_is_asked_for_again(void **state)
{
	struct program *p = *state;
	struct virtiofs_devq *q = take(p);

	send_statfs(p, 1, 0);
	assert_int_equal(virtiofs_devq_dispatch(q), 0);
	program_run(p);
	assert_true(missed(p, cell_addr(0) + CELL_ROOM, VTFS_MAP_WRITE));
	map_cell(p, 0);
	raw_do(&p->raw, raw_map, RAW_RANGE(PAGE_OF(0), CELL_LEN / RAW_PAGE, 0));
	program_run(p);
	p->raw.miss_cnt = 0;
	assert_int_equal(virtiofs_devq_dispatch(q), 0);
	program_run(p);
	assert_true(missed(p, cell_addr(0), VTFS_MAP_READ));
	assert_true(missed(p, cell_addr(0) + CELL_ROOM, VTFS_MAP_WRITE));
	map_cell(p, 0);
	assert_int_equal(virtiofs_devq_dispatch(q), 1);
	virtiofs_req_error(p->reqs[0], 0);
	virtiofs_devq_release(q);
}

/* Somebody is in the ring, with a table that has what goes. covers: VHU-DEV-22
 */
static void an_invalidation_waits_for_who_is_in_the_ring(void **state)
{
	struct program *p = *state;
	struct virtiofs_devq *q = take(p);
	uint64_t before = p->raw.retired;

	vtfs_gate_enter(q);
	/* What only comes may be adopted later. */
	map_cell(p, 0);
	map_cell(p, 1);
	assert_int_equal(p->raw.retired, before + 2);
	map(p, PAGE_OF(1), 1, 0);
	assert_int_equal(p->raw.retired, before + 2);
	vtfs_gate_leave(q);
	program_run(p);
	assert_int_equal(p->raw.retired, before + 3);
	virtiofs_devq_release(q);
}

/* Two changes meet in a queue that is inside: what went with the first is asked
 * for as well. */
static void what_went_before_the_last_change_is_not_forgotten(void **state)
{
	struct program *p = *state;
	struct virtiofs_devq *q = take(p);

	send_statfs(p, 1, 0);
	assert_int_equal(virtiofs_devq_dispatch(q), 0);
	program_run(p);
	vtfs_gate_enter(q);
	map_cell(p, 0);
	raw_do(&p->raw, raw_map, RAW_RANGE(PAGE_OF(0), CELL_LEN / RAW_PAGE, 0));
	map_cell(p, 2);
	p->raw.miss_cnt = 0;
	vtfs_gate_leave(q);
	program_run(p);
	assert_int_equal(virtiofs_devq_dispatch(q), 0);
	program_run(p);
	assert_true(missed(p, cell_addr(0) + CELL_ROOM, VTFS_MAP_WRITE));
	map_cell(p, 0);
	assert_int_equal(virtiofs_devq_dispatch(q), 1);
	virtiofs_req_error(p->reqs[0], 0);
	virtiofs_devq_release(q);
}

/* A guest flushes everything while one of its programs waits for a lock. */
static void a_flush_does_not_wait_for_who_waits(void **state)
{
	struct program *p = *state;
	const struct fuse_lk_in lk = {.lk = {.type = 1}};
	uint64_t before;

	map_cell(p, 0);
	map_cell(p, 1);
	send_frame(p, 1, 0, FUSE_SETLKW, &lk, sizeof(lk), 16);
	send_statfs(p, 2, 1);
	program_run(p);
	assert_int_equal(p->cnt, 2);
	before = p->raw.retired;
	p->raw.miss_cnt = 0;
	raw_do(&p->raw, raw_flush, 0);
	program_run(p);
	assert_int_equal(p->raw.retired, before + 1);
	assert_int_equal(p->interrupts, 0);
	/* The rings are asked for at once. */
	assert_true(missed(p, RAW_ADDR, VTFS_MAP_READ));
	/* An answer waits for the ring, then for its own place. */
	assert_int_equal(virtiofs_req_error(p->reqs[0], -EAGAIN), 0);
	assert_int_equal(virtiofs_req_reply(p->reqs[1], "statfs", 7), 0);
	program_run(p);
	no_reply(p, 1);
	map(p, 0, FIRST, RAW_RW);
	no_reply(p, 1);
	assert_true(missed(p, cell_addr(0) + CELL_ROOM, VTFS_MAP_WRITE));
	map_cell(p, 0);
	assert_int_equal(reply_of(p, 1, 0), -EAGAIN);
	no_reply(p, 2);
	/* Nobody said what is wrong with the other; it goes with the queue. */
	raw_do(&p->raw, raw_stop, 2);
	program_run(p);
	assert_int_equal(p->raw.stopped, 1);
	assert_int_equal(reply_of(p, 2, 1), 1);
	assert_int_equal(p->raw.broken, 0);
}

static void a_reply_whose_place_is_denied_comes_back_empty(void **state)
{
	struct program *p = *state;

	map_cell(p, 0);
	send_statfs(p, 1, 0);
	program_run(p);
	map(p, ROOM_OF(0), 1, 0);
	assert_int_equal(virtiofs_req_reply(p->reqs[0], "statfs", 7), 0);
	program_run(p);
	no_reply(p, 1);
	raw_do(&p->raw, raw_deny, RAW_RANGE(ROOM_OF(0), 1, VTFS_MAP_WRITE));
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 1);
}

/* A mapping of cell 1's memory at cell 0's addresses. */
static void map_1_at_0(struct raw *raw, uint64_t unused)
{
	struct vtfs_map maps[] = {
	    {RAW_ADDR, RAW_BUFS, raw->regions[0]->addr, 0, RAW_RW},
	    {cell_addr(0), CELL_LEN,
	     raw->regions[0]->addr + RAW_BUFS + CELL_LEN, 0, RAW_RW},
	};
	struct vtfs_table *t;

	assert_int_equal(vtfs_table_new_mapped(&t, raw->regions, 1, maps, 2),
			 0);
	raw->sink->ops->set_table(raw->sink, t, ++raw->cookie);
	vtfs_table_put(t);
}

static void nothing_is_written_where_a_translation_was(void **state)
{
	struct program *p = *state;
	unsigned char *copy;

	map_cell(p, 0);
	send_statfs(p, 1, 0);
	program_run(p);
	raw_do(&p->raw, raw_flush, 0);
	program_run(p);
	copy = snapshot(p);
	assert_int_equal(virtiofs_req_reply(p->reqs[0], "statfs", 7), 0);
	program_run(p);
	assert_memory_equal(copy, p->raw.mem, RAW_LEN);
	free(copy);
	/* The same page elsewhere: the reply follows its address. */
	raw_do(&p->raw, map_1_at_0, 0);
	program_run(p);
	assert_memory_equal(cell(p, 1) + CELL_ROOM + 16, "statfs", 7);
	assert_int_equal(cell(p, 0)[CELL_ROOM + 16], PATTERN);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, program_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(a_request_waits_for_its_translation_and_others_do_not),
	    T(descriptors_are_read_once_however_late_they_are_served),
	    T(misses_are_answered_in_any_order),
	    T(more_holes_than_can_be_asked_at_once),
	    T(an_indirect_table_may_be_missing_and_lie_in_pieces),
	    T(a_late_table_that_breaks_the_rules_breaks_the_queue),
	    T(what_may_only_be_read_is_not_written),
	    T(what_is_absent_fails_its_requests_alone),
	    T(a_reply_finds_its_place_behind_what_is_absent),
	    T(a_fault_is_remembered_while_others_are_missing),
	    T(a_table_that_wraps_fails_at_once),
	    T(a_stop_fails_those_that_wait),
	    T(a_reset_and_a_loss_drop_those_that_wait),
	    T(free_drops_those_that_wait),
	    T(init_does_not_wait_for_those_that_wait),
	    T(a_request_held_on_hiprio_wakes_nobody),
	    T(an_invalidation_waits_for_what_is_lent_out),
	    T(a_queue_is_woken_for_what_it_waits_for),
	    T(what_came_and_went_unseen_is_asked_for_again),
	    T(an_invalidation_waits_for_who_is_in_the_ring),
	    T(what_went_before_the_last_change_is_not_forgotten),
	    T(a_flush_does_not_wait_for_who_waits),
	    T(a_reply_whose_place_is_denied_comes_back_empty),
	    T(nothing_is_written_where_a_translation_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
