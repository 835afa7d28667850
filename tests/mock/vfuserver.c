/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vfuserver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <virtiofs/ops.h>
#include <virtiofs/transport.h>

#include "transport/vfio_user/vfio_user.h"
#include "wire/virtio.h"

#define JSON_CAPS "{\"capabilities\":{\"max_msg_fds\":8}}"

/* ---- the server ---- */

void vs_put(struct vfuserver *s, const struct vfu_header *h, const void *p,
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

void vs_answer_fd(struct vfuserver *s, const void *p, size_t len, int fd)
{
	struct vfu_header h = s->rx.hdr;

	h.flags = VFU_TYPE_REPLY;
	h.error = 0;
	vs_put(s, &h, p, len, fd);
}

void vs_answer(struct vfuserver *s, const void *p, size_t len)
{
	vs_answer_fd(s, p, len, -1);
}

void vs_refuse(struct vfuserver *s, uint32_t error)
{
	struct vfu_header h = s->rx.hdr;

	h.flags = VFU_TYPE_REPLY | VFU_ERROR;
	h.error = error;
	vs_put(s, &h, NULL, 0, -1);
}

static void do_version(struct vfuserver *s)
{
	unsigned char out[256] = {0};
	struct vfu_version v = {s->major, s->minor};
	size_t len = s->json ? strlen(s->json) + 1 : 0;

	if (s->json_len)
		len = s->json_len;
	memcpy(out, &v, sizeof(v));
	memcpy(out + sizeof(v), s->json ? s->json : "", len);
	vs_answer(s, out, sizeof(v) + len);
}

static void do_region_info(struct vfuserver *s)
{
	struct vfu_region_info i;

	memcpy(&i, s->rx.payload, sizeof(i));
	i.argsz = sizeof(i);
	i.flags = VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE;
	i.size = i.index == VFU_REGION_CONFIG ? VTFS_PCI_CFG_LEN
		 : i.index < VTFS_PCI_BARS    ? s->f.bar_len[i.index]
					      : 0;
	vs_answer(s, &i, sizeof(i));
}

static void do_read(struct vfuserver *s)
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
	vs_answer(s, &out, sizeof(out.io) + out.io.count);
}

static void do_write(struct vfuserver *s)
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
	if (io.region == FAKE_BAR && io.offset >= VS_TABLE)
		s->unmasked |= 1u << (io.offset - VS_TABLE) / 16;
	else
		s->f.fn.ops->write(&s->f.fn, io.region, io.offset, data,
				   io.count);
	vs_answer(s, &io, sizeof(io));
}

static void do_map(struct vfuserver *s)
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
	vs_answer(s, NULL, 0);
}

static void do_unmap(struct vfuserver *s)
{
	struct vfu_dma_unmap u;

	memcpy(&u, s->rx.payload, sizeof(u));
	assert_int_equal(s->f.fn.ops->unmap(&s->f.fn, u.address), 0);
	vs_answer(s, &u, sizeof(u));
}

static void do_set_irqs(struct vfuserver *s)
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
	vs_answer(s, NULL, 0);
}

