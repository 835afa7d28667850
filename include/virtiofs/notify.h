/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_NOTIFY_H
#define VIRTIOFS_NOTIFY_H
/*
 * virtiofs_notify_NAME() sends a FUSE_NOTIFY_NAME; what it returns is
 * virtiofs_device_notify()'s. What a client does with it is its affair: Linux
 * is asked through the bridge, other clients have a callback.
 */
#include <errno.h>
#include <string.h>
#include <virtiofs/device.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A file that was polled is ready; kh is fuse_poll_in's. */
static inline int virtiofs_notify_poll(struct virtiofs_device *dev, uint64_t kh)
{
	struct fuse_notify_poll_wakeup_out out;
	struct iovec v;

	memset(&out, 0, sizeof(out));
	out.kh = kh;
	v.iov_base = &out;
	v.iov_len = sizeof(out);
	return virtiofs_device_notify(dev, FUSE_NOTIFY_POLL, &v, 1);
}

/* Attributes, and cached bytes [off, off + len): len 0 or less: to the end; off
 * negative: attributes only. */
static inline int virtiofs_notify_inval_inode(struct virtiofs_device *dev,
					      uint64_t nodeid, int64_t off,
					      int64_t len)
{
	struct fuse_notify_inval_inode_out out;
	struct iovec v;

	memset(&out, 0, sizeof(out));
	out.ino = nodeid;
	out.off = off;
	out.len = len;
	v.iov_base = &out;
	v.iov_len = sizeof(out);
	return virtiofs_device_notify(dev, FUSE_NOTIFY_INVAL_INODE, &v, 1);
}

/* The name is looked up again. flags: FUSE_EXPIRE_ONLY (FUSE_HAS_EXPIRE_ONLY):
 * no sooner than it is used. */
static inline int virtiofs_notify_inval_entry(struct virtiofs_device *dev,
					      uint64_t parent, const char *name,
					      uint32_t flags)
{
	struct fuse_notify_inval_entry_out out;
	struct iovec v[2];

	memset(&out, 0, sizeof(out));
	out.parent = parent;
	out.namelen = (uint32_t)strlen(name);
	out.flags = flags;
	v[0].iov_base = &out;
	v[0].iov_len = sizeof(out);
	v[1].iov_base = (void *)(uintptr_t)name;
	v[1].iov_len = strlen(name) + 1;
	return virtiofs_device_notify(dev, FUSE_NOTIFY_INVAL_ENTRY, v, 2);
}

/* The name is gone; it was child's. */
static inline int virtiofs_notify_delete(struct virtiofs_device *dev,
					 uint64_t parent, uint64_t child,
					 const char *name)
{
	struct fuse_notify_delete_out out;
	struct iovec v[2];

	memset(&out, 0, sizeof(out));
	out.parent = parent;
	out.child = child;
	out.namelen = (uint32_t)strlen(name);
	v[0].iov_base = &out;
	v[0].iov_len = sizeof(out);
	v[1].iov_base = (void *)(uintptr_t)name;
	v[1].iov_len = strlen(name) + 1;
	return virtiofs_device_notify(dev, FUSE_NOTIFY_DELETE, v, 2);
}

/* Bytes of a file for the client's cache. */
static inline int virtiofs_notify_store(struct virtiofs_device *dev,
					uint64_t nodeid, uint64_t offset,
					const void *data, uint32_t len)
{
	struct fuse_notify_store_out out;
	struct iovec v[2];

	memset(&out, 0, sizeof(out));
	out.nodeid = nodeid;
	out.offset = offset;
	out.size = len;
	v[0].iov_base = &out;
	v[0].iov_len = sizeof(out);
	v[1].iov_base = (void *)(uintptr_t)data;
	v[1].iov_len = len;
	return virtiofs_device_notify(dev, FUSE_NOTIFY_STORE, v, 2);
}

/* Asks for bytes that the client has cached: they come as a NOTIFY_REPLY, a
 * request whose unique is that one, with fuse_notify_retrieve_in. */
static inline int virtiofs_notify_retrieve(struct virtiofs_device *dev,
					   uint64_t unique, uint64_t nodeid,
					   uint64_t offset, uint32_t len)
{
	struct fuse_notify_retrieve_out out;
	struct iovec v;

	memset(&out, 0, sizeof(out));
	out.notify_unique = unique;
	out.nodeid = nodeid;
	out.offset = offset;
	out.size = len;
	v.iov_base = &out;
	v.iov_len = sizeof(out);
	return virtiofs_device_notify(dev, FUSE_NOTIFY_RETRIEVE, &v, 1);
}

/* Requests that are not answered are sent again (FUSE_HAS_RESEND). */
static inline int virtiofs_notify_resend(struct virtiofs_device *dev)
{
	return virtiofs_device_notify(dev, FUSE_NOTIFY_RESEND, NULL, 0);
}

/* All names are looked up again. */
static inline int virtiofs_notify_inc_epoch(struct virtiofs_device *dev)
{
	return virtiofs_device_notify(dev, FUSE_NOTIFY_INC_EPOCH, NULL, 0);
}

/* Nodes that should be forgotten if nobody uses them. */
static inline int virtiofs_notify_prune(struct virtiofs_device *dev,
					const uint64_t *nodeids, uint32_t cnt)
{
	struct fuse_notify_prune_out out;
	struct iovec v[2];

	memset(&out, 0, sizeof(out));
	out.count = cnt;
	v[0].iov_base = &out;
	v[0].iov_len = sizeof(out);
	v[1].iov_base = (void *)(uintptr_t)nodeids;
	v[1].iov_len = cnt * sizeof(*nodeids);
	return virtiofs_device_notify(dev, FUSE_NOTIFY_PRUNE, v, 2);
}

#ifdef __cplusplus
}
#endif
#endif
