/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nofile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "log.h"
#include "options.h"

#define NOFILE_DEFAULT 1000000u
/* Memory regions of a front-end, sockets, eventfds; and what a thread opens
 * before it is counted. */
#define RESERVE		   640u
#define RESERVE_PER_THREAD 8u
#define GUEST_MIN	   64u

static uint64_t system_max(void)
{
	unsigned long long v = NOFILE_DEFAULT;
	FILE *f = fopen("/proc/sys/fs/nr_open", "re");

	if (f) {
		if (fscanf(f, "%llu", &v) != 1)
			v = NOFILE_DEFAULT;
		fclose(f);
	}
	return v;
}

static int set(uint64_t nofile)
{
	struct rlimit l = {.rlim_cur = nofile, .rlim_max = nofile};

	return setrlimit(RLIMIT_NOFILE, &l) < 0 ? -errno : 0;
}

/* As many as usual, or as the hard limit allows. */
static int set_default(const struct rlimit *old, uint64_t *ret)
{
	uint64_t max = system_max();

	*ret = max < NOFILE_DEFAULT ? max : NOFILE_DEFAULT;
	if (old->rlim_cur >= *ret) {
		*ret = old->rlim_cur;
		return 0;
	}
	if (set(*ret) == 0)
		return 0;
	*ret = old->rlim_max;
	return set(*ret);
}

static int set_limit(uint64_t nofile, uint64_t *ret)
{
	struct rlimit old;
	int r;

	if (getrlimit(RLIMIT_NOFILE, &old) < 0)
		return -errno;
	*ret = old.rlim_cur;
	if (nofile == 0)
		return 0;
	if (nofile == RLIMIT_DEFAULT)
		return set_default(&old, ret);
	r = set(nofile);
	if (r == 0)
		*ret = nofile;
	return r;
}

int nofile_set(uint64_t nofile, unsigned devices, unsigned threads,
	       uint64_t *ret)
{
	uint64_t reserve = RESERVE + threads * RESERVE_PER_THREAD;
	uint64_t min = devices * (reserve + GUEST_MIN);
	uint64_t limit = 0;
	int r;

	r = set_limit(nofile, &limit);
	if (r < 0) {
		log_err("can't set the limit of open files: %s", strerror(-r));
		return r;
	}
	if (limit < min) {
		log_err("the limit of open files is too small: %llu, must be "
			"at least %llu",
			(unsigned long long)limit, (unsigned long long)min);
		return -EMFILE;
	}
	*ret = limit / devices - reserve;
	return 0;
}
