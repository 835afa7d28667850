/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/status.h"

#include "base/error.h"
#include "transport/transport.h"

int vtfs_status_choose(struct vtfs_status *s, uint64_t offered,
		       uint64_t features)
{
	int r;

	if (s->bits & VTFS_STATUS_FEATURES_OK) {
		if (features == s->features)
			return 0;
		return vtfs_fail(-EBUSY, "features changed without a reset");
	}
	s->chosen = false;
	r = vtfs_features_check(offered, features);
	if (r < 0)
		return r;
	s->chosen = true;
	s->features = features;
	return 0;
}

uint8_t vtfs_status_write(struct vtfs_status *s, uint8_t value)
{
	uint8_t old = s->bits;
	uint8_t now = old | (uint8_t)(value & ~VTFS_STATUS_NEEDS_RESET);

	if (!s->chosen)
		now &= (uint8_t)~VTFS_STATUS_FEATURES_OK;
	if (!(now & VTFS_STATUS_FEATURES_OK))
		now &= (uint8_t)~VTFS_STATUS_DRIVER_OK;
	s->bits = now;
	return now & (uint8_t)~old;
}

void vtfs_status_reset(struct vtfs_status *s)
{
	*s = (struct vtfs_status){0};
}
