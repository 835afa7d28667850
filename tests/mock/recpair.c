/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recpair.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

int pair_set_up(void **state)
{
	static struct pair p;

	assert_int_equal(virtiofs_inproc_pair(&p.d, &p.c), 0);
	rec_init(&p.rec, p.d);
	rec_client_init(&p.rc, p.c);
	p.fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(p.fd, 4 * PAGE), 0);
	p.mem = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd,
		     0);
	assert_true(p.mem != MAP_FAILED);
	*state = &p;
	return 0;
}

int pair_tear_down(void **state)
{
	struct pair *p = *state;

	virtiofs_transport_free(p->c);
	if (p->d)
		rec_fini(&p->rec);
	munmap(p->mem, 4 * PAGE);
	close(p->fd);
	return 0;
}

bool pair_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

int pair_status(struct pair *p, uint8_t bits)
{
	return PAIR_RUN(p, p->c->cli->set_status(p->c, bits));
}

uint8_t pair_get_status(struct pair *p)
{
	uint8_t bits = 0;

	assert_int_equal(PAIR_RUN(p, p->c->cli->get_status(p->c, &bits)), 0);
	return bits;
}

void pair_negotiate(struct pair *p)
{
	assert_int_equal(PAIR_RUN(p, p->c->cli->connect(p->c)), 0);
	assert_int_equal(pair_status(p, 0), 0);
	assert_int_equal(pair_status(p, 1), 0);
	assert_int_equal(pair_status(p, 3), 0);
	assert_int_equal(
	    PAIR_RUN(p, p->c->cli->set_features(p->c, VIRTIOFS_F_VERSION_1)),
	    0);
	assert_int_equal(pair_status(p, 11), 0);
}

uint64_t pair_map(struct pair *p)
{
	struct virtiofs_region r = {
	    .size = sizeof(r), .addr = p->mem, .len = 4 * PAGE, .fd = p->fd};
	uint64_t addr = 0;

	assert_int_equal(PAIR_RUN(p, p->c->cli->map(p->c, &r, &addr)), 0);
	return addr;
}

int pair_start(struct pair *p, unsigned vq, uint64_t addr)
{
	struct vtfs_queue_setup q = {.vq = (uint16_t)vq,
				     .num = 8,
				     .desc = addr,
				     .driver = addr + PAGE,
				     .device = addr + 2 * PAGE,
				     .kick_fd = eventfd(0, EFD_CLOEXEC),
				     .call_fd = -1,
				     .enabled = true};
	int r = PAIR_RUN(p, p->c->cli->start_queue(p->c, &q));

	close(q.kick_fd);
	return r;
}
