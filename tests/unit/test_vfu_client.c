/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client of vfio-user before a server in the test's hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <virtiofs/ops.h>
#include <virtiofs/transport.h>

#include "fakefn.h"
#include "leaks.h"
#include "transport/vfio_user/msg.h"
#include "wire/virtio.h"

#define TABLE	  0x6000u /* of MSI-X */
#define MESSAGES  512u
#define JSON_CAPS "{\"capabilities\":{\"max_msg_fds\":8}}"

struct seen {
	struct vfu_header hdr;
	unsigned char payload[64];
	unsigned fd_cnt;
};

struct server;
/* What a test does with a message instead of the honest answer: true. */
typedef bool (*hook_fn)(struct server *s);

struct server {
	struct fake f;
	int sock;
	struct vfu_rx rx;
	struct virtiofs_client *c;
	struct virtiofs_client_opts opts;
	struct virtiofs_cliq *q;
	struct liar_req req;
	hook_fn hook;
	unsigned hook_cnt;
	uint16_t major, minor;
	const char *json;
	int bell; /* for queue 1, or -1 */
	bool bad_bells;
	int vector_fd[8];
	uint32_t unmasked; /* by vector */
	struct seen seen[MESSAGES];
	unsigned seen_cnt;
	unsigned fds;
	pthread_t thread;
	bool stop;
};

/* ---- the server ---- */

static void put(struct server *s, const struct vfu_header *h, const void *p,
		size_t len, int fd)
{
	struct vfu_tx tx = {0};
	struct vfu_out out = {.id = h->id,
			      .command = h->command,
			      .flags = h->flags,
			      .error = h->error,
			      .payload = p,
			      .len = len,
			      .fds = &fd,
			      .fd_cnt = fd >= 0};

	assert_int_equal(vtfs_vfu_tx_put(&tx, &out), 0);
	vtfs_vfu_tx_flush(&tx, s->sock);
	vtfs_vfu_tx_fini(&tx);
}

static void answer_fd(struct server *s, const void *p, size_t len, int fd)
{
	struct vfu_header h = s->rx.hdr;

	h.flags = VFU_TYPE_REPLY;
	h.error = 0;
	put(s, &h, p, len, fd);
}

static void answer(struct server *s, const void *p, size_t len)
{
	answer_fd(s, p, len, -1);
}

static void refuse(struct server *s, uint32_t error)
{
	struct vfu_header h = s->rx.hdr;

	h.flags = VFU_TYPE_REPLY | VFU_ERROR;
	h.error = error;
	put(s, &h, NULL, 0, -1);
}

static void do_version(struct server *s)
{
	unsigned char out[256] = {0};
	struct vfu_version v = {s->major, s->minor};
	size_t len = s->json ? strlen(s->json) + 1 : 0;

	memcpy(out, &v, sizeof(v));
	memcpy(out + sizeof(v), s->json ? s->json : "", len);
	answer(s, out, sizeof(v) + len);
}

static void do_region_info(struct server *s)
{
	struct vfu_region_info i;

	memcpy(&i, s->rx.payload, sizeof(i));
	i.argsz = sizeof(i);
	i.flags = VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE;
	i.size = i.index == VFU_REGION_CONFIG ? VTFS_PCI_CFG_LEN
		 : i.index < VTFS_PCI_BARS    ? s->f.bar_len[i.index]
					      : 0;
	answer(s, &i, sizeof(i));
}

static void do_read(struct server *s)
{
	struct {
		struct vfu_region_io io;
		unsigned char data[256];
	} out;

	memcpy(&out.io, s->rx.payload, sizeof(out.io));
	assert_true(out.io.count <= sizeof(out.data));
	if (out.io.region == VFU_REGION_CONFIG)
		memcpy(out.data, s->f.cfg + out.io.offset, out.io.count);
	else
		s->f.fn.ops->read(&s->f.fn, out.io.region, out.io.offset,
				  out.data, out.io.count);
	answer(s, &out, sizeof(out.io) + out.io.count);
}

