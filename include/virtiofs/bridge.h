/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_BRIDGE_H
#define VIRTIOFS_BRIDGE_H
/*
 * A share as a mount of this host: /dev/fuse on one side, a client on the
 * other. The kernel's requests go to the device as they are; FORGET and
 * INTERRUPT by the hiprio queue.
 */
#include <virtiofs/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct virtiofs_bridge;

/* The mount has default_permissions: idmapped mounts are offered (Linux
 * refuses the one without the other). */
#define VIRTIOFS_BRIDGE_DEFAULT_PERMISSIONS (1u << 0)

struct virtiofs_bridge_opts {
	size_t size;
	uint32_t flags;	     /* VIRTIOFS_BRIDGE_ */
	uint32_t queues;     /* request queues to take, 1 to this; 0: all */
	uint32_t timeout_ms; /* for a reply, but SETLKW's; default: no limit */
};

/*
 * c: with VIRTIOFS_CLIENT_RAW_INIT, and before its INIT; started if it is not.
 * It stays the caller's and outlives the bridge; queues that the bridge has
 * not taken serve calls. fuse_fd: /dev/fuse as virtiofs_bridge_mount() returns
 * it; the bridge's from now on, even if this fails. opts NULL: all defaults.
 *
 * Waits for the kernel's INIT and the server's answer: when this returns 0,
 * the mount is live. What takes no part in a virtqueue (splice, passthrough,
 * DAX) is not negotiated, nor what needs notifications, unless the client has
 * them: virtiofs_bridge_notify(). -EINVAL a client without RAW_INIT;
 * -EPROTO no INIT came; what virtiofs_client_start and the server say.
 */
VIRTIOFS_API int virtiofs_bridge_new(struct virtiofs_bridge **ret,
				     struct virtiofs_client *c, int fuse_fd,
				     const struct virtiofs_bridge_opts *opts);
/* No thread is in run. What is in flight is left to the device; the kernel
 * answers its programs with ENOTCONN. Its queues are given back to the client,
 * but those with requests in flight. */
VIRTIOFS_API void virtiofs_bridge_free(struct virtiofs_bridge *b);

/* Request queues it has taken. */
VIRTIOFS_API unsigned virtiofs_bridge_queues(const struct virtiofs_bridge *b);
/*
 * Serve request queue number queue, from 1 on, each in a thread of its own;
 * the thread of queue 1 also dispatches the client. Queue 0: pass the server's
 * notifications on, in one more thread. 0 once unmounted;
 * -ESHUTDOWN stopped; -ECONNABORTED somebody aborted the connection; or what
 * /dev/fuse said. A device that is lost is no end: requests get EIO until
 * the mount has gone, and then this is -ENOTCONN.
 */
VIRTIOFS_API int virtiofs_bridge_run(struct virtiofs_bridge *b, unsigned queue);
/* Every run returns, now and later; those of request queues once that of queue
 * 0 has, which may have to wait for them. From any thread or signal handler. */
VIRTIOFS_API void virtiofs_bridge_stop(struct virtiofs_bridge *b);

struct virtiofs_notification;
/*
 * For a mount that the server may notify: the client's opts.notify; its
 * notify_data is the address of a struct virtiofs_bridge *, NULL until
 * virtiofs_bridge_new() has set it, which outlives the client. Then run queue 0
 * too. What the kernel does not know (a node it has not looked up, a code) is
 * ignored, and so is RESEND.
 */
VIRTIOFS_API void virtiofs_bridge_notify(const struct virtiofs_notification *n,
					 void *data);

/*
 * Mount /dev/fuse at dir: with mount(2) if the caller is root, else with the
 * program fusermount3. The descriptor for virtiofs_bridge_new(), or -errno.
 * options as mount(8) takes them, NULL for none: ro, rw, [no]suid, [no]dev,
 * [no]exec, [no]atime, [no]diratime, [no]relatime, strictatime, lazytime,
 * sync, async, dirsync, allow_other, default_permissions, max_read=N,
 * fsname=NAME, subtype=NAME; nosuid and nodev are the default. -EINVAL: an
 * option that is none of these.
 */
VIRTIOFS_API int virtiofs_bridge_mount(const char *dir, const char *options);
/* In flags: though it is in use (MNT_DETACH). */
#define VIRTIOFS_BRIDGE_LAZY (1u << 0)
/* -EBUSY in use; -EINVAL not mounted. While the bridge still runs: the kernel
 * has data to write back. */
VIRTIOFS_API int virtiofs_bridge_umount(const char *dir, uint32_t flags);

#ifdef __cplusplus
}
#endif
#endif
