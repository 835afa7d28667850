/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_DIRENT_H
#define VIRTIOFS_DIRENT_H
/* Walking what READDIR and READDIRPLUS return, believing none of it. */
#include <errno.h>
#include <string.h>
#include <virtiofs/base.h>
#include <virtiofs/fuse_kernel.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One entry. name points into the buffer and has no NUL. */
struct virtiofs_dirent {
	uint64_t ino;
	uint64_t off; /* where to read on after this one */
	const char *name;
	uint32_t namelen;	     /* 1..1024, no '/' and no NUL in it */
	uint32_t type;		     /* DT_ of <dirent.h> */
	struct fuse_entry_out entry; /* READDIRPLUS, else zero */
};

/* The entry at *pos of a struct fuse_dirent list. */
static inline int virtiofs_dirent_at(const char *buf, size_t len, size_t *pos,
				     struct virtiofs_dirent *ret)
{
	const size_t head = offsetof(struct fuse_dirent, name);
	struct fuse_dirent d;
	size_t left = len - *pos;

	if (left < head)
		return -EPROTO;
	memcpy(&d, buf + *pos, head);
	if (!d.namelen || d.namelen > 1024 || d.namelen > left - head)
		return -EPROTO;
	ret->name = buf + *pos + head;
	if (memchr(ret->name, '/', d.namelen) ||
	    memchr(ret->name, 0, d.namelen))
		return -EPROTO;
	ret->ino = d.ino;
	ret->off = d.off;
	ret->namelen = d.namelen;
	ret->type = d.type;
	/* The last one may lack its padding. */
	left -= head + d.namelen;
	*pos += head + d.namelen;
	*pos += left < (-*pos & 7) ? left : (-*pos & 7);
	return 1;
}

/* Start with *pos = 0. 1: *ret is the next entry; 0: no more; -EPROTO: the
 * server sent what is no entry. */
static inline int virtiofs_next_dirent(const void *buf, size_t len, size_t *pos,
				       struct virtiofs_dirent *ret)
{
	memset(&ret->entry, 0, sizeof(ret->entry));
	if (*pos >= len)
		return 0;
	return virtiofs_dirent_at((const char *)buf, len, pos, ret);
}

static inline int virtiofs_next_direntplus(const void *buf, size_t len,
					   size_t *pos,
					   struct virtiofs_dirent *ret)
{
	size_t at = *pos;
	int r;

	if (at >= len)
		return 0;
	if (len - at < sizeof(ret->entry))
		return -EPROTO;
	memcpy(&ret->entry, (const char *)buf + at, sizeof(ret->entry));
	at += sizeof(ret->entry);
	r = virtiofs_dirent_at((const char *)buf, len, &at, ret);
	if (r > 0)
		*pos = at;
	return r;
}

#ifdef __cplusplus
}
#endif
#endif
