/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "leaks.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

unsigned raw_fd_cnt(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned cnt = 0;

	assert_non_null(dir);
	while (readdir(dir))
		cnt++;
	closedir(dir);
	return cnt;
}

unsigned raw_memfd_map_cnt(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned cnt = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		cnt += strstr(line, "memfd:") != NULL;
	fclose(f);
	return cnt;
}