static void do_io_fds(struct vfuserver *s)
{
	struct {
		struct vfu_io_fds head;
		struct vfu_io_fd sub[3];
	} out = {.head = {.argsz = sizeof(out), .count = 1}};
	struct vfu_io_fds asked;

	if (s->bell < 0) {
		vs_refuse(s, EINVAL);
		return;
	}
	memcpy(&asked, s->rx.payload, sizeof(asked));
	if (asked.argsz < s->bells_argsz) {
		out.head.argsz = s->bells_argsz;
		out.head.count = 0;
		vs_answer(s, &out.head, sizeof(out.head));
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
	vs_answer_fd(s, &out, sizeof(out.head) + (s->bad_bells ? 3 : 1) * 40,
		     s->bell);
}

static void do_one(struct vfuserver *s)
{
	struct vfu_device_info info = {sizeof(info),
				       VFU_DEVICE_PCI | VFU_DEVICE_RESET,
				       VFU_REGIONS, s->num_irqs};
	struct vfu_irq_info irq = {sizeof(irq), VFU_IRQ_EVENTFD, VFU_IRQ_MSIX,
				   s->f.vectors};

	switch (s->rx.hdr.command) {
	case VFU_VERSION:
		do_version(s);
		break;
	case VFU_GET_INFO:
		vs_answer(s, &info, sizeof(info));
		break;
	case VFU_GET_REGION_INFO:
		do_region_info(s);
		break;
	case VFU_GET_IRQ_INFO:
		vs_answer(s, &irq, sizeof(irq));
		break;
	case VFU_GET_REGION_IO_FDS:
		do_io_fds(s);
		break;
	case VFU_RESET:
		vs_answer(s, NULL, 0);
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

bool vs_serve(struct vfuserver *s)
{
	int r;

	while ((r = vtfs_vfu_rx_recv(&s->rx, s->sock)) == 1) {
		struct vs_seen *seen = &s->seen[s->seen_cnt++ % VS_MESSAGES];
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

int vs_set_up(void **state)
{
	struct vfuserver *s = calloc(1, sizeof(*s));
	unsigned char *cap;

	s->fds = raw_fd_cnt();
	fake_init(&s->f);
	s->f.l.same_addrs = true;
	s->f.l.offered &= ~VIRTIOFS_F_EVENT_IDX;
	cap = fake_cap(&s->f, VTFS_PCI_CAP_ID_MSIX, 12);
	cap[2] = 2; /* three vectors */
	fake_put32(cap + VTFS_PCI_MSIX_TABLE, VS_TABLE | FAKE_BAR);
	vtfs_vfu_rx_init(&s->rx, 1 << 21);
	memset(s->vector_fd, 0xff, sizeof(s->vector_fd));
	s->minor = VFU_MINOR;
	s->json = JSON_CAPS;
	s->num_irqs = VFU_IRQS;
	s->bell = s->sock = s->listener = -1;
	s->opts.size = sizeof(s->opts);
	s->opts.flags = VIRTIOFS_CLIENT_NONBLOCK;
	*state = s;
	return 0;
}

void vs_hang_up(struct vfuserver *s)
{
	if (s->sock >= 0)
		close(s->sock);
	s->sock = -1;
	vtfs_vfu_rx_next(&s->rx);
	/* A server that is new knows nothing. */
	memset(s->f.l.region_live, 0, sizeof(s->f.l.region_live));
}

int vs_tear_down(void **state)
{
	struct vfuserver *s = *state;

	vs_hang_up(s);
	virtiofs_client_free(s->c);
	if (s->listener >= 0) {
		close(s->listener);
		unlink(s->path);
		rmdir(s->dir);
	}
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

void vs_listen(struct vfuserver *s)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	strcpy(s->dir, "/tmp/vfuserver-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/sock", s->dir);
	strcpy(sa.sun_path, s->path);
	s->listener = socket(AF_UNIX,
			     SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&sa, sizeof(sa)),
			 0);
	assert_int_equal(listen(s->listener, 1), 0);
}

static struct virtiofs_transport *new_transport(struct vfuserver *s)
{
	struct virtiofs_transport *t;
	int sv[2];

	if (s->listener >= 0) {
		assert_int_equal(vtfs_vfio_user_connect(&t, s->path), 0);
		return t;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv),
			 0);
	s->sock = sv[0];
	assert_int_equal(virtiofs_vfio_user_client_fd(&t, sv[1]), 0);
	return t;
}

void vs_new_client(struct vfuserver *s)
{
	assert_int_equal(virtiofs_client_new(&s->c, new_transport(s), &s->opts),
			 0);
}

static void serve_if_there(struct vfuserver *s)
{
	if (s->sock < 0 && s->listener >= 0)
		s->sock = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	if (s->sock >= 0)
		vs_serve(s);
}

struct virtiofs_transport *vs_connect(struct vfuserver *s)
{
	struct virtiofs_transport *t = new_transport(s);

	for (unsigned i = 0; i < 2000; i++) {
		int r = t->cli->connect(t);

		if (r == -EAGAIN) {
			serve_if_there(s);
			continue;
		}
		assert_int_equal(r, 0);
		return t;
	}
	fail_msg("connect never ends");
	return NULL;
}

int vs_start(struct vfuserver *s)
{
	struct fuse_init_out out;
	int r;

	if (!s->c)
		vs_new_client(s);
	for (unsigned i = 0; i < 2000; i++) {
		r = virtiofs_client_start(s->c, NULL);
		if (r != -EAGAIN)
			return r;
		serve_if_there(s);
		if (liar_pop(&s->f.l, 1, &s->req)) {
			liar_init_reply(&out, &s->req);
			liar_reply(&s->f.l, &s->req, 0, &out, sizeof(out));
			virtiofs_client_dispatch(s->c);
		}
	}
	fail_msg("start never ends");
	return 0;
}

void vs_one_request(struct vfuserver *s)
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
	assert_true(vs_serve(s));
	assert_int_equal(liar_pop(&s->f.l, 1, &s->req), 1);
	liar_reply(&s->f.l, &s->req, 0, &out, sizeof(out));
	p = (struct pollfd){.fd = virtiofs_cliq_fd(s->q), .events = POLLIN};
	while (!(r = virtiofs_cliq_reap(s->q, &res, 1)))
		if (!virtiofs_cliq_arm(s->q))
			assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(r, 1);
	assert_int_equal(res.error, 0);
}

static void *serve_all(void *arg)
{
	struct vfuserver *s = arg;
	struct pollfd p = {.fd = s->sock, .events = POLLIN};

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		poll(&p, 1, 10);
		vs_serve(s);
	}
	return NULL;
}

void vs_begin_serving(struct vfuserver *s)
{
	s->stop = false;
	assert_int_equal(pthread_create(&s->thread, NULL, serve_all, s), 0);
}

void vs_end_serving(struct vfuserver *s)
{
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	pthread_join(s->thread, NULL);
}

unsigned vs_count(const struct vfuserver *s, uint16_t command)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->seen_cnt && i < VS_MESSAGES; i++)
		n += s->seen[i].hdr.command == command;
	return n;
}

bool vs_awake(const struct vfuserver *s)
{
	struct pollfd p = {.fd = virtiofs_client_fd(s->c), .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}
