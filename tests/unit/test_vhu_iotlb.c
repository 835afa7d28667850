/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end behind its front-end's IOMMU. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/vhost_user/device_iotlb.h"
#include "vhudev.h"

#define IOVA	 UINT64_C(0xffff0000)
#define FEATURES (VD_FEATURES | VTFS_F_ACCESS_PLATFORM)
#define RW	 (VU_ACCESS_RO | VU_ACCESS_WO)

struct fix {
	struct vhudev *v;
	int back; /* our end of its channel */
};
static struct fix f;

static uint64_t message(uint8_t type, uint64_t iova, uint64_t size,
			uint64_t user, uint8_t perm)
{
	const struct vu_iotlb m = {iova, size, user, perm, type, {0}};

	return vd_ask(f.v, VU_IOTLB_MSG, &m, sizeof(m));
}

static uint64_t update(uint64_t off, uint64_t size, uint64_t at)
{
	return message(VU_IOTLB_UPDATE, IOVA + off, size, VD_USER + at, RW);
}

static uint64_t invalidate(uint64_t off, uint64_t size)
{
	return message(VU_IOTLB_INVALIDATE, IOVA + off, size, 0, 0);
}

static void open_channel(void)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	assert_int_equal(vd_ask_fd(f.v, VU_SET_BACKEND_REQ_FD, NULL, 0, sv[1]),
			 0);
	close(sv[1]);
	f.back = sv[0];
}

static int set_up(void **state)
{
	vd_set_up(state);
	f.v = *state;
	vd_ready(f.v, FEATURES);
	open_channel();
	rec_clear(&f.v->rec);
	return 0;
}

static int tear_down(void **state)
{
	if (f.back >= 0)
		close(f.back);
	f.back = -1;
	return vd_tear_down(state);
}

static void miss(uint64_t addr, uint64_t len, unsigned access)
{
	const struct vtfs_miss m = {addr, len, access};

	f.v->t->dev->miss(f.v->t, &m);
	vd_pump(f.v);
}

/* The next question, which must be this. */
static void expect(uint8_t type, uint64_t iova, uint8_t perm)
{
	struct raw_msg m;
	struct vu_iotlb q;

	raw_recv(f.back, &m);
	assert_int_equal(m.request, VU_BACKEND_IOTLB_MSG);
	assert_int_equal(m.flags, VU_VERSION | VU_NEED_REPLY);
	assert_int_equal(m.size, sizeof(q));
	memcpy(&q, m.bytes, sizeof(q));
	assert_int_equal(q.type, type);
	assert_int_equal(q.iova, iova);
	assert_int_equal(q.perm, perm);
}

static void answer(uint64_t status)
{
	raw_send(f.back, VU_BACKEND_IOTLB_MSG, VU_VERSION | VU_REPLY, &status,
		 sizeof(status), NULL, 0);
	vd_pump(f.v);
}

/* Where the session finds this byte: an offset in the memory, or -1. */
static int64_t where(uint64_t off)
{
	const struct vtfs_table *t = f.v->rec.table;
	unsigned char *p = vtfs_table_ptr(t, IOVA + off, 1);

	return p ? p - t->regions[0]->addr : -1;
}

static bool heard(const char *what)
{
	return strstr(f.v->rec.text, what);
}

/* ---- what is offered ---- */

/* covers: RSVF-DEV-03 */
static void offered_to_front_ends_that_can_answer_misses(void **state)
{
	struct vhudev *v = *state;
	uint64_t with = VU_PF(BACKEND_REQ) | VU_PF(REPLY_ACK);
	const uint64_t less[] = {0, VU_PF(BACKEND_REQ), VU_PF(REPLY_ACK)};
	uint64_t bad = VIRTIOFS_F_VERSION_1 | VTFS_F_ACCESS_PLATFORM;

	for (unsigned i = 0; i < 3; i++) {
		vd_send(v, VU_SET_PROTOCOL_FEATURES, &less[i], 8);
		assert_int_equal(
		    vd_get(v, VU_GET_FEATURES) & VTFS_F_ACCESS_PLATFORM, 0);
	}
	vd_send(v, VU_SET_PROTOCOL_FEATURES, &with, 8);
	assert_true(vd_get(v, VU_GET_FEATURES) & VTFS_F_ACCESS_PLATFORM);
	with = VU_PF(REPLY_ACK);
	vd_send(v, VU_SET_PROTOCOL_FEATURES, &with, 8);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, bad), 1);
}

