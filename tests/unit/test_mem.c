/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <virtiofs/base.h>

#include "base/bytes.h"
#include "mem/region.h"
#include "mem/table.h"

#define PAGE 4096u

static int memfd(size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static struct vtfs_region_desc desc(int fd, uint64_t peer, uint64_t len)
{
	return (struct vtfs_region_desc){.peer_addr = peer,
					 .user_addr = peer + (1ULL << 40),
					 .len = len,
					 .fd = fd};
}

static struct vtfs_region *region(int fd, uint64_t peer, uint64_t len,
				  uint16_t id)
{
	struct vtfs_region_desc d = desc(fd, peer, len);
	struct vtfs_region *r;

	assert_int_equal(vtfs_region_new(&r, &d, id), 0);
	return r;
}

static void region_shares_the_file(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r = region(fd, 0x1000, 4 * PAGE, 3);
	char got = 0;

	r->addr[PAGE] = 'x';
	assert_int_equal(pread(fd, &got, 1, PAGE), 1);
	assert_int_equal(got, 'x');
	assert_int_equal(r->id, 3);
	vtfs_region_put(vtfs_region_get(r));
	assert_int_equal(r->addr[PAGE], 'x');
	vtfs_region_put(r);
	close(fd);
}

static void region_at_unaligned_offset_starts_there(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region_desc d = desc(fd, 0, PAGE);
	struct vtfs_region *r;

	d.fd_offset = PAGE + 100;
	assert_int_equal(pwrite(fd, "here", 4, PAGE + 100), 4);
	assert_int_equal(vtfs_region_new(&r, &d, 0), 0);
	assert_memory_equal(r->addr, "here", 4);
	vtfs_region_put(r);
	close(fd);
}

static void region_beyond_the_file_is_refused(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region_desc d = desc(fd, 0, 4 * PAGE + 1);
	struct vtfs_region *r;

	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d.len = 4 * PAGE;
	d.fd_offset = 1;
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d.fd_offset = UINT64_MAX - PAGE + 1;
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d.fd_offset = 0;
	d.len = UINT64_MAX;
	d.peer_addr = d.user_addr = 0;
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	close(fd);
}

static void region_that_wraps_or_is_empty_is_refused(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region_desc d = desc(fd, UINT64_MAX - PAGE + 2, PAGE);
	struct vtfs_region *r;

	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d.peer_addr = 0;
	d.user_addr = UINT64_MAX - PAGE + 2;
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d = desc(fd, 0, 0);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d = desc(fd, 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, VTFS_REGION_MAX), -EINVAL);
	close(fd);
}

