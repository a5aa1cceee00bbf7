/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_chars - which bytes may stand where in an HTTP message: one table, one
 * bit for each rule of the grammar. Shared by the parts of the parser only.
 */
#ifndef MUSTER_HTTP_CHARS_H
#define MUSTER_HTTP_CHARS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum http_char {
    HTTP_CHAR_TOKEN = 1 << 0, /* tchar (RFC 9110 5.6.2) */
    HTTP_CHAR_VALUE = 1 << 1, /* field-vchar, SP and HTAB (RFC 9110 5.5) */
    HTTP_CHAR_PATH = 1 << 2,  /* of a target up to '?', without '%' */
    HTTP_CHAR_QUERY = 1 << 3, /* of a target behind '?' */
    HTTP_CHAR_HOST = 1 << 4,  /* reg-name without '%' (RFC 3986 3.2.2) */
    HTTP_CHAR_HEX = 1 << 5,
};

extern const uint8_t http_char_class[256];

static inline bool http_char_is(char c, enum http_char kind)
{
    return (http_char_class[(unsigned char)c] & kind) != 0;
}

static inline bool http_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool http_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Whether `text` is `lower` but for the case of letters. Both have `len` bytes,
 * at least four. `lower` has only bytes whose bit 0x20 is set (small letters,
 * digits, '-', '/', ':'); setting that bit makes only capitals and controls
 * equal to them, so `text` must be without controls. */
static inline bool http_folds_to(const char *text, const char *lower, size_t len)
{
    if (len < 8) {
        uint32_t have[2];
        uint32_t want[2];
        memcpy(&have[0], text, 4);
        memcpy(&have[1], text + (len - 4), 4); /* overlaps */
        memcpy(&want[0], lower, 4);
        memcpy(&want[1], lower + (len - 4), 4);
        return (((have[0] | 0x20202020U) ^ want[0]) | ((have[1] | 0x20202020U) ^ want[1])) == 0;
    }
    uint64_t differ = 0;
    for (size_t at = 0;; at = at + 16 <= len ? at + 8 : len - 8) {
        uint64_t have;
        uint64_t want;
        memcpy(&have, text + at, 8);
        memcpy(&want, lower + at, 8);
        differ |= (have | UINT64_C(0x2020202020202020)) ^ want;
        if (at + 8 == len)
            return differ == 0;
    }
}

/* The first byte that may not stand in a field value, or `end`. Eight bytes at
 * a time: a byte is found when it is below 0x20 or is DEL. A borrow may mark
 * bytes above a marked one wrongly, but the lowest mark is always right. */
static inline const char *http_skip_value(const char *at, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        word = le64toh(word);
        uint64_t del = word ^ (ones * 0x7f);
        uint64_t found = (((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & (ones * 0x80);
        if (found == 0) {
            at += 8;
            continue;
        }
        at += __builtin_ctzll(found) / 8;
        if (*at != '\t')
            return at;
        at++;
    }
    while (at < end && http_char_is(*at, HTTP_CHAR_VALUE))
        at++;
    return at;
}

#endif
