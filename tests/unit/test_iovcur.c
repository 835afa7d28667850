/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/iovcur.h"

static char text[] = "abcdefghij";
/* "ab", nothing, "cdefg", nothing, "hij" */
static const struct iovec list[] = {
    {text, 2}, {text, 0}, {text + 2, 5}, {NULL, 0}, {text + 7, 3},
};

static struct vtfs_iovcur begin(void)
{
	struct vtfs_iovcur c;

	vtfs_iovcur_init(&c, list, 5);
	return c;
}

static void pull_in_any_steps_is_the_text(void **state)
{
	for (size_t step = 1; step < 13; step++) {
		struct vtfs_iovcur c = begin();
		char got[16] = {0};
		size_t n, done = 0;

		while ((n = vtfs_iovcur_pull(&c, got + done, step)) > 0)
			done += n;
		assert_int_equal(done, 10);
		assert_string_equal(got, "abcdefghij");
		assert_int_equal(vtfs_iovcur_pull(&c, got, 1), 0);
	}
}

static void skip_then_pull(void **state)
{
	for (size_t n = 0; n <= 12; n++) {
		struct vtfs_iovcur c = begin();
		char got[16] = {0};

		assert_int_equal(vtfs_iovcur_skip(&c, n), n < 10 ? n : 10);
		vtfs_iovcur_pull(&c, got, sizeof(got));
		assert_string_equal(got, &"abcdefghij"[n < 10 ? n : 10]);
	}
}

static void peek_does_not_go_on(void **state)
{
	struct vtfs_iovcur c = begin();
	char got[16] = {0};

	vtfs_iovcur_skip(&c, 1);
	assert_int_equal(vtfs_iovcur_peek(&c, got, 4), 4);
	assert_string_equal(got, "bcde");
	assert_int_equal(vtfs_iovcur_pull(&c, got, 2), 2);
	assert_memory_equal(got, "bc", 2);
}

static void fill_stops_at_the_end(void **state)
{
	char a[3] = "...", b[2] = "..", guard = '.';
	const struct iovec to[] = {{a, 3}, {b, 2}};
	struct vtfs_iovcur c;

	vtfs_iovcur_init(&c, to, 2);
	assert_int_equal(vtfs_iovcur_fill(&c, "12", 2), 2);
	assert_int_equal(vtfs_iovcur_fill(&c, "345678", 6), 3);
	assert_memory_equal(a, "123", 3);
	assert_memory_equal(b, "45", 2);
	assert_int_equal(guard, '.');
}

static void cut_gives_the_parts_it_announced(void **state)
{
	for (size_t from = 0; from <= 10; from++) {
		for (size_t n = 0; n <= 11; n++) {
			struct vtfs_iovcur c = begin();
			size_t want = n < 10 - from ? n : 10 - from;
			struct iovec out[5];
			unsigned cnt, said;

			vtfs_iovcur_skip(&c, from);
			said = vtfs_iovcur_parts(&c, n);
			cnt = vtfs_iovcur_cut(&c, n, out);
			assert_int_equal(cnt, said);
			assert_int_equal(vtfs_iov_len(out, cnt), want);
			for (unsigned i = 0; i < cnt; i++) {
				assert_true(out[i].iov_len > 0);
				assert_memory_equal(out[i].iov_base,
						    &"abcdefghij"[from],
						    out[i].iov_len);
				from += out[i].iov_len;
			}
			from -= want;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pull_in_any_steps_is_the_text),
	    cmocka_unit_test(skip_then_pull),
	    cmocka_unit_test(peek_does_not_go_on),
	    cmocka_unit_test(fill_stops_at_the_end),
	    cmocka_unit_test(cut_gives_the_parts_it_announced),
	};

	return cmocka_run_group_tests_name("iovcur", tests, NULL, NULL);
}
