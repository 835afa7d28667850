/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhuhost.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <virtiofs/transport.h>

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

void host_answer_kept(struct host *h)
{
	for (unsigned i = 0; i < h->kept_cnt; i++)
		virtiofs_req_error(h->kept[i], -EINTR);
	h->kept_cnt = 0;
}

void host_pump(struct host *h)
{
	struct pollfd p = {.fd = virtiofs_device_fd(h->dev), .events = POLLIN};
	int i;

	for (i = 0; i < 200 && poll(&p, 1, 0) == 1; i++)
		if (virtiofs_device_dispatch(h->dev) < 0)
			return;
	assert_true(i < 200);
}

int host_eventfd(void)
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

void host_dial(struct host *h)
{
	h->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(h->sock, (struct sockaddr *)&h->sa, h->sa_len),
			 0);
}

int host_set_up(void **state)
{
	static struct host h;

	memset(&h, 0, sizeof(h));
	h.mem_fd = raw_memfd(HOST_MEM);
	h.mem = mmap(NULL, HOST_MEM, PROT_READ | PROT_WRITE, MAP_SHARED,
		     h.mem_fd, 0);
	h.desc = (void *)(h.mem + 0x1000);
	h.avail = (void *)(h.mem + 0x2000);
	h.used = (void *)(h.mem + 0x3000);
	h.kick = host_eventfd();
	h.call = host_eventfd();
	open_device(&h);
	host_dial(&h);
	*state = &h;
	return 0;
}

int host_tear_down(void **state)
{
	struct host *h = *state;

	virtiofs_device_free(h->dev);
	host_answer_kept(h);
	close(h->sock);
	close(h->kick);
	close(h->call);
	close(h->mem_fd);
	munmap(h->mem, HOST_MEM);
	return 0;
}

uint64_t host_status(struct host *h, uint32_t request)
{
	struct raw_msg m;

	host_pump(h);
	raw_recv(h->sock, &m);
	assert_int_equal(m.request, request);
	return m.u64;
}

void host_tell(struct host *h, uint32_t request, const void *payload,
	       size_t len, int fd)
{
	raw_send(h->sock, request, VU_VERSION | VU_NEED_REPLY, payload, len,
		 &fd, fd >= 0);
	assert_int_equal(host_status(h, request), 0);
}

void host_ring_state(struct host *h, uint32_t request, uint32_t num)
{
	struct vu_vring_state s = {.index = HOST_VQ, .num = num};

	host_tell(h, request, &s, sizeof(s), -1);
}

void host_ring_up(struct host *h)
{
	struct vu_vring_addr a = {.index = HOST_VQ,
				  .desc = HOST_USER + 0x1000,
				  .avail = HOST_USER + 0x2000,
				  .used = HOST_USER + 0x3000};
	uint64_t idx = HOST_VQ;

	host_ring_state(h, VU_SET_VRING_NUM, HOST_NUM);
	host_ring_state(h, VU_SET_VRING_BASE, h->used->idx);
	host_tell(h, VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	host_tell(h, VU_SET_VRING_CALL, &idx, 8, h->call);
	host_tell(h, VU_SET_VRING_KICK, &idx, 8, h->kick);
	host_ring_state(h, VU_SET_VRING_ENABLE, 1);
}

void host_share(struct host *h, uint64_t at, int fd)
{
	struct vu_mem_reg m = {
	    .region = {HOST_GUEST + at, HOST_MEM, HOST_USER + at, 0}};

	host_tell(h, VU_ADD_MEM_REG, &m, sizeof(m), fd);
}

void host_connect(struct host *h)
{
	uint64_t pf = VU_PF(REPLY_ACK) | VU_PF(CONFIGURE_MEM_SLOTS) |
		      VU_PF(BACKEND_REQ) | VU_PF(CONFIG) | VU_PF(RESET_DEVICE);
	uint64_t f = VIRTIOFS_F_VERSION_1 | VU_F_PROTOCOL_FEATURES;

	raw_send(h->sock, VU_SET_PROTOCOL_FEATURES, VU_VERSION, &pf, 8, NULL,
		 0);
	host_tell(h, VU_SET_FEATURES, &f, 8, -1);
	host_share(h, 0, h->mem_fd);
	host_ring_up(h);
}

/* A frame in cell i, with its reply behind it, at any place of memory. */
void host_post_at(struct host *h, unsigned i, uint64_t addr,
		  unsigned char *bytes, uint32_t opcode)
{
	struct fuse_in_header in = {
	    .opcode = opcode, .unique = 100 + i, .nodeid = 1};
	struct fuse_init_in init = {
	    .major = 7, .minor = 38, .max_readahead = 4096};
	struct fuse_getattr_in getattr = {0};
	size_t len = opcode == FUSE_INIT ? sizeof(init) : sizeof(getattr);
	uint16_t head = (uint16_t)(2 * i % HOST_NUM);

	in.len = (uint32_t)(sizeof(in) + len);
	memcpy(bytes, &in, sizeof(in));
	memcpy(bytes + sizeof(in),
	       opcode == FUSE_INIT ? (void *)&init : (void *)&getattr, len);
	h->desc[head] = (struct vtfs_wire_desc){addr, in.len, VTFS_DESC_F_NEXT,
						(uint16_t)(head + 1)};
	h->desc[head + 1] = (struct vtfs_wire_desc){addr + HOST_ROOM, 0x100,
						    VTFS_DESC_F_WRITE, 0};
	h->avail->ring[h->avail->idx % HOST_NUM] = head;
	__atomic_store_n(&h->avail->idx, (uint16_t)(h->avail->idx + 1),
			 __ATOMIC_RELEASE);
}

void host_post(struct host *h, unsigned i, uint32_t opcode)
{
	host_post_at(h, i, HOST_GUEST + HOST_CELL(i), h->mem + HOST_CELL(i),
		     opcode);
}

void host_kick(struct host *h)
{
	uint64_t one = 1;

	assert_int_equal(write(h->kick, &one, 8), 8);
}

unsigned host_called(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, 8) == 8 ? (unsigned)n : 0;
}

int host_error(struct host *h, unsigned i)
{
	struct fuse_out_header out;

	memcpy(&out, h->mem + HOST_CELL(i) + HOST_ROOM, sizeof(out));
	assert_int_equal(out.unique, 100 + i);
	return out.error;
}

void host_init(struct host *h)
{
	uint16_t used = h->used->idx;

	host_post(h, 0, FUSE_INIT);
	host_kick(h);
	host_pump(h);
	assert_int_equal((uint16_t)(h->used->idx - used), 1);
	assert_int_equal(host_error(h, 0), 0);
	host_called(h->call);
}

void host_ask_base(struct host *h)
{
	struct vu_vring_state s = {.index = HOST_VQ};

	raw_send(h->sock, VU_GET_VRING_BASE, VU_VERSION, &s, sizeof(s), NULL,
		 0);
	host_pump(h);
}

uint64_t host_hash(const struct host *h)
{
	uint64_t sum = 14695981039346656037ULL;

	for (unsigned i = 0; i < HOST_MEM; i++)
		sum = (sum ^ h->mem[i]) * 1099511628211ULL;
	return sum;
}
