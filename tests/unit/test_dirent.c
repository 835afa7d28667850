/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <virtiofs/dirent.h>

/* A list of entries in memory that ends where the list does, so that ASan sees
 * the first byte too far. */
struct list {
	unsigned char *buf;
	size_t len;
};

static void list_fini(struct list *l)
{
	free(l->buf);
	memset(l, 0, sizeof(*l));
}

static void list_bytes(struct list *l, const void *p, size_t len)
{
	l->buf = realloc(l->buf, l->len + len);
	assert_non_null(l->buf);
	if (p)
		memcpy(l->buf + l->len, p, len);
	else
		memset(l->buf + l->len, 0, len);
	l->len += len;
}

/* An entry whose namelen may be another than that of its name. */
static void list_add(struct list *l, const char *name, size_t len,
		     uint32_t namelen)
{
	struct fuse_dirent d = {
	    .ino = 7, .off = 11, .namelen = namelen, .type = 8};

	list_bytes(l, &d, offsetof(struct fuse_dirent, name));
	list_bytes(l, name, len);
	list_bytes(l, NULL, -l->len & 7);
}

static void list_cut(struct list *l, size_t len)
{
	unsigned char *buf = malloc(len ? len : 1);

	assert_non_null(buf);
	memcpy(buf, l->buf, len);
	free(l->buf);
	l->buf = buf;
	l->len = len;
}

/* Entries before the end, or the fault. */
static int walk(const struct list *l)
{
	struct virtiofs_dirent d;
	size_t pos = 0;
	int r, n = 0;

	while ((r = virtiofs_next_dirent(l->buf, l->len, &pos, &d)) > 0)
		n++;
	return r < 0 ? r : n;
}

static int walk_plus(const struct list *l)
{
	struct virtiofs_dirent d;
	size_t pos = 0;
	int r, n = 0;

	while ((r = virtiofs_next_direntplus(l->buf, l->len, &pos, &d)) > 0)
		n++;
	return r < 0 ? r : n;
}

static void entries_come_one_by_one(void **state)
{
	static const char *const names[] = {"a", "12345678", "123456789", ".."};
	struct virtiofs_dirent d = {0};
	struct list l = {0};
	size_t pos = 0;
	unsigned i;

	for (i = 0; i < 4; i++)
		list_add(&l, names[i], strlen(names[i]),
			 (uint32_t)strlen(names[i]));
	for (i = 0; i < 4; i++) {
		assert_int_equal(virtiofs_next_dirent(l.buf, l.len, &pos, &d),
				 1);
		assert_int_equal(d.namelen, strlen(names[i]));
		assert_memory_equal(d.name, names[i], d.namelen);
		assert_int_equal(d.ino, 7);
		assert_int_equal(d.off, 11);
		assert_int_equal(d.type, 8);
		assert_int_equal(d.entry.nodeid, 0);
	}
	assert_int_equal(virtiofs_next_dirent(l.buf, l.len, &pos, &d), 0);
	assert_int_equal(pos, l.len);
	list_fini(&l);
}

static void entries_plus_have_their_attributes(void **state)
{
	struct fuse_entry_out e = {.nodeid = 42, .attr.size = 5};
	struct virtiofs_dirent d = {0};
	struct list l = {0};
	size_t pos = 0;

	list_bytes(&l, &e, sizeof(e));
	list_add(&l, "abc", 3, 3);
	e.nodeid = 43;
	list_bytes(&l, &e, sizeof(e));
	list_add(&l, "d", 1, 1);
	assert_int_equal(virtiofs_next_direntplus(l.buf, l.len, &pos, &d), 1);
	assert_int_equal(d.entry.nodeid, 42);
	assert_int_equal(d.entry.attr.size, 5);
	assert_int_equal(virtiofs_next_direntplus(l.buf, l.len, &pos, &d), 1);
	assert_int_equal(d.entry.nodeid, 43);
	assert_memory_equal(d.name, "d", 1);
	assert_int_equal(virtiofs_next_direntplus(l.buf, l.len, &pos, &d), 0);
	list_fini(&l);
}

