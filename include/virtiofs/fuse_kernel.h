/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VIRTIOFS_FUSE_KERNEL_H
#define VIRTIOFS_FUSE_KERNEL_H
/*
 * The FUSE wire format, protocol 7.45, under the names of <linux/fuse.h>.
 *
 * Here because the system's header is often older. Both may be included in one
 * file, in either order. After the system's, this one adds what came later;
 * fields that got a name after 7.38 (fuse_open_out.backing_id,
 * fuse_init_out.max_stack_depth and request_timeout) have it only when this
 * header comes first.
 *
 * In names "in" is what the client sends, "out" is what the server answers.
 * All integers are in the byte order of the client (virtio 1.4, 5.11.6).
 * Fields called padding, dummy, reserved, spare or unused are sent as 0.
 */
#include <stdint.h>

#ifndef _LINUX_FUSE_H
#define _LINUX_FUSE_H

#define FUSE_KERNEL_VERSION	  7
#define FUSE_KERNEL_MINOR_VERSION 45

#define FUSE_ROOT_ID	     1 /* nodeid of the root, never looked up */
#define FUSE_MIN_READ_BUFFER 8192

enum fuse_opcode {
	FUSE_LOOKUP = 1,
	FUSE_FORGET = 2, /* no reply */
	FUSE_GETATTR = 3,
	FUSE_SETATTR = 4,
	FUSE_READLINK = 5,
	FUSE_SYMLINK = 6,
	FUSE_MKNOD = 8,
	FUSE_MKDIR = 9,
	FUSE_UNLINK = 10,
	FUSE_RMDIR = 11,
	FUSE_RENAME = 12,
	FUSE_LINK = 13,
	FUSE_OPEN = 14,
	FUSE_READ = 15,
	FUSE_WRITE = 16,
	FUSE_STATFS = 17,
	FUSE_RELEASE = 18,
	FUSE_FSYNC = 20,
	FUSE_SETXATTR = 21,
	FUSE_GETXATTR = 22,
	FUSE_LISTXATTR = 23,
	FUSE_REMOVEXATTR = 24,
	FUSE_FLUSH = 25,
	FUSE_INIT = 26,
	FUSE_OPENDIR = 27,
	FUSE_READDIR = 28,
	FUSE_RELEASEDIR = 29,
	FUSE_FSYNCDIR = 30,
	FUSE_GETLK = 31,
	FUSE_SETLK = 32,
	FUSE_SETLKW = 33,
	FUSE_ACCESS = 34,
	FUSE_CREATE = 35,
	FUSE_INTERRUPT = 36, /* reply optional */
	FUSE_BMAP = 37,
	FUSE_DESTROY = 38,
	FUSE_IOCTL = 39,
	FUSE_POLL = 40,
	FUSE_NOTIFY_REPLY = 41, /* no reply */
	FUSE_BATCH_FORGET = 42, /* no reply */
	FUSE_FALLOCATE = 43,
	FUSE_READDIRPLUS = 44,
	FUSE_RENAME2 = 45,
	FUSE_LSEEK = 46,
	FUSE_COPY_FILE_RANGE = 47,
	FUSE_SETUPMAPPING = 48,
	FUSE_REMOVEMAPPING = 49,
	FUSE_SYNCFS = 50,
	FUSE_TMPFILE = 51,
	FUSE_STATX = 52,
	FUSE_COPY_FILE_RANGE_64 = 53,

	CUSE_INIT = 4096, /* character devices, not virtio-fs */

	/* INIT as a peer of the other byte order sees it */
	CUSE_INIT_BSWAP_RESERVED = 1048576,
	FUSE_INIT_BSWAP_RESERVED = 436207616
};

/* fuse_out_header.error of a message whose unique is 0. */
enum fuse_notify_code {
	FUSE_NOTIFY_POLL = 1,
	FUSE_NOTIFY_INVAL_INODE = 2,
	FUSE_NOTIFY_INVAL_ENTRY = 3,
	FUSE_NOTIFY_STORE = 4,
	FUSE_NOTIFY_RETRIEVE = 5,
	FUSE_NOTIFY_DELETE = 6,
	FUSE_NOTIFY_RESEND = 7,
	FUSE_NOTIFY_INC_EPOCH = 8,
	FUSE_NOTIFY_PRUNE = 9
};

