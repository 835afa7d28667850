/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A raw front-end, ring and all, against a whole device session. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <virtiofs/device.h>
#include <virtiofs/transport.h>

#include "rawvhu.h"
#include "wire/ring.h"

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#define GUEST	0x40000000ULL
#define USER	0x7f0000000000ULL
#define MEM	0x40000u
#define NUM	128u
#define VQ	1u			/* the first request queue */
#define CELL(i) (0x10000u + (i)*0x200u) /* one frame each */
#define ROOM	0x100u			/* where a cell's reply begins */

struct host {
	int sock, mem_fd, kick, call;
	unsigned char *mem;
	struct vtfs_wire_desc *desc;
	struct vtfs_wire_avail *avail;
	struct vtfs_wire_used *used;
	struct virtiofs_device *dev;
	struct sockaddr_un sa;
	socklen_t sa_len;
	bool keep;
	struct virtiofs_req *kept[NUM];
	unsigned kept_cnt, heard, resets, interrupts;
};

static int on_request(struct virtiofs_req *req)
{
	struct host *h = req->userdata;

	h->heard++;
	if (!h->keep)
		return virtiofs_req_error(req, -ENOENT);
	h->kept[h->kept_cnt++] = req;
	return 0;
}

static void on_interrupt(struct virtiofs_req *req, void *userdata)
{
	((struct host *)userdata)->interrupts++;
}

static void on_reset(void *userdata)
{
	((struct host *)userdata)->resets++;
}

static void answer_kept(struct host *h)
{
	for (unsigned i = 0; i < h->kept_cnt; i++)
		virtiofs_req_error(h->kept[i], -EINTR);
	h->kept_cnt = 0;
}

static void pump(struct host *h)
{
	struct pollfd p = {.fd = virtiofs_device_fd(h->dev), .events = POLLIN};
	int i;

	for (i = 0; i < 200 && poll(&p, 1, 0) == 1; i++)
		if (virtiofs_device_dispatch(h->dev) < 0)
			return;
	assert_true(i < 200);
}

static int vq_fd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void open_device(struct host *h)
{
	static const struct virtiofs_device_ops ops = {
	    .size = sizeof(ops),
	    .request = on_request,
	    .interrupt = on_interrupt,
	    .reset = on_reset,
	};
	struct virtiofs_device_opts opts = {.size = sizeof(opts),
					    .tag = "host"};
	struct virtiofs_transport *t;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* a name of the kernel's choice, in no directory */
	h->sa.sun_family = AF_UNIX;
	assert_int_equal(
	    bind(fd, (struct sockaddr *)&h->sa, sizeof(h->sa.sun_family)), 0);
	h->sa_len = sizeof(h->sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&h->sa, &h->sa_len),
			 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(virtiofs_vhost_user_listen_fd(&t, fd), 0);
	assert_int_equal(virtiofs_device_new(&h->dev, t, &ops, &opts, h), 0);
}

static void dial(struct host *h)
{
	h->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(h->sock, (struct sockaddr *)&h->sa, h->sa_len),
			 0);
}

static int set_up(void **state)
{
	static struct host h;

	memset(&h, 0, sizeof(h));
	h.mem_fd = raw_memfd(MEM);
	h.mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, h.mem_fd,
		     0);
	h.desc = (void *)(h.mem + 0x1000);
	h.avail = (void *)(h.mem + 0x2000);
	h.used = (void *)(h.mem + 0x3000);
	h.kick = vq_fd();
	h.call = vq_fd();
	open_device(&h);
	dial(&h);
	*state = &h;
	return 0;
}

static int tear_down(void **state)
{
	struct host *h = *state;

	virtiofs_device_free(h->dev);
	answer_kept(h);
	close(h->sock);
	close(h->kick);
	close(h->call);
	close(h->mem_fd);
	munmap(h->mem, MEM);
	return 0;
}