/* Without the feature the message is answered with an error, and costs
 * nothing else. covers: VHU-DEV-20 */
static void iotlb_message_without_the_feature_is_refused(void **state)
{
	struct vhudev *v = *state;

	f.v = v;
	vd_ready(v, VD_FEATURES);
	assert_int_equal(update(0, 0x1000, 0), 1);
	assert_int_equal(invalidate(0, 0x1000), 1);
	assert_string_equal(v->rec.text, "");
	assert_ptr_equal(vtfs_table_ptr(v->rec.table, VD_GUEST, 1),
			 v->rec.table->regions[0]->addr);
}

/* ---- entries ---- */

/* covers: VHU-DEV-20 VHU-DEV-05 */
static void each_iotlb_message_has_one_answer(void **state)
{
	struct vu_iotlb m = {IOVA, 0x1000, VD_USER, RW, VU_IOTLB_UPDATE, {0}};

	/* Also where none was asked for. */
	vd_send(f.v, VU_IOTLB_MSG, &m, sizeof(m));
	assert_int_equal(vd_status(f.v, VU_IOTLB_MSG), 0);
	m.type = VU_IOTLB_INVALIDATE;
	vd_send(f.v, VU_IOTLB_MSG, &m, sizeof(m));
	assert_int_equal(vd_status(f.v, VU_IOTLB_MSG), 0);
	for (unsigned type = 0; type < 256; type += type == 1 ? 3 : 1) {
		m.type = (uint8_t)type;
		vd_send(f.v, VU_IOTLB_MSG, &m, sizeof(m));
		assert_int_equal(vd_status(f.v, VU_IOTLB_MSG),
				 type != 2 && type != 3);
	}
	assert_true(raw_quiet(f.v->sock));
}

/* covers: VHU-BTH-11 */
static void addresses_go_by_the_entries_alone(void **state)
{
	assert_null(vtfs_table_ptr(f.v->rec.table, VD_GUEST, 1));
	assert_int_equal(where(0), -1);
	assert_int_equal(update(0, 0x1000, 0x3000), 0);
	assert_int_equal(where(0), 0x3000);
	assert_int_equal(where(0xfff), 0x3fff);
	assert_int_equal(where(0x1000), -1);
	assert_null(vtfs_table_ptr(f.v->rec.table, VD_GUEST, 1));
	assert_null(vtfs_table_ptr(f.v->rec.table, VD_USER, 1));
	/* Neighbours are one piece. */
	assert_int_equal(update(0x1000, 0x1000, 0x4000), 0);
	assert_int_equal(f.v->rec.table->map_cnt, 1);
	assert_non_null(vtfs_table_ptr(f.v->rec.table, IOVA, 0x2000));
	/* Until the features say otherwise. */
	vd_negotiate(f.v, VD_PF_ALL, VD_FEATURES);
	assert_non_null(vtfs_table_ptr(f.v->rec.table, VD_GUEST, 1));
}

static void entries_may_only_be_used_as_they_say(void **state)
{
	uint64_t hole;

	assert_int_equal(
	    message(VU_IOTLB_UPDATE, IOVA, 0x1000, VD_USER, VU_ACCESS_RO), 0);
	assert_true(
	    vtfs_table_covers(f.v->rec.table, IOVA, 1, VTFS_MAP_READ, &hole));
	assert_false(
	    vtfs_table_covers(f.v->rec.table, IOVA, 1, VTFS_MAP_WRITE, &hole));
	assert_int_equal(
	    message(VU_IOTLB_UPDATE, IOVA, 0x1000, VD_USER, VU_ACCESS_WO), 0);
	assert_false(
	    vtfs_table_covers(f.v->rec.table, IOVA, 1, VTFS_MAP_READ, &hole));
}