static void do_write(struct server *s)
{
	struct vfu_region_io io;
	const unsigned char *data = s->rx.payload + sizeof(io);
	uint32_t value = 0;

	memcpy(&io, s->rx.payload, sizeof(io));
	assert_int_equal(vtfs_vfu_rx_len(&s->rx), sizeof(io) + io.count);
	memcpy(&value, data, io.count);
	if (s->rx.hdr.flags & VFU_NO_REPLY) {
		s->f.fn.ops->store(&s->f.fn, 0, io.offset, value, io.count);
		return;
	}
	if (io.region == FAKE_BAR && io.offset >= TABLE)
		s->unmasked |= 1u << (io.offset - TABLE) / 16;
	else
		s->f.fn.ops->write(&s->f.fn, io.region, io.offset, data,
				   io.count);
	answer(s, &io, sizeof(io));
}

static void do_map(struct server *s)
{
	struct vfu_dma_map m;
	struct virtiofs_region region = {.size = sizeof(region)};
	uint64_t at;

	memcpy(&m, s->rx.payload, sizeof(m));
	assert_int_equal(m.argsz, 32);
	assert_int_equal(m.flags, VFU_DMA_READABLE | VFU_DMA_WRITABLE);
	assert_int_equal(s->rx.fd_cnt, 1);
	region.addr = (void *)(uintptr_t)m.address;
	region.len = m.size;
	region.fd = s->rx.fds[0];
	assert_int_equal(s->f.fn.ops->map(&s->f.fn, &region, true, &at), 0);
	answer(s, NULL, 0);
}

static void do_unmap(struct server *s)
{
	struct vfu_dma_unmap u;

	memcpy(&u, s->rx.payload, sizeof(u));
	assert_int_equal(s->f.fn.ops->unmap(&s->f.fn, u.address), 0);
	answer(s, &u, sizeof(u));
}

static void do_set_irqs(struct server *s)
{
	struct vfu_irq_set i;

	memcpy(&i, s->rx.payload, sizeof(i));
	assert_int_equal(i.index, VFU_IRQ_MSIX);
	assert_int_equal(i.count, 1);
	assert_true(i.start < 8 && s->rx.fd_cnt == 1);
	if (s->vector_fd[i.start] >= 0)
		close(s->vector_fd[i.start]);
	s->vector_fd[i.start] = vtfs_vfu_rx_take_fd(&s->rx, 0);
	s->f.vector_fd[i.start] = s->vector_fd[i.start];
	if (s->f.vector_cnt <= i.start)
		s->f.vector_cnt = i.start + 1;
	answer(s, NULL, 0);
}

static void do_io_fds(struct server *s)
{
	struct {
		struct vfu_io_fds head;
		struct vfu_io_fd sub[3];
	} out = {.head = {.argsz = sizeof(out), .count = 1}};

	if (s->bell < 0) {
		refuse(s, EINVAL);
		return;
	}
	out.sub[0].offset = FAKE_NOTIFY +
			    s->f.q[1].notify_off * FAKE_MULTIPLIER;
	if (s->bad_bells) {
		out.head.count = 1000;
		out.sub[0].fd_index = 1;
		out.sub[1].offset = UINT64_MAX;
		out.sub[2] = out.sub[1];
		out.sub[2].type = VFU_IO_FD_IOREGIONFD;
	}
	answer_fd(s, &out, sizeof(out.head) + (s->bad_bells ? 3 : 1) * 40,
		  s->bell);
}

