/* SPDX-License-Identifier: BSD-2-Clause
 *
 * http_parser - the head of an HTTP/1.1 request (RFC 9112, RFC 9110): bytes
 * in, a description out.
 *
 * Pure: no sockets, no allocation, no state between calls. It is strict where
 * leniency lets two parties disagree about where a request ends: bare CR or LF,
 * obs-fold, white space before a colon, repeated or conflicting lengths, and
 * anything that is not in the grammar are refused. After an error the
 * connection must be closed.
 *
 * Everything is described by offsets into the bytes that were parsed, so the
 * caller may move them. Call it again with all bytes from the start of the
 * request when more have arrived; the result does not depend on how they were
 * cut.
 */
#ifndef MUSTER_HTTP_PARSER_H
#define MUSTER_HTTP_PARSER_H

#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_TRACE,
    HTTP_CONNECT,
    HTTP_METHOD_UNKNOWN, /* a token, but none of these: 501 (RFC 9110 9.1) */
};

/* Offset and length in the parsed bytes. */
struct http_range {
    uint32_t at;
    uint32_t len;
};

struct http_header {
    struct http_range name;
    struct http_range value; /* without the white space around it */
};

enum { HTTP_MAX_HEADERS = 256 }; /* the largest http.max_headers */

struct http_limits {
    uint32_t max_head_bytes; /* request line and headers: 431 */
    uint32_t max_line_bytes; /* request line: 414 */
    uint32_t max_headers;    /* 431; at most HTTP_MAX_HEADERS */
};

enum { HTTP_CONTENT_LENGTH_NONE = -1 };

struct http_request {
    enum http_method method;
    struct http_range method_text;
    struct http_range target; /* as sent */
    struct http_range path;   /* without the query; "*" of the asterisk-form; empty of CONNECT */
    struct http_range query;  /* after '?', without it; len 0 if none */
    struct http_range host;   /* of absolute-form (RFC 9112 3.2.2), else of the Host header */
    bool path_is_root;        /* absolute-form without a path: take "/" */
    int minor_version;        /* HTTP/1.<minor>: 0 or 1 (2..9 are treated as 1) */

    bool keep_alive;      /* after this request, as the client wishes (RFC 9112 9.3) */
    bool chunked;         /* body framing; both false and length -1: no body */
    bool expect_continue; /* Expect: 100-continue, of an HTTP/1.1 request with a body */
    bool upgrade;         /* Connection has "upgrade" and there is an Upgrade header */
    bool has_host;
    int64_t content_length; /* or HTTP_CONTENT_LENGTH_NONE */

    uint32_t head_bytes; /* how many bytes the head took, empty lines before it included */
    uint32_t header_count;
    struct http_header header[HTTP_MAX_HEADERS];
};

enum http_parse_result { HTTP_PARSE_INCOMPLETE, HTTP_PARSE_DONE, HTTP_PARSE_ERROR };

struct http_parse_error {
    int status;         /* 400, 413, 414, 417, 431, 501 or 505 */
    const char *reason; /* static text, e.g. "white space before the colon (RFC 9112 5.1)" */
};

/* DONE: `request` describes the head. INCOMPLETE: bytes are missing, and what
 * is there may still become valid. ERROR: `error` says what and which status. */
enum http_parse_result http_parse_head(const char *bytes, size_t len,
                                       const struct http_limits *limits,
                                       struct http_request *request,
                                       struct http_parse_error *error);

/* Whether parsing again may give another result than INCOMPLETE: only when a
 * line ends in the new bytes or a limit is near. Saves parsing a head that
 * trickles in once per byte. `seen` is the length of the last parse. */
bool http_parse_worth_retry(const char *bytes, size_t seen, size_t len,
                            const struct http_limits *limits);

/* The first header with this name (case-insensitive), or NULL. */
const struct http_header *http_find_header(const struct http_request *request, const char *bytes,
                                           struct slice name);

static inline struct slice http_slice(const char *bytes, struct http_range range)
{
    return slice_from(bytes + range.at, range.len);
}

/* The path to route by; never empty where it begins with "/". */
static inline struct slice http_path(const struct http_request *request, const char *bytes)
{
    return request->path_is_root ? SLICE_LITERAL("/") : http_slice(bytes, request->path);
}

/* ---- chunked bodies (RFC 9112 7.1) ---- */

/* Chunk extensions are checked and skipped, trailer fields are checked and
 * discarded; both together are bounded by this many bytes for each body. */
enum { HTTP_CHUNKED_MAX_EXTRA_BYTES = 16 * 1024 };

/* Decodes as bytes come: a small state that survives between calls. */
struct http_chunked {
    uint64_t chunk_left;  /* bytes left of the current chunk */
    uint64_t body_bytes;  /* decoded so far */
    uint32_t extra_bytes; /* of extensions and trailer fields so far */
    uint8_t state;
    uint8_t digits; /* of the size being read */
};

void http_chunked_init(struct http_chunked *chunked);

/* Consumes from `bytes`; stops after one run of data, at the end of the body,
 * at an error (before the byte that is wrong), or when everything is consumed.
 * `consumed` is set always; `data` is the run of body bytes (inside `bytes`),
 * possibly empty.
 * INCOMPLETE: call again with what follows. DONE: the body and its trailers
 * have ended. ERROR: see `error` (400, 413 above max_body_bytes, 431). */
enum http_parse_result http_chunked_decode(struct http_chunked *chunked, const char *bytes,
                                           size_t len, uint64_t max_body_bytes, size_t *consumed,
                                           struct slice *data, struct http_parse_error *error);

const char *http_method_name(enum http_method method); /* "GET"; "?" for unknown */
const char *http_status_text(int status);              /* "Not Found"; "" if not known */

#endif
