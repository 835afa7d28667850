/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "vhudev.h"
#include "wire/virtio.h"

#define T(f) cmocka_unit_test_setup_teardown(f, vd_set_up, vd_tear_down)

static struct vu_mem_reg reg(uint64_t guest, uint64_t size, uint64_t off)
{
	return (struct vu_mem_reg){
	    .region = {guest, size, guest + VD_USER, off}};
}

static uint64_t add(struct vhudev *v, uint64_t guest, uint64_t size,
		    uint64_t off)
{
	struct vu_mem_reg m = reg(guest, size, off);

	return vd_ask_fd(v, VU_ADD_MEM_REG, &m, sizeof(m), v->mem);
}

static uint64_t rem(struct vhudev *v, uint64_t guest, uint64_t size)
{
	struct vu_mem_reg m = reg(guest, size, 0);

	return vd_ask(v, VU_REM_MEM_REG, &m, sizeof(m));
}

/* SET_MEM_TABLE of num pages, each a file of its own if fds is given. */
static uint64_t set_table(struct vhudev *v, unsigned num, const int *fds,
			  unsigned fd_cnt)
{
	struct {
		uint32_t num, padding;
		struct vu_region regions[16];
	} t = {.num = num};

	for (unsigned i = 0; i < 16; i++)
		t.regions[i] = (struct vu_region){VD_GUEST + i * 0x1000, 0x1000,
						  VD_USER + i * 0x1000, 0};
	raw_send(v->sock, VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY, &t,
		 8 + num * 32, fds, fd_cnt);
	vd_pump(v);
	return raw_closed(v->sock) ? ~0ULL : vd_status(v, VU_SET_MEM_TABLE);
}

static void *at(struct vhudev *v, uint64_t guest)
{
	return vtfs_table_ptr(v->rec.table, guest, 1);
}

/* covers: VHU-BTH-08 */
static void region_is_guest_size_user_offset(void **state)
{
	struct vhudev *v = *state;
	unsigned char t[8 + 32] = {1};
	uint64_t guest = VD_GUEST, size = 0x2000, user = VD_USER, off = 0x3000;
	uint64_t peer;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	memcpy(t + 8, &guest, 8);
	memcpy(t + 16, &size, 8);
	memcpy(t + 24, &user, 8);
	memcpy(t + 32, &off, 8);
	assert_int_equal(pwrite(v->mem, "here", 4, 0x3000), 4);
	assert_int_equal(vd_ask_fd(v, VU_SET_MEM_TABLE, t, sizeof(t), v->mem),
			 0);
	assert_memory_equal(at(v, VD_GUEST), "here", 4);
	assert_non_null(vtfs_table_ptr(v->rec.table, VD_GUEST, 0x2000));
	assert_null(vtfs_table_ptr(v->rec.table, VD_GUEST, 0x2001));
	assert_int_equal(
	    vtfs_table_user_to_peer(v->rec.table, VD_USER + 5, 1, &peer), 0);
	assert_int_equal(peer, VD_GUEST + 5);
}