static void do_one(struct server *s)
{
	struct vfu_device_info info = {sizeof(info),
				       VFU_DEVICE_PCI | VFU_DEVICE_RESET,
				       VFU_REGIONS, VFU_IRQS};
	struct vfu_irq_info irq = {sizeof(irq), VFU_IRQ_EVENTFD, VFU_IRQ_MSIX,
				   s->f.vectors};

	switch (s->rx.hdr.command) {
	case VFU_VERSION:
		do_version(s);
		break;
	case VFU_GET_INFO:
		answer(s, &info, sizeof(info));
		break;
	case VFU_GET_REGION_INFO:
		do_region_info(s);
		break;
	case VFU_GET_IRQ_INFO:
		answer(s, &irq, sizeof(irq));
		break;
	case VFU_GET_REGION_IO_FDS:
		do_io_fds(s);
		break;
	case VFU_RESET:
		answer(s, NULL, 0);
		break;
	case VFU_REGION_READ:
		do_read(s);
		break;
	case VFU_REGION_WRITE:
		do_write(s);
		break;
	case VFU_DMA_MAP:
		do_map(s);
		break;
	case VFU_DMA_UNMAP:
		do_unmap(s);
		break;
	case VFU_SET_IRQS:
		do_set_irqs(s);
		break;
	default:
		fail_msg("command %u", s->rx.hdr.command);
	}
}

/* Everything that is there. false: the client has closed. */
static bool serve(struct server *s)
{
	int r;

	while ((r = vtfs_vfu_rx_recv(&s->rx, s->sock)) == 1) {
		struct seen *seen = &s->seen[s->seen_cnt++ % MESSAGES];
		size_t len = vtfs_vfu_rx_len(&s->rx);

		seen->hdr = s->rx.hdr;
		seen->fd_cnt = s->rx.fd_cnt;
		memcpy(seen->payload, s->rx.payload, len < 64 ? len : 64);
		if (!s->hook || !s->hook(s))
			do_one(s);
		vtfs_vfu_rx_next(&s->rx);
	}
	return r == -EAGAIN;
}

/* ---- fixture ---- */

static int set_up(void **state)
{
	struct server *s = calloc(1, sizeof(*s));
	unsigned char *cap;

	s->fds = raw_fd_cnt();
	fake_init(&s->f);
	s->f.l.same_addrs = true;
	s->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
	cap = fake_cap(&s->f, VTFS_PCI_CAP_ID_MSIX, 12);
	cap[2] = 2; /* three vectors */
	fake_put32(cap + VTFS_PCI_MSIX_TABLE, TABLE | FAKE_BAR);
	vtfs_vfu_rx_init(&s->rx, 1 << 21);
	memset(s->vector_fd, 0xff, sizeof(s->vector_fd));
	s->minor = VFU_MINOR;
	s->json = JSON_CAPS;
	s->bell = s->sock = -1;
	s->opts.size = sizeof(s->opts);
	s->opts.flags = VIRTIOFS_CLIENT_NONBLOCK;
	*state = s;
	return 0;
}

static void hang_up(struct server *s)
{
	if (s->sock >= 0)
		close(s->sock);
	s->sock = -1;
	vtfs_vfu_rx_next(&s->rx);
}

static int tear_down(void **state)
{
	struct server *s = *state;

	hang_up(s);
	virtiofs_client_free(s->c);
	vtfs_vfu_rx_fini(&s->rx);
	for (unsigned i = 0; i < 8; i++)
		if (s->vector_fd[i] >= 0)
			close(s->vector_fd[i]);
	if (s->bell >= 0)
		close(s->bell);
	fake_fini(&s->f);
	assert_int_equal(raw_fd_cnt(), s->fds);
	free(s);
	return 0;
}

static void new_client(struct server *s)
{
	struct virtiofs_transport *t;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	s->sock = sv[0];
	assert_int_equal(virtiofs_vfio_user_client_fd(&t, sv[1]), 0);
	assert_int_equal(virtiofs_client_new(&s->c, t, &s->opts), 0);
}