static uint64_t status_of(struct host *h, uint32_t request)
{
	struct raw_msg m;

	pump(h);
	raw_recv(h->sock, &m);
	assert_int_equal(m.request, request);
	return m.u64;
}

static void tell(struct host *h, uint32_t request, const void *payload,
		 size_t len, int fd)
{
	raw_send(h->sock, request, VU_VERSION | VU_NEED_REPLY, payload, len,
		 &fd, fd >= 0);
	assert_int_equal(status_of(h, request), 0);
}

static void state_of(struct host *h, uint32_t request, uint32_t num)
{
	struct vu_vring_state s = {.index = VQ, .num = num};

	tell(h, request, &s, sizeof(s), -1);
}

static void ring_up(struct host *h)
{
	struct vu_vring_addr a = {.index = VQ,
				  .desc = USER + 0x1000,
				  .avail = USER + 0x2000,
				  .used = USER + 0x3000};
	uint64_t idx = VQ;

	state_of(h, VU_SET_VRING_NUM, NUM);
	state_of(h, VU_SET_VRING_BASE, h->used->idx);
	tell(h, VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	tell(h, VU_SET_VRING_CALL, &idx, 8, h->call);
	tell(h, VU_SET_VRING_KICK, &idx, 8, h->kick);
	state_of(h, VU_SET_VRING_ENABLE, 1);
}

static void share(struct host *h, uint64_t at, int fd)
{
	struct vu_mem_reg m = {.region = {GUEST + at, MEM, USER + at, 0}};

	tell(h, VU_ADD_MEM_REG, &m, sizeof(m), fd);
}

static void connected(struct host *h)
{
	uint64_t pf = VU_PF(REPLY_ACK) | VU_PF(CONFIGURE_MEM_SLOTS) |
		      VU_PF(BACKEND_REQ) | VU_PF(CONFIG) | VU_PF(RESET_DEVICE);
	uint64_t f = VIRTIOFS_F_VERSION_1 | VU_F_PROTOCOL_FEATURES;

	raw_send(h->sock, VU_SET_PROTOCOL_FEATURES, VU_VERSION, &pf, 8, NULL,
		 0);
	tell(h, VU_SET_FEATURES, &f, 8, -1);
	share(h, 0, h->mem_fd);
	ring_up(h);
}

/* A frame in cell i, with its reply behind it, at any place of memory. */
static void post_at(struct host *h, unsigned i, uint64_t addr,
		    unsigned char *bytes, uint32_t opcode)
{
	struct fuse_in_header in = {
	    .opcode = opcode, .unique = 100 + i, .nodeid = 1};
	struct fuse_init_in init = {
	    .major = 7, .minor = 38, .max_readahead = 4096};
	struct fuse_getattr_in getattr = {0};
	size_t len = opcode == FUSE_INIT ? sizeof(init) : sizeof(getattr);
	uint16_t head = (uint16_t)(2 * i % NUM);

	in.len = (uint32_t)(sizeof(in) + len);
	memcpy(bytes, &in, sizeof(in));
	memcpy(bytes + sizeof(in),
	       opcode == FUSE_INIT ? (void *)&init : (void *)&getattr, len);
	h->desc[head] = (struct vtfs_wire_desc){addr, in.len, VTFS_DESC_F_NEXT,
						(uint16_t)(head + 1)};
	h->desc[head + 1] = (struct vtfs_wire_desc){addr + ROOM, 0x100,
						    VTFS_DESC_F_WRITE, 0};
	h->avail->ring[h->avail->idx % NUM] = head;
	__atomic_store_n(&h->avail->idx, (uint16_t)(h->avail->idx + 1),
			 __ATOMIC_RELEASE);
}

static void post(struct host *h, unsigned i, uint32_t opcode)
{
	post_at(h, i, GUEST + CELL(i), h->mem + CELL(i), opcode);
}

static void kick(struct host *h)
{
	uint64_t one = 1;

	assert_int_equal(write(h->kick, &one, 8), 8);
}

static unsigned called(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, 8) == 8 ? (unsigned)n : 0;
}

