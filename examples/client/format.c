/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "format.h"

#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define HALF_YEAR (365 * 24 * 3600 / 2)
#define ID_MAX	  64

static char type_letter(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	default:
		return '-';
	}
}

/* x, or what a set-id or sticky bit makes of it */
static char exec_letter(bool x, bool special, const char *letters)
{
	if (special)
		return letters[x];
	return x ? 'x' : '-';
}

const char *mode_text(char *ret, uint32_t mode)
{
	ret[0] = type_letter(mode);
	ret[1] = mode & 0400 ? 'r' : '-';
	ret[2] = mode & 0200 ? 'w' : '-';
	ret[3] = exec_letter(mode & 0100, mode & S_ISUID, "Ss");
	ret[4] = mode & 040 ? 'r' : '-';
	ret[5] = mode & 020 ? 'w' : '-';
	ret[6] = exec_letter(mode & 010, mode & S_ISGID, "Ss");
	ret[7] = mode & 04 ? 'r' : '-';
	ret[8] = mode & 02 ? 'w' : '-';
	ret[9] = exec_letter(mode & 01, mode & S_ISVTX, "Tt");
	ret[10] = '\0';
	return ret;
}

const char *time_short(char *ret, uint64_t sec)
{
	time_t t = (time_t)sec, now = time(NULL);
	bool recent = t <= now && now - t < HALF_YEAR;
	struct tm tm;

	if (!localtime_r(&t, &tm) ||
	    !strftime(ret, TIME_TEXT_MAX, recent ? "%b %e %H:%M" : "%b %e  %Y",
		      &tm))
		snprintf(ret, TIME_TEXT_MAX, "%lld", (long long)t);
	return ret;
}

const char *time_full(char *ret, uint64_t sec, uint32_t nsec)
{
	time_t t = (time_t)sec;
	char day[32], zone[16];
	struct tm tm;

	if (!localtime_r(&t, &tm) ||
	    !strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm) ||
	    !strftime(zone, sizeof(zone), "%z", &tm))
		snprintf(ret, TIME_TEXT_MAX, "%lld", (long long)t);
	else
		snprintf(ret, TIME_TEXT_MAX, "%s.%09u %s", day, nsec, zone);
	return ret;
}

const char *user_name(uint32_t uid)
{
	static char text[ID_MAX];
	static uint32_t last;

	if (!text[0] || uid != last) {
		struct passwd *pw = getpwuid(uid);

		if (pw)
			snprintf(text, sizeof(text), "%s", pw->pw_name);
		else
			snprintf(text, sizeof(text), "%u", uid);
		last = uid;
	}
	return text;
}

const char *group_name(uint32_t gid)
{
	static char text[ID_MAX];
	static uint32_t last;

	if (!text[0] || gid != last) {
		struct group *gr = getgrgid(gid);

		if (gr)
			snprintf(text, sizeof(text), "%s", gr->gr_name);
		else
			snprintf(text, sizeof(text), "%u", gid);
		last = gid;
	}
	return text;
}

const char *type_name(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symbolic link";
	case S_IFCHR:
		return "character special file";
	case S_IFBLK:
		return "block special file";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "regular file";
	}
}

/* The kernel's 32-bit form: 12 bits major, 20 bits minor. */
unsigned rdev_major(uint32_t rdev)
{
	return (rdev & 0xfff00) >> 8;
}

unsigned rdev_minor(uint32_t rdev)
{
	return (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
}
