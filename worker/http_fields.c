/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_fields - the header fields that decide how a request is framed and how
 * its connection goes on.
 */
#include "worker/http_fields.h"

#include "worker/http_chars.h"
#include "worker/http_target.h"

static bool value_is(struct slice value, const char *lower, size_t len)
{
    return value.len == len && http_folds_to(value.ptr, lower, len);
}

/* Cuts the next element off a comma-separated list (RFC 9110 5.6.1), without
 * the white space around it. False at the end of the list. */
static bool next_element(struct slice *list, struct slice *out)
{
    if (list->ptr == NULL)
        return false;
    const char *at = list->ptr;
    const char *end = at + list->len;
    const char *comma = memchr(at, ',', list->len);
    *list = comma != NULL ? slice_from(comma + 1, (size_t)(end - comma) - 1) : slice_from(NULL, 0);
    if (comma != NULL)
        end = comma;
    while (at < end && http_is_blank(*at))
        at++;
    while (end > at && http_is_blank(end[-1]))
        end--;
    *out = slice_from(at, (size_t)(end - at));
    return true;
}

/* Required once in HTTP/1.1, even beside an absolute-form target, whose host
 * goes first (RFC 9112 3.2). An empty value is what a client sends for a URI
 * without authority (RFC 9110 7.2). */
static const char *take_host(struct http_fields *fields, struct http_request *request,
                             const char *bytes, struct http_range value)
{
    if (fields->has_host)
        return "more than one Host (RFC 9112 3.2)";
    fields->has_host = true;
    if (value.len > 0 && !http_target_is_authority(http_slice(bytes, value), false))
        return "invalid Host (RFC 9112 3.2)";
    if (request->host.len == 0)
        request->host = value;
    return NULL;
}

/* A list of equal lengths may be taken as one (RFC 9112 6.3 rule 5), or
 * refused; refusing never differs from what anybody in front understood. */
static const char *take_content_length(struct http_request *request, struct slice value,
                                       int *status)
{
    if (request->content_length != HTTP_CONTENT_LENGTH_NONE)
        return "more than one Content-Length (RFC 9112 6.3)";
    if (value.len == 0)
        return "empty Content-Length (RFC 9110 8.6)";
    int64_t length = 0;
    bool too_large = false;
    for (size_t i = 0; i < value.len; i++) {
        if (!http_is_digit(value.ptr[i]))
            return "Content-Length is not one decimal number (RFC 9110 8.6)";
        too_large = too_large || __builtin_mul_overflow(length, 10, &length) ||
                    __builtin_add_overflow(length, value.ptr[i] - '0', &length);
    }
    if (too_large) {
        *status = 413;
        return "Content-Length above 2^63-1 (RFC 9110 8.6)";
    }
    request->content_length = length;
    return NULL;
}

/* Anything but one plain "chunked" is refused: 501 where the framing would be
 * sound and only a coding is unknown here, 400 where it would not be. */
static const char *take_transfer_encoding(struct http_request *request, struct slice value,
                                          int *status)
{
    if (request->minor_version == 0)
        return "Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1)";
    if (request->chunked)
        return "more than one Transfer-Encoding (RFC 9112 6.3)";
    if (value_is(value, "chunked", 7)) {
        request->chunked = true;
        return NULL;
    }

    struct slice list = value;
    struct slice coding;
    bool ends_chunked = false;
    while (next_element(&list, &coding)) {
        if (ends_chunked)
            return "a coding after chunked (RFC 9112 6.1)";
        if (coding.len == 0)
            return "an empty transfer coding (RFC 9112 6.1)";
        ends_chunked = value_is(coding, "chunked", 7);
    }
    if (!ends_chunked)
        return "the final transfer coding is not chunked (RFC 9112 6.3)";
    *status = 501;
    return "a transfer coding besides chunked (RFC 9112 6.1)";
}

/* Options that are not known mean nothing here (RFC 9110 7.6.1). */
static void take_connection(struct http_fields *fields, struct slice value)
{
    struct slice list = value;
    struct slice option;
    if (value_is(value, "keep-alive", 10)) { /* by far the most common */
        fields->option_keep_alive = true;
        return;
    }
    while (next_element(&list, &option)) {
        if (value_is(option, "keep-alive", 10))
            fields->option_keep_alive = true;
        else if (value_is(option, "close", 5))
            fields->option_close = true;
        else if (value_is(option, "upgrade", 7))
            fields->option_upgrade = true;
    }
}

/* Of an HTTP/1.0 client it is ignored (RFC 9110 10.1.1). */
static const char *take_expect(struct http_fields *fields, const struct http_request *request,
                               struct slice value, int *status)
{
    if (request->minor_version == 0)
        return NULL;
    if (!value_is(value, "100-continue", 12)) {
        *status = 417;
        return "an expectation besides 100-continue (RFC 9110 10.1.1)";
    }
    fields->has_expect = true;
    return NULL;
}

const char *http_fields_take(struct http_fields *fields, struct http_request *request,
                             const char *bytes, const struct http_header *header, int *status)
{
    const char *name = bytes + header->name.at;
    struct slice value = http_slice(bytes, header->value);
    *status = 400;

    switch (header->name.len) {
    case 4:
        if (http_folds_to(name, "host", 4))
            return take_host(fields, request, bytes, header->value);
        break;
    case 6:
        if (http_folds_to(name, "expect", 6))
            return take_expect(fields, request, value, status);
        break;
    case 7:
        if (http_folds_to(name, "upgrade", 7))
            fields->has_upgrade = value.len > 0;
        break;
    case 10:
        if (http_folds_to(name, "connection", 10))
            take_connection(fields, value);
        break;
    case 14:
        if (http_folds_to(name, "content-length", 14))
            return take_content_length(request, value, status);
        break;
    case 17:
        if (http_folds_to(name, "transfer-encoding", 17))
            return take_transfer_encoding(request, value, status);
        break;
    default:
        break;
    }
    return NULL;
}

const char *http_fields_finish(const struct http_fields *fields, struct http_request *request)
{
    bool has_body = request->chunked || request->content_length > 0;

    if (!fields->has_host && request->minor_version > 0)
        return "HTTP/1.1 without Host (RFC 9112 3.2)";
    if (request->chunked && request->content_length != HTTP_CONTENT_LENGTH_NONE)
        return "both Transfer-Encoding and Content-Length (RFC 9112 6.3)";

    request->has_host = fields->has_host;
    request->keep_alive =
        !fields->option_close && (request->minor_version > 0 || fields->option_keep_alive);
    request->expect_continue = fields->has_expect && has_body;
    /* RFC 9110 7.8: an Upgrade in HTTP/1.0 is ignored. */
    request->upgrade = fields->has_upgrade && fields->option_upgrade && request->minor_version > 0;
    return NULL;
}
