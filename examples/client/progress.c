/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "progress.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "msg.h"

#define DELAY_MS 1000
#define EVERY_MS 200

static struct {
	bool on;
	bool shown;
	uint64_t start_ms, next_ms;
	uint64_t bytes, total, files;
} progress;

void progress_start(uint64_t total)
{
	if (!isatty(STDERR_FILENO))
		return;
	progress.on = true;
	progress.total = total;
	progress.bytes = progress.files = 0;
	progress.start_ms = clock_ms();
	progress.next_ms = progress.start_ms + DELAY_MS;
}

void progress_bytes(uint64_t bytes)
{
	progress.bytes += bytes;
}

void progress_file(void)
{
	progress.files++;
}

int progress_wait_ms(void)
{
	uint64_t now;

	if (!progress.on)
		return -1;
	now = clock_ms();
	return now >= progress.next_ms ? 0 : (int)(progress.next_ms - now);
}

static void show(uint64_t now)
{
	uint64_t ms = now - progress.start_ms;
	char done[HUMAN_MAX], rate[HUMAN_MAX];
	char part[32] = "";

	if (progress.total)
		snprintf(part, sizeof(part), " (%u%%)",
			 (unsigned)(100.0 * (double)progress.bytes /
				    (double)progress.total));
	human_size(done, progress.bytes);
	human_size(rate, ms ? progress.bytes * 1000 / ms : 0);
	fprintf(stderr, "\r%" PRIu64 " files, %s%s, %s/s\033[K", progress.files,
		done, part, rate);
	fflush(stderr);
	progress.shown = true;
}

void progress_tick(void)
{
	uint64_t now;

	if (!progress.on)
		return;
	now = clock_ms();
	if (now < progress.next_ms)
		return;
	progress.next_ms = now + EVERY_MS;
	show(now);
}

void progress_clear(void)
{
	if (!progress.shown)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress.shown = false;
}

void progress_end(void)
{
	progress_clear();
	progress.on = false;
}