static int start(struct server *s)
{
	struct fuse_init_out out;
	int r;

	if (!s->c)
		new_client(s);
	for (unsigned i = 0; i < 2000; i++) {
		r = virtiofs_client_start(s->c, NULL);
		if (r != -EAGAIN)
			return r;
		if (s->sock >= 0)
			serve(s);
		if (liar_pop(&s->f.l, 1, &s->req)) {
			liar_init_reply(&out, &s->req);
			liar_reply(&s->f.l, &s->req, 0, &out, sizeof(out));
			virtiofs_client_dispatch(s->c);
		}
	}
	fail_msg("start never ends");
	return 0;
}

static void one_request(struct server *s)
{
	struct fuse_attr_out out = {0};
	struct iovec room = virtiofs_iov(&out, sizeof(out));
	struct virtiofs_op *op = virtiofs_cliq_get_op(s->q);
	struct virtiofs_result res;
	struct pollfd p;
	int r;

	assert_non_null(op);
	virtiofs_prep_getattr(op, 1, &room);
	assert_int_equal(virtiofs_cliq_submit(s->q), 1);
	assert_true(serve(s));
	assert_int_equal(liar_pop(&s->f.l, 1, &s->req), 1);
	liar_reply(&s->f.l, &s->req, 0, &out, sizeof(out));
	p = (struct pollfd){.fd = virtiofs_cliq_fd(s->q), .events = POLLIN};
	while (!(r = virtiofs_cliq_reap(s->q, &res, 1)))
		if (!virtiofs_cliq_arm(s->q))
			assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(r, 1);
	assert_int_equal(res.error, 0);
}

/* ---- honest ---- */

/* covers: VFU-DRV-01, VFU-DRV-04 */
static void commands_are_as_the_protocol_has_them(void **state)
{
	struct server *s = *state;
	unsigned map = 0, enable = 0;

	assert_int_equal(start(s), 0);
	assert_int_equal(s->seen[0].hdr.command, VFU_VERSION);
	assert_memory_equal(s->seen[0].payload + 4, "{\"capabilities\":{", 17);
	for (unsigned i = 0; i < s->seen_cnt; i++) {
		const struct seen *m = &s->seen[i];
		struct vfu_region_io io;

		assert_int_equal(m->hdr.flags & VFU_TYPE_MASK, 0);
		assert_int_equal(m->hdr.error, 0);
		if (m->hdr.command == VFU_DMA_MAP) {
			assert_int_equal(m->hdr.size, 16 + 32);
			map = i;
		}
		memcpy(&io, m->payload, sizeof(io));
		if (m->hdr.command == VFU_REGION_WRITE &&
		    io.offset == VTFS_PCI_QUEUE_ENABLE && !enable)
			enable = i;
	}
	assert_true(map && enable && map < enable);
}

