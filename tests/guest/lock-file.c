/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock-file FILE: waits for a lock of all of it, and keeps that until it is
 * killed. The exit status is what the wait ended with, otherwise. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct flock lock = {.l_type = F_WRLCK};
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_CREAT, 0644) : -1;

	if (fd < 0) {
		perror("lock-file");
		return 255;
	}
	if (fcntl(fd, F_SETLKW, &lock) < 0)
		return errno;
	for (;;)
		pause();
}
