/* SPDX-License-Identifier: BSD-2-Clause
 *
 * slice - a borrowed run of bytes: a pointer and a length, no terminator.
 *
 * A slice owns nothing; it is valid as long as the bytes it points into are.
 */
#ifndef MUSTER_SLICE_H
#define MUSTER_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE_LITERAL(s) ((struct slice){(s), sizeof(s) - 1})

static inline struct slice slice_from(const char *ptr, size_t len)
{
    return (struct slice){ptr, len};
}

static inline struct slice slice_from_str(const char *str)
{
    return (struct slice){str, strlen(str)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_equal_str(struct slice a, const char *str)
{
    return slice_equal(a, slice_from_str(str));
}

/* ASCII only, independent of the locale. */
static inline bool slice_equal_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_starts_with(struct slice a, struct slice prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}

#endif
