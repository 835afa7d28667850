/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"

static const uint64_t needed = CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) |
			       CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) |
			       CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETUID) |
			       CAP_BIT(CAP_MKNOD) | CAP_BIT(CAP_SETFCAP);

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

bool caps_have(uint64_t caps)
{
	return (permitted & caps) == caps;
}

bool caps_have_any(uint64_t caps)
{
	return permitted & caps;
}

int caps_drop(bool keep_dac_read_search)
{
	uint64_t keep = needed, have = 0;
	int r = get(&have);

	if (r < 0)
		return r;
	if (keep_dac_read_search)
		keep |= CAP_BIT(CAP_DAC_READ_SEARCH);
	/* Not allowed without CAP_SETPCAP, and then of no use either. */
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (!(keep & CAP_BIT(cap)))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return set(have & keep, have & keep);
}

int caps_lower(uint64_t caps)
{
	return set(permitted, permitted & ~caps);
}
