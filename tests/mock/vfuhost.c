/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vfuhost.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

void vh_pump(struct vfuhost *h)
{
	if (h->pump) {
		h->pump(h);
		return;
	}
	do {
		assert_int_equal(h->t->dev->dispatch(h->t), 0);
	} while (readable(h->t->fd(h->t)));
}

void vh_dial(struct vfuhost *h)
{
	if (h->sock >= 0)
		close(h->sock);
	h->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(h->sock, (struct sockaddr *)&h->sa, h->sa_len),
			 0);
	vh_pump(h);
}

void vh_version(struct vfuhost *h, const char *json)
{
	struct vfu_answer a;
	unsigned char buf[512] = {0};
	size_t len = json ? strlen(json) + 1 : 0;

	if (len)
		memcpy(buf + 4, json, len);
	assert_int_equal(vh_ask(h, VFU_VERSION, buf, 4 + len, &a), 0);
}

int vh_set_up(void **state)
{
	struct vfuhost *h = calloc(1, sizeof(*h));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	h->sa.sun_family = AF_UNIX;
	/* A name of the kernel's choice. */
	assert_int_equal(
	    bind(fd, (struct sockaddr *)&h->sa, sizeof(sa_family_t)), 0);
	h->sa_len = sizeof(h->sa);
	getsockname(fd, (struct sockaddr *)&h->sa, &h->sa_len);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(virtiofs_vfio_user_listen_fd(&h->t, fd), 0);
	rec_init(&h->rec, h->t);
	h->sock = -1;
	vh_dial(h);
	vh_version(h, "{\"capabilities\":{\"max_msg_fds\":8,"
		      "\"write_multiple\":true}}");
	*state = h;
	return 0;
}

int vh_tear_down(void **state)
{
	struct vfuhost *h = *state;

	rec_fini(&h->rec);
	close(h->sock);
	free(h);
	return 0;
}

void vh_bytes(struct vfuhost *h, const void *buf, size_t len, const int *fds,
	      unsigned fd_cnt)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(64 * sizeof(int))];
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_cnt) {
		m.msg_control = ctl.buf;
		m.msg_controllen = CMSG_SPACE(fd_cnt * sizeof(int));
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(fd_cnt * sizeof(int));
		memcpy(CMSG_DATA(&ctl.align), fds, fd_cnt * sizeof(int));
	}
	assert_int_equal(sendmsg(h->sock, &m, MSG_NOSIGNAL), len);
}

static void send_all(struct vfuhost *h, struct vfu_header *hdr,
		     const void *payload, const int *fds, unsigned fd_cnt)
{
	size_t len = hdr->size - sizeof(*hdr);
	unsigned char *buf = malloc(hdr->size);

	memcpy(buf, hdr, sizeof(*hdr));
	if (len)
		memcpy(buf + sizeof(*hdr), payload, len);
	vh_bytes(h, buf, hdr->size, fds, fd_cnt);
	free(buf);
}

void vh_send(struct vfuhost *h, uint16_t command, uint32_t flags,
	     const void *payload, size_t len)
{
	struct vfu_header hdr = {.id = ++h->id,
				 .command = command,
				 .size = (uint32_t)(sizeof(hdr) + len),
				 .flags = flags};

	send_all(h, &hdr, payload, NULL, 0);
}

void vh_send_fds(struct vfuhost *h, uint16_t command, const void *payload,
		 size_t len, const int *fds, unsigned fd_cnt)
{
	struct vfu_header hdr = {.id = ++h->id,
				 .command = command,
				 .size = (uint32_t)(sizeof(hdr) + len)};

	send_all(h, &hdr, payload, fds, fd_cnt);
}

void vh_recv(struct vfuhost *h, struct vfu_answer *a)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(a->fds))];
	} ctl;
	struct iovec iov = {.iov_base = &a->hdr, .iov_len = sizeof(a->hdr)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = sizeof(ctl.buf)};
	struct cmsghdr *c;

	memset(a, 0, sizeof(*a));
	assert_int_equal(recvmsg(h->sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC),
			 sizeof(a->hdr));
	c = CMSG_FIRSTHDR(&m);
	if (c) {
		a->fd_cnt = (unsigned)((c->cmsg_len - CMSG_LEN(0)) /
				       sizeof(int));
		memcpy(a->fds, CMSG_DATA(c), a->fd_cnt * sizeof(int));
	}
	assert_true(a->hdr.size >= sizeof(a->hdr));
	a->len = a->hdr.size - sizeof(a->hdr);
	assert_true(a->len <= sizeof(a->bytes));
	if (a->len)
		assert_int_equal(recv(h->sock, a->bytes, a->len, MSG_DONTWAIT),
				 a->len);
}

bool vh_quiet(struct vfuhost *h)
{
	char c;

	return recv(h->sock, &c, 1, MSG_DONTWAIT | MSG_PEEK) < 0 &&
	       errno == EAGAIN;
}