static int error_of(struct host *h, unsigned i)
{
	struct fuse_out_header out;

	memcpy(&out, h->mem + CELL(i) + ROOM, sizeof(out));
	assert_int_equal(out.unique, 100 + i);
	return out.error;
}

static void init_session(struct host *h)
{
	uint16_t used = h->used->idx;

	post(h, 0, FUSE_INIT);
	kick(h);
	pump(h);
	assert_int_equal((uint16_t)(h->used->idx - used), 1);
	assert_int_equal(error_of(h, 0), 0);
	called(h->call);
}

static void ask_base(struct host *h)
{
	struct vu_vring_state s = {.index = VQ};

	raw_send(h->sock, VU_GET_VRING_BASE, VU_VERSION, &s, sizeof(s), NULL,
		 0);
	pump(h);
}

/* covers: VHU-DEV-36, VHU-DEV-37 */
static void requests_that_wait_are_served_without_a_kick(void **state)
{
	struct host *h = *state;

	post(h, 0, FUSE_INIT);
	post(h, 1, FUSE_GETATTR);
	connected(h);
	pump(h);
	assert_int_equal(h->used->idx, 2);
	assert_int_equal(error_of(h, 1), -ENOENT);
	assert_int_equal(called(h->kick), 0);
	assert_true(called(h->call) > 0);
}