static void lies_about_entries_are_refused(void **state)
{
	const struct {
		uint64_t iova, size, user;
		unsigned perm;
	} bad[] = {
	    {IOVA, 0, VD_USER, RW},
	    {IOVA, 0x1000, VD_USER, 0},
	    {IOVA, 0x1000, VD_USER, 4},
	    {IOVA, 0x1000, VD_USER, 255},
	    {IOVA, VD_MEM + 1, VD_USER, RW},
	    {IOVA, 0x1000, VD_USER - 1, RW},
	    {IOVA, 0x1000, VD_USER + VD_MEM, RW},
	    {IOVA, 0x1000, VD_GUEST, RW},
	    {UINT64_MAX, 2, VD_USER, RW},
	    {IOVA, UINT64_MAX, VD_USER, RW},
	    {IOVA, 0x1000, UINT64_MAX - 5, RW},
	    {IOVA, UINT64_MAX - VD_USER, VD_USER, RW},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(message(VU_IOTLB_UPDATE, bad[i].iova,
					 bad[i].size, bad[i].user,
					 (uint8_t)bad[i].perm),
				 1);
		assert_int_equal(f.v->rec.table->map_cnt, 0);
	}
	/* The last byte there is has an address, too. */
	assert_int_equal(message(VU_IOTLB_UPDATE, UINT64_MAX, 1, VD_USER, RW),
			 0);
	assert_int_equal(f.v->rec.table->map_cnt, 1);
}

static void invalidation_cuts_entries(void **state)
{
	assert_int_equal(update(0, 0x8000, 0), 0);
	assert_int_equal(invalidate(0x2000, 0x1000), 0);
	assert_true(heard("gone ffff2000+1000;"));
	assert_int_equal(where(0x1fff), 0x1fff);
	assert_int_equal(where(0x2000), -1);
	assert_int_equal(where(0x2fff), -1);
	assert_int_equal(where(0x3000), 0x3000);
	/* Over two pieces and beyond both ends. */
	assert_int_equal(invalidate(0x1000, 0x3000), 0);
	assert_int_equal(where(0xfff), 0xfff);
	assert_int_equal(where(0x1000), -1);
	assert_int_equal(where(0x4000), 0x4000);
	assert_int_equal(invalidate(0x7fff, 0x5000), 0);
	assert_int_equal(where(0x7ffe), 0x7ffe);
	assert_int_equal(where(0x7fff), -1);
	/* What is not there may be in use all the same. */
	rec_clear(&f.v->rec);
	assert_int_equal(invalidate(0x100000, 0x1000), 0);
	assert_true(heard("gone 1000f0000+1000;"));
	/* Everything. */
	assert_int_equal(message(VU_IOTLB_INVALIDATE, 0, 0, 0, 0), 0);
	assert_true(heard("gone 0+ffffffffffffffff;"));
	assert_int_equal(f.v->rec.table->map_cnt, 0);
	assert_int_equal(update(0, 0x1000, 0), 0);
	assert_int_equal(message(VU_IOTLB_INVALIDATE, 5, UINT64_MAX, 0, 0), 0);
	assert_int_equal(f.v->rec.table->map_cnt, 0);
}

