/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VTFS_WIRE_FUSE_OPS_H
#define VTFS_WIRE_FUSE_OPS_H
/*
 * What each FUSE request and its reply look like: the one table that both
 * ends judge frames by. No state, no allocation, no byte of a peer: callers
 * pass private copies.
 *
 * A request is, in this order and without gaps,
 *
 *	fuse_in_header		40 bytes
 *	arguments		vtfs_fuse_arg_len(), the struct named in the
 *				table (INIT: see vtfs_fuse_arg_len)
 *	names			op->names strings, each with its NUL
 *	bulk			vtfs_fuse_bulk_len() bytes
 *	extensions		in->total_extlen * 8 bytes, where op->flags
 *				has VTFS_FUSE_EXT
 *
 * and in->len is the sum. A reply is fuse_out_header (16 bytes), and after it,
 * if error is 0, what vtfs_fuse_reply_range() says; after an error nothing.
 *
 * total_extlen came with 7.38. A session of an earlier minor must not agree on
 * FUSE_SECURITY_CTX: its extensions could not be told from names. See
 * vtfs_fuse_flags_fit().
 *
 * Sizes hold for every minor from 7.9 on; of older ones the table knows what
 * <linux/fuse.h> still records.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <virtiofs/fuse_kernel.h>

/* clang-format off */

/* Does a request want a reply? */
enum vtfs_fuse_answer {
	VTFS_FUSE_ANSWER,	/* always, if only an error */
	VTFS_FUSE_ANSWER_NONE,	/* never, and no writable part: FORGET,
				 * BATCH_FORGET, NOTIFY_REPLY */
	VTFS_FUSE_ANSWER_MAYBE,	/* INTERRUPT: the server may say nothing */
};

/* What the strings after the arguments are. */
enum vtfs_fuse_names {
	VTFS_FUSE_NAMES_NONE,
	VTFS_FUSE_NAMES_ENTRY,	/* one name in a directory, no '/' */
	VTFS_FUSE_NAMES_ENTRY2,	/* two of those: RENAME, RENAME2 */
	VTFS_FUSE_NAMES_LINK,	/* a name, then any text: SYMLINK */
	VTFS_FUSE_NAMES_XATTR,	/* one name, not empty, '/' allowed */
	VTFS_FUSE_NAMES_IGNORED, /* one string of no meaning: TMPFILE; Linux
				  * sends "/" */
};

/* struct vtfs_fuse_op.flags */
#define VTFS_FUSE_HIPRIO	(1u << 0)	/* on the hiprio queue, nothing
						 * else goes there */
#define VTFS_FUSE_EXT		(1u << 1)	/* extensions may follow */
#define VTFS_FUSE_VARIABLE	(1u << 2)	/* reply_len is the least; the
						 * arguments say the most */
#define VTFS_FUSE_MODIFIES	(1u << 3)	/* changes the file system: not
						 * to be done twice */
#define VTFS_FUSE_GRANTS_ENTRY	(1u << 4)	/* reply counts a lookup, starts
						 * with fuse_entry_out */
#define VTFS_FUSE_GRANTS_FH	(1u << 5)	/* reply opens a handle, ends
						 * with fuse_open_out */
#define VTFS_FUSE_WAITS		(1u << 6)	/* may take for ever: SETLKW */

struct vtfs_fuse_op {
	uint32_t opcode;	/* enum fuse_opcode */
	const char *name;	/* "LOOKUP" */

	/* Bytes of fixed arguments. Before minor arg_minor they were arg_old
	 * (arg_minor 0: never). SETXATTR's depend on FUSE_SETXATTR_EXT and
	 * INIT's on what was sent: always ask vtfs_fuse_arg_len(). */
	uint16_t arg_len;
	uint16_t arg_old;
	uint8_t arg_minor;

	uint8_t names;		/* strings that follow: 0, 1 or 2 */
	uint8_t names_kind;	/* enum vtfs_fuse_names */

	/* Bulk input: the uint32_t at bulk_off of the arguments, times
	 * bulk_unit bytes. bulk_unit 0: there is none. */
	uint8_t bulk_unit;
	uint8_t bulk_off;

	uint8_t answer;		/* enum vtfs_fuse_answer */

	/* Bytes of the reply after its header; before minor reply_minor they
	 * were reply_old (reply_minor 0: never). */
	uint16_t reply_len;
	uint16_t reply_old;
	uint8_t reply_minor;

	uint32_t flags;		/* VTFS_FUSE_ */
};

/* clang-format on */

