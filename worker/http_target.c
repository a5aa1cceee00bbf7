/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_target - the forms of a request target and the syntax of a host.
 */
#include "worker/http_target.h"

#include "worker/http_chars.h"

#include <arpa/inet.h>

/* The end of "[address]", or NULL. Only IPv6: nobody has defined IPvFuture. */
static const char *skip_ipv6(const char *at, const char *end)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *close = memchr(at, ']', (size_t)(end - at));
    if (close == NULL || (size_t)(close - at) > sizeof(text))
        return NULL;
    size_t len = (size_t)(close - at) - 1;
    memcpy(text, at + 1, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1 ? close + 1 : NULL;
}

static const char *skip_name(const char *at, const char *end)
{
    while (at < end) {
        if (http_char_is(*at, HTTP_CHAR_HOST))
            at++;
        else if (*at == '%' && end - at >= 3 && http_char_is(at[1], HTTP_CHAR_HEX) &&
                 http_char_is(at[2], HTTP_CHAR_HEX))
            at += 3;
        else
            break;
    }
    return at;
}

bool http_target_is_authority(struct slice text, bool needs_port)
{
    if (text.len == 0)
        return false;
    const char *end = text.ptr + text.len;
    const char *at = *text.ptr == '[' ? skip_ipv6(text.ptr, end) : skip_name(text.ptr, end);
    if (at == NULL || at == text.ptr)
        return false;
    if (at == end)
        return !needs_port;
    if (*at++ != ':')
        return false;
    if (needs_port && at == end)
        return false;
    while (at < end && http_is_digit(*at))
        at++;
    return at == end;
}

static const char *split_absolute(struct http_request *request, const char *bytes)
{
    struct slice target = http_slice(bytes, request->target);
    size_t scheme;
    if (target.len >= 7 && http_folds_to(target.ptr, "http://", 7))
        scheme = 7;
    else if (target.len >= 8 && http_folds_to(target.ptr, "https://", 8))
        scheme = 8;
    else
        return "neither a path nor an http(s) URI as the target (RFC 9112 3.2)";

    /* The scheme ends before any '?', so the path does not end before `at`. */
    uint32_t at = request->target.at + (uint32_t)scheme;
    uint32_t path_end = request->path.at + request->path.len;
    const char *slash = memchr(bytes + at, '/', path_end - at);
    uint32_t host_end = slash != NULL ? (uint32_t)(slash - bytes) : path_end;
    request->host = (struct http_range){at, host_end - at};
    if (!http_target_is_authority(http_slice(bytes, request->host), false))
        return "a URI without a valid host as the target (RFC 9110 4.2)";
    request->path = (struct http_range){host_end, path_end - host_end};
    request->path_is_root = request->path.len == 0;
    return NULL;
}

const char *http_target_split(struct http_request *request, const char *bytes)
{
    struct slice target = http_slice(bytes, request->target);

    if (request->method == HTTP_CONNECT) {
        if (!http_target_is_authority(target, true))
            return "CONNECT without host and port (RFC 9112 3.2.3)";
        request->host = request->target;
        request->path.len = 0;
        return NULL;
    }
    if (target.ptr[0] == '/')
        return NULL;
    if (target.len == 1 && target.ptr[0] == '*')
        return request->method == HTTP_OPTIONS ? NULL
                                               : "\"*\" is for OPTIONS only (RFC 9112 3.2.4)";
    return split_absolute(request, bytes);
}
