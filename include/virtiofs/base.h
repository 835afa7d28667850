/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_BASE_H
#define VIRTIOFS_BASE_H
/*
 * What every other header needs: export mark, errors, logging, regions.
 *
 * Rules that hold for the whole library
 *  - int functions return >= 0, or a negative errno value; errno is not used.
 *  - A ret_ argument is written on success only.
 *  - Every *_free() takes NULL.
 *  - Structs that the caller allocates start with "size"; set it to sizeof.
 *    Zero in any other field means "the default".
 *  - No threads, no signals, no environment, no exit() or abort() because of
 *    anything a peer did.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define VIRTIOFS_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Version of the library that runs, as "MAJOR.MINOR.PATCH". */
VIRTIOFS_API const char *virtiofs_version(void);

/* Text for the last negative return in this thread; never NULL, not stable. */
VIRTIOFS_API const char *virtiofs_last_error(void);

/* One line, without newline; level as in <syslog.h>. May run in any thread
 * that is inside a call on the object it was set for. */
typedef void (*virtiofs_log_fn)(void *log_data, int level, const char *line);

/* Memory both peers see. fd is duplicated: the caller keeps its own. */
struct virtiofs_region {
	size_t size;
	void *addr;
	size_t len;
	uint64_t fd_offset;
	int fd;		/* -1 where the transport needs none */
	uint32_t flags; /* 0 */
};

/* Queues by number, the same on both ends, whatever their virtqueue number:
 * 0 hiprio, 1..n request queues. The notification queue has none. */
#define VIRTIOFS_QUEUE_HIPRIO	  0u
#define VIRTIOFS_QUEUE_REQUEST(i) (1u + (i))

/*
 * Virtio feature bits a program may want to choose (virtio 1.4, 6). Both ends
 * always need VERSION_1; what is negotiated is what both ends want.
 */
/* A queue by which the device notifies. Not for the features of options: it is
 * offered, and taken, with their notify fields. */
#define VIRTIOFS_F_NOTIFICATION	 (1ULL << 0)
#define VIRTIOFS_F_INDIRECT_DESC (1ULL << 28)
#define VIRTIOFS_F_EVENT_IDX	 (1ULL << 29)
#define VIRTIOFS_F_VERSION_1	 (1ULL << 32)
#define VIRTIOFS_F_RING_PACKED	 (1ULL << 34)
/* Replies in the order of the requests: whoever is not done yet holds up all
 * later ones of his queue. Never in DEFAULT. */
#define VIRTIOFS_F_IN_ORDER (1ULL << 35)
/* One queue is reset and goes on while the others run. Never in DEFAULT: QEMU
 * lets a guest do that and doesn't tell the device. */
#define VIRTIOFS_F_RING_RESET (1ULL << 40)

/* What features = 0 in the options means. Packed rings are left out: some
 * front-ends (user-mode Linux 6.1) accept the bit and then set them up as if
 * they were split. */
#define VIRTIOFS_FEATURES_DEFAULT                                              \
	(VIRTIOFS_F_VERSION_1 | VIRTIOFS_F_INDIRECT_DESC | VIRTIOFS_F_EVENT_IDX)

/* Longest tag, in bytes, without a NUL (virtio 1.4, 5.11.4). */
#define VIRTIOFS_TAG_MAX 36u

/* Call from your SIGBUS handler with siginfo's si_addr. 1: it was memory of a
 * peer that took it back; the page now reads as zeroes, that device or client
 * fails, return from the handler. 0: not ours. Async-signal-safe. */
VIRTIOFS_API int virtiofs_memory_fault(const void *addr);

struct virtiofs_transport; /* <virtiofs/transport.h> */
struct virtiofs_device;	   /* <virtiofs/device.h> */
struct virtiofs_client;	   /* <virtiofs/client.h> */

#ifdef __cplusplus
}
#endif
#endif
