/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a fuzzer's function once on each file that is named, or that lies in a
 * directory that is named: what the fuzzers found stays found, with any
 * compiler.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned cnt;

static int run_file(const char *path)
{
	static uint8_t buf[1 << 20];
	FILE *f = fopen(path, "re");
	uint8_t *copy;
	size_t len;

	if (!f) {
		perror(path);
		return -1;
	}
	len = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	/* A piece of its own size, so that reading beyond it is seen. */
	copy = malloc(len ? len : 1);
	must(copy);
	memcpy(copy, buf, len);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	cnt++;
	return 0;
}

static int run_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	char name[4096];
	int r = 0;

	if (!dir) {
		perror(path);
		return -1;
	}
	while (r == 0 && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		r = run_file(name);
	}
	closedir(dir);
	return r;
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) < 0) {
			perror(argv[i]);
			return 1;
		}
		if ((S_ISDIR(st.st_mode) ? run_dir : run_file)(argv[i]) < 0)
			return 1;
	}
	printf("%u inputs\n", cnt);
	return cnt ? 0 : 1;
}
