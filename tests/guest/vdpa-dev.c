/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vdpa-bus.h as a program that a guest without libraries can run. */
#include <stdio.h>
#include <string.h>

#include "vdpa-bus.h"

int main(int argc, char **argv)
{
	int r;

	if (argc != 3 || (strcmp(argv[1], "add") && strcmp(argv[1], "del"))) {
		fprintf(stderr, "usage: vdpa-dev add|del NAME\n");
		return 1;
	}
	r = vdpa_bus(argv[1][0] == 'a' ? VDPA_BUS_ADD : VDPA_BUS_DEL, argv[2]);
	if (r < 0)
		fprintf(stderr, "vdpa-dev %s %s: %s\n", argv[1], argv[2],
			strerror(-r));
	return r < 0;
}
