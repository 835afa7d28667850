/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that came without a file descriptor: DMA_READ and DMA_WRITE. */
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

#define EVENT	 VIRTIOFS_F_EVENT_IDX
#define INDIRECT VIRTIOFS_F_INDIRECT_DESC
#define IN_ORDER VIRTIOFS_F_IN_ORDER
#define PACKED	 VIRTIOFS_F_RING_PACKED

#define BUF(off) (DH_GUEST + DH_BUFS + (off))

static const uint64_t rings[] = {0,
				 EVENT,
				 INDIRECT,
				 EVENT | INDIRECT,
				 EVENT | INDIRECT | IN_ORDER,
				 PACKED,
				 PACKED | EVENT,
				 PACKED | EVENT | INDIRECT,
				 PACKED | EVENT | IN_ORDER};
#define RINGS (sizeof(rings) / sizeof(rings[0]))

/* READ of size bytes of that value into the page at off; token is the page. */
static void post_read(struct dmahost *d, uint32_t page, uint32_t size,
		      unsigned char value)
{
	const struct fuse_read_in in = {.offset = value, .size = size};
	uint32_t off = page * 0x4000;
	uint32_t len = dh_frame(d, DH_BUFS + off, FUSE_READ, &in, sizeof(in),
				0);

	dh_post(d, 1,
		(struct vtfs_vq_buf[]){{BUF(off), len},
				       {BUF(off + 0x800), 16},
				       {BUF(off + 0x1000), size}},
		1, 2, (uint16_t)page);
}

static struct fuse_out_header out_of(struct dmahost *d, uint32_t page)
{
	struct fuse_out_header out;

	memcpy(&out, dh_at(d, BUF(page * 0x4000 + 0x800)), sizeof(out));
	return out;
}

static bool all_are(const unsigned char *p, size_t len, unsigned char value)
{
	for (size_t i = 0; i < len; i++)
		if (p[i] != value)
			return false;
	return true;
}

/* The READ of page came back as it has to. */
static void check_read(struct dmahost *d, uint32_t page, uint32_t size,
		       unsigned char value)
{
	const unsigned char *p = dh_at(d, BUF(page * 0x4000 + 0x1000));
	struct fuse_out_header out = out_of(d, page);

	assert_int_equal(out.len, 16 + size);
	assert_int_equal(out.error, 0);
	assert_int_equal(out.unique, 0x1000 + DH_BUFS + page * 0x4000);
	assert_true(all_are(p, size, value));
}