/* fuse_ext_header.type; up to 31 it is a number of security contexts. */
enum fuse_ext_type { FUSE_MAX_NR_SECCTX = 31, FUSE_EXT_GROUPS = 32 };

/* FUSE_INIT: flags, bits 0 to 31. */
#define FUSE_ASYNC_READ		 (1u << 0)
#define FUSE_POSIX_LOCKS	 (1u << 1) /* fcntl locks are sent */
#define FUSE_FILE_OPS		 (1u << 2)
#define FUSE_ATOMIC_O_TRUNC	 (1u << 3) /* OPEN may truncate */
#define FUSE_EXPORT_SUPPORT	 (1u << 4) /* LOOKUP of . and .. */
#define FUSE_BIG_WRITES		 (1u << 5) /* WRITE above 4 KiB */
#define FUSE_DONT_MASK		 (1u << 6) /* server applies umask */
#define FUSE_SPLICE_WRITE	 (1u << 7) /* 7-9: /dev/fuse only */
#define FUSE_SPLICE_MOVE	 (1u << 8)
#define FUSE_SPLICE_READ	 (1u << 9)
#define FUSE_FLOCK_LOCKS	 (1u << 10) /* flock locks are sent */
#define FUSE_HAS_IOCTL_DIR	 (1u << 11)
#define FUSE_AUTO_INVAL_DATA	 (1u << 12)
#define FUSE_DO_READDIRPLUS	 (1u << 13)
#define FUSE_READDIRPLUS_AUTO	 (1u << 14)
#define FUSE_ASYNC_DIO		 (1u << 15)
#define FUSE_WRITEBACK_CACHE	 (1u << 16)
#define FUSE_NO_OPEN_SUPPORT	 (1u << 17) /* ENOSYS to OPEN is fine */
#define FUSE_PARALLEL_DIROPS	 (1u << 18)
#define FUSE_HANDLE_KILLPRIV	 (1u << 19)
#define FUSE_POSIX_ACL		 (1u << 20)
#define FUSE_ABORT_ERROR	 (1u << 21)
#define FUSE_MAX_PAGES		 (1u << 22) /* out.max_pages is valid */
#define FUSE_CACHE_SYMLINKS	 (1u << 23)
#define FUSE_NO_OPENDIR_SUPPORT	 (1u << 24)
#define FUSE_EXPLICIT_INVAL_DATA (1u << 25)
#define FUSE_MAP_ALIGNMENT	 (1u << 26) /* out.map_alignment too */
#define FUSE_SUBMOUNTS		 (1u << 27)
#define FUSE_HANDLE_KILLPRIV_V2	 (1u << 28)
#define FUSE_SETXATTR_EXT	 (1u << 29) /* 16-byte setxattr_in */
#define FUSE_INIT_EXT		 (1u << 30) /* flags2 is valid */
#define FUSE_INIT_RESERVED	 (1u << 31)

/* FUSE_INIT: bits 32 to 63, which travel in flags2 (shifted down). */
#define FUSE_SECURITY_CTX      (1ULL << 32)
#define FUSE_HAS_INODE_DAX     (1ULL << 33)
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#define FUSE_HAS_EXPIRE_ONLY   (1ULL << 35)

#define CUSE_UNRESTRICTED_IOCTL (1u << 0)

/* fuse_setattr_in.valid */
#define FATTR_MODE	   (1u << 0)
#define FATTR_UID	   (1u << 1)
#define FATTR_GID	   (1u << 2)
#define FATTR_SIZE	   (1u << 3)
#define FATTR_ATIME	   (1u << 4)
#define FATTR_MTIME	   (1u << 5)
#define FATTR_FH	   (1u << 6)
#define FATTR_ATIME_NOW	   (1u << 7)
#define FATTR_MTIME_NOW	   (1u << 8)
#define FATTR_LOCKOWNER	   (1u << 9)
#define FATTR_CTIME	   (1u << 10)
#define FATTR_KILL_SUIDGID (1u << 11)