static void doorbell_is_a_message_without_a_reply(void **state)
{
	struct server *s = *state;

	assert_int_equal(start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	s->f.q[1].bells = 0;
	for (unsigned i = 0; i < 5; i++)
		one_request(s);
	assert_int_equal(s->f.q[1].bells, 5);
	assert_int_equal(s->f.q[1].bell_len, 2);
	assert_int_equal(s->f.q[1].bell, 1);
	/* Interrupts: enabled, and none of the three masked. */
	assert_int_equal(s->unmasked, 7);
	assert_int_equal(s->f.cfg[s->f.cap_last + 2] & 0x80, 0x80);
}

static void servers_eventfd_is_the_doorbell(void **state)
{
	struct server *s = *state;
	uint64_t n;

	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	s->f.q[1].bells = 0;
	one_request(s);
	assert_int_equal(s->f.q[1].bells, 0);
	assert_int_equal(read(s->bell, &n, 8), 8);
}

/* covers: VFU-DRV-08 */
static void eventfds_that_do_not_fit_are_ignored(void **state)
{
	struct server *s = *state;

	s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->bad_bells = true;
	assert_int_equal(start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	s->f.q[1].bells = 0;
	one_request(s);
	assert_int_equal(s->f.q[1].bells, 1);
}

/* All that is answered, byte by byte. */
static void capabilities_may_be_left_out(void **state)
{
	struct server *s = *state;

	s->json = NULL;
	assert_int_equal(start(s), 0);
}

static bool unmap_hook(struct server *s)
{
	struct vfu_dma_unmap u;
	bool known = false;

	if (s->rx.hdr.command != VFU_DMA_UNMAP)
		return false;
	memcpy(&u, s->rx.payload, sizeof(u));
	assert_int_equal(vtfs_vfu_rx_len(&s->rx), sizeof(u));
	for (unsigned i = 0; i < s->seen_cnt; i++) {
		struct vfu_dma_map m;

		memcpy(&m, s->seen[i].payload, sizeof(m));
		known |= s->seen[i].hdr.command == VFU_DMA_MAP &&
			 m.address == u.address && m.size == u.size;
	}
	assert_true(known);
	s->hook_cnt++;
	return false;
}

static void *serve_all(void *arg)
{
	struct server *s = arg;
	struct pollfd p = {.fd = s->sock, .events = POLLIN};

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		poll(&p, 1, 10);
		serve(s);
	}
	return NULL;
}

/* The server serves while the client's calls wait for it. */
static void begin_serving(struct server *s)
{
	s->stop = false;
	assert_int_equal(pthread_create(&s->thread, NULL, serve_all, s), 0);
}

static void end_serving(struct server *s)
{
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	pthread_join(s->thread, NULL);
}

/* covers: VFU-DRV-05 */
static void what_was_mapped_is_unmapped_exactly(void **state)
{
	struct server *s = *state;
	struct virtiofs_region mem[3];

	s->hook = unmap_hook;
	assert_int_equal(start(s), 0);
	begin_serving(s);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    virtiofs_client_alloc_region(s->c, (i + 1) * 4096, &mem[i]),
		    0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtiofs_client_unmap_region(s->c, &mem[i]),
				 0);
	end_serving(s);
	assert_int_equal(s->hook_cnt, 3);
}

/* ---- lies ---- */

static void refused(struct server *s)
{
	assert_true(start(s) < 0);
	assert_false(serve(s));
	assert_int_equal(raw_memfd_map_cnt(), 0);
}

/* covers: VFU-DRV-02, VFU-BTH-11 */
static void version_that_is_not_ours(void **state)
{
	static const struct {
		uint16_t major, minor;
		const char *json;
	} lies[] = {
	    {1, 0, NULL},
	    {0, VFU_MINOR + 1, NULL},
	    {0, 0, "{\"capabilities\":{\"write_multiple\":true}}"},
	    {0, 0, "{\"capabilities\":{\"max_msg_fds\":}}"},
	    {0, 0, "{\"capabilities\":{"},
	    /* Less than a read of the configuration space. */
	    {0, 0, "{\"capabilities\":{\"max_data_xfer_size\":255}}"},
	};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct server *s;

		set_up((void **)&s);
		s->major = lies[i].major;
		s->minor = lies[i].minor;
		s->json = lies[i].json;
		refused(s);
		tear_down((void **)&s);
	}
	(void)state;
}

static unsigned lie;

static bool bad_reply(struct server *s)
{
	struct vfu_header h = s->rx.hdr;
	unsigned char bytes[300] = {0};
	uint32_t size[] = {0, 15, 0x80000000};

	if (h.command != VFU_REGION_READ)
		return false;
	h.flags = VFU_TYPE_REPLY;
	memcpy(bytes, s->rx.payload, 16);
	switch (lie) {
	case 0: /* shorter than asked */
		put(s, &h, bytes, 16 + 255, -1);
		break;
	case 1: /* longer */
		put(s, &h, bytes, 16 + 257, -1);
		break;
	case 2: /* another command's */
		h.command = VFU_REGION_WRITE;
		put(s, &h, bytes, 16 + 256, -1);
		break;
	case 3: /* another id */
		h.id++;
		put(s, &h, bytes, 16 + 256, -1);
		break;
	case 4: /* of another place */
		bytes[0]++;
		put(s, &h, bytes, 16 + 256, -1);
		break;
	case 5: /* an error with bytes */
		h.flags |= VFU_ERROR;
		put(s, &h, bytes, 16, -1);
		break;
	case 6: /* an unknown type */
		h.flags = 3;
		put(s, &h, bytes, 16, -1);
		break;
	default: /* sizes */
		h.size = size[lie - 7];
		assert_int_equal(write(s->sock, &h, sizeof(h)), sizeof(h));
	}
	return true;
}