/* covers: VHU-DEV-22 */
static void an_invalidation_is_answered_when_the_session_says_so(void **state)
{
	const struct vu_iotlb m = {IOVA, 0x1000, 0, 0, VU_IOTLB_INVALIDATE,
				   {0}};

	assert_int_equal(update(0, 0x2000, 0), 0);
	f.v->rec.hold = true;
	vd_send(f.v, VU_IOTLB_MSG, &m, sizeof(m));
	assert_true(heard("gone ffff0000+1000;"));
	assert_true(raw_quiet(f.v->sock));
	rec_answer_table(&f.v->rec);
	vd_pump(f.v);
	assert_int_equal(vd_status(f.v, VU_IOTLB_MSG), 0);
	/* An entry that replaces another takes it away first. */
	f.v->rec.hold = false;
	rec_clear(&f.v->rec);
	assert_int_equal(update(0x1000, 0x1000, 0x5000), 0);
	assert_true(heard("gone ffff1000+1000;"));
	assert_int_equal(where(0x1000), 0x5000);
	/* The same again is nothing new. */
	rec_clear(&f.v->rec);
	assert_int_equal(update(0x1000, 0x1000, 0x5000), 0);
	assert_string_equal(f.v->rec.text, "");
}

/* A front-end that never stops keeps no more than that. */
static void the_iotlb_is_bounded(void **state)
{
	for (unsigned i = 0; i < VU_TLB_MAX + 100; i++)
		assert_int_equal(
		    message(VU_IOTLB_UPDATE, i * 0x2000ULL, 1, VD_USER, RW), 0);
	assert_true(f.v->rec.table->map_cnt <= VU_TLB_MAX);
	assert_non_null(
	    vtfs_table_ptr(f.v->rec.table, (VU_TLB_MAX + 99) * 0x2000ULL, 1));
	/* Each of these cuts one in two. */
	assert_int_equal(update(0x100000000, VD_MEM, 0), 0);
	for (unsigned i = 0; i < VD_MEM / 8; i++)
		assert_int_equal(invalidate(0x100000000 + i * 8, 1), 0);
	assert_true(f.v->rec.table->map_cnt <= VU_TLB_MAX + 1);
}

#define PAGES 40u /* more addresses than there is memory */

/* What a page of addresses is, as told by messages: page of memory + 1. */
struct model {
	unsigned page[PAGES];
	unsigned access[PAGES];
};

static void check_model(const struct model *m)
{
	const struct vtfs_table *t = f.v->rec.table;
	uint64_t hole;

	for (unsigned i = 0; i < PAGES; i++) {
		uint64_t iova = IOVA + i * VU_TLB_PAGE;

		for (unsigned a = 1; a <= 2; a++)
			assert_int_equal(
			    vtfs_table_covers(t, iova, VU_TLB_PAGE, a, &hole),
			    m->page[i] && m->access[i] & a);
		if (m->page[i] && m->access[i] & 1)
			assert_int_equal(where(i * VU_TLB_PAGE),
					 (m->page[i] - 1) * VU_TLB_PAGE);
	}
}

static unsigned pick(uint32_t *seed, unsigned below)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 16) % below;
}

/* Tables are edited, not made anew: each must be as if it were. */
static void whatever_came_before_the_table_is_as_told(void **state)
{
	struct model m = {{0}, {0}};
	uint32_t seed = 1;

	for (unsigned round = 0; round < 1500; round++) {
		unsigned first = pick(&seed, PAGES);
		unsigned cnt = 1 + pick(&seed, 4);
		unsigned page = pick(&seed, VD_MEM / VU_TLB_PAGE - 4);
		unsigned access = 1 + pick(&seed, 3);
		bool goes = pick(&seed, 3) == 0;

		if (goes)
			access = page = 0;
		if (pick(&seed, 8) == 0)
			page = first % 8;
		if (first + cnt > PAGES)
			cnt = PAGES - first;
		assert_int_equal(
		    message(goes ? VU_IOTLB_INVALIDATE : VU_IOTLB_UPDATE,
			    IOVA + first * VU_TLB_PAGE, cnt * VU_TLB_PAGE,
			    goes ? 0 : VD_USER + page * VU_TLB_PAGE,
			    (uint8_t)access),
		    0);
		for (unsigned i = 0; i < cnt; i++) {
			m.page[first + i] = goes ? 0 : page + i + 1;
			m.access[first + i] = access;
		}
		check_model(&m);
	}
}

