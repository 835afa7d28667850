/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "msg.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "progress.h"

#define QUOTE_BUFS 4

void msg_error(int err, const char *fmt, ...)
{
	va_list ap;

	progress_clear();
	fflush(stdout);
	fputs(PROGRAM ": ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (err < 0)
		fprintf(stderr, ": %s", strerror(-err));
	fputc('\n', stderr);
}

/* Bytes of the printable character at s, or 0. */
static size_t printable_len(const char *s)
{
	mbstate_t state = {0};
	wchar_t wc;
	size_t n = mbrtowc(&wc, s, strlen(s), &state);

	if (n == 0 || n == (size_t)-1 || n == (size_t)-2)
		return 0;
	return iswprint((wint_t)wc) ? n : 0;
}

static bool all_printable(const char *s)
{
	while (*s) {
		size_t n = printable_len(s);

		if (!n)
			return false;
		s += n;
	}
	return true;
}

/* 'a'$'\n''b': each run of odd bytes in its own $'' */
static void quote_odd(FILE *out, const char *s)
{
	bool odd = false;

	fputc('\'', out);
	while (*s) {
		size_t n = *s == '\'' ? 0 : printable_len(s);

		if (odd != !n)
			fputs(odd ? "''" : "'$'", out);
		odd = !n;
		if (n)
			fwrite(s, 1, n, out);
		else if (*s == '\n')
			fputs("\\n", out);
		else if (*s == '\'')
			fputs("\\'", out);
		else
			fprintf(out, "\\%03o", (unsigned char)*s);
		s += n ? n : 1;
	}
	fputc('\'', out);
}

const char *quote(const char *name)
{
	static char *bufs[QUOTE_BUFS];
	static unsigned next;
	char **buf = &bufs[next++ % QUOTE_BUFS];
	size_t len;
	FILE *out;

	free(*buf);
	*buf = NULL;
	out = open_memstream(buf, &len);
	if (!out)
		return "?";
	if (!all_printable(name))
		quote_odd(out, name);
	else if (!strchr(name, '\''))
		fprintf(out, "'%s'", name);
	else if (!strpbrk(name, "\"$`\\"))
		fprintf(out, "\"%s\"", name);
	else
		quote_odd(out, name);
	return fclose(out) == 0 && *buf ? *buf : "?";
}

char *printable(const char *name)
{
	char *copy = malloc(strlen(name) + 1), *p = copy;

	while (copy && *name) {
		size_t n = printable_len(name);

		if (n)
			memcpy(p, name, n);
		else
			*p = '?';
		p += n ? n : 1;
		name += n ? n : 1;
	}
	if (copy)
		*p = '\0';
	return copy;
}

const char *human_size(char *ret_buf, uint64_t bytes)
{
	static const char units[] = "BKMGTPE";
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1024 && units[u + 1]) {
		v /= 1024;
		u++;
	}
	if (u == 0)
		snprintf(ret_buf, HUMAN_MAX, "%u", (unsigned)bytes);
	else
		snprintf(ret_buf, HUMAN_MAX, v < 9.95 ? "%.1f%c" : "%.0f%c", v,
			 units[u]);
	return ret_buf;
}
