/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames that lie, through a whole device session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rawfuse.h"

static int setup(void **state)
{
	struct program *p = calloc(1, sizeof(*p));

	*state = p;
	program_open(p, 0);
	return 0;
}

static int teardown(void **state)
{
	program_stop(*state);
	free(*state);
	return 0;
}

static void honest_lookup_is_answered(void **state)
{
	struct program *p = *state;

	send_frame(p, 1, 0, FUSE_LOOKUP, "name", 5, 144);
	program_run(p);
	assert_int_equal(reply_of(p, 1, 0), 0);
	assert_int_equal(p->cnt, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(honest_lookup_is_answered),
	};

	return cmocka_run_group_tests_name("hostile frames", tests, NULL, NULL);
}