/* A ring's entries are never the oldest. */
static void a_ring_keeps_its_entries(void **state)
{
	struct vu_vring_addr a = {.index = 1,
				  .desc = IOVA,
				  .avail = IOVA + 0x1000,
				  .used = IOVA + 0x2000};

	assert_int_equal(vd_ask_state(f.v, VU_SET_VRING_NUM, 1, 8), 0);
	assert_int_equal(vd_ask(f.v, VU_SET_VRING_ADDR, &a, sizeof(a)), 0);
	/* The last byte of each area is in an entry of its own. */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(update(i * 0x1000, 8, 0), 0);
		assert_int_equal(update(i * 0x1000 + 8, 0x200, 0x2000), 0);
	}
	for (unsigned i = 0; i < VU_TLB_MAX + 500; i++)
		assert_int_equal(update(0x10000 + i * 0x2000ULL, 1, 0), 0);
	assert_int_equal(where(0), 0);
	assert_int_equal(where(127), 0x2000 + 119);
	assert_int_equal(where(0x1000 + 19), 0x2000 + 11);
	assert_int_equal(where(0x2000 + 67), 0x2000 + 59);
	assert_int_equal(where(0x10000), -1);
}

static void memory_that_goes_takes_its_entries_along(void **state)
{
	struct vu_mem_reg m = {.region = {VD_GUEST, VD_MEM, VD_USER, 0}};

	assert_int_equal(update(0, 0x1000, 0), 0);
	assert_int_equal(vd_ask(f.v, VU_REM_MEM_REG, &m, sizeof(m)), 0);
	assert_int_equal(f.v->rec.table->map_cnt, 0);
	assert_int_equal(update(0x4000, 0x1000, 0), 1);
}

/* ---- misses ---- */

/* covers: VHU-DEV-21 */
static void misses_are_asked_page_by_page(void **state)
{
	miss(IOVA + 0x10, 0x2000, VTFS_MAP_READ);
	miss(IOVA + 0x20, 0x10, VTFS_MAP_READ); /* the same */
	miss(IOVA, 1, VTFS_MAP_WRITE);
	expect(VU_IOTLB_MISS, IOVA, VU_ACCESS_RO);
	expect(VU_IOTLB_MISS, IOVA + 0x1000, VU_ACCESS_RO);
	expect(VU_IOTLB_MISS, IOVA + 0x2000, VU_ACCESS_RO);
	expect(VU_IOTLB_MISS, IOVA, VU_ACCESS_WO);
	assert_true(raw_quiet(f.back));
	assert_int_equal(update(0, 0x1000, 0), 0);
	answer(0);
	/* A refusal ends the wait of who needs that page. */
	answer(1);
	assert_string_equal(strstr(f.v->rec.text, "absent"),
			    "absent ffff1000+1000 1;");
	/* So does a yes without an entry. */
	answer(0);
	assert_true(heard("absent ffff2000+1000 1;"));
	answer(0);
	assert_false(heard("absent ffff0000"));
}

/* The IOTLB is flushed between entry and answer. */
static void an_entry_that_has_gone_is_asked_for_again(void **state)
{
	miss(IOVA, 1, VTFS_MAP_READ);
	expect(VU_IOTLB_MISS, IOVA, VU_ACCESS_RO);
	assert_int_equal(update(0, 0x1000, 0), 0);
	assert_int_equal(invalidate(0, 0x1000), 0);
	answer(0);
	assert_false(heard("absent ffff0000"));
	assert_true(heard("absent 0+0 0;"));
	miss(IOVA, 1, VTFS_MAP_READ);
	expect(VU_IOTLB_MISS, IOVA, VU_ACCESS_RO);
}

