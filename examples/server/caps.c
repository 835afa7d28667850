/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

#define BIT(cap) (1ull << (cap))

static const uint64_t needed = BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) |
			       BIT(CAP_FOWNER) | BIT(CAP_FSETID) |
			       BIT(CAP_SETGID) | BIT(CAP_SETUID) |
			       BIT(CAP_MKNOD) | BIT(CAP_SETFCAP);

/* Written before the first request, read by all threads. */
static uint64_t permitted;

static int set(uint64_t p, uint64_t e)
{
	struct __user_cap_header_struct h = {
	    .version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2] = {
	    {.permitted = (uint32_t)p, .effective = (uint32_t)e},
	    {.permitted = (uint32_t)(p >> 32),
	     .effective = (uint32_t)(e >> 32)},
	};

	return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

static int get(uint64_t *ret)
{
	struct __user_cap_header_struct h = {
	    .version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	*ret = d[0].permitted | (uint64_t)d[1].permitted << 32;
	return 0;
}

int caps_remember(void)
{
	return get(&permitted);
}

bool caps_have(int cap)
{
	return permitted & BIT(cap);
}

int caps_drop(bool keep_dac_read_search)
{
	uint64_t keep = needed, have = 0;
	int r = get(&have);

	if (r < 0)
		return r;
	if (keep_dac_read_search)
		keep |= BIT(CAP_DAC_READ_SEARCH);
	/* Not allowed without CAP_SETPCAP, and then of no use either. */
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (!(keep & BIT(cap)))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return set(have & keep, have & keep);
}

int caps_only(int cap)
{
	return set(permitted, permitted & BIT(cap));
}

int caps_none(void)
{
	return set(permitted, 0);
}

int caps_without(int cap)
{
	return set(permitted, permitted & ~BIT(cap));
}

int caps_all(void)
{
	return set(permitted, permitted);
}
