/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A vfio-user client that lies when it is asked for its memory: the connection
 * ends, or the queue; the next client is served. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <virtiofs/fuse_kernel.h>

#include "dmahost.h"
#include "transport/vfio_user/dma.h"

#define T(f) cmocka_unit_test_setup_teardown(f, dh_set_up, dh_tear_down)

#define BUF(off) (DH_GUEST + DH_BUFS + (off))

static void post_read(struct dmahost *d)
{
	const struct fuse_read_in in = {.offset = 3, .size = 64};
	uint32_t len = dh_frame(d, DH_BUFS, FUSE_READ, &in, sizeof(in), 0);

	dh_post(d, 1,
		(struct vtfs_vq_buf[]){{BUF(0), len}, {BUF(0x800), 16 + 64}}, 1,
		1, 1);
	dh_pump(d);
}

static void next_client_is_served(struct dmahost *d)
{
	uint16_t token;
	uint32_t len;

	d->lie = NULL;
	dh_dial(d);
	memset(d->mem, 0, DH_MEM);
	dh_open(d, 0);
	post_read(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(len, 16 + 64);
}

/* ---- answers ---- */

static bool lie(struct dmahost *d, const struct dh_io *in,
		struct dh_answer *out)
{
	uint64_t v;

	switch (d->lies) {
	case 0: /* An id that was not used, or not yet. */
		out->hdr.id = (uint16_t)(out->hdr.id + 1);
		break;
	case 1: /* The same place in a table of 32, another round. */
		out->hdr.id = (uint16_t)(out->hdr.id + VFU_DMA_WINDOW);
		break;
	case 2:
		out->hdr.id = (uint16_t)(out->hdr.id ^ 0x8000);
		break;
	case 3: /* Of the other kind. */
		out->hdr.command ^= VFU_DMA_READ ^ VFU_DMA_WRITE;
		break;
	case 4:
		out->hdr.command = VFU_GET_INFO;
		break;
	case 5: /* Another address. */
		v = in->io.address + 1;
		memcpy(out->bytes, &v, sizeof(v));
		break;
	case 6: /* More than was asked for, and as much data. */
		v = in->io.count + 8;
		memcpy(out->bytes + 8, &v, sizeof(v));
		out->len += 8;
		break;
	case 7: /* More data than it says. */
		out->len++;
		break;
	case 8: /* Less. */
		out->len--;
		break;
	case 9:
		out->len = 5;
		break;
	case 10: /* An error with something behind it. */
		out->hdr.flags |= VFU_ERROR;
		out->hdr.error = EIO;
		break;
	case 11: /* A count that is no length at all. */
		v = UINT64_MAX;
		memcpy(out->bytes + 8, &v, sizeof(v));
		break;
	default: /* Twice. */
		out->hdr.size = (uint32_t)(sizeof(out->hdr) + out->len);
		send(d->h.sock, &out->hdr, sizeof(out->hdr), MSG_NOSIGNAL);
		send(d->h.sock, out->bytes, out->len, MSG_NOSIGNAL);
	}
	return true;
}

#define LIES 13

static bool lie_to_reads(struct dmahost *d, const struct dh_io *in,
			 struct dh_answer *out)
{
	return in->hdr.command == VFU_DMA_WRITE || lie(d, in, out);
}

static bool lie_to_writes(struct dmahost *d, const struct dh_io *in,
			  struct dh_answer *out)
{
	return in->hdr.command == VFU_DMA_READ || lie(d, in, out);
}

static void answer_to_a_read_does_not_fit(void **state)
{
	struct dmahost *d = *state;

	for (int i = 0; i < LIES; i++) {
		dh_open(d, 0);
		d->lie = lie_to_reads;
		d->lies = i;
		post_read(d);
		assert_true(vh_closed(&d->h));
		next_client_is_served(d);
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

static void answer_to_a_write_does_not_fit(void **state)
{
	struct dmahost *d = *state;

	for (int i = 0; i < LIES; i++) {
		dh_open(d, 0);
		d->lie = lie_to_writes;
		d->lies = i;
		post_read(d);
		assert_true(vh_closed(&d->h));
		next_client_is_served(d);
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

static void answer_has_file_descriptors(void **state)
{
	struct dmahost *d = *state;
	unsigned before;
	struct {
		struct vfu_header hdr;
		struct vfu_dma_io io;
		unsigned char data[8];
	} a;

	dh_open(d, 0);
	before = raw_fd_cnt();
	d->keep = true;
	post_read(d);
	assert_int_equal(d->kept_cnt, 1);
	assert_int_equal(d->kept[0]->io.count, 4);
	a.hdr = d->kept[0]->hdr;
	a.hdr.flags = VFU_TYPE_REPLY;
	a.hdr.size = sizeof(a) - 4;
	a.io = d->kept[0]->io;
	memset(a.data, 0, sizeof(a.data));
	vh_bytes(&d->h, &a, sizeof(a) - 4, &d->h.sock, 1);
	dh_pump(d);
	assert_true(vh_closed(&d->h));
	assert_true(raw_fd_cnt() <= before);
	d->keep = false;
	next_client_is_served(d);
}

/* ---- nothing comes ---- */

static bool say_nothing(struct dmahost *d, const struct dh_io *in,
			struct dh_answer *out)
{
	return false;
}

/* Its queue stands still; commands are answered, nobody runs in circles, and
 * what is asked for is bounded. */
static void no_answer_ever_comes(void **state)
{
	struct dmahost *d = *state;
	unsigned asked;

	dh_open(d, VIRTIOFS_F_INDIRECT_DESC);
	d->lie = say_nothing;
	post_read(d);
	asked = d->reads + d->writes;
	assert_int_equal(asked, 1);
	for (unsigned i = 0; i < 100; i++)
		dh_kick(d, 1);
	dh_pump(d);
	assert_int_equal(d->reads + d->writes, asked);
	assert_int_equal(vh_status(&d->h), 15);
	/* pump() returned: the device's fd is not readable. */
	vh_write(&d->h, 0, VTFS_PCI_DEVICE_STATUS, 1, 0);
	assert_int_equal(vh_status(&d->h), 15);
	next_client_is_served(d);
}

static void hang_up_instead_of_an_answer(void **state)
{
	struct dmahost *d = *state;

	for (unsigned i = 0; i < 7; i++) {
		dh_open(d, 0);
		d->keep = true;
		post_read(d);
		for (unsigned n = 0; n < i; n++)
			dh_answer(d, d->kept_cnt);
		close(d->h.sock);
		d->h.sock = -1;
		dh_pump(d);
		d->keep = false;
		next_client_is_served(d);
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

/* ---- refusals ---- */

static bool refuse_some(struct dmahost *d, const struct dh_io *in,
			struct dh_answer *out)
{
	if (d->lies--)
		return true;
	out->hdr.flags |= VFU_ERROR;
	out->hdr.error = EPERM;
	out->len = 0;
	return true;
}

/* Each answer in turn is an error: of the ring's, it costs the queue. */
static void every_answer_may_be_an_error(void **state)
{
	struct dmahost *d = *state;
	uint16_t token;
	uint32_t len;

	for (int i = 0; i < 8; i++) {
		bool buffers = i == 3 || i == 4;

		dh_open(d, 0);
		d->lie = refuse_some;
		d->lies = i;
		post_read(d);
		if (i == 7) {
			/* There was none left. */
			assert_true(dh_used(d, 1, &token, &len));
			assert_int_equal(len, 16 + 64);
		} else if (buffers) {
			d->lie = NULL;
			assert_true(dh_used(d, 1, &token, &len));
			assert_int_equal(len, 0);
			assert_int_equal(vh_status(&d->h), 15);
		} else {
			d->lie = NULL;
			assert_true(vh_status(&d->h) & VTFS_STATUS_NEEDS_RESET);
		}
		next_client_is_served(d);
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

/* ---- rings ---- */

static void put16(struct dmahost *d, uint64_t at, uint16_t v)
{
	uint16_t le = htole16(v);

	memcpy(dh_at(d, at), &le, sizeof(le));
}

static void is_broken(struct dmahost *d)
{
	unsigned all;

	dh_kick(d, 1);
	dh_pump(d);
	assert_true(vh_status(&d->h) & VTFS_STATUS_NEEDS_RESET);
	all = d->reads + d->writes;
	dh_kick(d, 1);
	dh_pump(d);
	assert_int_equal(d->reads + d->writes, all);
	next_client_is_served(d);
	dh_dial(d);
	memset(d->mem, 0, DH_MEM);
}

static void ring_that_is_carried_breaks_the_rules(void **state)
{
	const uint64_t ring = DH_GUEST + DH_RING;
	struct dmahost *d = *state;

	/* INIT was the first: the index is 1. */
	dh_open(d, 0);
	put16(d, ring + 0x4002, 1 + 65);
	is_broken(d);

	dh_open(d, 0);
	put16(d, ring + 0x4004 + 2, 64);
	put16(d, ring + 0x4002, 2);
	is_broken(d);

	/* A chain in a circle. */
	dh_open(d, 0);
	put16(d, ring + 0x4004 + 2, 5);
	put16(d, ring + 5 * 16 + 12, 1);
	put16(d, ring + 5 * 16 + 14, 5);
	put16(d, ring + 0x4002, 2);
	is_broken(d);

	/* An indirect table where none was agreed, and one of a byte. */
	dh_open(d, 0);
	put16(d, ring + 0x4004 + 2, 5);
	put16(d, ring + 5 * 16 + 12, 4);
	put16(d, ring + 0x4002, 2);
	is_broken(d);

	dh_open(d, VIRTIOFS_F_INDIRECT_DESC);
	put16(d, ring + 0x4004 + 2, 5);
	put16(d, ring + 5 * 16 + 8, 1);
	put16(d, ring + 5 * 16 + 12, 4);
	put16(d, ring + 0x4002, 2);
	is_broken(d);

	/* A table in a table. */
	dh_open(d, VIRTIOFS_F_INDIRECT_DESC);
	put16(d, ring + 0x4004 + 2, 5);
	memcpy(dh_at(d, ring + 5 * 16), &(uint64_t){htole64(BUF(0))}, 8);
	put16(d, ring + 5 * 16 + 8, 32);
	put16(d, ring + 5 * 16 + 12, 4);
	put16(d, BUF(12), 4);
	put16(d, ring + 0x4002, 2);
	is_broken(d);
}

static void put_slot(struct dmahost *d, unsigned i, uint32_t len, uint16_t id,
		     uint16_t flags)
{
	unsigned char *p = dh_at(d, DH_GUEST + DH_RING + i * 16);

	memset(p, 0, 8);
	memcpy(p + 8, &(uint32_t){htole32(len)}, 4);
	memcpy(p + 12, &(uint16_t){htole16(id)}, 2);
	memcpy(p + 14, &(uint16_t){htole16(flags)}, 2);
}

/* INIT took slots 0 and 1. Available is 0x80 in the first round, 0x8000 in the
 * second. */
static void packed_ring_that_is_carried_breaks_the_rules(void **state)
{
	struct dmahost *d = *state;

	/* A chain without an end, through all of the ring. */
	dh_open(d, VIRTIOFS_F_RING_PACKED);
	for (unsigned i = 0; i < 64; i++)
		put_slot(d, i, 8, 9, i < 2 ? 0x8001 : 0x81);
	is_broken(d);

	/* One that ends in what is not available. */
	dh_open(d, VIRTIOFS_F_RING_PACKED);
	put_slot(d, 2, 8, 9, 0x81);
	is_broken(d);

	/* An id that there is not. */
	dh_open(d, VIRTIOFS_F_RING_PACKED);
	put_slot(d, 2, 8, 64, 0x80);
	is_broken(d);

	/* The same id twice. */
	dh_open(d, VIRTIOFS_F_RING_PACKED);
	put_slot(d, 2, 8, 7, 0x80);
	put_slot(d, 3, 8, 7, 0x80);
	is_broken(d);

	/* Indirect without a word, and in a list. */
	dh_open(d, VIRTIOFS_F_RING_PACKED);
	put_slot(d, 2, 16, 7, 0x84);
	is_broken(d);
	dh_open(d, VIRTIOFS_F_RING_PACKED | VIRTIOFS_F_INDIRECT_DESC);
	put_slot(d, 1, 8, 7, 0x81);
	put_slot(d, 2, 16, 7, 0x84);
	is_broken(d);
}

/* All chains are bad ones, in all slots: they come back, round and round. */
static void packed_ring_is_full_of_nothing(void **state)
{
	struct dmahost *d = *state;

	dh_open(d, VIRTIOFS_F_RING_PACKED);
	for (unsigned round = 0; round < 6; round++) {
		uint16_t avail = round % 2 ? 0x8000 : 0x80;
		uint16_t used = round % 2 ? 0 : 0x8080;

		for (unsigned i = round ? 0 : 2; i < 64; i++)
			put_slot(d, i, 8, (uint16_t)i, avail);
		dh_kick(d, 1);
		dh_pump(d);
		for (unsigned i = round ? 0 : 2; i < 64; i++) {
			unsigned char *p = dh_at(d,
						 DH_GUEST + DH_RING + i * 16);
			uint16_t flags;

			memcpy(&flags, p + 14, 2);
			assert_int_equal(le16toh(flags), used);
		}
	}
	assert_int_equal(vh_status(&d->h), 15);
	next_client_is_served(d);
}

/* Tables and buffers in no memory, or around the end of all addresses. */
static void chain_names_what_is_not_there(void **state)
{
	static const uint64_t nowhere[] = {
	    0,		DH_GUEST + DH_MEM, DH_GUEST + DH_MEM - 1,
	    UINT64_MAX, UINT64_MAX - 31,   VFU_DMA_ARENA,
	    1ULL << 63};
	const uint64_t ring = DH_GUEST + DH_RING;
	struct dmahost *d = *state;
	uint16_t idx = 1;

	dh_open(d, VIRTIOFS_F_INDIRECT_DESC);
	for (unsigned i = 0; i < 14; i++) {
		uint64_t addr = htole64(nowhere[i / 2]);

		memcpy(dh_at(d, ring + 5 * 16), &addr, 8);
		put16(d, ring + 5 * 16 + 8, 32);
		put16(d, ring + 5 * 16 + 12, i % 2 ? 4 : 0);
		put16(d, ring + 0x4004 + 2 * idx, 5);
		put16(d, ring + 0x4002, ++idx);
		dh_kick(d, 1);
		dh_pump(d);
		/* Used, with length 0. */
		assert_int_equal(*dh_at(d, ring + 0x8002), idx);
		assert_int_equal(*dh_at(d, ring + 0x8004 + 8 * (idx - 1) + 4),
				 0);
	}
	assert_int_equal(vh_status(&d->h), 15);
	assert_int_equal(d->requests, 0);
	next_client_is_served(d);
}

/* It can send so little at once that there is no end, or nothing at all. */
static void transfers_are_tiny(void **state)
{
	struct dmahost *d = *state;
	uint16_t token;
	uint32_t len;

	vh_dial(&d->h);
	vh_version(&d->h, "{\"capabilities\":{\"max_msg_fds\":8,"
			  "\"max_data_xfer_size\":7}}");
	dh_open(d, 0);
	post_read(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(len, 16 + 64);
	assert_int_equal(d->largest, 7);
	vh_dial(&d->h);
	vh_version(&d->h, "{\"capabilities\":{\"max_msg_fds\":8,"
			  "\"max_data_xfer_size\":0}}");
	dh_dial(d);
	memset(d->mem, 0, DH_MEM);
	next_client_is_served(d);
}

/* The arena is no place for a client. */
static void memory_lies_where_the_arena_is(void **state)
{
	struct dmahost *d = *state;
	int fd = vh_memfd(0x1000);

	assert_int_equal(vh_map(&d->h, VFU_DMA_ARENA + 0x1000, 0x1000, 3, fd),
			 0);
	assert_int_equal(vh_map(&d->h, DH_GUEST, DH_MEM, 3, -1), 0);
	dh_up(d, 0);
	assert_true(vh_status(&d->h) & VTFS_STATUS_NEEDS_RESET);
	dh_dial(d);
	dh_open(d, 0);
	assert_int_equal(vh_map(&d->h, VFU_DMA_ARENA + 0x1000, 0x1000, 3, fd),
			 EINVAL);
	close(fd);
	next_client_is_served(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(answer_to_a_read_does_not_fit),
	    T(answer_to_a_write_does_not_fit),
	    T(answer_has_file_descriptors),
	    T(no_answer_ever_comes),
	    T(hang_up_instead_of_an_answer),
	    T(every_answer_may_be_an_error),
	    T(ring_that_is_carried_breaks_the_rules),
	    T(packed_ring_that_is_carried_breaks_the_rules),
	    T(packed_ring_is_full_of_nothing),
	    T(chain_names_what_is_not_there),
	    T(transfers_are_tiny),
	    T(memory_lies_where_the_arena_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