/* covers: VHU-DEV-11 */
static void table_has_a_fd_for_each_region_in_order(void **state)
{
	struct vhudev *v = *state;
	int fds[8];

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	for (unsigned i = 0; i < 8; i++) {
		char c = (char)('a' + i);

		fds[i] = raw_memfd(0x1000);
		assert_int_equal(pwrite(fds[i], &c, 1, 0), 1);
	}
	assert_int_equal(set_table(v, 8, fds, 8), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(*(char *)at(v, VD_GUEST + i * 0x1000),
				 'a' + (int)i);
	assert_int_equal(set_table(v, 8, fds, 7), 1);
	assert_int_equal(set_table(v, 7, fds, 8), 1);
	assert_int_equal(set_table(v, 1, NULL, 0), 1);
	assert_int_equal(set_table(v, 0, fds, 1), 1);
	assert_int_equal(v->rec.table->cnt, 8);
	assert_int_equal(set_table(v, 0, NULL, 0), 0);
	assert_int_equal(v->rec.table->cnt, 0);
	/* nine don't fit: not a message of that kind */
	assert_int_equal(set_table(v, 9, fds, 8), ~0ULL);
	for (unsigned i = 0; i < 8; i++)
		close(fds[i]);
}

/* User-mode Linux 6.1 sends one region in the size of two. */
static void table_may_be_longer_than_its_regions(void **state)
{
	struct vhudev *v = *state;
	struct vu_mem_table t = {.num = 1};

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	t.regions[0] = (struct vu_region){VD_GUEST, VD_MEM, VD_USER, 0};
	assert_int_equal(vd_ask_fd(v, VU_SET_MEM_TABLE, &t, 8 + 2 * 32, v->mem),
			 0);
	assert_int_equal(v->rec.table->cnt, 1);
	assert_int_equal(vd_ask_fd(v, VU_SET_MEM_TABLE, &t, 8 + 31, v->mem), 1);
}

/* covers: VHU-DEV-10 */
static void bad_regions_leave_the_table_in_force(void **state)
{
	static const struct vu_region bad[] = {
	    {VD_GUEST + 0x1000, 0, VD_USER + 0x1000, 0},
	    {VD_GUEST, 0x1000, VD_USER + 0x10000, 0},
	    {VD_GUEST - 0x1000, 0x1001, VD_USER + 0x10000, 0},
	    {VD_GUEST + 0xfff, 0x1000, VD_USER + 0x10000, 0},
	    {UINT64_MAX - 0xfff + 1, 0x1000, VD_USER + 0x10000, 0},
	    {VD_GUEST + 0x1000, 0x1000, UINT64_MAX - 0xffe, 0},
	    {VD_GUEST + 0x1000, UINT64_MAX, VD_USER + 0x10000, 0},
	};
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	assert_int_equal(add(v, VD_GUEST, 0x1000, 0), 0);
	rec_clear(&v->rec);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vu_mem_reg m = {.region = bad[i]};
		struct vu_mem_table t = {.num = 2};
		int fds[2] = {v->mem, v->mem};

		assert_int_equal(
		    vd_ask_fd(v, VU_ADD_MEM_REG, &m, sizeof(m), v->mem), 1);
		t.regions[0] = (struct vu_region){VD_GUEST, 0x1000, VD_USER, 0};
		t.regions[1] = bad[i];
		raw_send(v->sock, VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY,
			 &t, 8 + 64, fds, 2);
		vd_pump(v);
		assert_int_equal(vd_status(v, VU_SET_MEM_TABLE), 1);
	}
	assert_string_equal(v->rec.text, "");
	assert_int_equal(v->rec.table->cnt, 1);
	assert_non_null(at(v, VD_GUEST));
}

/* covers: VHU-DEV-12 */
static void regions_beyond_the_file_are_refused(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	assert_int_equal(add(v, VD_GUEST, VD_MEM + 1, 0), 1);
	assert_int_equal(add(v, VD_GUEST, VD_MEM, 0x1000), 1);
	assert_int_equal(add(v, VD_GUEST, 0x1000, VD_MEM), 1);
	assert_int_equal(add(v, VD_GUEST, 0x1000, UINT64_MAX - 0xfff), 1);
	assert_int_equal(add(v, VD_GUEST, 0x1000, VD_MEM - 0x1000), 0);
	/* the mapping covers offset and size: both ends can be touched */
	assert_int_equal(add(v, VD_GUEST + 0x2000, 0x1800, 0x800), 0);
	((char *)at(v, VD_GUEST + 0x2000))[0] = 'x';
	((char *)at(v, VD_GUEST + 0x2000))[0x17ff] = 'y';
}

/* covers: VHU-DEV-15 */
static void max_mem_slots_can_all_be_used(void **state)
{
	struct vhudev *v = *state;
	uint64_t slots;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	slots = vd_get(v, VU_GET_MAX_MEM_SLOTS);
	assert_true(slots >= 8);
	for (uint64_t i = 0; i < slots; i++)
		assert_int_equal(add(v, VD_GUEST + i * 0x1000, 0x1000, 0), 0);
	assert_int_equal(add(v, VD_GUEST + slots * 0x1000, 0x1000, 0), 1);
	assert_int_equal(rem(v, VD_GUEST + 7 * 0x1000, 0x1000), 0);
	assert_int_equal(add(v, VD_GUEST + slots * 0x1000, 0x1000, 0), 0);
}