static void region_of_no_file_is_refused(void **state)
{
	struct vtfs_region_desc d;
	struct vtfs_region *r;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	d = desc(p[0], 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	close(p[0]);
	close(p[1]);
	d = desc(-1, 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
}

static void region_of_a_read_only_file_is_refused(void **state)
{
	int fd = memfd(PAGE);
	struct vtfs_region_desc d;
	struct vtfs_region *r;
	char path[64];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(ro >= 0);
	d = desc(ro, 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EACCES);
	close(ro);
	close(fd);
}

static void region_same_needs_every_part(void **state)
{
	int fd = memfd(4 * PAGE);
	int other = memfd(4 * PAGE);
	int twin = dup(fd);
	struct vtfs_region *r = region(fd, PAGE, 2 * PAGE, 0);
	struct vtfs_region_desc d = desc(twin, PAGE, 2 * PAGE);

	assert_true(vtfs_region_same(r, &d));
	d.fd = other;
	assert_false(vtfs_region_same(r, &d));
	d.fd = fd;
	d.fd_offset = PAGE;
	assert_false(vtfs_region_same(r, &d));
	d = desc(fd, PAGE, PAGE);
	assert_false(vtfs_region_same(r, &d));
	d = desc(fd, 0, 2 * PAGE);
	assert_false(vtfs_region_same(r, &d));
	d = desc(fd, PAGE, 2 * PAGE);
	d.user_addr++;
	assert_false(vtfs_region_same(r, &d));
	vtfs_region_put(r);
	close(fd);
	close(other);
	close(twin);
}

static void region_of_own_memory_is_not_mapped(void **state)
{
	static char bytes[64];
	struct vtfs_region_desc d = {
	    .peer_addr = 0x5000, .len = sizeof(bytes), .fd = -1, .addr = bytes};
	struct vtfs_region *r;

	assert_int_equal(vtfs_region_new(&r, &d, 1), 0);
	assert_ptr_equal(r->addr, bytes);
	assert_true(vtfs_region_same(r, &d));
	assert_int_equal(virtiofs_memory_fault(bytes), 0);
	assert_false(vtfs_region_faulted(r));
	vtfs_region_put(r);
	assert_int_equal(bytes[0], 0);
}

static void region_knows_a_seal(void **state)
{
	int fd = memfd(PAGE);
	struct vtfs_region *r = region(fd, 0, PAGE, 0);

	assert_false(r->sealed);
	vtfs_region_put(r);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	r = region(fd, 0, PAGE, 0);
	assert_true(r->sealed);
	vtfs_region_put(r);
	close(fd);
}

static void on_sigbus(int sig, siginfo_t *info, void *ctx)
{
	if (!virtiofs_memory_fault(info->si_addr))
		_exit(99);
}

/* covers: VHU-DEV-12 */
static void memory_taken_back_reads_as_zeroes(void **state)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus,
			       .sa_flags = SA_SIGINFO};
	struct sigaction old;
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r = region(fd, 0, 4 * PAGE, 0);
	struct vtfs_region_desc d = desc(fd, 0, 4 * PAGE);
	volatile unsigned char *p = r->addr;

	assert_int_equal(sigaction(SIGBUS, &sa, &old), 0);
	p[0] = 1;
	p[2 * PAGE] = 2;
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(p[2 * PAGE], 0);
	p[3 * PAGE + 5] = 7;
	assert_int_equal(p[3 * PAGE + 5], 7);
	assert_int_equal(p[0], 1);
	assert_true(vtfs_region_faulted(r));
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	assert_false(vtfs_region_same(r, &d));
	sigaction(SIGBUS, &old, NULL);
	vtfs_region_put(r);
	close(fd);
}

static void memory_fault_knows_only_live_mappings(void **state)
{
	int fd = memfd(PAGE);
	struct vtfs_region *r[200];
	void *addr;

	for (unsigned i = 0; i < 200; i++)
		r[i] = region(fd, i * PAGE, PAGE, (uint16_t)i);
	addr = r[150]->addr;
	assert_int_equal(virtiofs_memory_fault(r[150]->addr + PAGE - 1), 1);
	assert_true(vtfs_region_faulted(r[150]));
	assert_false(vtfs_region_faulted(r[149]));
	for (unsigned i = 0; i < 200; i++)
		vtfs_region_put(r[i]);
	assert_int_equal(virtiofs_memory_fault(addr), 0);
	assert_int_equal(virtiofs_memory_fault(NULL), 0);
	assert_int_equal(virtiofs_memory_fault(&fd), 0);
	close(fd);
}

static void *map_and_fault(void *arg)
{
	int fd = *(int *)arg;

	for (unsigned i = 0; i < 500; i++) {
		struct vtfs_region *r = region(fd, 0, PAGE, 0);

		assert_int_equal(virtiofs_memory_fault(r->addr), 1);
		assert_true(vtfs_region_faulted(r));
		vtfs_region_put(r);
	}
	return NULL;
}

