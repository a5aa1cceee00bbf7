/* SPDX-License-Identifier: BSD-2-Clause
 *
 * files_http - the pure part of serving files: paths, types, ranges, tags.
 */
#include "worker/files.h"

#include <errno.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* Percent-decoding. An encoded slash would be a separator to some and a part of a name to
 * others; there is no such file either way. */
static int decode(struct slice raw, char *out, size_t *out_len)
{
    size_t len = 0;
    for (size_t i = 0; i < raw.len; i++) {
        int c = (unsigned char)raw.ptr[i];
        if (c == '%') {
            int high = raw.len - i > 2 ? hex_value(raw.ptr[i + 1]) : -1;
            int low = high >= 0 ? hex_value(raw.ptr[i + 2]) : -1;
            if (low < 0)
                return -EINVAL;
            c = high * 16 + low;
            i += 2;
            if (c == '/' || c == '\0')
                return -EINVAL;
        }
        if (c == '\0')
            return -EINVAL;
        if (len == FILES_MAX_PATH - 1)
            return -ENAMETOOLONG;
        out[len++] = (char)c;
    }
    *out_len = len;
    return 0;
}

/* Appends one segment to the path that has been built so far. */
static int add_segment(char *out, size_t *out_len, struct slice segment)
{
    if (segment.len == 0 || slice_equal_str(segment, "."))
        return 0;
    if (slice_equal_str(segment, "..")) {
        if (*out_len == 0)
            return -EINVAL;
        while (*out_len > 0 && out[--*out_len] != '/')
            ;
        return 0;
    }
    if (segment.ptr[0] == '.' && !slice_equal_str(segment, ".well-known"))
        return -EACCES;
    if (*out_len > 0)
        out[(*out_len)++] = '/';
    memmove(out + *out_len, segment.ptr, segment.len);
    *out_len += segment.len;
    return 0;
}

int files_decode_path(struct slice raw, char out[FILES_MAX_PATH])
{
    char decoded[FILES_MAX_PATH];
    size_t len;
    int err = decode(raw, decoded, &len);
    if (err != 0)
        return err;
    char built[FILES_MAX_PATH];
    size_t built_len = 0;
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(decoded + at, '/', len - at);
        size_t end = slash != NULL ? (size_t)(slash - decoded) : len;
        err = add_segment(built, &built_len, slice_from(decoded + at, end - at));
        if (err != 0)
            return err;
        at = end + 1;
    }
    if (built_len == 0)
        built[built_len++] = '.';
    memcpy(out, built, built_len);
    out[built_len] = '\0';
    return 0;
}

const char *files_content_type(const char *path)
{
    static const struct {
        const char *extension;
        const char *type;
    } types[] = {
        {"html", "text/html; charset=utf-8"},
        {"htm", "text/html; charset=utf-8"},
        {"css", "text/css; charset=utf-8"},
        {"js", "text/javascript; charset=utf-8"},
        {"mjs", "text/javascript; charset=utf-8"},
        {"json", "application/json"},
        {"map", "application/json"},
        {"txt", "text/plain; charset=utf-8"},
        {"md", "text/markdown; charset=utf-8"},
        {"csv", "text/csv; charset=utf-8"},
        {"xml", "application/xml"},
        {"svg", "image/svg+xml"},
        {"png", "image/png"},
        {"jpg", "image/jpeg"},
        {"jpeg", "image/jpeg"},
        {"gif", "image/gif"},
        {"webp", "image/webp"},
        {"avif", "image/avif"},
        {"ico", "image/vnd.microsoft.icon"},
        {"woff", "font/woff"},
        {"woff2", "font/woff2"},
        {"ttf", "font/ttf"},
        {"otf", "font/otf"},
        {"mp3", "audio/mpeg"},
        {"ogg", "audio/ogg"},
        {"wav", "audio/wav"},
        {"mp4", "video/mp4"},
        {"webm", "video/webm"},
        {"pdf", "application/pdf"},
        {"zip", "application/zip"},
        {"gz", "application/gzip"},
        {"wasm", "application/wasm"},
        {"webmanifest", "application/manifest+json"},
    };
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash != NULL ? slash : path, '.');
    for (size_t i = 0; dot != NULL && i < ARRAY_COUNT(types); i++) {
        if (strcasecmp(dot + 1, types[i].extension) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/* Digits at `*at`; -1 when there are none, capped far above any file's size. */
static int64_t take_number(struct slice text, size_t *at)
{
    int64_t value = -1;
    while (*at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9') {
        if (value < 0)
            value = 0;
        if (value < INT64_MAX / 16)
            value = value * 10 + (text.ptr[*at] - '0');
        (*at)++;
    }
    return value;
}

int files_parse_range(struct slice value, int64_t length, int64_t *first, int64_t *last)
{
    static const struct slice unit = {"bytes=", 6};
    if (value.len < unit.len || !slice_equal_nocase(slice_from(value.ptr, unit.len), unit))
        return 0;
    size_t at = unit.len;
    int64_t from = take_number(value, &at);
    if (at == value.len || value.ptr[at] != '-')
        return 0;
    at++;
    int64_t to = take_number(value, &at);
    /* Several ranges would need a multipart answer; sending everything is allowed. */
    if (at != value.len || (from < 0 && to < 0) || (from >= 0 && to >= 0 && to < from))
        return 0;
    if (from < 0) { /* the last `to` bytes */
        if (to == 0 || length == 0)
            return -ERANGE;
        from = to < length ? length - to : 0;
        to = length - 1;
    }
    if (from >= length)
        return -ERANGE;
    if (to < 0 || to >= length)
        to = length - 1;
    *first = from;
    *last = to;
    return 1;
}

bool files_etag_matches(struct slice list, struct slice etag)
{
    if (slice_equal_str(list, "*"))
        return true;
    for (size_t at = 0; at < list.len;) {
        char c = list.ptr[at];
        if (c == ' ' || c == '\t' || c == ',') {
            at++;
            continue;
        }
        if (c == 'W' && list.len - at > 2 && list.ptr[at + 1] == '/')
            at += 2;
        if (list.ptr[at] != '"')
            return false; /* malformed */
        const char *end = memchr(list.ptr + at + 1, '"', list.len - at - 1);
        if (end == NULL)
            return false;
        size_t len = (size_t)(end - (list.ptr + at)) + 1;
        if (slice_equal(slice_from(list.ptr + at, len), etag))
            return true;
        at += len;
    }
    return false;
}