/* fuse_open_out.open_flags */
#define FOPEN_DIRECT_IO		     (1u << 0)
#define FOPEN_KEEP_CACHE	     (1u << 1)
#define FOPEN_NONSEEKABLE	     (1u << 2)
#define FOPEN_CACHE_DIR		     (1u << 3)
#define FOPEN_STREAM		     (1u << 4)
#define FOPEN_NOFLUSH		     (1u << 5)
#define FOPEN_PARALLEL_DIRECT_WRITES (1u << 6)

/* fuse_attr.flags */
#define FUSE_ATTR_SUBMOUNT (1u << 0)
#define FUSE_ATTR_DAX	   (1u << 1)

/* Flags of one request each; the field has the same prefix. */
#define FUSE_GETATTR_FH		     (1u << 0) /* fh is valid */
#define FUSE_OPEN_KILL_SUIDGID	     (1u << 0) /* open_in, create_in */
#define FUSE_READ_LOCKOWNER	     (1u << 1) /* lock_owner is valid */
#define FUSE_WRITE_CACHE	     (1u << 0) /* from a page cache */
#define FUSE_WRITE_LOCKOWNER	     (1u << 1)
#define FUSE_WRITE_KILL_SUIDGID	     (1u << 2)
#define FUSE_WRITE_KILL_PRIV	     FUSE_WRITE_KILL_SUIDGID
#define FUSE_RELEASE_FLUSH	     (1u << 0)
#define FUSE_RELEASE_FLOCK_UNLOCK    (1u << 1)
#define FUSE_FSYNC_FDATASYNC	     (1u << 0)
#define FUSE_LK_FLOCK		     (1u << 0) /* BSD lock, whole file */
#define FUSE_SETXATTR_ACL_KILL_SGID  (1u << 0)
#define FUSE_POLL_SCHEDULE_NOTIFY    (1u << 0)
#define FUSE_EXPIRE_ONLY	     (1u << 0) /* notify_inval_entry */
#define FUSE_SETUPMAPPING_FLAG_WRITE (1ULL << 0)
#define FUSE_SETUPMAPPING_FLAG_READ  (1ULL << 1)

#define FUSE_IOCTL_COMPAT	(1u << 0)
#define FUSE_IOCTL_UNRESTRICTED (1u << 1)
#define FUSE_IOCTL_RETRY	(1u << 2)
#define FUSE_IOCTL_32BIT	(1u << 3)
#define FUSE_IOCTL_DIR		(1u << 4)
#define FUSE_IOCTL_COMPAT_X32	(1u << 5)
#define FUSE_IOCTL_MAX_IOV	256

/* What the struct below measured in earlier minors. */
#define FUSE_COMPAT_ENTRY_OUT_SIZE   120 /* before 7.9 */
#define FUSE_COMPAT_ATTR_OUT_SIZE    96	 /* before 7.9 */
#define FUSE_COMPAT_MKNOD_IN_SIZE    8	 /* before 7.12 */
#define FUSE_COMPAT_WRITE_IN_SIZE    24	 /* before 7.9 */
#define FUSE_COMPAT_STATFS_SIZE	     48	 /* before 7.4 */
#define FUSE_COMPAT_SETXATTR_IN_SIZE 8	 /* without FUSE_SETXATTR_EXT */
#define FUSE_COMPAT_INIT_OUT_SIZE    8	 /* before 7.5 */
#define FUSE_COMPAT_22_INIT_OUT_SIZE 24	 /* before 7.23 */

/* Every request starts with this, */
struct fuse_in_header {
	uint32_t len; /* of the whole request, this included */
	uint32_t opcode;
	uint64_t unique; /* not 0; names the request in INTERRUPT */
	uint64_t nodeid;
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
	uint16_t total_extlen; /* extensions at the end, in 8 bytes */
	uint16_t padding;
};

/* and every reply and notification with this. */
struct fuse_out_header {
	uint32_t len;	 /* of the whole reply, this included */
	int32_t error;	 /* 0, or a negative errno down to -511 */
	uint64_t unique; /* the request's; 0: a notification */
};