bool vh_closed(struct vfuhost *h)
{
	char c;
	ssize_t n = recv(h->sock, &c, 1, MSG_DONTWAIT | MSG_PEEK);

	/* It had not read all of it. */
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* What every reply to h->id has to look like. */
static int check_reply(struct vfuhost *h, uint16_t command,
		       const struct vfu_answer *a)
{
	assert_int_equal(a->hdr.id, h->id);
	assert_int_equal(a->hdr.command, command);
	assert_int_equal(a->hdr.flags & ~VFU_ERROR, VFU_TYPE_REPLY);
	if (!(a->hdr.flags & VFU_ERROR)) {
		assert_int_equal(a->hdr.error, 0);
		return 0;
	}
	assert_int_equal(a->hdr.size, sizeof(a->hdr));
	assert_true(a->hdr.error);
	return (int)a->hdr.error;
}

static int answer_to(struct vfuhost *h, uint16_t command, struct vfu_answer *a)
{
	struct vfu_answer own;

	vh_pump(h);
	a = a ? a : &own;
	vh_recv(h, a);
	return check_reply(h, command, a);
}

int vh_ask(struct vfuhost *h, uint16_t command, const void *payload, size_t len,
	   struct vfu_answer *a)
{
	vh_send(h, command, 0, payload, len);
	return answer_to(h, command, a);
}

int vh_map(struct vfuhost *h, uint64_t address, uint64_t size, uint32_t flags,
	   int fd)
{
	const struct vfu_dma_map m = {.argsz = sizeof(m),
				      .flags = flags,
				      .address = address,
				      .size = size};

	vh_send_fds(h, VFU_DMA_MAP, &m, sizeof(m), &fd, fd >= 0);
	return answer_to(h, VFU_DMA_MAP, NULL);
}

int vh_unmap(struct vfuhost *h, uint64_t address, uint64_t size)
{
	const struct vfu_dma_unmap u = {
	    .argsz = sizeof(u), .address = address, .size = size};
	struct vfu_answer a;
	int r = vh_ask(h, VFU_DMA_UNMAP, &u, sizeof(u), &a);

	if (!r)
		assert_memory_equal(&a.unmap, &u, sizeof(u));
	return r;
}

int vh_read(struct vfuhost *h, uint32_t region, uint64_t off, uint32_t len,
	    uint32_t *ret)
{
	const struct vfu_region_io io = {
	    .offset = off, .region = region, .count = len};
	struct vfu_answer a;
	int r = vh_ask(h, VFU_REGION_READ, &io, sizeof(io), &a);

	if (r)
		return r;
	assert_int_equal(a.len, sizeof(io) + len);
	assert_memory_equal(&a.rw, &io, sizeof(io));
	*ret = 0;
	memcpy(ret, a.data, len);
	return 0;
}

int vh_write(struct vfuhost *h, uint32_t region, uint64_t off, uint32_t len,
	     uint32_t v)
{
	struct {
		struct vfu_region_io io;
		uint32_t v;
	} out = {{off, region, len}, v};
	struct vfu_answer a;
	int r = vh_ask(h, VFU_REGION_WRITE, &out, sizeof(out.io) + len, &a);

	if (!r) {
		assert_int_equal(a.len, sizeof(out.io));
		assert_memory_equal(&a.rw, &out.io, sizeof(out.io));
	}
	return r;
}

int vh_set_irqs(struct vfuhost *h, uint32_t flags, uint32_t index,
		uint32_t start, uint32_t count)
{
	const struct vfu_irq_set s = {sizeof(s), flags, index, start, count};

	return vh_ask(h, VFU_SET_IRQS, &s, sizeof(s), NULL);
}

int vh_irq_fds(struct vfuhost *h, const int *fds, unsigned cnt)
{
	const struct vfu_irq_set s = {
	    sizeof(s), VFU_IRQ_DATA_EVENTFD | VFU_IRQ_ACTION_TRIGGER,
	    VFU_IRQ_MSIX, 0, cnt};

	vh_send_fds(h, VFU_SET_IRQS, &s, sizeof(s), fds, cnt);
	return answer_to(h, VFU_SET_IRQS, NULL);
}

uint32_t vh_status(struct vfuhost *h)
{
	uint32_t v = 0;

	assert_int_equal(vh_read(h, 0, VTFS_PCI_DEVICE_STATUS, 1, &v), 0);
	return v;
}

static void put(struct vfuhost *h, uint32_t off, uint32_t len, uint32_t v)
{
	assert_int_equal(vh_write(h, 0, off, len, v), 0);
}

void vh_up(struct vfuhost *h)
{
	int fd = vh_memfd(VH_MEM);

	assert_int_equal(vh_map(h, VH_GUEST, VH_MEM, 3, fd), 0);
	close(fd);
	vh_write(h, VFU_REGION_CONFIG, VTFS_PCI_COMMAND, 2, 6);
	vh_write(h, VFU_REGION_CONFIG,
		 VTFS_PCIFN_CAP_MSIX + VTFS_PCI_MSIX_CONTROL, 2,
		 VTFS_PCI_MSIX_ENABLE);
	put(h, VTFS_PCI_DEVICE_STATUS, 1, 3);
	put(h, VTFS_PCI_DRIVER_FEATURE_SELECT, 4, 1);
	put(h, VTFS_PCI_DRIVER_FEATURE, 4, 1);
	put(h, VTFS_PCI_DEVICE_STATUS, 1, 11);
	for (unsigned i = 0; i < REC_QUEUES; i++) {
		put(h, VTFS_PCI_QUEUE_SELECT, 2, i);
		put(h, VTFS_PCI_QUEUE_VECTOR, 2, i + 1);
		put(h, VTFS_PCI_QUEUE_DESC, 4, VH_GUEST + 0x1000 * i);
		put(h, VTFS_PCI_QUEUE_ENABLE, 2, 1);
	}
	put(h, VTFS_PCI_DEVICE_STATUS, 1, 15);
	assert_int_equal(vh_status(h), 15);
}

int vh_memfd(size_t len)
{
	int fd = memfd_create("vfuhost", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
	return fd;
}

int vh_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

unsigned vh_heard(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? (unsigned)n : 0;
}
