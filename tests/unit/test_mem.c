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
#include "regions.h"

static void region_shares_the_file(void **state)
{
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r = region_make(fd, 0x1000, 4 * PAGE, 3);
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
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region_desc d = region_desc(fd, 0, PAGE);
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
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region_desc d = region_desc(fd, 0, 4 * PAGE + 1);
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
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region_desc d = region_desc(fd, UINT64_MAX - PAGE + 2,
						PAGE);
	struct vtfs_region *r;

	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d.peer_addr = 0;
	d.user_addr = UINT64_MAX - PAGE + 2;
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d = region_desc(fd, 0, 0);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	d = region_desc(fd, 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, VTFS_REGION_MAX), -EINVAL);
	close(fd);
}

static void region_of_no_file_is_refused(void **state)
{
	struct vtfs_region_desc d;
	struct vtfs_region *r;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	d = region_desc(p[0], 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
	close(p[0]);
	close(p[1]);
	d = region_desc(-1, 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EINVAL);
}

static void region_of_a_read_only_file_is_refused(void **state)
{
	int fd = region_memfd(PAGE);
	struct vtfs_region_desc d;
	struct vtfs_region *r;
	char path[64];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(ro >= 0);
	d = region_desc(ro, 0, PAGE);
	assert_int_equal(vtfs_region_new(&r, &d, 0), -EACCES);
	close(ro);
	close(fd);
}

static void region_same_needs_every_part(void **state)
{
	int fd = region_memfd(4 * PAGE);
	int other = region_memfd(4 * PAGE);
	int twin = dup(fd);
	struct vtfs_region *r = region_make(fd, PAGE, 2 * PAGE, 0);
	struct vtfs_region_desc d = region_desc(twin, PAGE, 2 * PAGE);

	assert_true(vtfs_region_same(r, &d));
	d.fd = other;
	assert_false(vtfs_region_same(r, &d));
	d.fd = fd;
	d.fd_offset = PAGE;
	assert_false(vtfs_region_same(r, &d));
	d = region_desc(fd, PAGE, PAGE);
	assert_false(vtfs_region_same(r, &d));
	d = region_desc(fd, 0, 2 * PAGE);
	assert_false(vtfs_region_same(r, &d));
	d = region_desc(fd, PAGE, 2 * PAGE);
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
	int fd = region_memfd(4 * PAGE);
	struct vtfs_region *r = region_make(fd, 0, 4 * PAGE, 0);
	struct vtfs_region_desc d = region_desc(fd, 0, 4 * PAGE);
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
	int fd = region_memfd(PAGE);
	struct vtfs_region *r[200];
	void *addr;

	for (unsigned i = 0; i < 200; i++)
		r[i] = region_make(fd, i * PAGE, PAGE, (uint16_t)i);
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
		struct vtfs_region *r = region_make(fd, 0, PAGE, 0);

		assert_int_equal(virtiofs_memory_fault(r->addr), 1);
		assert_true(vtfs_region_faulted(r));
		vtfs_region_put(r);
	}
	return NULL;
}

static void memory_fault_registry_takes_many_threads(void **state)
{
	int fd = region_memfd(PAGE);
	pthread_t t[3];

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    pthread_create(&t[i], NULL, map_and_fault, &fd), 0);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
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
	    cmocka_unit_test(memory_taken_back_reads_as_zeroes),
	    cmocka_unit_test(memory_fault_knows_only_live_mappings),
	    cmocka_unit_test(memory_fault_registry_takes_many_threads),
	};

	return cmocka_run_group_tests_name("mem/region", tests, NULL, NULL);
}
