/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_http_parser - whatever the bytes are: nothing out of bounds, the same
 * result however they are cut, and a head that is let through frames its body
 * for a second, naive reader exactly as it does for us.
 */
#include "common/check.h"
#include "worker/http_parser.h"

#include <ctype.h>
#include <stdlib.h>

static const struct http_limits limit_sets[] = {
    {16384, 8192, 100},
    {160, 40, 3},
};

static enum http_parse_result parse(const char *bytes, size_t len, const struct http_limits *limits,
                                    struct http_request *request, struct http_parse_error *error)
{
    /* A copy of its own, so that reading past its end is found out. */
    char *copy = malloc(len > 0 ? len : 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, len);
    enum http_parse_result result = http_parse_head(copy, len, limits, request, error);
    free(copy);
    return result;
}

static bool name_is(struct slice line, const char *name)
{
    struct slice prefix = slice_from_str(name);
    return line.len > prefix.len && line.ptr[prefix.len] == ':' &&
           slice_equal_nocase(slice_from(line.ptr, prefix.len), prefix);
}

/* Reads the head again line by line, as a lenient party in front would. */
static void check_framing(const char *bytes, const struct http_request *request)
{
    const char *at = bytes;
    const char *end = bytes + request->head_bytes;
    uint32_t lines = 0;
    int hosts = 0;
    int lengths = 0;
    int codings = 0;

    while (at + 2 <= end && memcmp(at, "\r\n", 2) == 0)
        at += 2;
    for (;;) {
        const char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
        CHECK(stop != NULL);
        struct slice line = slice_from(at, (size_t)(stop - at));
        at = stop + 2;
        if (line.len == 0)
            break;
        lines++;
        CHECK(line.ptr[0] != ' ' && line.ptr[0] != '\t');
        for (size_t i = 0; i < line.len; i++) {
            unsigned char c = (unsigned char)line.ptr[i];
            CHECK((c >= 0x20 || c == '\t') && c != 0x7f);
        }
        hosts += name_is(line, "host");
        codings += name_is(line, "transfer-encoding");
        if (name_is(line, "content-length")) {
            lengths++;
            CHECK(strtoll(line.ptr + strlen("content-length:"), NULL, 10) ==
                  request->content_length);
        }
    }
    CHECK(at == end);
    CHECK(lines == request->header_count + 1);
    CHECK(hosts <= 1 && (hosts == 1 || request->minor_version == 0));
    CHECK(request->has_host == (hosts == 1));
    CHECK(lengths + codings <= 1);
    CHECK(request->chunked == (codings == 1) && (codings == 0 || request->minor_version == 1));
    CHECK((request->content_length >= 0) == (lengths == 1));
}

static void check_range(const struct http_request *request, struct http_range range)
{
    CHECK(range.at <= request->head_bytes && range.len <= request->head_bytes - range.at);
}

static void check_done(const char *bytes, size_t len, const struct http_limits *limits,
                       const struct http_request *request)
{
    CHECK(request->head_bytes <= len && request->head_bytes <= limits->max_head_bytes);
    CHECK(request->header_count <= limits->max_headers);
    check_range(request, request->method_text);
    check_range(request, request->target);
    check_range(request, request->path);
    check_range(request, request->query);
    check_range(request, request->host);
    CHECK(request->target.len > 0 && request->method_text.len > 0);
    CHECK(request->path_is_root == (request->path.len == 0 && request->method != HTTP_CONNECT));
    for (uint32_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->header[i];
        check_range(request, header->name);
        check_range(request, header->value);
        CHECK(header->name.len > 0 && bytes[header->name.at + header->name.len] == ':');
        struct slice value = http_slice(bytes, header->value);
        CHECK(value.len == 0 || (!isblank((unsigned char)value.ptr[0]) &&
                                 !isblank((unsigned char)value.ptr[value.len - 1])));
    }
    check_framing(bytes, request);
}

static void check_prefixes(const char *bytes, size_t len, const struct http_limits *limits,
                           enum http_parse_result whole, uint32_t head_bytes,
                           const struct http_parse_error *whole_error)
{
    /* Every cut of what is short, some of what is long. */
    size_t step = len <= 300 ? 1 : 1 + len / 100;
    size_t seen = 0;
    enum http_parse_result trickle = HTTP_PARSE_INCOMPLETE;
    for (size_t cut = 0; cut <= len; cut = cut < len && cut + step > len ? len : cut + step) {
        struct http_request request;
        struct http_parse_error error;
        enum http_parse_result result = parse(bytes, cut, limits, &request, &error);
        if (result == HTTP_PARSE_DONE)
            CHECK(whole == HTTP_PARSE_DONE && request.head_bytes == head_bytes);
        if (result == HTTP_PARSE_ERROR)
            CHECK(whole == HTTP_PARSE_ERROR && error.status == whole_error->status &&
                  error.reason == whole_error->reason);
        if (result == HTTP_PARSE_INCOMPLETE)
            CHECK(whole != HTTP_PARSE_DONE || cut < head_bytes);
        if (trickle == HTTP_PARSE_INCOMPLETE && http_parse_worth_retry(bytes, seen, cut, limits)) {
            trickle = result;
            seen = cut;
        }
    }
    /* A mistake may wait for the end of its line, a whole head may not. */
    CHECK(whole != HTTP_PARSE_DONE || trickle == HTTP_PARSE_DONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 32768)
        return 0;
    const char *bytes = (const char *)data;
    for (size_t i = 0; i < ARRAY_COUNT(limit_sets); i++) {
        const struct http_limits *limits = &limit_sets[i];
        struct http_request request;
        struct http_parse_error error;
        enum http_parse_result result = parse(bytes, size, limits, &request, &error);
        CHECK((result == HTTP_PARSE_ERROR) == (error.status != 0));
        CHECK((error.status != 0) == (error.reason != NULL));
        if (result == HTTP_PARSE_DONE)
            check_done(bytes, size, limits, &request);
        uint32_t head_bytes = result == HTTP_PARSE_DONE ? request.head_bytes : 0;
        check_prefixes(bytes, size, limits, result, head_bytes, &error);
    }
    return 0;
}