/* What INIT settled. minor is the smaller of both; flags are all 64 bits that
 * the server confirmed. */
struct vtfs_fuse_proto {
	uint32_t minor;
	uint64_t flags;
};

/* NULL: not a request of 7.45 (also 0, 7, 19 and CUSE_INIT): answer -ENOSYS. */
const struct vtfs_fuse_op *vtfs_fuse_op(uint32_t opcode);
/* "LOOKUP", or "opcode ?"; never NULL. */
const char *vtfs_fuse_name(uint32_t opcode);

/*
 * Bytes of fixed arguments in this session. For INIT, whose sender's minor is
 * in the arguments themselves, the least (16): up to op->arg_len bytes may
 * follow, missing ones count as 0, and a client of a later minor may send more,
 * which is to be ignored. Every other request has exactly so many. proto may be
 * NULL for INIT.
 */
uint32_t vtfs_fuse_arg_len(const struct vtfs_fuse_op *op,
			   const struct vtfs_fuse_proto *proto);

/* Bytes of bulk input that the arguments promise; arg holds arg_len bytes and
 * need not be aligned. At most 2^36, so sums of it don't wrap. */
uint64_t vtfs_fuse_bulk_len(const struct vtfs_fuse_op *op, const void *arg);

/*
 * Split the bytes behind the arguments, extensions excluded. len is in->len
 * - 40 - arg_len - total_extlen * 8, checked by the caller not to be negative.
 * 0 and the bytes that the names take; or -EINVAL, if the sizes contradict each
 * other: bulk longer than len, bytes that nothing accounts for, no space for
 * the names.
 */
int vtfs_fuse_split(const struct vtfs_fuse_op *op, const void *arg,
		    uint64_t len, uint32_t *ret_names_len);

/* Are these len bytes exactly the names of op? 0 or -EINVAL: a NUL is missing,
 * bytes follow, a name is empty or has a '/'. "." and ".." pass: LOOKUP may ask
 * for them (FUSE_EXPORT_SUPPORT); whoever creates or removes must refuse. */
int vtfs_fuse_check_names(const struct vtfs_fuse_op *op, const char *names,
			  size_t len);

/* Are these len bytes well-formed extensions (security contexts, groups, or
 * unknown ones)? 0 or -EINVAL. ext need not be aligned. */
int vtfs_fuse_check_ext(const void *ext, size_t len);

/* Bytes after the header of a reply without error, given the request's
 * arguments: fixed size if *ret_min == *ret_max. Room may be less than
 * *ret_max: what is longer than the room is a fault all the same. */
void vtfs_fuse_reply_range(const struct vtfs_fuse_op *op,
			   const struct vtfs_fuse_proto *proto, const void *arg,
			   uint64_t *ret_min, uint64_t *ret_max);

/* Bytes of fuse_init_out for a client of that minor: 8, 24 or 64. */
uint32_t vtfs_fuse_init_out_len(uint32_t minor);

/* Before this minor the header had no total_extlen. */
#define VTFS_FUSE_MINOR_EXT 38u

/* FUSE_INIT flags that mean nothing over a virtqueue and are never to be
 * confirmed: the splice bits, FUSE_PASSTHROUGH, FUSE_OVER_IO_URING and the
 * reserved one. */
#define VTFS_FUSE_NEVER_FLAGS                                                  \
	((uint64_t)(FUSE_SPLICE_WRITE | FUSE_SPLICE_MOVE | FUSE_SPLICE_READ |  \
		    FUSE_INIT_RESERVED) |                                      \
	 FUSE_PASSTHROUGH | FUSE_OVER_IO_URING)

/* Both words of INIT's flags as one; flags2 counts only with FUSE_INIT_EXT. */
static inline uint64_t vtfs_fuse_flags(uint32_t flags, uint32_t flags2)
{
	return flags | (flags & FUSE_INIT_EXT ? (uint64_t)flags2 << 32 : 0);
}

/*
 * Which of these flags a session of that minor can agree on. Only what can't be
 * carried is taken away: other flags came with some minor too, but each alone
 * says how to read its frames, and distributors add them to older minors.
 */
static inline uint64_t vtfs_fuse_flags_fit(uint64_t flags, uint32_t minor)
{
	flags &= ~VTFS_FUSE_NEVER_FLAGS;
	if (minor < VTFS_FUSE_MINOR_EXT)
		flags &= ~(uint64_t)(FUSE_SECURITY_CTX |
				     FUSE_CREATE_SUPP_GROUP);
	return flags;
}
#endif
