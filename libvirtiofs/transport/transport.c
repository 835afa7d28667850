/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "transport/transport.h"

#include "base/error.h"
#include "vq/vq.h"

int vtfs_features_check(uint64_t offered, uint64_t accepted)
{
	if (accepted & ~offered)
		return vtfs_fail(-EPROTO,
				 "the driver took features 0x%llx, which were "
				 "not offered",
				 (unsigned long long)(accepted & ~offered));
	if (!(accepted & VIRTIOFS_F_VERSION_1))
		return vtfs_fail(-EPROTO,
				 "the driver did not take VERSION_1 (features "
				 "0x%llx): a legacy driver",
				 (unsigned long long)accepted);
	return 0;
}

uint32_t vtfs_features_vq_flags(uint64_t features)
{
	uint32_t flags = 0;

	if (features & VIRTIOFS_F_RING_PACKED)
		flags |= VTFS_VQ_PACKED;
	if (features & VIRTIOFS_F_EVENT_IDX)
		flags |= VTFS_VQ_EVENT;
	if (features & VIRTIOFS_F_INDIRECT_DESC)
		flags |= VTFS_VQ_INDIRECT;
	if (features & VIRTIOFS_F_IN_ORDER)
		flags |= VTFS_VQ_IN_ORDER;
	return flags;
}

bool vtfs_config_there(struct vtfs_dev_sink *s)
{
	char first = 0;

	s->ops->config(s, &first, sizeof(first), VTFS_CONFIG_TAG);
	return first;
}

void virtiofs_transport_free(struct virtiofs_transport *t)
{
	if (t)
		t->free(t);
}
