/* SPDX-License-Identifier: BSD-2-Clause
 *
 * buf - a growing byte buffer with a hard limit, for rendering documents.
 */
#include "common/buf.h"

#include "common/check.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_FIRST_CAPACITY = 256 };

/* Half as much again is still a size. */
#define BUF_SIZE_MAX (SIZE_MAX / 4)

void buf_init(struct buf *buf, size_t limit)
{
    *buf = (struct buf){.limit = limit};
}

void buf_fini(struct buf *buf)
{
    free(buf->ptr);
    *buf = (struct buf){.limit = buf->limit};
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

/* Capacity is always one more than asked for: vsnprintf() wants to write a NUL
 * behind text that just fits the limit. */
static bool buf_grow(struct buf *buf, size_t extra)
{
    size_t limit = buf->limit == 0 ? BUF_DEFAULT_LIMIT : buf->limit;
    if (limit > BUF_SIZE_MAX)
        limit = BUF_SIZE_MAX;
    CHECK(buf->len <= limit);
    if (buf->failed)
        return false;
    if (extra > limit - buf->len) {
        buf->failed = true;
        return false;
    }
    size_t needed = buf->len + extra + 1;
    if (buf->ptr != NULL && needed <= buf->capacity)
        return true;

    size_t capacity = buf->capacity == 0 ? BUF_FIRST_CAPACITY : buf->capacity;
    while (capacity < needed)
        capacity += capacity / 2;
    if (capacity > limit)
        capacity = limit + 1;
    char *ptr = realloc(buf->ptr, capacity);
    if (ptr == NULL) {
        buf->failed = true;
        return false;
    }
    buf->ptr = ptr;
    buf->capacity = capacity;
    return true;
}

char *buf_reserve(struct buf *buf, size_t extra)
{
    return buf_grow(buf, extra) ? buf->ptr + buf->len : NULL;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    if (len == 0 || !buf_grow(buf, len))
        return;
    memcpy(buf->ptr + buf->len, data, len);
    buf->len += len;
}

void buf_append_str(struct buf *buf, const char *str)
{
    buf_append(buf, str, strlen(str));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    size_t spare = buf->failed ? 0 : buf->capacity - buf->len;

    va_start(args, format);
    int len = vsnprintf(spare == 0 ? NULL : buf->ptr + buf->len, spare, format, args);
    va_end(args);
    if (len < 0) {
        buf->failed = true;
        return;
    }
    /* Even when it fitted, the limit may forbid it. */
    if (!buf_grow(buf, (size_t)len))
        return;
    if ((size_t)len >= spare) {
        va_start(args, format);
        (void)vsnprintf(buf->ptr + buf->len, (size_t)len + 1, format, args);
        va_end(args);
    }
    buf->len += (size_t)len;
}
