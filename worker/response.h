/* SPDX-License-Identifier: BSD-2-Clause
 *
 * response - the bytes of an answer: status line, headers, prepared pages.
 *
 * Pure but for the wall clock behind the Date header, which is read at most
 * once per second.
 */
#ifndef MUSTER_WORKER_RESPONSE_H
#define MUSTER_WORKER_RESPONSE_H

#include "common/check.h"
#include "common/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RESPONSE_DATE_LEN = 29,       /* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7) */
    RESPONSE_HEAD_ROOM = 2048,    /* what a head may need beyond its extra headers */
    RESPONSE_PAGE_HEADERS = 4096, /* type and extra headers of a prepared page */
};

/* The current Date, and what it was made of. */
struct response_date {
    char text[RESPONSE_DATE_LEN + 1];
    int64_t next_ns; /* monotonic: when to look at the wall clock again */
    int64_t second;  /* wall clock, seconds since 1970; also the stamp of prepared pages */
};

void response_format_date(int64_t wall_s, char out[RESPONSE_DATE_LEN + 1]);
/* The time of a Date in any of the forms of RFC 9110 5.6.7; -1 if it is none. */
int64_t response_parse_date(struct slice text);
void response_date_renew(struct response_date *date, int64_t now_ns);

static inline void response_date_refresh(struct response_date *date, int64_t now_ns)
{
    if (now_ns >= date->next_ns)
        response_date_renew(date, now_ns);
}

/* What all answers of this worker share. */
struct response_common {
    char server[160]; /* "Server: muster\r\n", or empty */
    size_t server_len;
    struct response_date date;
};

/* `server` is the value of the Server header; empty: none. */
void response_common_init(struct response_common *common, const char *server);

/* What is said about the connection: nothing when HTTP/1.1 implies that it
 * stays, "keep-alive" to an HTTP/1.0 client that asked, "close". */
enum response_connection { RESPONSE_STAYS, RESPONSE_KEEP_ALIVE, RESPONSE_CLOSE };

enum { RESPONSE_NO_LENGTH = -1 };

struct response_head {
    int status;
    enum response_connection connection;
    struct slice type;    /* Content-Type; empty: none */
    int64_t length;       /* Content-Length, or RESPONSE_NO_LENGTH */
    struct slice headers; /* more header lines, each with its CRLF */
};

/* Writes the head, blank line included, to `out`, which has room for
 * RESPONSE_HEAD_ROOM + type.len + headers.len bytes. Returns its length. */
size_t response_render_head(char *out, struct response_common *common,
                            const struct response_head *head);

/* An answer that is the same every time but for its Date: sending it is one copy. */
struct response_page {
    int status;
    char *bytes;
    size_t head_len; /* with the blank line */
    size_t len;      /* head and body */
    size_t date_at;
    int64_t date_second; /* of the Date in it */
};

/* 0, -EINVAL when type and headers are too long, -ENOMEM. */
MUST_USE int response_page_init(struct response_page *page, struct response_common *common,
                                int status, struct slice type, struct slice headers,
                                struct slice body);
void response_page_fini(struct response_page *page);

/* Brings the Date in the prepared bytes up to date. */
static inline void response_page_refresh(struct response_page *page,
                                         const struct response_date *date)
{
    if (page->date_second == date->second)
        return;
    page->date_second = date->second;
    memcpy(page->bytes + page->date_at, date->text, RESPONSE_DATE_LEN);
}

/* The head for a connection that does not simply stay: into `out`, which has
 * room for head_len + 32 bytes. Returns its length. */
size_t response_page_head(const struct response_page *page, enum response_connection connection,
                          char *out);

#endif
