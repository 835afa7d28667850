/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FUZZ_NOTES_H
#define TESTS_FUZZ_NOTES_H
/* Notifications of a device that lies. */
#include "liar.h"

/* One of the right shape, or nearly so, into a buffer for it. */
void notes_put(struct input *in, struct liar *l, const struct liar_req *req);
/* What the program gets is whole, no longer than a buffer of max bytes, and its
 * name is one. */
void notes_check(const struct virtiofs_notification *n, size_t max);
#endif
