/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H
/*
 * What the fuzzers share. An input is a list of small commands, each a byte and
 * what it needs; where an input ends, zeroes follow. So every input means
 * something, and a mutation changes one command.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#endif

#ifdef FUZZ_ASAN
#include <sanitizer/asan_interface.h>
#define fuzz_forbid(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define fuzz_permit(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define fuzz_forbid(p, n) ((void)(p), (void)(n))
#define fuzz_permit(p, n) ((void)(p), (void)(n))
#endif

/* As assert(), and there in release builds too. */
#define must(x)                                                                \
	do {                                                                   \
		if (!(x))                                                      \
			abort();                                               \
	} while (0)

struct input {
	const uint8_t *p;
	size_t len;
};

static inline bool in_end(const struct input *in)
{
	return in->len == 0;
}

static inline void in_bytes(struct input *in, void *buf, size_t n)
{
	size_t have = n < in->len ? n : in->len;

	memset(buf, 0, n);
	if (!have)
		return;
	memcpy(buf, in->p, have);
	in->p += have;
	in->len -= have;
}

static inline uint8_t in_u8(struct input *in)
{
	uint8_t x;

	in_bytes(in, &x, sizeof(x));
	return x;
}

static inline uint16_t in_u16(struct input *in)
{
	uint16_t x;

	in_bytes(in, &x, sizeof(x));
	return x;
}

static inline uint32_t in_u32(struct input *in)
{
	uint32_t x;

	in_bytes(in, &x, sizeof(x));
	return x;
}

static inline uint64_t in_u64(struct input *in)
{
	uint64_t x;

	in_bytes(in, &x, sizeof(x));
	return x;
}

/* Mostly small, now and then anything, and what overflows. */
static inline uint64_t in_number(struct input *in)
{
	uint8_t kind = in_u8(in);

	switch (kind) {
	case 0xff:
		return in_u64(in);
	case 0xfe:
		return in_u32(in);
	case 0xfd:
		return in_u16(in);
	case 0xfc:
		return UINT64_MAX - in_u8(in);
	case 0xfb:
		return UINT32_MAX - in_u8(in);
	case 0xfa:
		return UINT64_C(1) << (in_u8(in) % 64);
	default:
		return kind;
	}
}

/* The number that the next file descriptor will have: the same before and
 * after, or some are left open. */
static inline int fuzz_next_fd(void)
{
	int fd = dup(2);

	must(fd >= 0);
	close(fd);
	return fd;
}

/* A folder of the fuzzer's own in TMPDIR, or else in memory. Whoever sets
 * TMPDIR removes what a crash leaves there. */
static inline void fuzz_make_dir(char *path, size_t size)
{
	const char *tmp = getenv("TMPDIR");
	int n;

	if (!tmp)
		tmp = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	n = snprintf(path, size, "%s/virtiofs-fuzz-XXXXXX", tmp);
	must(n > 0 && (size_t)n < size && mkdtemp(path));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
#endif
