/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_parser - the head of an HTTP/1.1 request: its lines.
 *
 * One pass from left to right that stops at the first byte that cannot belong
 * to a valid head. What is judged later than at its own byte (a whole request
 * line, one field, all fields together) is judged when a certain byte is there.
 * So the first complaint depends on the bytes alone, not on how many follow,
 * and a longer input never turns an error into something else.
 *
 * The bytes that can be looked at are cut to a limit first; running out of
 * bytes at the limit is the error, anywhere else it means INCOMPLETE.
 */
#include "worker/http_parser.h"

#include "common/check.h"
#include "worker/http_chars.h"
#include "worker/http_fields.h"
#include "worker/http_target.h"

enum {
    MAX_EMPTY_LINES = 4,   /* before a request line (RFC 9112 2.2) */
    MAX_METHOD_BYTES = 32, /* longer than any registered one (RFC 9112 3) */
};

/* The steps below take where they start and return where they ended, or NULL
 * for "more bytes are needed" or, when error->status is set, for a mistake. */
struct head {
    const char *bytes;
    struct http_request *request;
    struct http_parse_error *error;
};

static const char *refuse(struct head *head, int status, const char *reason)
{
    *head->error = (struct http_parse_error){.status = status, .reason = reason};
    return NULL;
}

static struct http_range range(const struct head *head, const char *from, const char *to)
{
    return (struct http_range){(uint32_t)(from - head->bytes), (uint32_t)(to - from)};
}

/* CR LF at `at`, where a line may end. */
static const char *take_line_end(struct head *head, const char *at, const char *end)
{
    if (at == end)
        return NULL;
    if (*at != '\r')
        return refuse(head, 400,
                      *at == '\n' ? "bare LF (RFC 9112 2.2)" : "invalid byte (RFC 9110 5.5)");
    if (at + 1 == end)
        return NULL;
    if (at[1] != '\n')
        return refuse(head, 400, "bare CR (RFC 9112 2.2)");
    return at + 2;
}

static const char *skip_empty_lines(struct head *head, const char *at, const char *end)
{
    for (int count = 0; at < end && (*at == '\r' || *at == '\n'); count++) {
        if (count == MAX_EMPTY_LINES)
            return refuse(head, 400, "empty lines before the request (RFC 9112 2.2)");
        at = take_line_end(head, at, end);
        if (at == NULL)
            return NULL;
    }
    return at;
}

static enum http_method method_of(const char *text, size_t len)
{
    switch (len) {
    case 3:
        if (memcmp(text, "GET", 3) == 0)
            return HTTP_GET;
        if (memcmp(text, "PUT", 3) == 0)
            return HTTP_PUT;
        break;
    case 4:
        if (memcmp(text, "POST", 4) == 0)
            return HTTP_POST;
        if (memcmp(text, "HEAD", 4) == 0)
            return HTTP_HEAD;
        break;
    case 5:
        if (memcmp(text, "PATCH", 5) == 0)
            return HTTP_PATCH;
        if (memcmp(text, "TRACE", 5) == 0)
            return HTTP_TRACE;
        break;
    case 6:
        if (memcmp(text, "DELETE", 6) == 0)
            return HTTP_DELETE;
        break;
    case 7:
        if (memcmp(text, "OPTIONS", 7) == 0)
            return HTTP_OPTIONS;
        if (memcmp(text, "CONNECT", 7) == 0)
            return HTTP_CONNECT;
        break;
    default:
        break;
    }
    return HTTP_METHOD_UNKNOWN;
}

static const char *parse_method(struct head *head, const char *at, const char *end)
{
    const char *start = at;
    while (at < end && http_char_is(*at, HTTP_CHAR_TOKEN)) {
        if (at - start == MAX_METHOD_BYTES)
            return refuse(head, 501, "a method longer than any known (RFC 9112 3)");
        at++;
    }
    if (at == end)
        return NULL;
    if (*at != ' ' || at == start)
        return refuse(head, 400, "no method at the start of the request line (RFC 9112 3)");
    head->request->method = method_of(start, (size_t)(at - start));
    head->request->method_text = range(head, start, at);
    return at + 1;
}