struct fuse_attr {
	uint64_t ino;
	uint64_t size;
	uint64_t blocks; /* of 512 bytes */
	uint64_t atime;
	uint64_t mtime;
	uint64_t ctime;
	uint32_t atimensec;
	uint32_t mtimensec;
	uint32_t ctimensec;
	uint32_t mode;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint32_t rdev;
	uint32_t blksize;
	uint32_t flags; /* FUSE_ATTR_ */
};

struct fuse_entry_out {
	uint64_t nodeid; /* 0: no such name, and entry_valid says how
			  * long to believe it */
	uint64_t generation;
	uint64_t entry_valid; /* seconds the name may be cached */
	uint64_t attr_valid;  /* seconds the attributes may be */
	uint32_t entry_valid_nsec;
	uint32_t attr_valid_nsec;
	struct fuse_attr attr;
};

struct fuse_forget_in {
	uint64_t nlookup;
};

struct fuse_forget_one {
	uint64_t nodeid;
	uint64_t nlookup;
};

/* count times fuse_forget_one follow. */
struct fuse_batch_forget_in {
	uint32_t count;
	uint32_t dummy;
};

struct fuse_getattr_in {
	uint32_t getattr_flags;
	uint32_t dummy;
	uint64_t fh;
};

struct fuse_attr_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t dummy;
	struct fuse_attr attr;
};

struct fuse_setattr_in {
	uint32_t valid; /* FATTR_: which of the following count */
	uint32_t padding;
	uint64_t fh;
	uint64_t size;
	uint64_t lock_owner;
	uint64_t atime;
	uint64_t mtime;
	uint64_t ctime;
	uint32_t atimensec;
	uint32_t mtimensec;
	uint32_t ctimensec;
	uint32_t mode;
	uint32_t unused4;
	uint32_t uid;
	uint32_t gid;
	uint32_t unused5;
};

struct fuse_mknod_in {
	uint32_t mode;
	uint32_t rdev;
	uint32_t umask;
	uint32_t padding;
};

struct fuse_mkdir_in {
	uint32_t mode;
	uint32_t umask;
};

struct fuse_rename_in {
	uint64_t newdir;
};

struct fuse_rename2_in {
	uint64_t newdir;
	uint32_t flags; /* RENAME_ of <linux/fs.h> */
	uint32_t padding;
};

struct fuse_link_in {
	uint64_t oldnodeid;
};

struct fuse_open_in {
	uint32_t flags;	     /* O_ of the client's system */
	uint32_t open_flags; /* FUSE_OPEN_ */
};

/* CREATE and TMPFILE; the reply is fuse_entry_out, then fuse_open_out. */
struct fuse_create_in {
	uint32_t flags;
	uint32_t mode;
	uint32_t umask;
	uint32_t open_flags;
};

struct fuse_open_out {
	uint64_t fh;
	uint32_t open_flags; /* FOPEN_ */
	int32_t backing_id;
};

struct fuse_release_in {
	uint64_t fh;
	uint32_t flags;
	uint32_t release_flags; /* FUSE_RELEASE_ */
	uint64_t lock_owner;
};

struct fuse_flush_in {
	uint64_t fh;
	uint32_t unused;
	uint32_t padding;
	uint64_t lock_owner;
};

/* READ, READDIR and READDIRPLUS */
struct fuse_read_in {
	uint64_t fh;
	uint64_t offset;
	uint32_t size;
	uint32_t read_flags; /* FUSE_READ_ */
	uint64_t lock_owner;
	uint32_t flags;
	uint32_t padding;
};

struct fuse_write_in {
	uint64_t fh;
	uint64_t offset;
	uint32_t size;
	uint32_t write_flags; /* FUSE_WRITE_ */
	uint64_t lock_owner;
	uint32_t flags;
	uint32_t padding;
};

struct fuse_write_out {
	uint32_t size;
	uint32_t padding;
};