/* covers: VHU-DEV-35, VHU-DEV-34 */
static void disabled_ring_leaves_requests_alone(void **state)
{
	struct host *h = *state;

	connected(h);
	init_session(h);
	state_of(h, VU_SET_VRING_ENABLE, 0);
	post(h, 1, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(h->heard, 0);
	assert_int_equal(h->used->idx, 1);
	state_of(h, VU_SET_VRING_ENABLE, 1);
	pump(h);
	assert_int_equal(h->heard, 1);
	assert_int_equal(error_of(h, 1), -ENOENT);
}

/* covers: VHU-DEV-27 */
static void get_vring_base_lets_requests_finish(void **state)
{
	struct host *h = *state;

	connected(h);
	init_session(h);
	h->keep = true;
	post(h, 1, FUSE_GETATTR);
	post(h, 2, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(h->kept_cnt, 2);
	ask_base(h);
	assert_true(raw_quiet(h->sock));
	assert_int_equal(h->interrupts, 2);
	/* what comes now is not begun */
	post(h, 3, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(h->heard, 2);
	answer_kept(h);
	assert_int_equal(status_of(h, VU_GET_VRING_BASE), VQ | 3ULL << 32);
	assert_int_equal(h->used->idx, 3);
	/* and goes on where it was; the session is the same */
	h->keep = false;
	ring_up(h);
	pump(h);
	assert_int_equal(error_of(h, 3), -ENOENT);
	assert_int_equal(h->resets, 0);
}

static uint64_t hash(const struct host *h)
{
	uint64_t sum = 14695981039346656037ULL;

	for (unsigned i = 0; i < MEM; i++)
		sum = (sum ^ h->mem[i]) * 1099511628211ULL;
	return sum;
}

/* covers: VHU-DEV-41 */
static void suspended_device_touches_and_tells_nothing(void **state)
{
	struct host *h = *state;
	uint64_t before, one = VQ;
	struct raw_msg m;
	int sv[2];

	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv);
	connected(h);
	tell(h, VU_SET_BACKEND_REQ_FD, NULL, 0, sv[1]);
	init_session(h);
	post(h, 1, FUSE_GETATTR);
	kick(h);
	pump(h);
	called(h->call);
	ask_base(h);
	assert_int_equal(status_of(h, VU_GET_VRING_BASE), VQ | 2ULL << 32);
	/* requests, a kick, a broken index: nobody looks */
	post(h, 2, FUSE_GETATTR);
	h->avail->idx += 1000;
	before = hash(h);
	kick(h);
	tell(h, VU_SET_VRING_CALL, &one, 8, h->call);
	pump(h);
	assert_int_equal(hash(h), before);
	assert_int_equal(called(h->call), 0);
	assert_true(raw_quiet(sv[0]));
	assert_true(raw_quiet(h->sock));
	raw_send(h->sock, VU_GET_FEATURES, VU_VERSION, NULL, 0, NULL, 0);
	pump(h);
	raw_recv(h->sock, &m);
	assert_int_equal(hash(h), before);
	close(sv[0]);
	close(sv[1]);
}

/* covers: VHU-DEV-29, VHU-DEV-40 */
static void swapped_call_fd_loses_no_completion(void **state)
{
	struct host *h = *state;
	uint64_t idx = VQ;
	int fresh = vq_fd();

	connected(h);
	init_session(h);
	h->keep = true;
	post(h, 1, FUSE_GETATTR);
	kick(h);
	pump(h);
	tell(h, VU_SET_VRING_CALL, &idx, 8, fresh);
	called(fresh);
	called(h->call);
	answer_kept(h);
	pump(h);
	assert_int_equal(error_of(h, 1), -EINTR);
	assert_true(called(fresh) > 0);
	assert_int_equal(called(h->call), 0);
	close(fresh);
}

/* covers: VHU-DEV-30 */
static void kick_fd_that_is_always_readable_does_not_spin(void **state)
{
	struct host *h = *state;

	connected(h);
	init_session(h);
	/* never read by us, so it stays readable */
	for (int i = 0; i < 20; i++) {
		kick(h);
		pump(h);
	}
	assert_true(called(h->kick) > 0);
	post(h, 1, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(error_of(h, 1), -ENOENT);
}

/* covers: VHU-DEV-13 */
static void table_changes_under_requests(void **state)
{
	struct host *h = *state;
	int other = raw_memfd(MEM);
	unsigned char *bytes = mmap(NULL, MEM, PROT_READ | PROT_WRITE,
				    MAP_SHARED, other, 0);
	struct vu_mem_table t = {.num = 2};
	int fds[2] = {h->mem_fd, other};
	struct fuse_out_header out;

	connected(h);
	init_session(h);
	h->keep = true;
	for (unsigned i = 1; i <= 32; i++)
		post(h, i, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(h->kept_cnt, 32);
	/* The old region comes again, beside a new one: nobody has to wait. */
	t.regions[0] = (struct vu_region){GUEST, MEM, USER, 0};
	t.regions[1] = (struct vu_region){GUEST + MEM, MEM, USER + MEM, 0};
	raw_send(h->sock, VU_SET_MEM_TABLE, VU_VERSION | VU_NEED_REPLY, &t,
		 8 + 64, fds, 2);
	assert_int_equal(status_of(h, VU_SET_MEM_TABLE), 0);
	answer_kept(h);
	pump(h);
	assert_int_equal(h->used->idx, 33);
	for (unsigned i = 1; i <= 32; i++)
		assert_int_equal(error_of(h, i), -EINTR);
	/* The new memory is of use, and the ring is where it was. */
	h->keep = false;
	post_at(h, 40, GUEST + MEM + 0x800, bytes + 0x800, FUSE_GETATTR);
	kick(h);
	pump(h);
	memcpy(&out, bytes + 0x800 + ROOM, sizeof(out));
	assert_int_equal(out.unique, 140);
	munmap(bytes, MEM);
	close(other);
}

/* covers: VHU-DEV-13, VHU-DEV-19 */
static void memory_that_goes_is_let_go_of_first(void **state)
{
	struct host *h = *state;
	int other = raw_memfd(MEM);
	unsigned char *bytes = mmap(NULL, MEM, PROT_READ | PROT_WRITE,
				    MAP_SHARED, other, 0);
	struct vu_mem_reg m = {.region = {GUEST + MEM, MEM, USER + MEM, 0}};
	struct fuse_out_header out;

	connected(h);
	init_session(h);
	share(h, MEM, other);
	h->keep = true;
	post_at(h, 1, GUEST + MEM + 0x800, bytes + 0x800, FUSE_GETATTR);
	post(h, 2, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(h->kept_cnt, 2);
	raw_send(h->sock, VU_REM_MEM_REG, VU_VERSION | VU_NEED_REPLY, &m,
		 sizeof(m), NULL, 0);
	pump(h);
	assert_true(raw_quiet(h->sock));
	/* Only the one that is in the way is waited for. */
	virtiofs_req_error(h->kept[0], -EINTR);
	assert_int_equal(status_of(h, VU_REM_MEM_REG), 0);
	memcpy(&out, bytes + 0x800 + ROOM, sizeof(out));
	assert_int_equal(out.error, -EINTR);
	h->kept[0] = h->kept[1];
	h->kept_cnt = 1;
	answer_kept(h);
	pump(h);
	assert_int_equal(error_of(h, 2), -EINTR);
	/* Now its addresses name nothing. */
	memset(bytes, 0, MEM);
	h->keep = false;
	post_at(h, 3, GUEST + MEM + 0x800, bytes + 0x800, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(h->heard, 2);
	assert_int_equal(h->used->idx, 4);
	memcpy(&out, bytes + 0x800 + ROOM, sizeof(out));
	assert_int_equal(out.len, 0);
	munmap(bytes, MEM);
	close(other);
}

/* covers: VHU-DEV-71, RST-DEV-02 */
static void reset_device_ends_requests_and_session(void **state)
{
	struct host *h = *state;
	uint64_t before;

	connected(h);
	init_session(h);
	h->keep = true;
	post(h, 1, FUSE_GETATTR);
	kick(h);
	pump(h);
	raw_send(h->sock, VU_RESET_DEVICE, VU_VERSION | VU_NEED_REPLY, NULL, 0,
		 NULL, 0);
	pump(h);
	/* whether it waits or not, an acknowledged reset is final */
	if (raw_quiet(h->sock))
		answer_kept(h);
	assert_int_equal(status_of(h, VU_RESET_DEVICE), 0);
	before = hash(h);
	called(h->call);
	answer_kept(h);
	kick(h);
	pump(h);
	assert_int_equal(hash(h), before);
	assert_int_equal(called(h->call), 0);
	assert_int_equal(h->resets, 1);
}

/* covers: VHU-DEV-77 */
static void next_connection_has_to_init_anew(void **state)
{
	struct host *h = *state;

	connected(h);
	init_session(h);
	post(h, 1, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(error_of(h, 1), -ENOENT);
	close(h->sock);
	pump(h);
	assert_int_equal(h->resets, 1);
	dial(h);
	memset(h->mem, 0, MEM);
	connected(h);
	post(h, 1, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(error_of(h, 1), -EIO);
	assert_int_equal(h->heard, 1);
	init_session(h);
	post(h, 2, FUSE_GETATTR);
	kick(h);
	pump(h);
	assert_int_equal(error_of(h, 2), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(requests_that_wait_are_served_without_a_kick),
	    T(disabled_ring_leaves_requests_alone),
	    T(get_vring_base_lets_requests_finish),
	    T(suspended_device_touches_and_tells_nothing),
	    T(swapped_call_fd_loses_no_completion),
	    T(kick_fd_that_is_always_readable_does_not_spin),
	    T(table_changes_under_requests),
	    T(memory_that_goes_is_let_go_of_first),
	    T(reset_device_ends_requests_and_session),
	    T(next_connection_has_to_init_anew),
	};

	return cmocka_run_group_tests_name("front_end", tests, NULL, NULL);
}