/* Finds the end of the target, and of the part that may be a path. */
static const char *parse_target(struct head *head, const char *at, const char *end)
{
    const char *start = at;
    for (;;) {
        while (at < end && http_char_is(*at, HTTP_CHAR_PATH))
            at++;
        if (at == end)
            return NULL;
        if (*at != '%')
            break;
        for (int i = 1; i <= 2; i++) {
            if (at + i == end)
                return NULL;
            if (!http_char_is(at[i], HTTP_CHAR_HEX))
                return refuse(head, 400, "'%' without two hex digits (RFC 3986 2.1)");
        }
        at += 3;
    }
    head->request->path = range(head, start, at);
    head->request->query = range(head, at, at);
    if (*at == '?') {
        const char *query = ++at;
        while (at < end && http_char_is(*at, HTTP_CHAR_QUERY))
            at++;
        if (at == end)
            return NULL;
        head->request->query = range(head, query, at);
    }
    if (*at != ' ')
        return refuse(head, 400,
                      *at == '\r' || *at == '\n' ? "no version after the target (RFC 9112 3)"
                                                 : "invalid byte in the target (RFC 9112 3.2)");
    if (at == start)
        return refuse(head, 400, "more than one space, or no target (RFC 9112 3)");
    head->request->target = range(head, start, at);
    return at + 1;
}

static const char *parse_version(struct head *head, const char *at, const char *end)
{
    if (end - at >= 10 && memcmp(at, "HTTP/1.1\r\n", 10) == 0) {
        head->request->minor_version = 1;
        return at + 10;
    }
    static const char form[] = "HTTP/0.0";
    const char *version = at;
    for (size_t i = 0; i < sizeof(form) - 1; i++, at++) {
        if (at == end)
            return NULL;
        if (form[i] == '0' ? !http_is_digit(*at) : *at != form[i])
            return refuse(head, 400, "malformed version (RFC 9112 2.3)");
    }
    if (at == end)
        return NULL;
    if (*at != '\r' && *at != '\n')
        return refuse(head, 400, "bytes after the version (RFC 9112 3)");
    at = take_line_end(head, at, end);
    if (at == NULL)
        return NULL;
    if (version[5] != '1')
        return refuse(head, 505, "only HTTP/1.x is spoken here (RFC 9110 15.6.6)");
    head->request->minor_version = version[7] == '0' ? 0 : 1;
    return at;
}

static const char *parse_request_line(struct head *head, const char *at, const char *end)
{
    at = parse_method(head, at, end);
    if (at == NULL)
        return NULL;
    at = parse_target(head, at, end);
    if (at == NULL)
        return NULL;
    at = parse_version(head, at, end);
    if (at == NULL)
        return NULL;
    const char *reason = http_target_split(head->request, head->bytes);
    return reason == NULL ? at : refuse(head, 400, reason);
}

static const char *refuse_name(struct head *head, const char *name, const char *at)
{
    const char *reason = "invalid byte in a field name (RFC 9110 5.1)";
    if (*at == '\n')
        reason = "bare LF (RFC 9112 2.2)";
    else if (http_is_blank(*at))
        reason = at == name ? "a folded or indented line (RFC 9112 5.2)"
                            : "white space before the colon (RFC 9112 5.1)";
    else if (*at == ':')
        reason = "empty field name (RFC 9110 5.1)";
    return refuse(head, 400, reason);
}

static const char *parse_field(struct head *head, const char *at, const char *end,
                               struct http_header *header)
{
    const char *name = at;
    while (at < end && http_char_is(*at, HTTP_CHAR_TOKEN))
        at++;
    if (at == end)
        return NULL;
    if (*at != ':' || at == name)
        return refuse_name(head, name, at);
    header->name = range(head, name, at);
    at++;
    while (at < end && http_is_blank(*at))
        at++;