struct fuse_kstatfs {
	uint64_t blocks; /* of frsize bytes */
	uint64_t bfree;
	uint64_t bavail;
	uint64_t files;
	uint64_t ffree;
	uint32_t bsize;
	uint32_t namelen;
	uint32_t frsize;
	uint32_t padding;
	uint32_t spare[6];
};

struct fuse_statfs_out {
	struct fuse_kstatfs st;
};

struct fuse_fsync_in {
	uint64_t fh;
	uint32_t fsync_flags;
	uint32_t padding;
};

/* Without FUSE_SETXATTR_EXT only the first 8 bytes are sent. */
struct fuse_setxattr_in {
	uint32_t size;
	uint32_t flags; /* XATTR_CREATE, XATTR_REPLACE */
	uint32_t setxattr_flags;
	uint32_t padding;
};

/* GETXATTR and LISTXATTR; size 0 asks for fuse_getxattr_out. */
struct fuse_getxattr_in {
	uint32_t size;
	uint32_t padding;
};

struct fuse_getxattr_out {
	uint32_t size;
	uint32_t padding;
};

struct fuse_file_lock {
	uint64_t start;
	uint64_t end;  /* last byte, not the one behind */
	uint32_t type; /* F_RDLCK, F_WRLCK, F_UNLCK */
	uint32_t pid;
};

struct fuse_lk_in {
	uint64_t fh;
	uint64_t owner;
	struct fuse_file_lock lk;
	uint32_t lk_flags;
	uint32_t padding;
};

struct fuse_lk_out {
	struct fuse_file_lock lk;
};

struct fuse_access_in {
	uint32_t mask; /* R_OK, W_OK, X_OK; 0: F_OK */
	uint32_t padding;
};

/* 16 bytes before 7.36. */
struct fuse_init_in {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint32_t flags2;
	uint32_t unused[11];
};

struct fuse_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran; /* nanoseconds, a power of ten */
	uint16_t max_pages;
	uint16_t map_alignment; /* log2 of bytes */
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint16_t request_timeout; /* seconds */
	uint16_t unused[11];
};

#define CUSE_INIT_INFO_MAX 4096

struct cuse_init_in {
	uint32_t major;
	uint32_t minor;
	uint32_t unused;
	uint32_t flags;
};

struct cuse_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t unused;
	uint32_t flags;
	uint32_t max_read;
	uint32_t max_write;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t spare[10];
};

struct fuse_interrupt_in {
	uint64_t unique; /* of the request to give up */
};

struct fuse_bmap_in {
	uint64_t block;
	uint32_t blocksize;
	uint32_t padding;
};

struct fuse_bmap_out {
	uint64_t block;
};

/* in_size bytes follow. */
struct fuse_ioctl_in {
	uint64_t fh;
	uint32_t flags;
	uint32_t cmd;
	uint64_t arg;
	uint32_t in_size;
	uint32_t out_size;
};

struct fuse_ioctl_iovec {
	uint64_t base;
	uint64_t len;
};

struct fuse_ioctl_out {
	int32_t result;
	uint32_t flags;
	uint32_t in_iovs;
	uint32_t out_iovs;
};

struct fuse_poll_in {
	uint64_t fh;
	uint64_t kh;
	uint32_t flags;
	uint32_t events;
};

struct fuse_poll_out {
	uint32_t revents;
	uint32_t padding;
};

struct fuse_fallocate_in {
	uint64_t fh;
	uint64_t offset;
	uint64_t length;
	uint32_t mode;
	uint32_t padding;
};

struct fuse_lseek_in {
	uint64_t fh;
	uint64_t offset;
	uint32_t whence;
	uint32_t padding;
};

struct fuse_lseek_out {
	uint64_t offset;
};

/* COPY_FILE_RANGE, answered by fuse_write_out, and COPY_FILE_RANGE_64. */
struct fuse_copy_file_range_in {
	uint64_t fh_in;
	uint64_t off_in;
	uint64_t nodeid_out;
	uint64_t fh_out;
	uint64_t off_out;
	uint64_t len;
	uint64_t flags;
};

/* DAX window (virtio 1.4, 5.11.6.2) */
struct fuse_setupmapping_in {
	uint64_t fh;
	uint64_t foffset;
	uint64_t len;
	uint64_t flags; /* FUSE_SETUPMAPPING_FLAG_ */
	uint64_t moffset;
};

