/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_RAWFUSE_H
#define MOCK_RAWFUSE_H
/*
 * FUSE frames over rawdev.h, and a device whose program keeps what it gets.
 * Each frame has a cell of memory of its own, by number: what is sent in its
 * first half, the reply in its second.
 */
#include "rawdev.h"

#define CELL_LEN  (32u << 10)
#define CELL_ROOM (16u << 10) /* where the second half begins */
#define CELLS	  96u
#define PATTERN	  0xa5 /* in every byte that nobody wrote */

struct program {
	struct virtiofs_device *dev;
	struct raw raw;
	/* What came, in order; kept if keep is set, else answered 0. */
	struct virtiofs_req *reqs[1100];
	unsigned cnt;
	bool keep;
	struct virtiofs_req *interrupted[64];
	unsigned interrupts;
	struct {
		uint64_t nodeid, nlookup;
	} forgets[5000];
	unsigned forget_cnt;
	unsigned resets;
	unsigned inits;
	char logged[8][256];
	unsigned log_cnt;
	bool no_forget; /* before program_start */
	uint32_t flags;
	uint32_t max_write;
	unsigned queues;
	unsigned num;
	uint32_t hiprio_interval, forget_budget, interrupts_max, dispatch_max;
	uint32_t notify_buf_size, notify_backlog;
	void (*on_request)(struct program *p, struct virtiofs_req *req);
	void (*on_init)(struct fuse_init_out *out);
	void (*on_forget)(struct program *p);
	void (*on_interrupt)(struct program *p);
	void *more;
};

/* A device with opts from *p; queues run, no INIT yet. */
void program_start(struct program *p, uint64_t features);
/* As above and INIT 7.45 done. */
void program_open(struct program *p, uint64_t features);
/* One more INIT, whose answer the given function completes. */
void program_open_again(struct program *p,
			void (*answer)(struct fuse_init_out *));
void agree_setxattr_ext(struct fuse_init_out *out);
void program_stop(struct program *p);
/* For cmocka: a program that is not started; open; open and keeping what it
 * gets; and the end of each. */
int program_new(void **state);
int program_set_up(void **state);
int program_set_up_keeping(void **state);
int program_tear_down(void **state);
/* A test of a program that has had its INIT, or that the test opens. */
#define PROGRAM_TEST(f)                                                        \
	cmocka_unit_test_setup_teardown(f, program_set_up, program_tear_down)
#define PROGRAM_TEST_CLOSED(f)                                                 \
	cmocka_unit_test_setup_teardown(f, program_new, program_tear_down)
/* For on_request: how many forgets were done before each request, in the array
 * of unsigned at more; answers it. */
void note_forgets(struct program *p, struct virtiofs_req *req);
/* Dispatch until there is nothing to do. */
void program_run(struct program *p);

static inline unsigned char *cell(struct program *p, unsigned i)
{
	return p->raw.mem + RAW_BUFS + (size_t)i * CELL_LEN;
}
static inline uint64_t cell_addr(unsigned i)
{
	return raw_addr(RAW_BUFS + (size_t)i * CELL_LEN);
}

/* Write header and args into a cell and return in.len. */
uint32_t put_frame(struct program *p, unsigned i, uint32_t opcode,
		   const void *args, size_t len);
struct fuse_in_header *frame_of(struct program *p, unsigned i);
/* Post a cell's frame: in.len readable bytes, room writable ones. */
uint16_t post_cell(struct program *p, unsigned vq, unsigned i, uint32_t room);
/* put_frame and post_cell. */
uint16_t send_frame(struct program *p, unsigned vq, unsigned i, uint32_t opcode,
		    const void *args, size_t len, uint32_t room);

void send_statfs(struct program *p, unsigned vq, unsigned i);
/* INIT's arguments, with every flag. */
struct fuse_init_in make_init(uint32_t major, uint32_t minor);
/* INIT with len bytes of them on vq, and GETATTR: the error. */
int init_of(struct program *p, unsigned vq, const struct fuse_init_in *in,
	    size_t len, struct fuse_init_out *ret);
int getattr_of(struct program *p, unsigned vq);
/* A copy of everything that the device could write. */
unsigned char *snapshot(struct program *p);

/* The reply to cell i came back on vq as the next used element: its error, or
 * 1 if it has length 0. Checks header and lengths. */
int reply_of(struct program *p, unsigned vq, unsigned i);
/* Bytes of the reply behind its header. */
const void *reply_bytes(struct program *p, unsigned i);
uint32_t reply_len(struct program *p, unsigned i);
/* Nothing came back on vq. */
void no_reply(struct program *p, unsigned vq);

#define UNIQUE(i) (1000u + 2u * (i))
#endif