static void read_works(struct dmahost *d, uint32_t page, unsigned char value)
{
	uint16_t token;
	uint32_t len;

	post_read(d, page, 0x1000, value);
	dh_pump(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(token, page);
	assert_int_equal(len, 16 + 0x1000);
	check_read(d, page, 0x1000, value);
}

/* covers: VFU-DEV-08 */
static void memory_without_fd_is_reached_by_messages(void **state)
{
	struct dmahost *d = *state;

	for (unsigned i = 0; i < RINGS; i++) {
		dh_open(d, rings[i]);
		for (uint32_t page = 0; page < 9; page++) {
			read_works(d, page, (unsigned char)(page + i + 1));
			assert_int_not_equal(vh_heard(d->calls[2]), 0);
			/* Beside the reply nothing was touched. */
			assert_true(all_are(
			    dh_at(d, BUF(page * 0x4000 + 0x2000)), 0x2000, 0));
		}
		assert_int_equal(vh_heard(d->calls[1]), 0);
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

/* What is written comes from wherever the client has it. */
static void scattered_data_arrives_in_order(void **state)
{
	struct dmahost *d = *state;
	struct fuse_write_in in = {.size = 3000};
	struct vtfs_vq_buf bufs[14];
	unsigned cnt = 0;
	uint16_t token;
	uint32_t len;

	dh_open(d, INDIRECT);
	len = dh_frame(d, DH_BUFS, FUSE_WRITE, &in, sizeof(in), 3000);
	bufs[cnt++] = (struct vtfs_vq_buf){BUF(0), 30};
	bufs[cnt++] = (struct vtfs_vq_buf){BUF(30), len - 30};
	for (unsigned i = 0; i < 10; i++) {
		uint32_t off = 0x90000 - i * 0x3001;

		memset(dh_at(d, BUF(off)), (int)i + 1, 300);
		bufs[cnt++] = (struct vtfs_vq_buf){BUF(off), 300};
	}
	/* The header in two pieces, and one byte to spare. */
	bufs[cnt++] = (struct vtfs_vq_buf){BUF(0xa0000), 7};
	bufs[cnt++] = (struct vtfs_vq_buf){BUF(0xa1000), 18};
	dh_post(d, 1, bufs, cnt - 2, 2, 5);
	dh_pump(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(len, 24);
	assert_int_equal(d->written_len, 3000);
	for (unsigned i = 0; i < 10; i++)
		assert_true(
		    all_are(d->written + 300 * i, 300, (unsigned char)(i + 1)));
	assert_int_equal(*dh_at(d, BUF(0xa0000)), 24);
	assert_int_equal(*dh_at(d, BUF(0xa1000 + 9)), 3000 % 256);
	assert_int_equal(*dh_at(d, BUF(0xa1000 + 17)), 0);
}

static bool last_is(const struct dmahost *d, const char *what)
{
	size_t len = strlen(d->text);

	return len >= 3 && !strncmp(d->text + len - 3, what, 2);
}

/* O_DIRECT needs it: what begins a page for the client begins one here. */
static void data_keeps_its_place_in_a_page(void **state)
{
	static const uint32_t at[] = {0x10000, 0x10200, 0x10e00, 0x10ffc};
	struct dmahost *d = *state;
	uint16_t token;
	uint32_t len;

	dh_open(d, INDIRECT);
	for (unsigned i = 0; i < 4; i++) {
		struct fuse_write_in wr = {.size = 0x3000};
		struct fuse_read_in rd = {.size = 0x3000};

		len = dh_frame(d, DH_BUFS, FUSE_WRITE, &wr, sizeof(wr), 0x3000);
		dh_post(d, 1,
			(struct vtfs_vq_buf[]){{BUF(0), len},
					       {BUF(at[i]), 0x3000},
					       {BUF(0x800), 24}},
			2, 1, 1);
		dh_pump(d);
		assert_true(dh_used(d, 1, &token, &len));
		assert_int_equal(d->data_at, at[i] % 4096);
		len = dh_frame(d, DH_BUFS, FUSE_READ, &rd, sizeof(rd), 0);
		dh_post(d, 1,
			(struct vtfs_vq_buf[]){{BUF(0), len},
					       {BUF(0x800), 16},
					       {BUF(at[i]), 0x3000}},
			1, 2, 1);
		dh_pump(d);
		assert_true(dh_used(d, 1, &token, &len));
		assert_int_equal(len, 0x3010);
		assert_int_equal(d->room_at, at[i] % 4096);
	}
}

static void check_steps(struct dmahost *d, const char *const *steps)
{
	uint16_t token;
	uint32_t len;

	d->keep = true;
	post_read(d, 1, 0x1000, 7);
	for (unsigned i = 0; i < 6; i++) {
		memset(d->text, 0, sizeof(d->text));
		if (!i)
			dh_pump(d);
		else
			dh_answer(d, d->kept_cnt);
		assert_string_equal(d->text, steps[i]);
		/* One answer of several is not all. */
		if (d->kept_cnt == 2) {
			dh_answer(d, 1);
			assert_string_equal(d->text, steps[i]);
		}
		assert_int_equal(vh_heard(d->calls[2]), 0);
		assert_false(dh_used(d, 1, &token, &len));
	}
	dh_answer(d, 1);
	assert_int_equal(vh_heard(d->calls[2]), 1);
	assert_true(dh_used(d, 1, &token, &len));
	check_read(d, 1, 0x1000, 7);
}

/* Index before ring, ring before buffers; data before elements, those before
 * the index, that before the call: each is answered before the next goes. */
static void steps_wait_for_the_answers_to_those_before(void **state)
{
	static const char *const steps[] = {"ra ",    "rd ra ", "rb ",
					    "wb wb ", "wu ",	"wi "};
	struct dmahost *d = *state;

	dh_open(d, 0);
	check_steps(d, steps);
}

/* The flags of the head before the slots; id and length before the flags. */
static void steps_of_a_packed_ring_wait_too(void **state)
{
	static const char *const steps[] = {"rd rd ", "rd rd ", "rb ",
					    "wb wb ", "wd ",	"wd "};
	struct dmahost *d = *state;

	dh_open(d, PACKED);
	check_steps(d, steps);
}

/* The driver writes the head last: what lies in the slots when it is not yet
 * seen is not what counts. */
static void slots_are_read_after_their_head(void **state)
{
	struct dmahost *d = *state;
	unsigned char *ring;
	unsigned char slots[48];
	uint16_t token;
	uint32_t len;

	dh_open(d, PACKED);
	ring = dh_at(d, DH_GUEST + DH_RING);
	d->keep = true;
	post_read(d, 1, 64, 7);
	/* INIT took two slots. Only the head is there when it is looked for the
	 * first time, all else only when it is looked for again. */
	memcpy(slots, ring + 32, sizeof(slots));
	memset(ring + 32, 0, 14);
	memset(ring + 48, 0, 32);
	dh_pump(d);
	/* Behind the end too. */
	assert_string_equal(d->text, "rd rd ");
	dh_answer(d, 2);
	assert_string_equal(d->text, "rd rd rd rd ");
	memcpy(ring + 32, slots, sizeof(slots));
	d->keep = false;
	dh_answer(d, 2);
	assert_true(dh_used(d, 1, &token, &len));
	check_read(d, 1, 64, 7);
}

/* A packed ring of 8: INIT had slots 0 and 1, two READs have the rest, and the
 * first is given back: its flags are the last message. */
static void fill_and_give_one(struct dmahost *d)
{
	d->num = 8;
	dh_open(d, PACKED);
	d->hold = true;
	post_read(d, 2, 64, 2);
	dh_pump(d);
	d->hold = false;
	post_read(d, 1, 64, 1);
	dh_pump(d);
	d->keep = true;
	virtiofs_req_error(d->held, -EIO);
	memset(d->text, 0, sizeof(d->text));
	dh_pump(d);
	while (d->kept_cnt && strcmp(d->text, "wb wd wd "))
		dh_answer(d, d->kept_cnt);
	assert_int_equal(d->kept_cnt, 1);
}

/* The client sees a used descriptor before we hear that he has it. */
static void slots_are_used_again_before_their_answer(void **state)
{
	struct dmahost *d = *state;
	uint16_t token;
	uint32_t len;

	for (unsigned i = 0; i < 3; i++) {
		d->held = NULL;
		fill_and_give_one(d);
		dh_apply(d, 0);
		while (dh_used(d, 1, &token, &len))
			;
		/* In slots that we count as ours, some of them. */
		post_read(d, 3, 64, 3);
		post_read(d, 4, 64, 4);
		dh_pump(d);
		d->held = NULL;
		d->hold = i == 2;
		if (i == 1) {
			/* The look reads twice; we hear in between. */
			while (d->kept_cnt > 1)
				dh_answer_one(d, d->kept_cnt - 1);
		}
		d->keep = false;
		dh_answer(d, d->kept_cnt);
		/* Nor does the second wait for the first to be done. */
		if (d->held) {
			assert_true(dh_used(d, 1, &token, &len));
			assert_int_equal(token, 4);
			virtiofs_req_filled(d->held, 64);
			dh_pump(d);
		}
		d->hold = false;
		len = 0;
		while (dh_used(d, 1, &token, &len))
			assert_int_equal(len, 80);
		assert_int_equal(len, 80);
		assert_int_equal(vtfs_vq_drv_free_cnt(d->drv[1]), 8);
		assert_int_equal(vh_status(&d->h), 15);
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

/* With EVENT_IDX a kick is asked for, and what came meanwhile is seen. */
static void nothing_is_missed_while_a_kick_is_asked_for(void **state)
{
	struct dmahost *d = *state;
	uint16_t token;
	uint32_t len;

	dh_open(d, EVENT);
	d->keep = true;
	post_read(d, 1, 64, 1);
	dh_pump(d);
	while (!strstr(d->text, "we")) {
		assert_true(d->kept_cnt);
		dh_answer(d, d->kept_cnt);
	}
	/* The driver does not see the new event index: no kick. */
	len = d->h.id;
	post_read(d, 2, 64, 2);
	assert_int_equal(d->h.id, len);
	d->keep = false;
	dh_answer(d, d->kept_cnt);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(token, 1);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(token, 2);
	assert_true(last_is(d, "wi") || last_is(d, "ra"));
	check_read(d, 2, 64, 2);
}

/* ---- answers of all kinds ---- */

static bool count_in_32_bits(struct dmahost *d, const struct dh_io *in,
			     struct dh_answer *out)
{
	if (in->hdr.command == VFU_DMA_WRITE)
		out->len = (size_t)d->lies;
	return true;
}

/* covers: VFU-BTH-12 */
static void answers_to_writes_have_three_lengths(void **state)
{
	struct dmahost *d = *state;

	dh_open(d, 0);
	d->lie = count_in_32_bits;
	for (uint32_t i = 0; i < 3; i++) {
		/* QEMU; the older text; the present one. */
		d->lies = (int[]){0, 12, 16}[i];
		read_works(d, i, (unsigned char)(i + 1));
	}
}

static bool fail_buffers(struct dmahost *d, const struct dh_io *in,
			 struct dh_answer *out)
{
	bool write = in->hdr.command == VFU_DMA_WRITE;
	uint64_t count = in->io.count / 2;

	if (in->io.address < BUF(0) || write != (d->lies & 1))
		return true;
	if (d->lies & 2) {
		memcpy(out->bytes + 8, &count, sizeof(count));
		if (!write)
			out->len -= in->io.count - count;
		return true;
	}
	out->hdr.flags |= VFU_ERROR;
	out->hdr.error = EIO;
	out->len = 0;
	return true;
}

/* covers: VFU-DEV-29 */
static void bytes_that_do_not_come_or_go_fail_their_request(void **state)
{
	struct dmahost *d = *state;
	unsigned requests;
	uint16_t token;
	uint32_t len;

	dh_open(d, INDIRECT);
	for (uint32_t i = 0; i < 4; i++) {
		requests = d->requests;
		d->lie = fail_buffers;
		d->lies = (int)i;
		post_read(d, i, 0x1000, 9);
		dh_pump(d);
		assert_true(dh_used(d, 1, &token, &len));
		assert_int_equal(token, i);
		/* Whose it is could not be read, or nothing be written. */
		assert_int_equal(len, 0);
		assert_int_equal(d->requests - requests, i & 1);
		d->lie = NULL;
		assert_int_equal(vh_status(&d->h), 15);
		read_works(d, 8, (unsigned char)i);
	}
}

static bool fail_second_page(struct dmahost *d, const struct dh_io *in,
			     struct dh_answer *out)
{
	if (in->io.address != BUF(0x1000))
		return true;
	out->hdr.flags |= VFU_ERROR;
	out->hdr.error = EIO;
	out->len = 0;
	return true;
}

/* The header came: so who waits is told. */
static void data_that_does_not_come_is_an_error(void **state)
{
	struct dmahost *d = *state;
	struct fuse_write_in in = {.size = 0x1000};
	struct fuse_out_header out;
	uint16_t token;
	uint32_t len;

	dh_open(d, 0);
	d->lie = fail_second_page;
	len = dh_frame(d, DH_BUFS, FUSE_WRITE, &in, sizeof(in), 0x1000);
	dh_post(d, 1,
		(struct vtfs_vq_buf[]){
		    {BUF(0), len}, {BUF(0x1000), 0x1000}, {BUF(0x800), 64}},
		2, 1, 1);
	dh_pump(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(len, 16);
	out = out_of(d, 0);
	assert_int_equal(out.error, -EFAULT);
	assert_int_equal(d->written_len, 0);
}

/* Any order of answers, chains of one and of many, in rings that are full,
 * round and round. */
static void answers_come_in_any_order(void **state)
{
	struct dmahost *d = *state;
	unsigned seed = 7;

	for (unsigned i = 0; i < RINGS; i++) {
		unsigned char values[16] = {0}; /* in flight: not 0 */
		unsigned posted = 0, done = 0;
		uint16_t token;
		uint32_t len;

		d->num = 16;
		dh_open(d, rings[i]);
		d->keep = true;
		for (unsigned n = 0; done < 200; n++) {
			unsigned page = (unsigned)rand_r(&seed) % 16;

			assert_true(n < 100000);
			if (posted < 200 && !values[page] &&
			    vtfs_vq_drv_free_cnt(d->drv[1]) >= 3) {
				values[page] = (unsigned char)++posted;
				post_read(d, page, 100, values[page]);
			}
			dh_pump(d);
			if (d->kept_cnt)
				dh_answer_one(d, (unsigned)rand_r(&seed) %
						     d->kept_cnt);
			while (dh_used(d, 1, &token, &len)) {
				assert_int_equal(len, 116);
				check_read(d, token, 100, values[token]);
				values[token] = 0;
				done++;
			}
		}
		assert_int_equal(d->requests, 200 * (i + 1));
		assert_int_equal(vh_status(&d->h), 15);
		d->keep = false;
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

/* ---- what may be accessed ---- */

/* covers: VFU-DEV-09 */
static void memory_is_accessed_as_it_was_allowed(void **state)
{
	struct dmahost *d = *state;
	const struct fuse_read_in in = {.size = 0x1000, .offset = 1};
	uint64_t at = DH_GUEST + DH_MEM;
	struct fuse_out_header out;
	unsigned writes;
	uint16_t token;
	uint32_t len;

	/* The last page for reading only, behind it nothing, and then for
	 * writing only. */
	assert_int_equal(vh_map(&d->h, at, 0x1000, 1, -1), 0);
	assert_int_equal(vh_map(&d->h, at + 0x2000, 0x1000, 2, -1), 0);
	dh_open(d, 0);
	len = dh_frame(d, DH_BUFS, FUSE_READ, &in, sizeof(in), 0);
	for (unsigned i = 0; i < 2; i++) {
		writes = d->writes;
		dh_post(d, 1,
			(struct vtfs_vq_buf[]){{BUF(0), len},
					       {BUF(0x800), 16},
					       {at + i * 0x800, 0x1000}},
			1, 2, 1);
		dh_pump(d);
		assert_true(dh_used(d, 1, &token, &len));
		out = out_of(d, 0);
		assert_int_equal(len, 16);
		assert_int_equal(out.error, -EFAULT);
		/* Reply, element, index. */
		assert_int_equal(d->writes - writes, 3);
		len = 80;
	}
	/* Across the end of what may be written. */
	dh_post(d, 1,
		(struct vtfs_vq_buf[]){
		    {BUF(0), len}, {BUF(0x800), 16}, {at - 0x800, 0x1000}},
		1, 2, 1);
	dh_pump(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(len, 16);
	assert_int_equal(d->requests, 0);
	dh_post(d, 1,
		(struct vtfs_vq_buf[]){{at + 0x2000, 80}, {BUF(0x800), 16}}, 1,
		1, 2);
	dh_pump(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(len, 0);
	assert_int_equal(d->requests, 0);
}

/* covers: VFU-DEV-13 */
static void unmapping_its_ring_breaks_a_queue(void **state)
{
	struct dmahost *d = *state;
	unsigned reads;

	dh_open(d, 0);
	assert_int_equal(vh_unmap(&d->h, DH_GUEST, DH_MEM), 0);
	reads = d->reads;
	dh_kick(d, 1);
	dh_pump(d);
	assert_int_equal(d->reads, reads);
	assert_true(vh_status(&d->h) & VTFS_STATUS_NEEDS_RESET);
	vh_write(&d->h, 0, VTFS_PCI_DEVICE_STATUS, 1, 0);
	assert_int_equal(vh_status(&d->h), 0);
	memset(d->mem, 0, DH_MEM);
	dh_dial(d);
	dh_open(d, 0);
	read_works(d, 1, 1);
}

/* The session's own ring is not the client's to take away. */
static void all_memory_goes_and_comes_back(void **state)
{
	const struct vfu_dma_unmap u = {.argsz = sizeof(u),
					.flags = VFU_DMA_UNMAP_ALL};
	struct dmahost *d = *state;

	dh_open(d, 0);
	read_works(d, 1, 1);
	assert_int_equal(vh_ask(&d->h, VFU_DMA_UNMAP, &u, sizeof(u), NULL), 0);
	assert_int_equal(vh_map(&d->h, DH_GUEST, DH_MEM, 3, -1), 0);
	assert_int_equal(vh_status(&d->h), 15);
	read_works(d, 2, 2);
}

/* ---- waiting ---- */

/* covers: VFU-BTH-08, VFU-BTH-09 */
static void commands_are_answered_while_messages_are_not(void **state)
{
	struct dmahost *d = *state;
	uint16_t token;
	uint32_t len;

	dh_open(d, 0);
	d->keep = true;
	post_read(d, 1, 0x1000, 7);
	dh_pump(d);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_not_equal(d->kept_cnt, 0);
		assert_int_equal(vh_status(&d->h), 15);
		assert_int_equal(
		    vh_map(&d->h, 0x40000000 + i * 0x1000, 0x1000, 3, -1), 0);
		dh_answer(d, d->kept_cnt);
	}
	assert_true(dh_used(d, 1, &token, &len));
	check_read(d, 1, 0x1000, 7);
}

static void reset_is_over_when_all_is_answered(void **state)
{
	struct dmahost *d = *state;
	unsigned char *copy = malloc(DH_MEM);

	dh_open(d, 0);
	d->keep = true;
	post_read(d, 1, 0x1000, 7);
	dh_pump(d);
	while (!last_is(d, "wb"))
		dh_answer(d, d->kept_cnt);
	assert_int_equal(d->kept_cnt, 2);
	vh_write(&d->h, 0, VTFS_PCI_DEVICE_STATUS, 1, 0);
	assert_int_equal(vh_status(&d->h), 15);
	dh_answer(d, 1);
	assert_int_equal(vh_status(&d->h), 15);
	dh_answer(d, 1);
	assert_int_equal(vh_status(&d->h), 0);
	/* And nothing comes afterwards. */
	memcpy(copy, d->mem, DH_MEM);
	dh_kick(d, 1);
	dh_pump(d);
	assert_int_equal(d->kept_cnt, 0);
	assert_memory_equal(copy, d->mem, DH_MEM);
	free(copy);
	d->keep = false;
	dh_dial(d);
	memset(d->mem, 0, DH_MEM);
	dh_open(d, 0);
	read_works(d, 1, 1);
}

/* While the program has a request nothing new is looked for. */
static void reset_waits_for_the_program_in_silence(void **state)
{
	struct dmahost *d = *state;
	unsigned all;

	dh_open(d, 0);
	d->hold = true;
	post_read(d, 1, 64, 1);
	dh_pump(d);
	assert_non_null(d->held);
	vh_write(&d->h, 0, VTFS_PCI_DEVICE_STATUS, 1, 0);
	assert_int_equal(vh_status(&d->h), 15);
	all = d->reads + d->writes;
	post_read(d, 2, 64, 1);
	dh_pump(d);
	assert_int_equal(d->reads + d->writes, all);
	virtiofs_req_error(d->held, -EIO);
	dh_pump(d);
	assert_int_equal(vh_status(&d->h), 0);
	assert_int_equal(d->reads + d->writes, all);
	d->hold = false;
}

/* The client may be unable to answer before it is answered. */
static void function_is_reset_at_once(void **state)
{
	struct dmahost *d = *state;

	dh_open(d, 0);
	d->keep = true;
	post_read(d, 1, 0x1000, 7);
	dh_pump(d);
	vh_write(&d->h, 0, VTFS_PCI_DEVICE_STATUS, 1, 0);
	assert_int_equal(vh_status(&d->h), 15);
	assert_int_equal(vh_ask(&d->h, VFU_RESET, NULL, 0, NULL), 0);
	assert_int_equal(vh_status(&d->h), 0);
	/* The late answer is nobody's, and no lie. */
	dh_answer(d, 1);
	assert_int_equal(vh_status(&d->h), 0);
	assert_int_equal(d->kept_cnt, 0);
}

static void queue_is_reset_when_all_is_answered(void **state)
{
	struct dmahost *d = *state;
	uint32_t v;

	dh_open(d, VIRTIOFS_F_RING_RESET);
	d->keep = true;
	post_read(d, 1, 0x1000, 7);
	dh_pump(d);
	vh_write(&d->h, 0, VTFS_PCI_QUEUE_SELECT, 2, 1);
	vh_write(&d->h, 0, VTFS_PCI_QUEUE_RESET, 2, 1);
	vh_read(&d->h, 0, VTFS_PCI_QUEUE_RESET, 2, &v);
	assert_int_equal(v, 1);
	dh_answer(d, 1);
	vh_read(&d->h, 0, VTFS_PCI_QUEUE_RESET, 2, &v);
	assert_int_equal(v, 0);
	vh_read(&d->h, 0, VTFS_PCI_QUEUE_ENABLE, 2, &v);
	assert_int_equal(v, 0);
	assert_int_equal(vh_status(&d->h), 15);
	assert_int_equal(d->kept_cnt, 0);
}

static void queue_that_rests_stops_and_starts_again(void **state)
{
	struct dmahost *d = *state;

	for (unsigned i = 0; i < RINGS; i++) {
		dh_open(d, rings[i]);
		read_works(d, 1, 1);
		vh_write(&d->h, VFU_REGION_CONFIG, VTFS_PCI_COMMAND, 2, 2);
		vh_write(&d->h, VFU_REGION_CONFIG, VTFS_PCI_COMMAND, 2, 6);
		dh_pump(d);
		assert_int_equal(vh_status(&d->h), 15);
		read_works(d, 2, 2);
		read_works(d, 3, 3);
		dh_dial(d);
		memset(d->mem, 0, DH_MEM);
	}
}

static void client_goes_while_messages_are_unanswered(void **state)
{
	struct dmahost *d = *state;

	for (unsigned i = 0; i < 8; i++) {
		memset(d->mem, 0, DH_MEM);
		d->keep = false;
		dh_open(d, EVENT | INDIRECT);
		d->keep = true;
		post_read(d, 1, 0x1000, 7);
		dh_pump(d);
		for (unsigned n = 0; n < i; n++)
			dh_answer(d, d->kept_cnt);
		d->keep = false;
		dh_dial(d);
	}
	memset(d->mem, 0, DH_MEM);
	dh_open(d, 0);
	read_works(d, 1, 1);
}

/* ---- much ---- */

static unsigned longest_wait(struct dmahost *d)
{
	unsigned most = 0;

	while (d->kept_cnt) {
		most = d->kept_cnt > most ? d->kept_cnt : most;
		dh_answer(d, d->kept_cnt);
	}
	return most;
}

/* 60 READs of a megabyte need more memory than there is at once. */
static void what_has_no_room_waits(void **state)
{
	struct dmahost *d = *state;
	const uint32_t size = 1 << 20;
	struct fuse_read_in in = {.size = size, .offset = 5};
	bool seen[60] = {false};
	uint16_t token;
	uint32_t len = 0;

	dh_open(d, INDIRECT);
	for (unsigned i = 0; i < 60; i++) {
		len = dh_frame(d, DH_BUFS + i * 0x1000, FUSE_READ, &in,
			       sizeof(in), 0);
		assert_int_equal(
		    vtfs_vq_drv_add(
			d->drv[1],
			(struct vtfs_vq_buf[]){{BUF(i * 0x1000), len},
					       {BUF(i * 0x1000 + 0x800), 16},
					       {BUF(0x100000), size}},
			1, 2, (uint16_t)i),
		    0);
	}
	vtfs_vq_drv_publish(d->drv[1]);
	d->keep = true;
	dh_kick(d, 1);
	dh_pump(d);
	assert_in_range(longest_wait(d), 2, VFU_DMA_WINDOW);
	assert_in_range(d->largest, 4096, VFU_DMA_CHUNK);
	for (unsigned i = 0; i < 60; i++) {
		assert_true(dh_used(d, 1, &token, &len));
		assert_int_equal(len, size + 16);
		assert_false(seen[token]);
		seen[token] = true;
	}
	assert_true(all_are(dh_at(d, BUF(0x100000)), size, 5));
	/* What lies in the arena from then is not taken for a header that did
	 * not come. */
	d->keep = false;
	d->lie = fail_buffers;
	d->lies = 0;
	for (uint32_t page = 0; page < 60; page++) {
		post_read(d, page, 64, 1);
		dh_pump(d);
		assert_true(dh_used(d, 1, &token, &len));
		assert_int_equal(len, 0);
	}
}

/* All at once: the first of them that finds no room must not be tried again
 * before something came back. */
static void what_finds_no_room_waits_in_peace(void **state)
{
	struct dmahost *d = *state;
	const uint32_t size = 1 << 20;
	struct fuse_read_in in = {.size = size, .offset = 5};
	uint16_t token;
	uint32_t len;

	dh_open(d, 0);
	for (unsigned i = 0; i < 32; i++) {
		len = dh_frame(d, DH_BUFS + i * 0x1000, FUSE_READ, &in,
			       sizeof(in), 0);
		assert_int_equal(
		    vtfs_vq_drv_add(
			d->drv[1],
			(struct vtfs_vq_buf[]){{BUF(i * 0x1000), len},
					       {BUF(0x100000), size + 16}},
			1, 1, (uint16_t)i),
		    0);
	}
	vtfs_vq_drv_publish(d->drv[1]);
	dh_kick(d, 1);
	dh_pump(d);
	for (unsigned i = 0; i < 32; i++) {
		assert_true(dh_used(d, 1, &token, &len));
		assert_int_equal(len, size + 16);
	}
	assert_true(all_are(dh_at(d, BUF(0x100000) + 16), size, 5));
}

static void request_longer_than_can_be_carried_fails(void **state)
{
	struct dmahost *d = *state;
	struct fuse_read_in in = {.size = 64};
	uint64_t at = 0x10000000;
	struct fuse_out_header out;
	uint16_t token;
	uint32_t len;

	dh_open(d, 0);
	assert_int_equal(vh_map(&d->h, at, 32 << 20, 3, -1), 0);
	len = dh_frame(d, DH_BUFS, FUSE_READ, &in, sizeof(in), 0);
	dh_post(d, 1,
		(struct vtfs_vq_buf[]){
		    {BUF(0), len}, {BUF(0x800), 16}, {at, 32 << 20}},
		1, 2, 1);
	dh_pump(d);
	assert_true(dh_used(d, 1, &token, &len));
	assert_int_equal(len, 16);
	out = out_of(d, 0);
	assert_int_equal(out.error, -EFAULT);
	read_works(d, 2, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(memory_without_fd_is_reached_by_messages),
	    T(scattered_data_arrives_in_order),
	    T(data_keeps_its_place_in_a_page),
	    T(steps_wait_for_the_answers_to_those_before),
	    T(steps_of_a_packed_ring_wait_too),
	    T(slots_are_read_after_their_head),
	    T(answers_come_in_any_order),
	    T(slots_are_used_again_before_their_answer),
	    T(nothing_is_missed_while_a_kick_is_asked_for),
	    T(answers_to_writes_have_three_lengths),
	    T(bytes_that_do_not_come_or_go_fail_their_request),
	    T(data_that_does_not_come_is_an_error),
	    T(memory_is_accessed_as_it_was_allowed),
	    T(unmapping_its_ring_breaks_a_queue),
	    T(commands_are_answered_while_messages_are_not),
	    T(reset_is_over_when_all_is_answered),
	    T(reset_waits_for_the_program_in_silence),
	    T(all_memory_goes_and_comes_back),
	    T(function_is_reset_at_once),
	    T(queue_is_reset_when_all_is_answered),
	    T(queue_that_rests_stops_and_starts_again),
	    T(client_goes_while_messages_are_unanswered),
	    T(what_has_no_room_waits),
	    T(what_finds_no_room_waits_in_peace),
	    T(request_longer_than_can_be_carried_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