    const char *value = at;
    at = http_skip_value(at, end);
    const char *value_end = at;
    at = take_line_end(head, at, end);
    if (at == NULL)
        return NULL;
    while (value_end > value && http_is_blank(value_end[-1]))
        value_end--;
    header->value = range(head, value, value_end);
    return at;
}

static const char *parse_fields(struct head *head, const char *at, const char *end,
                                uint32_t max_headers)
{
    struct http_request *request = head->request;
    struct http_fields fields = {0};
    uint32_t count = 0;

    while (at < end && *at != '\r') {
        if (count == max_headers)
            return refuse(head, 431, "too many header fields (RFC 6585 5)");
        struct http_header *header = &request->header[count];
        at = parse_field(head, at, end, header);
        if (at == NULL)
            return NULL;
        int status;
        const char *reason = http_fields_take(&fields, request, head->bytes, header, &status);
        if (reason != NULL)
            return refuse(head, status, reason);
        count++;
    }
    at = take_line_end(head, at, end);
    if (at == NULL)
        return NULL;
    request->header_count = count;
    const char *reason = http_fields_finish(&fields, request);
    return reason == NULL ? at : refuse(head, 400, reason);
}

/* A step has returned NULL. `cut`: there were bytes that it was not shown. */
static enum http_parse_result stop(struct head *head, bool cut, int status, const char *reason)
{
    if (head->error->status == 0 && cut)
        (void)refuse(head, status, reason);
    return head->error->status != 0 ? HTTP_PARSE_ERROR : HTTP_PARSE_INCOMPLETE;
}

enum http_parse_result http_parse_head(const char *bytes, size_t len,
                                       const struct http_limits *limits,
                                       struct http_request *request, struct http_parse_error *error)
{
    CHECK(limits->max_headers <= HTTP_MAX_HEADERS);
    struct head head = {.bytes = bytes, .request = request, .error = error};
    *error = (struct http_parse_error){.status = 0, .reason = NULL};
    request->host = (struct http_range){0, 0};
    request->path_is_root = false;
    request->chunked = false;
    request->content_length = HTTP_CONTENT_LENGTH_NONE;
    if (len == 0)
        return HTTP_PARSE_INCOMPLETE;

    /* An incomplete head of just the allowed length needs too much as well. */
    bool cut = len >= limits->max_head_bytes;
    const char *end = bytes + (cut ? limits->max_head_bytes : len);
    const char *at = skip_empty_lines(&head, bytes, end);
    if (at == NULL)
        return stop(&head, cut, 431, "the head is too large (RFC 6585 5)");

    bool line_cut = (size_t)(end - at) >= (size_t)limits->max_line_bytes + 2;
    const char *line_end = line_cut ? at + limits->max_line_bytes + 2 : end;
    at = parse_request_line(&head, at, line_end);
    if (at == NULL)
        return stop(&head, line_cut || cut, 414, "the request line is too long (RFC 9112 3)");

    at = parse_fields(&head, at, end, limits->max_headers);
    if (at == NULL)
        return stop(&head, cut, 431, "the head is too large (RFC 6585 5)");
    request->head_bytes = (uint32_t)(at - bytes);
    return HTTP_PARSE_DONE;
}

bool http_parse_worth_retry(const char *bytes, size_t seen, size_t len,
                            const struct http_limits *limits)
{
    if (seen == 0 || len >= limits->max_head_bytes)
        return true;
    /* The request line may start behind a few empty lines. */
    size_t line = (size_t)limits->max_line_bytes + 2;
    if (len >= line && seen < line + (size_t)2 * MAX_EMPTY_LINES)
        return true;
    return seen < len && memchr(bytes + seen, '\n', len - seen) != NULL;
}

const struct http_header *http_find_header(const struct http_request *request, const char *bytes,
                                           struct slice name)
{
    for (uint32_t i = 0; i < request->header_count; i++) {
        if (slice_equal_nocase(http_slice(bytes, request->header[i].name), name))
            return &request->header[i];
    }
    return NULL;
}