/* count times fuse_removemapping_one follow, at a multiple of 4 only. */
struct fuse_removemapping_in {
	uint32_t count;
};

struct fuse_removemapping_one {
	uint64_t moffset;
	uint64_t len;
};

/* PAGE_SIZE is the includer's. */
#define FUSE_REMOVEMAPPING_MAX_ENTRY                                           \
	(PAGE_SIZE / sizeof(struct fuse_removemapping_one))

struct fuse_syncfs_in {
	uint64_t padding;
};

/* Arrays of any length: C99, and every C++ compiler takes them. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
/*
 * One entry of a directory. The name has no NUL; the next entry starts at the
 * following multiple of 8.
 */
struct fuse_dirent {
	uint64_t ino;
	uint64_t off; /* READDIR from here returns the next one */
	uint32_t namelen;
	uint32_t type; /* DT_ of <dirent.h> */
	char name[];
};

struct fuse_direntplus {
	struct fuse_entry_out entry_out;
	struct fuse_dirent dirent;
};
#pragma GCC diagnostic pop

#define FUSE_REC_ALIGN(x)                                                      \
	(((x) + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1))
#define FUSE_NAME_OFFSET	    sizeof(struct fuse_dirent)
#define FUSE_DIRENT_ALIGN(x)	    FUSE_REC_ALIGN(x)
#define FUSE_DIRENT_SIZE(d)	    FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + (d)->namelen)
#define FUSE_NAME_OFFSET_DIRENTPLUS sizeof(struct fuse_direntplus)
#define FUSE_DIRENTPLUS_SIZE(d)                                                \
	FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + (d)->dirent.namelen)

/* Notifications, each after a fuse_out_header. */
struct fuse_notify_poll_wakeup_out {
	uint64_t kh;
};

struct fuse_notify_inval_inode_out {
	uint64_t ino;
	int64_t off; /* negative: attributes only */
	int64_t len; /* 0 or less: to the end */
};

/* The name and a NUL follow. */
struct fuse_notify_inval_entry_out {
	uint64_t parent;
	uint32_t namelen;
	uint32_t flags;
};

struct fuse_notify_delete_out {
	uint64_t parent;
	uint64_t child;
	uint32_t namelen;
	uint32_t padding;
};

/* size bytes follow. */
struct fuse_notify_store_out {
	uint64_t nodeid;
	uint64_t offset;
	uint32_t size;
	uint32_t padding;
};

struct fuse_notify_retrieve_out {
	uint64_t notify_unique; /* the unique of the NOTIFY_REPLY */
	uint64_t nodeid;
	uint64_t offset;
	uint32_t size;
	uint32_t padding;
};

/* NOTIFY_REPLY; size bytes follow. */
struct fuse_notify_retrieve_in {
	uint64_t dummy1;
	uint64_t offset;
	uint32_t size;
	uint32_t dummy2;
	uint64_t dummy3;
	uint64_t dummy4;
};

/*
 * Extensions: total_extlen * 8 bytes at the end of a request. Security
 * contexts start with fuse_secctx_header, then each has a fuse_secctx, a name
 * with NUL and size bytes, filled up to 8. Anything else starts with
 * fuse_ext_header.
 */
struct fuse_secctx {
	uint32_t size;
	uint32_t padding;
};

struct fuse_secctx_header {
	uint32_t size; /* all of it, this included */
	uint32_t nr_secctx;
};

struct fuse_ext_header {
	uint32_t size; /* all of it, this included */
	uint32_t type; /* enum fuse_ext_type */
};

#define FUSE_DEV_IOC_MAGIC 229
#define FUSE_DEV_IOC_CLONE _IOR(FUSE_DEV_IOC_MAGIC, 0, uint32_t)

#define VIRTIOFS_FUSE_BASE_ 38 /* the rest follows below */
#define VIRTIOFS_FUSE_GROUPS_

#else /* the system's header came first: add what it lacks */

