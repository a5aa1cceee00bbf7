/* SPDX-License-Identifier: BSD-2-Clause
 *
 * handlers_page - the page at "/" that shows the cluster in a browser.
 */
#include "common/buf.h"
#include "worker/exchange.h"
#include "worker/handlers_private.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* web/index.html, put into the binary by the build. */
extern const unsigned char web_index[];
extern const size_t web_index_size;

#define NONCE_PLACE "@NONCE@"

enum { NONCE_BYTES = 16, NONCE_TEXT = 2 * NONCE_BYTES };

static int make_nonce(char out[NONCE_TEXT + 1])
{
    unsigned char bytes[NONCE_BYTES];
    if (getentropy(bytes, sizeof(bytes)) != 0)
        return -errno;
    for (int i = 0; i < NONCE_BYTES; i++)
        snprintf(out + 2 * (size_t)i, 3, "%02x", bytes[i]);
    return 0;
}

/* The page with the nonce in its places. */
static void fill_in_nonce(struct buf *page, const char *nonce)
{
    struct slice rest = slice_from((const char *)web_index, web_index_size);
    const char *place;
    while ((place = memmem(rest.ptr, rest.len, NONCE_PLACE, sizeof(NONCE_PLACE) - 1)) != NULL) {
        size_t before = (size_t)(place - rest.ptr);
        buf_append(page, rest.ptr, before);
        buf_append_str(page, nonce);
        rest = slice_from(place + sizeof(NONCE_PLACE) - 1,
                          rest.len - before - sizeof(NONCE_PLACE) + 1);
    }
    buf_append(page, rest.ptr, rest.len);
}

/* The page runs nothing but what is in it and talks to nobody but this server:
 * only what carries the nonce of this very answer counts as its own. */
void handlers_answer_demo_page(struct conn *conn, const struct http_request *request,
                               const char *bytes, void *context)
{
    (void)request;
    (void)bytes;
    (void)context;
    char nonce[NONCE_TEXT + 1], headers[512];
    struct buf page;
    if (make_nonce(nonce) != 0) {
        exchange_answer_error(conn, 503, "out of random numbers", SLICE_LITERAL(""));
        return;
    }
    buf_init(&page, 0);
    fill_in_nonce(&page, nonce);
    struct reply reply = {
        .status = 200,
        .type = SLICE_LITERAL("text/html; charset=utf-8"),
        .headers = slice_from(headers, 0),
        .blob = buf_failed(&page) ? NULL : blob_new(buf_slice(&page)),
    };
    buf_fini(&page);
    if (reply.blob == NULL) {
        exchange_answer_error(conn, 503, "out of memory", SLICE_LITERAL(""));
        return;
    }
    int len = snprintf(headers, sizeof(headers),
                       "Cache-Control: no-store\r\n"
                       "Content-Security-Policy: default-src 'none'; script-src 'nonce-%s'; "
                       "style-src 'nonce-%s'; connect-src 'self'; img-src data:; base-uri 'none'; "
                       "form-action 'none'; frame-ancestors 'none'\r\n"
                       "Referrer-Policy: no-referrer\r\n"
                       "X-Content-Type-Options: nosniff\r\n",
                       nonce, nonce);
    reply.headers.len = (size_t)len;
    exchange_answer(conn, &reply);
}