static void memory_fault_registry_takes_many_threads(void **state)
{
	int fd = memfd(PAGE);
	pthread_t t[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    pthread_create(&t[i], NULL, map_and_fault, &fd), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	close(fd);
}

/* A table of regions at 0x1000, 0x3000 (adjacent: 0x5000) and 0x10000. */
static struct vtfs_table *table(int fd, struct vtfs_region **r)
{
	struct vtfs_region *unsorted[4];
	struct vtfs_table *t;

	r[0] = region(fd, 0x1000, PAGE, 0);
	r[1] = region(fd, 0x3000, 2 * PAGE, 65);
	r[2] = region(fd, 0x5000, PAGE, 130);
	r[3] = region(fd, 0x10000, 4 * PAGE, 511);
	for (unsigned i = 0; i < 4; i++)
		unsorted[i] = r[3 - i];
	assert_int_equal(vtfs_table_new(&t, unsorted, 4), 0);
	for (unsigned i = 0; i < 4; i++)
		vtfs_region_put(r[i]);
	return t;
}

static void table_finds_each_byte_once(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);

	assert_null(vtfs_table_ptr(t, 0xfff, 1));
	assert_ptr_equal(vtfs_table_ptr(t, 0x1000, 1), r[0]->addr);
	assert_ptr_equal(vtfs_table_ptr(t, 0x1fff, 1), r[0]->addr + 0xfff);
	assert_null(vtfs_table_ptr(t, 0x1fff, 2));
	assert_null(vtfs_table_ptr(t, 0x2000, 1));
	assert_ptr_equal(vtfs_table_ptr(t, 0x3000, 2 * PAGE), r[1]->addr);
	assert_null(vtfs_table_ptr(t, 0x3000, 2 * PAGE + 1));
	assert_null(vtfs_table_ptr(t, 0x3000, UINT64_MAX));
	assert_ptr_equal(vtfs_table_ptr(t, 0x13fff, 1),
			 r[3]->addr + 4 * PAGE - 1);
	assert_null(vtfs_table_ptr(t, 0x14000, 1));
	assert_null(vtfs_table_ptr(t, UINT64_MAX, 1));
	assert_null(vtfs_table_ptr(NULL, 0x1000, 1));
	vtfs_table_put(vtfs_table_get(t));
	vtfs_table_put(t);
	close(fd);
}

static void table_of_overlapping_regions_is_refused(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r[2];
	struct vtfs_table *t;

	r[0] = region(fd, 0x1000, 2 * PAGE, 0);
	r[1] = region(fd, 0x2fff, PAGE, 1);
	assert_int_equal(vtfs_table_new(&t, r, 2), -EINVAL);
	assert_int_equal(r[0]->refs, 1);
	vtfs_region_put(r[1]);
	r[1] = region(fd, 0, 4 * PAGE, 1);
	assert_int_equal(vtfs_table_new(&t, r, 2), -EINVAL);
	vtfs_region_put(r[0]);
	vtfs_region_put(r[1]);
	close(fd);
}

static void table_translates_user_addresses(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	uint64_t user = 1ULL << 40;
	uint64_t got = 1;

	assert_int_equal(vtfs_table_user_to_peer(t, user + 0x3010, 16, &got),
			 0);
	assert_int_equal(got, 0x3010);
	assert_int_equal(vtfs_table_user_to_peer(t, user + 0x1ff0, 17, &got),
			 -EFAULT);
	assert_int_equal(vtfs_table_user_to_peer(t, 0x3010, 16, &got), -EFAULT);
	assert_int_equal(vtfs_table_user_to_peer(NULL, 0, 0, &got), -EFAULT);
	assert_int_equal(got, 0x3010);
	vtfs_table_put(t);
	close(fd);
}

static void append_cuts_at_region_borders(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	/* Whether the two mappings happen to be neighbours is the kernel's. */
	assert_int_equal(vtfs_table_append(t, 0x4ff0, 0x20, &p), 0);
	if (r[1]->addr + 2 * PAGE != r[2]->addr) {
		assert_int_equal(p.cnt, 2);
		assert_ptr_equal(iov[0].iov_base, r[1]->addr + 0x1ff0);
		assert_int_equal(iov[0].iov_len, 0x10);
		assert_ptr_equal(iov[1].iov_base, r[2]->addr);
		assert_int_equal(iov[1].iov_len, 0x10);
	} else {
		assert_int_equal(p.cnt, 1);
		assert_int_equal(iov[0].iov_len, 0x20);
	}
	assert_int_equal(p.regions[0], 0);
	assert_int_equal(p.regions[1], 2);
	assert_int_equal(p.regions[2], 4);
	vtfs_table_put(t);
	close(fd);
}

static void append_merges_neighbours_above_the_seal(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	assert_int_equal(vtfs_table_append(t, 0x10000, 16, &p), 0);
	assert_int_equal(vtfs_table_append(t, 0x10010, 16, &p), 0);
	assert_int_equal(p.cnt, 1);
	assert_int_equal(iov[0].iov_len, 32);
	p.seal = p.cnt;
	assert_int_equal(vtfs_table_append(t, 0x10020, 16, &p), 0);
	assert_int_equal(p.cnt, 2);
	assert_int_equal(vtfs_table_append(t, 0x10030, 0, &p), 0);
	assert_int_equal(vtfs_table_append(t, 0x10030, 16, &p), 0);
	assert_int_equal(p.cnt, 2);
	assert_int_equal(iov[1].iov_len, 32);
	assert_ptr_equal(iov[1].iov_base, r[3]->addr + 0x20);
	vtfs_table_put(t);
	close(fd);
}