#if FUSE_KERNEL_MINOR_VERSION < 38
#error "<linux/fuse.h> is older than 7.38: include <virtiofs/...> before it"
#endif
#define VIRTIOFS_FUSE_BASE_ FUSE_KERNEL_MINOR_VERSION

#ifndef FUSE_CREATE_SUPP_GROUP /* came late in 7.38 */
#define FUSE_CREATE_SUPP_GROUP (1ULL << 34)
#define VIRTIOFS_FUSE_GROUPS_
enum { FUSE_EXT_GROUPS = 32 };
#endif
#if FUSE_KERNEL_MINOR_VERSION < 39
enum { FUSE_STATX = 52 };
#endif
#if FUSE_KERNEL_MINOR_VERSION < 40
enum { FUSE_NOTIFY_RESEND = 7 };
#endif
#if FUSE_KERNEL_MINOR_VERSION < 44
enum { FUSE_NOTIFY_INC_EPOCH = 8 };
#endif
#if FUSE_KERNEL_MINOR_VERSION < 45
enum { FUSE_COPY_FILE_RANGE_64 = 53, FUSE_NOTIFY_PRUNE = 9 };
#endif
#endif /* _LINUX_FUSE_H */

#ifdef VIRTIOFS_FUSE_GROUPS_
#undef VIRTIOFS_FUSE_GROUPS_
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
/* Extension FUSE_EXT_GROUPS: the groups of whoever creates something. */
struct fuse_supp_groups {
	uint32_t nr_groups;
	uint32_t groups[];
};
#pragma GCC diagnostic pop
#endif

#if VIRTIOFS_FUSE_BASE_ < 39
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36)
#define FUSE_DIRECT_IO_RELAX	  FUSE_DIRECT_IO_ALLOW_MMAP

/* As struct statx of <linux/stat.h>. */
struct fuse_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t __reserved;
};

struct fuse_statx {
	uint32_t mask; /* STATX_ of <linux/stat.h> */
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t __spare0[1];
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct fuse_sx_time atime;
	struct fuse_sx_time btime;
	struct fuse_sx_time ctime;
	struct fuse_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t __spare2[14];
};

struct fuse_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags; /* AT_STATX_ */
	uint32_t sx_mask;  /* STATX_ */
};

struct fuse_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct fuse_statx stat;
};
#endif /* 7.39 */

#if VIRTIOFS_FUSE_BASE_ < 40
#define FOPEN_PASSTHROUGH      (1u << 7)    /* /dev/fuse only */
#define FUSE_PASSTHROUGH       (1ULL << 37) /* /dev/fuse only */
#define FUSE_NO_EXPORT_SUPPORT (1ULL << 38)
#define FUSE_HAS_RESEND	       (1ULL << 39)
#define FUSE_UNIQUE_RESEND     (1ULL << 63) /* in unique: sent again */

struct fuse_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define FUSE_DEV_IOC_BACKING_OPEN                                              \
	_IOW(FUSE_DEV_IOC_MAGIC, 1, struct fuse_backing_map)
#define FUSE_DEV_IOC_BACKING_CLOSE _IOW(FUSE_DEV_IOC_MAGIC, 2, uint32_t)
#endif /* 7.40 */

#if VIRTIOFS_FUSE_BASE_ < 41
#define FUSE_ALLOW_IDMAP    (1ULL << 40)
#define FUSE_INVALID_UIDGID ((uint32_t)(-1)) /* not mapped */
#endif

#if VIRTIOFS_FUSE_BASE_ < 42
#define FUSE_OVER_IO_URING (1ULL << 41) /* /dev/fuse only */
#endif

#if VIRTIOFS_FUSE_BASE_ < 43
#define FUSE_REQUEST_TIMEOUT (1ULL << 42)
#endif

#if VIRTIOFS_FUSE_BASE_ < 45
struct fuse_copy_file_range_out {
	uint64_t bytes_copied;
};

/* count times a uint64_t nodeid follow. */
struct fuse_notify_prune_out {
	uint32_t count;
	uint32_t padding;
	uint64_t spare;
};
#endif /* 7.45 */

#undef VIRTIOFS_FUSE_BASE_
#endif
