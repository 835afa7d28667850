/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef MOCK_VFUHOST_H
#define MOCK_VFUHOST_H
/*
 * A vfio-user client that can say anything, against a device with a session
 * that writes down what it is told. Nothing here waits: a reply is there, or
 * the test is wrong.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "leaks.h"
#include "recsink.h"
#include "transport/virtio_pci/function.h"
#include "wire/vfio_user.h"

#define VH_GUEST 0x40000000ULL
#define VH_MEM	 0x10000u

struct vfuhost {
	struct virtiofs_transport *t;
	struct rec rec;
	struct sockaddr_un sa;
	socklen_t sa_len;
	int sock;
	uint16_t id;			 /* of the last command */
	void (*pump)(struct vfuhost *h); /* not NULL: instead of dispatch */
};

struct vfu_answer {
	struct vfu_header hdr;
	union {
		unsigned char bytes[16384];
		struct vfu_device_info info;
		struct vfu_region_info region;
		struct vfu_irq_info irq;
		struct vfu_io_fds io;
		struct vfu_dma_unmap unmap;
		struct {
			struct vfu_region_io rw;
			unsigned char data[64];
		};
		struct {
			struct vfu_version version;
			char json[512];
		};
	};
	size_t len; /* of the payload */
	int fds[16];
	unsigned fd_cnt;
};

/* For cmocka: a device that listens, a connection, VERSION is over. */
int vh_set_up(void **state);
int vh_tear_down(void **state);
/* A new connection without a word; and with VERSION and these capabilities. */
void vh_dial(struct vfuhost *h);
void vh_version(struct vfuhost *h, const char *json);
/* Let the device do all that it can. */
void vh_pump(struct vfuhost *h);

/* These bytes, with these fds on the first. */
void vh_bytes(struct vfuhost *h, const void *buf, size_t len, const int *fds,
	      unsigned fd_cnt);
/* A command with another id each time. */
void vh_send(struct vfuhost *h, uint16_t command, uint32_t flags,
	     const void *payload, size_t len);
void vh_send_fds(struct vfuhost *h, uint16_t command, const void *payload,
		 size_t len, const int *fds, unsigned fd_cnt);
/* The reply, which has to be there. */
void vh_recv(struct vfuhost *h, struct vfu_answer *a);
bool vh_quiet(struct vfuhost *h);
/* The device has closed; everything before that was read. */
bool vh_closed(struct vfuhost *h);

/* Command and reply; the errno of the reply, 0 if it is none. */
int vh_ask(struct vfuhost *h, uint16_t command, const void *payload, size_t len,
	   struct vfu_answer *a);
int vh_map(struct vfuhost *h, uint64_t address, uint64_t size, uint32_t flags,
	   int fd);
int vh_unmap(struct vfuhost *h, uint64_t address, uint64_t size);
int vh_read(struct vfuhost *h, uint32_t region, uint64_t off, uint32_t len,
	    uint32_t *ret);
int vh_write(struct vfuhost *h, uint32_t region, uint64_t off, uint32_t len,
	     uint32_t v);
int vh_set_irqs(struct vfuhost *h, uint32_t flags, uint32_t index,
		uint32_t start, uint32_t count);
/* The same with DATA_EVENTFD and TRIGGER for vectors [0, cnt). */
int vh_irq_fds(struct vfuhost *h, const int *fds, unsigned cnt);

/* Memory, features, queues with vectors 1 to 3 to DRIVER_OK, MSI-X on. */
void vh_up(struct vfuhost *h);
uint32_t vh_status(struct vfuhost *h);
int vh_memfd(size_t len);
int vh_eventfd(void);
unsigned vh_heard(int fd);
#endif