/* covers: VHU-DEV-16 */
static void add_mem_reg_has_exactly_one_fd(void **state)
{
	struct vhudev *v = *state;
	struct vu_mem_reg m = reg(VD_GUEST, 0x1000, 0);
	int fds[2] = {v->mem, v->mem};
	unsigned open;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	open = raw_fd_cnt();
	assert_int_equal(vd_ask(v, VU_ADD_MEM_REG, &m, sizeof(m)), 1);
	raw_send(v->sock, VU_ADD_MEM_REG, VU_VERSION | VU_NEED_REPLY, &m,
		 sizeof(m), fds, 2);
	vd_pump(v);
	assert_int_equal(vd_status(v, VU_ADD_MEM_REG), 1);
	assert_null(v->rec.table);
	assert_int_equal(vd_ask_fd(v, VU_ADD_MEM_REG, &m, sizeof(m), v->mem),
			 0);
	assert_non_null(at(v, VD_GUEST));
	assert_int_equal(raw_fd_cnt(), open);
}

/* covers: VHU-BTH-09 */
static void single_region_follows_eight_bytes_of_padding(void **state)
{
	struct vhudev *v = *state;
	unsigned char m[40];
	uint64_t guest = VD_GUEST, size = 0x1000, user = VD_USER, off = 0x2000;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	memset(m, 0xee, 8);
	memcpy(m + 8, &guest, 8);
	memcpy(m + 16, &size, 8);
	memcpy(m + 24, &user, 8);
	memcpy(m + 32, &off, 8);
	assert_int_equal(pwrite(v->mem, "pad", 3, 0x2000), 3);
	assert_int_equal(vd_ask_fd(v, VU_ADD_MEM_REG, m, 40, v->mem), 0);
	assert_memory_equal(at(v, VD_GUEST), "pad", 3);
	assert_int_equal(vd_ask(v, VU_REM_MEM_REG, m, 40), 0);
	assert_null(at(v, VD_GUEST));
}

/* covers: VHU-DEV-17 */
static void rem_mem_reg_names_both_addresses_and_the_size(void **state)
{
	struct vhudev *v = *state;
	struct vu_mem_reg m = reg(VD_GUEST, 0x2000, 0);

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	assert_int_equal(add(v, VD_GUEST, 0x2000, 0), 0);
	assert_int_equal(rem(v, VD_GUEST, 0x1000), 1);
	assert_int_equal(rem(v, VD_GUEST, 0x2001), 1);
	assert_int_equal(rem(v, VD_GUEST + 0x1000, 0x2000), 1);
	m.region.user_addr++;
	assert_int_equal(vd_ask(v, VU_REM_MEM_REG, &m, sizeof(m)), 1);
	assert_non_null(at(v, VD_GUEST));
	/* the offset says nothing */
	m = reg(VD_GUEST, 0x2000, 0x123456);
	assert_int_equal(vd_ask(v, VU_REM_MEM_REG, &m, sizeof(m)), 0);
	assert_null(at(v, VD_GUEST));
	assert_int_equal(rem(v, VD_GUEST, 0x2000), 1);
}

/* covers: VHU-DEV-18 */
static void fd_of_rem_mem_reg_is_closed(void **state)
{
	struct vhudev *v = *state;
	unsigned open;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	open = raw_fd_cnt();
	for (unsigned i = 0; i < 1000; i++) {
		struct vu_mem_reg m = reg(VD_GUEST, 0x1000, 0);

		assert_int_equal(add(v, VD_GUEST, 0x1000, 0), 0);
		assert_int_equal(
		    vd_ask_fd(v, VU_REM_MEM_REG, &m, sizeof(m), v->mem), 0);
	}
	assert_int_equal(raw_fd_cnt(), open);
}

