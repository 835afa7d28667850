/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef FUSE_KERNEL_FACTS_H
#define FUSE_KERNEL_FACTS_H
#include <stddef.h>
#include <stdint.h>

/* One fact about the wire format: a number by the name it has in C. */
struct fact {
	const char *name;
	uint64_t value;
};

/* Each ends with a NULL name; same rows, from two headers. */
extern const struct fact ours[];
extern const struct fact systems[];

/* 1 << 31 is negative in the system's header and counts as 32 bits. */
#define VALUE(name)                                                            \
	{#name, (int64_t)(name) == INT32_MIN ? 1u << 31 : (uint64_t)(name)},
#define SIZE(type)	   {"sizeof " #type, sizeof(struct type)},
#define PLACE(type, field) {#type "." #field, offsetof(struct type, field)},
#define FIELD(type, field)                                                     \
	PLACE(type, field){#type "." #field " length",                         \
			   sizeof(((struct type *)0)->field)},
#endif