/* Its answer comes all the same, and is not one too many. */
static void a_question_survives_a_change_of_features(void **state)
{
	struct vhudev *v = f.v;

	miss(IOVA, 0x2000, VTFS_MAP_READ);
	expect(VU_IOTLB_MISS, IOVA, VU_ACCESS_RO);
	expect(VU_IOTLB_MISS, IOVA + 0x1000, VU_ACCESS_RO);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, FEATURES), 0);
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, VD_FEATURES), 0);
	answer(1);
	assert_true(heard("absent ffff0000+1000 1;"));
	assert_int_equal(vd_ask_u64(v, VU_SET_FEATURES, FEATURES), 0);
	miss(IOVA + 0x5000, 1, VTFS_MAP_READ);
	expect(VU_IOTLB_MISS, IOVA + 0x5000, VU_ACCESS_RO);
	answer(1);
	assert_true(heard("absent ffff1000+1000 1;"));
	answer(1);
	assert_true(heard("absent ffff5000+1000 1;"));
	assert_string_equal(v->rec.logged, "");
}

/* covers: VHU-DEV-21 */
static void an_entry_that_forbids_is_an_access_failure(void **state)
{
	assert_int_equal(
	    message(VU_IOTLB_UPDATE, IOVA, 0x1000, VD_USER, VU_ACCESS_RO), 0);
	miss(IOVA, 0x1000, VTFS_MAP_WRITE);
	expect(VU_IOTLB_ACCESS_FAIL, IOVA, VU_ACCESS_WO);
	assert_int_equal(update(0, 0x1000, 0), 0);
	answer(0);
	assert_false(heard("absent"));
}

/* An entry came while the question waited: no failure to tell of. */
static void what_has_come_meanwhile_is_not_asked(void **state)
{
	miss(IOVA, (VU_TLB_SENT + 2) * VU_TLB_PAGE, VTFS_MAP_READ);
	for (unsigned i = 0; i < VU_TLB_SENT; i++)
		expect(VU_IOTLB_MISS, IOVA + i * VU_TLB_PAGE, VU_ACCESS_RO);
	assert_true(raw_quiet(f.back));
	/* All but the last. */
	for (unsigned i = 0; i <= VU_TLB_SENT; i++)
		assert_int_equal(update(i * VU_TLB_PAGE, VU_TLB_PAGE, 0), 0);
	answer(0);
	expect(VU_IOTLB_MISS, IOVA + (VU_TLB_SENT + 1) * VU_TLB_PAGE,
	       VU_ACCESS_RO);
	for (unsigned i = 1; i < VU_TLB_SENT; i++)
		answer(0);
	assert_true(raw_quiet(f.back));
	assert_false(heard("absent"));
}

/* The entry is on its way on the other channel. */
static void a_yes_counts_when_all_was_read(void **state)
{
	const struct vu_iotlb m = {IOVA, 0x1000,	  VD_USER,
				   RW,	 VU_IOTLB_UPDATE, {0}};
	uint64_t yes = 0;

	miss(IOVA, 1, VTFS_MAP_READ);
	expect(VU_IOTLB_MISS, IOVA, VU_ACCESS_RO);
	raw_send(f.back, VU_BACKEND_IOTLB_MSG, VU_VERSION | VU_REPLY, &yes,
		 sizeof(yes), NULL, 0);
	raw_send(f.v->sock, VU_IOTLB_MSG, VU_VERSION | VU_NEED_REPLY, &m,
		 sizeof(m), NULL, 0);
	f.v->rec.hold = true;
	vd_pump(f.v);
	assert_false(heard("absent"));
	rec_answer_table(&f.v->rec);
	vd_pump(f.v);
	assert_int_equal(vd_status(f.v, VU_IOTLB_MSG), 0);
	assert_false(heard("absent"));
}