/* covers: VFU-BTH-05 */
static void replies_that_lie_end_the_connection(void **state)
{
	for (lie = 0; lie < 10; lie++) {
		struct server *s;

		set_up((void **)&s);
		s->hook = bad_reply;
		refused(s);
		tear_down((void **)&s);
	}
	(void)state;
}

static bool refuse_all(struct server *s)
{
	if (s->rx.hdr.command != VFU_DMA_MAP)
		return false;
	refuse(s, s->hook_cnt++ ? 0 : ENOSPC);
	return true;
}

/* An error is 16 bytes, and its number may be 0.
 * covers: VFU-BTH-04 */
static void refusal_is_told_and_the_connection_stays(void **state)
{
	struct server *s = *state;
	struct virtiofs_region mem;

	assert_int_equal(start(s), 0);
	s->hook = refuse_all;
	begin_serving(s);
	assert_int_equal(virtiofs_client_alloc_region(s->c, 4096, &mem), -EIO);
	assert_int_equal(virtiofs_client_alloc_region(s->c, 4096, &mem), -EIO);
	end_serving(s);
	s->hook = NULL;
	begin_serving(s);
	assert_int_equal(virtiofs_client_alloc_region(s->c, 4096, &mem), 0);
	end_serving(s);
}

/* ---- the server's own commands ---- */

struct dma {
	struct vfu_dma_io io;
	unsigned char data[64];
};

static struct dma last_dma;
static struct vfu_header last_dma_hdr;

/* Before the answer to a read comes a command of the server's; the client has
 * to serve it while it waits. */
static bool dma_hook(struct server *s)
{
	struct vfu_header h = {.id = s->rx.hdr.id, .command = VFU_DMA_READ};
	struct dma d = {.io = {s->f.l.region_at[0], 64}};

	if (s->rx.hdr.flags & VFU_TYPE_REPLY) {
		last_dma_hdr = s->rx.hdr;
		memset(&last_dma, 0, sizeof(last_dma));
		memcpy(&last_dma, s->rx.payload,
		       vtfs_vfu_rx_len(&s->rx) < sizeof(last_dma)
			   ? vtfs_vfu_rx_len(&s->rx)
			   : sizeof(last_dma));
		s->hook_cnt++;
		return true;
	}
	if (s->rx.hdr.command != VFU_REGION_READ || !s->f.l.region_cnt)
		return false;
	put(s, &h, &d.io, sizeof(d.io), -1);
	return false;
}

/* covers: VFU-BTH-03, VFU-BTH-08, VFU-BTH-09 */
static void memory_is_served_while_a_reply_is_awaited(void **state)
{
	struct server *s = *state;

	s->hook = dma_hook;
	assert_int_equal(start(s), 0);
	assert_true(s->hook_cnt > 5);
	assert_int_equal(last_dma_hdr.flags, VFU_TYPE_REPLY);
	assert_int_equal(last_dma_hdr.command, VFU_DMA_READ);
	assert_int_equal(last_dma_hdr.size, 16 + 16 + 64);
}