static void append_of_memory_nobody_shared_faults(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	assert_int_equal(vtfs_table_append(t, 0x1ff0, 0x11, &p), -EFAULT);
	assert_int_equal(p.cnt, 1);
	assert_int_equal(iov[0].iov_len, 0x10);
	assert_int_equal(vtfs_table_append(t, 0, 1, &p), -EFAULT);
	assert_int_equal(vtfs_table_append(t, UINT64_MAX - 1, 16, &p), -EFAULT);
	vtfs_table_put(t);
	close(fd);
}

static void append_to_a_full_list_is_e2big(void **state)
{
	int fd = memfd(4 * PAGE);
	struct vtfs_region *r[4];
	struct vtfs_table *t = table(fd, r);
	struct iovec iov[2];
	struct vtfs_parts p = {.iov = iov, .max = 1};

	iov[1].iov_base = NULL;
	assert_int_equal(vtfs_table_append(t, 0x10000, 16, &p), 0);
	assert_int_equal(vtfs_table_append(t, 0x10020, 16, &p), -E2BIG);
	assert_int_equal(vtfs_table_append(t, 0x10010, 16, &p), 0);
	assert_int_equal(p.cnt, 1);
	assert_null(iov[1].iov_base);
	vtfs_table_put(t);
	close(fd);
}

/* A region that ends at 2^64 is legal; nothing goes on at 0 behind it. */
static void append_does_not_wrap(void **state)
{
	int fd = memfd(PAGE);
	struct vtfs_region_desc d = {
	    .peer_addr = UINT64_MAX - PAGE + 1, .len = PAGE, .fd = fd};
	struct vtfs_region *r[2];
	struct vtfs_table *t;
	struct iovec iov[4];
	struct vtfs_parts p = {.iov = iov, .max = 4};

	assert_int_equal(vtfs_region_new(&r[0], &d, 0), 0);
	d.peer_addr = 0;
	assert_int_equal(vtfs_region_new(&r[1], &d, 1), 0);
	assert_int_equal(vtfs_table_new(&t, r, 2), 0);
	assert_int_equal(vtfs_table_append(t, UINT64_MAX - 15, 16, &p), 0);
	assert_int_equal(vtfs_table_append(t, UINT64_MAX - 15, 17, &p),
			 -EFAULT);
	assert_non_null(vtfs_table_ptr(t, UINT64_MAX, 1));
	assert_null(vtfs_table_ptr(t, UINT64_MAX, 2));
	vtfs_table_put(t);
	vtfs_region_put(r[0]);
	vtfs_region_put(r[1]);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(region_shares_the_file),
	    cmocka_unit_test(region_at_unaligned_offset_starts_there),
	    cmocka_unit_test(region_beyond_the_file_is_refused),
	    cmocka_unit_test(region_that_wraps_or_is_empty_is_refused),
	    cmocka_unit_test(region_of_no_file_is_refused),
	    cmocka_unit_test(region_of_a_read_only_file_is_refused),
	    cmocka_unit_test(region_same_needs_every_part),
	    cmocka_unit_test(region_of_own_memory_is_not_mapped),
	    cmocka_unit_test(region_knows_a_seal),
	    cmocka_unit_test(memory_taken_back_reads_as_zeroes),
	    cmocka_unit_test(memory_fault_knows_only_live_mappings),
	    cmocka_unit_test(memory_fault_registry_takes_many_threads),
	    cmocka_unit_test(table_finds_each_byte_once),
	    cmocka_unit_test(table_of_overlapping_regions_is_refused),
	    cmocka_unit_test(table_translates_user_addresses),
	    cmocka_unit_test(append_cuts_at_region_borders),
	    cmocka_unit_test(append_merges_neighbours_above_the_seal),
	    cmocka_unit_test(append_of_memory_nobody_shared_faults),
	    cmocka_unit_test(append_to_a_full_list_is_e2big),
	    cmocka_unit_test(append_does_not_wrap),
	};

	return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