static void only_so_many_are_asked_at_a_time(void **state)
{
	struct raw_msg m;
	bool again = false;
	unsigned cnt = 0;

	miss(0, (VU_TLB_ASKS + 50) * VU_TLB_PAGE, VTFS_MAP_READ);
	for (unsigned i = 0; i < VU_TLB_ASKS; i++) {
		if (i % VU_TLB_SENT == 0) {
			for (unsigned j = 0; j < VU_TLB_SENT; j++)
				raw_recv(f.back, &m);
			assert_true(raw_quiet(f.back));
			cnt += VU_TLB_SENT;
			for (unsigned j = 0; j + 1 < VU_TLB_SENT; j++)
				raw_send(f.back, VU_BACKEND_IOTLB_MSG,
					 VU_VERSION | VU_REPLY, &(uint64_t){1},
					 8, NULL, 0);
			rec_clear(&f.v->rec);
			answer(1);
			again |= heard("absent 0+0 0;");
		}
	}
	assert_int_equal(cnt, VU_TLB_ASKS);
	/* Who had no place in there is told to ask again. */
	assert_true(again);
	assert_true(raw_quiet(f.back));
}

static void without_a_channel_nothing_comes(void **state)
{
	miss(IOVA, 0x2000, VTFS_MAP_READ);
	expect(VU_IOTLB_MISS, IOVA, VU_ACCESS_RO);
	close(f.back);
	f.back = -1;
	vd_pump(f.v);
	assert_true(heard("absent ffff0000+1000 1;"));
	assert_true(heard("absent ffff1000+1000 1;"));
	miss(IOVA, 0x2000, VTFS_MAP_WRITE);
	assert_true(heard("absent ffff0000+2000 2;"));
	assert_int_equal(vd_ask_state(f.v, VU_SET_VRING_NUM, 1, 8), 0);
}

static void answers_nobody_waits_for_end_the_channel(void **state)
{
	answer(0);
	assert_true(raw_closed(f.back));
	assert_non_null(strstr(f.v->rec.logged, "back-end channel"));
}

/* ---- rings ---- */

static struct vu_vring_addr ring_addr(unsigned index)
{
	uint64_t at = IOVA + index * 0x3000ULL;

	return (struct vu_vring_addr){.index = index,
				      .desc = at,
				      .avail = at + 0x1000,
				      .used = at + 0x2000};
}

static void set_ring(unsigned index)
{
	struct vu_vring_addr a = ring_addr(index);

	assert_int_equal(vd_ask_state(f.v, VU_SET_VRING_NUM, index, 8), 0);
	assert_int_equal(vd_ask(f.v, VU_SET_VRING_ADDR, &a, sizeof(a)), 0);
	assert_int_equal(vd_enable(f.v, index, 1), 0);
	assert_int_equal(vd_kick(f.v, index), 0);
}

/* covers: VHU-BTH-11 */
static void a_ring_starts_when_its_addresses_are_there(void **state)
{
	set_ring(1);
	assert_false(f.v->rec.started[1]);
	expect(VU_IOTLB_MISS, IOVA + 0x3000, VU_ACCESS_RO);
	expect(VU_IOTLB_MISS, IOVA + 0x4000, VU_ACCESS_RO);
	expect(VU_IOTLB_MISS, IOVA + 0x5000, RW);
	assert_int_equal(update(0x3000, 0x1000, 0x8000), 0);
	assert_int_equal(update(0x4000, 0x1000, 0), 0);
	/* What may only be read is not enough for what the device writes. */
	assert_int_equal(message(VU_IOTLB_UPDATE, IOVA + 0x5000, 0x1000,
				 VD_USER + 0x5000, VU_ACCESS_RO),
			 0);
	assert_false(f.v->rec.started[1]);
	assert_int_equal(update(0x5000, 0x1000, 0x5000), 0);
	assert_true(f.v->rec.started[1]);
	/* The session translates. */
	assert_int_equal(f.v->rec.setup[1].desc, IOVA + 0x3000);
	/* What stays when all have stopped would never be invalidated. */
	assert_int_equal(vd_base(f.v, 1), 0);
	assert_int_equal(f.v->rec.table->map_cnt, 0);
	assert_int_equal(vd_kick(f.v, 1), 0);
	assert_false(f.v->rec.started[1]);
}