static void ask_dma(struct server *s, uint16_t command, uint64_t addr,
		    uint64_t count)
{
	struct vfu_header h = {.id = 77, .command = command};
	struct dma d = {.io = {addr, count}};
	size_t len = sizeof(d.io);

	memset(d.data, 0xa5, sizeof(d.data));
	if (command == VFU_DMA_WRITE)
		len += count < 64 ? count : 64;
	put(s, &h, &d, len, -1);
	s->hook_cnt = 0;
	while (!s->hook_cnt) {
		virtiofs_client_dispatch(s->c);
		assert_true(serve(s));
	}
	assert_int_equal(last_dma_hdr.id, 77);
}

/* covers: VFU-DRV-09, VFU-BTH-02, VFU-BTH-10 */
static void memory_is_served_inside_of_what_was_mapped(void **state)
{
	static unsigned char was[64];
	struct server *s = *state;
	uint64_t at, len;
	unsigned char *p;

	s->hook = dma_hook;
	assert_int_equal(start(s), 0);
	at = s->f.l.region_at[0];
	len = s->f.l.regions[0].len;
	p = (unsigned char *)(uintptr_t)(at + len - 64);
	ask_dma(s, VFU_DMA_WRITE, at + len - 64, 64);
	assert_int_equal(last_dma_hdr.flags, VFU_TYPE_REPLY);
	assert_int_equal(last_dma.io.count, 64);
	memset(was, 0xa5, sizeof(was));
	assert_memory_equal(p, was, 64);
	ask_dma(s, VFU_DMA_READ, at + len - 64, 64);
	assert_memory_equal(last_dma.data, was, 64);
	/* One byte beyond, before, nowhere, around, more than one message. */
	ask_dma(s, VFU_DMA_READ, at + len - 63, 64);
	assert_int_equal(last_dma_hdr.flags, VFU_TYPE_REPLY | VFU_ERROR);
	assert_int_equal(last_dma_hdr.size, 16);
	ask_dma(s, VFU_DMA_WRITE, at - 1, 64);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_READ, 0, 64);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_READ, at, UINT64_MAX);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_WRITE, UINT64_MAX - 8, 64);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	ask_dma(s, VFU_DMA_READ, at, VFU_DEFAULT_MAX_XFER + 1);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	/* Anything else is not ours to do. */
	ask_dma(s, VFU_RESET, 0, 0);
	assert_true(last_dma_hdr.flags & VFU_ERROR);
	assert_memory_equal(p, was, 64);
}

/* ---- the end ---- */

static void server_that_hangs_up_is_noticed(void **state)
{
	struct server *s = *state;
	struct virtiofs_result res;
	struct pollfd p;

	assert_int_equal(start(s), 0);
	assert_int_equal(virtiofs_client_take_queue(s->c, 1, 0, &s->q), 0);
	hang_up(s);
	p = (struct pollfd){.fd = virtiofs_client_fd(s->c), .events = POLLIN};
	assert_int_equal(poll(&p, 1, 10000), 1);
	virtiofs_client_dispatch(s->c);
	assert_int_equal(virtiofs_cliq_reap(s->q, &res, 1), -ENOTCONN);
	/* And quiet from then on. */
	virtiofs_client_dispatch(s->c);
	assert_int_equal(poll(&p, 1, 0), 0);
	/* There is no path to find it again. */
	assert_int_equal(start(s), -ENOTCONN);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(commands_are_as_the_protocol_has_them),
	    T(doorbell_is_a_message_without_a_reply),
	    T(servers_eventfd_is_the_doorbell),
	    T(eventfds_that_do_not_fit_are_ignored),
	    T(capabilities_may_be_left_out),
	    T(what_was_mapped_is_unmapped_exactly),
	    cmocka_unit_test(version_that_is_not_ours),
	    cmocka_unit_test(replies_that_lie_end_the_connection),
	    T(refusal_is_told_and_the_connection_stays),
	    T(memory_is_served_while_a_reply_is_awaited),
	    T(memory_is_served_inside_of_what_was_mapped),
	    T(server_that_hangs_up_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