/* covers: FUSE-DRV-12 */
static void names_that_are_no_names_are_faults(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		uint32_t namelen;
	} bad[] = {
	    {"", 0, 0},
	    {"a/b", 3, 3},
	    {"/", 1, 1},
	    {"a\0b", 3, 3},
	    {"\0", 1, 1},
	    {"abc", 3, 9},
	    {"abc", 3, 1025},
	    {"abc", 3, UINT32_MAX},
	    {"abc", 3, UINT32_MAX - 23},
	    {"abc", 3, 0x80000000u},
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fuse_entry_out e = {.nodeid = 2};
		struct list l = {0}, plus = {0};

		list_add(&l, bad[i].name, bad[i].len, bad[i].namelen);
		assert_int_equal(walk(&l), -EPROTO);
		list_bytes(&plus, &e, sizeof(e));
		list_bytes(&plus, l.buf, l.len);
		assert_int_equal(walk_plus(&plus), -EPROTO);
		list_fini(&l);
		list_fini(&plus);
	}
}

static void name_of_1024_bytes_is_the_longest(void **state)
{
	char name[1025];
	struct list l = {0};

	memset(name, 'n', sizeof(name));
	list_add(&l, name, 1024, 1024);
	assert_int_equal(walk(&l), 1);
	list_fini(&l);
	list_add(&l, name, 1025, 1025);
	assert_int_equal(walk(&l), -EPROTO);
	list_fini(&l);
}

/* covers: FUSE-DRV-12 */
static void list_cut_at_any_byte_is_a_fault(void **state)
{
	size_t cut, whole;

	for (cut = 1; cut < 40; cut++) {
		struct list l = {0};
		int r;

		list_add(&l, "abcde", 5, 5);
		whole = l.len;
		assert_int_equal(whole, 32);
		list_add(&l, "f", 1, 1);
		list_cut(&l, cut);
		r = walk(&l);
		/* Only the padding of the last entry may be missing. */
		if (cut >= 29 && cut <= whole)
			assert_int_equal(r, 1);
		else
			assert_int_equal(r, -EPROTO);
		list_fini(&l);
	}
}

static void plus_cut_at_any_byte_is_a_fault(void **state)
{
	struct fuse_entry_out e = {.nodeid = 2};
	size_t cut;

	for (cut = 1; cut < 128 + 29; cut++) {
		struct list l = {0};

		list_bytes(&l, &e, sizeof(e));
		list_add(&l, "abcde", 5, 5);
		list_cut(&l, cut);
		assert_int_equal(walk_plus(&l), -EPROTO);
		list_fini(&l);
	}
}

/* covers: FUSE-DRV-12 */
static void random_bytes_stay_inside(void **state)
{
	unsigned i, k, seed = 12345;

	for (i = 0; i < 20000; i++) {
		struct list l = {0};
		size_t len = (size_t)rand_r(&seed) % 400;

		list_bytes(&l, NULL, len + 1);
		list_cut(&l, len);
		for (k = 0; k < len; k++)
			l.buf[k] = (unsigned char)rand_r(&seed);
		/* Some of them look well at the start. */
		if (i & 1 && len > 20)
			memset(l.buf + 17, 0, 3);
		walk(&l);
		walk_plus(&l);
		list_fini(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(entries_come_one_by_one),
	    cmocka_unit_test(entries_plus_have_their_attributes),
	    cmocka_unit_test(names_that_are_no_names_are_faults),
	    cmocka_unit_test(name_of_1024_bytes_is_the_longest),
	    cmocka_unit_test(list_cut_at_any_byte_is_a_fault),
	    cmocka_unit_test(plus_cut_at_any_byte_is_a_fault),
	    cmocka_unit_test(random_bytes_stay_inside),
	};

	return cmocka_run_group_tests_name("dirent", tests, NULL, NULL);
}