static void a_ring_that_waits_can_be_stopped(void **state)
{
	set_ring(1);
	assert_int_equal(vd_base(f.v, 1), 0);
	assert_int_equal(update(0x3000, 0x3000, 0), 0);
	assert_false(f.v->rec.started[1]);
}

/* Linux makes a ring of single pages, whatever they are in its memory. */
static void a_ring_may_be_of_pages_anywhere(void **state)
{
	const struct vu_vring_addr a = {.index = 1,
					.desc = IOVA,
					.avail = IOVA + 0x2000,
					.used = IOVA + 0x3000};
	const struct vtfs_table *t;
	unsigned char *at;

	assert_int_equal(vd_ask_state(f.v, VU_SET_VRING_NUM, 1, 512), 0);
	assert_int_equal(update(0, 0x1000, 0x5000), 0);
	assert_int_equal(update(0x1000, 0x1000, 0x3000), 0);
	assert_int_equal(update(0x2000, 0x1000, 0x8000), 0);
	/* It is joined when its addresses come, and at each change. */
	assert_int_equal(vd_ask(f.v, VU_SET_VRING_ADDR, &a, sizeof(a)), 0);
	at = vtfs_table_ptr(f.v->rec.table, IOVA, 0x2000);
	assert_non_null(at);
	assert_int_equal(update(0x3000, 0x1000, 0), 0);
	assert_int_equal(update(0x4000, 0x1000, 0x7000), 0);
	t = f.v->rec.table;
	assert_ptr_equal(vtfs_table_ptr(t, IOVA, 0x2000), at);
	assert_non_null(vtfs_table_ptr_rw(t, IOVA + 0x3000, 6 + 512 * 8));
	at[0x1001] = 42;
	assert_int_equal(((unsigned char *)t->regions[0]->addr)[0x3001], 42);
	/* A page of it goes. */
	assert_int_equal(invalidate(0x1000, 0x1000), 0);
	assert_null(vtfs_table_ptr(f.v->rec.table, IOVA, 0x2000));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define PLAIN(name)                                                            \
	cmocka_unit_test_setup_teardown(name, vd_set_up, vd_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    PLAIN(offered_to_front_ends_that_can_answer_misses),
	    PLAIN(iotlb_message_without_the_feature_is_refused),
	    T(each_iotlb_message_has_one_answer),
	    T(addresses_go_by_the_entries_alone),
	    T(entries_may_only_be_used_as_they_say),
	    T(lies_about_entries_are_refused),
	    T(invalidation_cuts_entries),
	    T(an_invalidation_is_answered_when_the_session_says_so),
	    T(the_iotlb_is_bounded),
	    T(whatever_came_before_the_table_is_as_told),
	    T(a_ring_keeps_its_entries),
	    T(memory_that_goes_takes_its_entries_along),
	    T(misses_are_asked_page_by_page),
	    T(an_entry_that_has_gone_is_asked_for_again),
	    T(a_question_survives_a_change_of_features),
	    T(an_entry_that_forbids_is_an_access_failure),
	    T(what_has_come_meanwhile_is_not_asked),
	    T(a_yes_counts_when_all_was_read),
	    T(only_so_many_are_asked_at_a_time),
	    T(without_a_channel_nothing_comes),
	    T(answers_nobody_waits_for_end_the_channel),
	    T(a_ring_starts_when_its_addresses_are_there),
	    T(a_ring_that_waits_can_be_stopped),
	    T(a_ring_may_be_of_pages_anywhere),
	};

	return cmocka_run_group_tests_name("vhost-user IOTLB", tests, NULL,
					   NULL);
}