/* covers: VHU-DEV-19 */
static void removal_is_acknowledged_when_nobody_uses_it(void **state)
{
	struct vhudev *v = *state;
	struct vu_mem_reg m = reg(VD_GUEST, 0x1000, 0);
	struct vtfs_table *old;
	char *byte;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	assert_int_equal(add(v, VD_GUEST, 0x1000, 0), 0);
	old = vtfs_table_get(v->rec.table);
	byte = at(v, VD_GUEST);
	v->rec.hold = true;
	raw_send(v->sock, VU_REM_MEM_REG, VU_VERSION | VU_NEED_REPLY, &m,
		 sizeof(m), NULL, 0);
	raw_send(v->sock, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	vd_pump(v);
	assert_true(raw_quiet(v->sock));
	/* a request is still at it */
	*byte = 'x';
	vtfs_table_put(old);
	/* an answer to something else doesn't count */
	v->t->dev->table_retired(v->t, v->rec.cookie - 1);
	vd_pump(v);
	assert_true(raw_quiet(v->sock));
	rec_answer_table(&v->rec);
	vd_pump(v);
	assert_int_equal(recv(v->sock, &(char[20]){0}, 20, MSG_DONTWAIT), 20);
	vd_status(v, VU_GET_FEATURES);
}

static void table_changes_while_rings_run(void **state)
{
	struct vhudev *v = *state;
	struct vu_mem_table t = {.num = 2};
	struct vtfs_region *same;
	int fds[2] = {v->mem, v->mem};

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	vd_share(v);
	vd_start(v, 1);
	same = v->rec.table->regions[0];
	t.regions[0] = (struct vu_region){VD_GUEST, VD_MEM, VD_USER, 0};
	t.regions[1] = (struct vu_region){VD_GUEST + VD_MEM, 0x1000,
					  VD_USER + VD_MEM, 0};
	raw_send(v->sock, VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY, &t,
		 8 + 64, fds, 2);
	vd_pump(v);
	assert_int_equal(vd_status(v, VU_SET_MEM_TABLE), 0);
	assert_true(v->rec.started[1]);
	assert_int_equal(v->rec.stops, 0);
	/* what came again is the same region, and holds up nobody */
	assert_ptr_equal(v->rec.table->regions[0], same);
	assert_non_null(at(v, VD_GUEST + VD_MEM));
}

/* covers: VHU-DEV-14 */
static void postcopy_is_neither_offered_nor_served(void **state)
{
	struct vhudev *v = *state;

	vd_negotiate(v, VD_PF_ALL, VD_FEATURES);
	assert_false(vd_get(v, VU_GET_PROTOCOL_FEATURES) & VU_PF(PAGEFAULT));
	assert_int_equal(vd_ask(v, VU_POSTCOPY_ADVISE, NULL, 0), 1);
	assert_int_equal(vd_ask(v, VU_POSTCOPY_LISTEN, NULL, 0), 1);
	assert_int_equal(vd_ask(v, VU_POSTCOPY_END, NULL, 0), 1);
	/* and a table is acknowledged, not answered with bases */
	assert_int_equal(set_table(v, 1, &v->mem, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(region_is_guest_size_user_offset),
	    T(table_has_a_fd_for_each_region_in_order),
	    T(table_may_be_longer_than_its_regions),
	    T(bad_regions_leave_the_table_in_force),
	    T(regions_beyond_the_file_are_refused),
	    T(max_mem_slots_can_all_be_used),
	    T(add_mem_reg_has_exactly_one_fd),
	    T(single_region_follows_eight_bytes_of_padding),
	    T(rem_mem_reg_names_both_addresses_and_the_size),
	    T(fd_of_rem_mem_reg_is_closed),
	    T(removal_is_acknowledged_when_nobody_uses_it),
	    T(table_changes_while_rings_run),
	    T(postcopy_is_neither_offered_nor_served),
	};

	return cmocka_run_group_tests_name("vhu_memory", tests, NULL, NULL);
}
