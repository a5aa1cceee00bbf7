/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_http_chunked - whatever the bytes are: nothing out of bounds, the same
 * body however they are cut, and what is let through is the same body for a
 * second, naive decoder.
 */
#include "common/check.h"
#include "worker/http_parser.h"

#include <ctype.h>
#include <stdlib.h>

enum { MAX_INPUT = 40000, MAX_BODY = 300 };

struct outcome {
    enum http_parse_result result;
    struct http_parse_error error;
    size_t consumed;
    size_t len;
    char body[MAX_BODY];
};

/* In pieces of up to `spread` bytes; 0: whole. */
static void decode(const char *bytes, size_t len, size_t spread, struct outcome *out)
{
    struct http_chunked chunked;
    uint32_t random = 2463534242;
    http_chunked_init(&chunked);
    *out = (struct outcome){.result = HTTP_PARSE_INCOMPLETE};

    while (out->result == HTTP_PARSE_INCOMPLETE && out->consumed < len) {
        random = random * 1664525 + 1013904223;
        size_t piece = spread == 0 ? len : 1 + (random >> 8) % spread;
        if (piece > len - out->consumed)
            piece = len - out->consumed;
        char *copy = malloc(piece > 0 ? piece : 1);
        CHECK(copy != NULL);
        memcpy(copy, bytes + out->consumed, piece);

        size_t consumed = SIZE_MAX;
        struct slice data = {NULL, SIZE_MAX};
        out->result =
            http_chunked_decode(&chunked, copy, piece, MAX_BODY, &consumed, &data, &out->error);
        CHECK(consumed <= piece && (consumed > 0 || out->result == HTTP_PARSE_ERROR));
        CHECK(data.len == 0 || (data.ptr >= copy && data.ptr + data.len <= copy + consumed));
        CHECK(data.len <= MAX_BODY - out->len);
        if (data.len > 0)
            memcpy(out->body + out->len, data.ptr, data.len);
        out->len += data.len;
        out->consumed += consumed;
        CHECK(chunked.body_bytes == out->len);
        free(copy);
    }
    if (out->result == HTTP_PARSE_ERROR)
        CHECK(out->error.status != 0 && out->error.reason != NULL);
}

/* The line at `*at`, which moves behind its CR LF. */
static struct slice next_line(const char **at, const char *end)
{
    const char *stop = memmem(*at, (size_t)(end - *at), "\r\n", 2);
    CHECK(stop != NULL);
    struct slice line = slice_from(*at, (size_t)(stop - *at));
    CHECK(memchr(line.ptr, '\n', line.len) == NULL && memchr(line.ptr, '\r', line.len) == NULL);
    *at = stop + 2;
    return line;
}

/* Decodes what was accepted by looking for line ends only. */
static void check_body(const char *bytes, const struct outcome *out)
{
    const char *at = bytes;
    const char *end = bytes + out->consumed;
    size_t len = 0;
    for (;;) {
        struct slice line = next_line(&at, end);
        char *rest;
        CHECK(line.len > 0 && isxdigit((unsigned char)line.ptr[0]));
        unsigned long size = strtoul(line.ptr, &rest, 16);
        CHECK(rest == line.ptr + line.len || *rest == ';');
        if (size == 0)
            break;
        CHECK(size <= out->len - len && (size_t)(end - at) >= size + 2);
        CHECK(memcmp(at, out->body + len, size) == 0);
        CHECK(memcmp(at + size, "\r\n", 2) == 0);
        len += size;
        at += size + 2;
    }
    CHECK(len == out->len);
    while (next_line(&at, end).len > 0)
        CHECK(at < end && !isblank((unsigned char)*at));
    CHECK(at == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t spreads[] = {1, 5, 50};
    static struct outcome whole;
    static struct outcome cut;
    if (size > MAX_INPUT)
        return 0;
    const char *bytes = (const char *)data;
    decode(bytes, size, 0, &whole);
    for (size_t i = 0; i < ARRAY_COUNT(spreads); i++) {
        decode(bytes, size, spreads[i], &cut);
        CHECK(cut.result == whole.result && cut.consumed == whole.consumed);
        CHECK(cut.error.status == whole.error.status && cut.error.reason == whole.error.reason);
        CHECK(cut.len == whole.len && memcmp(cut.body, whole.body, whole.len) == 0);
    }
    if (whole.result == HTTP_PARSE_DONE)
        check_body(bytes, &whole);
    return 0;
}
