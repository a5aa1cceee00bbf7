/* SPDX-License-Identifier: BSD-2-Clause
 *
 * exchange - HTTP on one connection: request after request, head, body, route.
 */
#include "worker/exchange.h"

#include "worker/conn_private.h"

#include <stdio.h>
#include <stdlib.h>

/* Whether another request begins here; empty lines are none. */
static bool goes_on(const struct conns *set, const char *bytes, size_t len)
{
    if (!set->draining)
        return false;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != '\r' && bytes[i] != '\n')
            return true;
    return false;
}

/* ---- choosing the answer ---- */

/* Why a request does not reach a handler; status 0: it does. */
struct verdict {
    int status;
    const char *message;
    struct slice headers;
};

static bool has_body(const struct http_request *request)
{
    return request->chunked || request->content_length > 0;
}

static struct verdict judge_method(const struct http_request *request, struct slice path,
                                   const struct route *route)
{
    static const struct slice no_headers = {"", 0};
    struct slice allow = route != NULL ? slice_from_str(route->allow)
                                       : SLICE_LITERAL("Allow: GET, HEAD, OPTIONS\r\n");
    enum http_method method = request->method;
    if (method == HTTP_METHOD_UNKNOWN)
        return (struct verdict){501, "this method is not known here", no_headers};
    if (method == HTTP_TRACE || method == HTTP_CONNECT)
        return (struct verdict){405, "this method is not allowed on this server", allow};
    if (route == NULL && !(method == HTTP_OPTIONS && slice_equal_str(path, "*")))
        return (struct verdict){404, "there is nothing at this path", no_headers};
    if (method == HTTP_OPTIONS)
        return (struct verdict){204, "", allow};
    if ((route->methods & ROUTE_METHOD(method)) == 0)
        return (struct verdict){405, "this path does not take this method, see Allow", allow};
    return (struct verdict){0};
}

static struct verdict judge(struct conns *set, const struct http_request *request,
                            const char *bytes)
{
    struct slice path = http_path(request, bytes);
    const struct route *route = router_find(set->parts.router, path);
    set->route = route;
    if (route == NULL || (route->methods & ROUTE_METHOD(request->method)) == 0)
        return judge_method(request, path, route);
    bool sends = request->method == HTTP_POST || request->method == HTTP_PUT ||
                 request->method == HTTP_PATCH;
    if (sends && !request->chunked && request->content_length < 0)
        return (struct verdict){411, "this method needs a Content-Length or a chunked body",
                                SLICE_LITERAL("")};
    return (struct verdict){0};
}

static void refuse(struct conn *conn, const struct verdict *verdict, bool must_close)
{
    if (verdict->status == 204) {
        struct reply reply = {.status = 204, .headers = verdict->headers, .close = must_close};
        exchange_answer(conn, &reply);
        return;
    }
    exchange_refuse(conn, verdict->status, verdict->message, verdict->headers, must_close);
}

static void remember(struct conn *conn, const struct http_request *request, const char *bytes)
{
    conn->method = (uint8_t)request->method;
    conn->minor_version = (uint8_t)request->minor_version;
    conn->keep_alive = request->keep_alive;
    conn->set->route = NULL;
    conn->set->answering = request;
    conn->set->answering_bytes = bytes;
}

/* The request is complete. False: it has to wait until the answers before it
 * have been sent. */
static bool respond(struct conn *conn, const struct http_request *request, const char *bytes)
{
    struct conns *set = conn->set;
    remember(conn, request, bytes);
    struct verdict verdict = judge(set, request, bytes);
    if (verdict.status != 0) {
        refuse(conn, &verdict, false);
    } else if ((set->route->flags & ROUTE_LATER) != 0 && !outbox_is_empty(&set->outbox)) {
        /* Waiting for a handler and waiting for the client are two states: one at a time. */
        set->outbox.full = true;
        set->answering = NULL;
        return false;
    } else {
        set->route->handler(conn, request, bytes, set->route->context);
    }
    set->answering = NULL;
    return true;
}

/* ---- bodies ---- */

/* Skips as much of the body as is there. *done: it ended. The number of bytes
 * consumed; *done false and conn->ending set: it was refused. */
static size_t skip_body(struct conn *conn, const char *bytes, size_t len, bool *done)
{
    *done = false;
    if (!conn->chunked_body) {
        size_t piece = (uint64_t)conn->body_left < len ? (size_t)conn->body_left : len;
        conn->body_left -= (int64_t)piece;
        *done = conn->body_left == 0;
        return piece;
    }
    size_t used = 0;
    for (;;) {
        struct http_parse_error error;
        struct slice data;
        size_t consumed;
        enum http_parse_result result =
            http_chunked_decode(&conn->chunked, bytes + used, len - used,
                                (uint64_t)conn->set->max_body_bytes, &consumed, &data, &error);
        used += consumed;
        if (result == HTTP_PARSE_DONE) {
            *done = true;
            return used;
        }
        if (result == HTTP_PARSE_ERROR) {
            conn->set->metrics->counter[METRIC_HTTP_PARSE_ERRORS]++;
            exchange_fail(conn, error.status, error.reason);
            return used;
        }
        if (used == len)
            return used;
    }
}

/* Keeps the head of a request until its body has come. */
static int keep_head(struct conn *conn, const char *bytes, size_t len)
{
    if (conn->in != NULL && conn->in->capacity < len)
        pool_return(&conn->set->pool, &conn->in); /* then `bytes` are in the read buffer */
    if (conn->in == NULL) {
        conn->in = pool_borrow(&conn->set->pool, len);
        if (conn->in == NULL)
            return -1;
    }
    /* `bytes` may lie in this very chunk. */
    memmove(conn->in->data, bytes, len);
    conn->in->len = (uint32_t)len;
    return 0;
}

/* Whether the client may be told to go on; else it has been answered. */
static bool admit_body(struct conn *conn, const struct http_request *request, const char *bytes)
{
    struct conns *set = conn->set;
    remember(conn, request, bytes);
    if (request->content_length > set->max_body_bytes) {
        set->metrics->counter[METRIC_HTTP_PARSE_ERRORS]++;
        exchange_refuse(conn, 413, "the body is larger than this server takes", SLICE_LITERAL(""),
                        true);
        return false;
    }
    if (!request->expect_continue)
        return true;
    /* The client waits for a word before it sends the body: if the answer does not depend on
     * the body, it is spared sending it (RFC 9110 10.1.1). */
    struct verdict verdict = judge(set, request, bytes);
    if (verdict.status == 0)
        return true;
    refuse(conn, &verdict, true);
    return false;
}

/* A request whose body is not all there: bytes..len begins with its head.
 * Everything is consumed, unless it must wait for a flush. */
static size_t begin_body(struct conn *conn, const struct http_request *request, const char *bytes,
                         size_t len)
{
    struct outbox *outbox = &conn->set->outbox;
    if (keep_head(conn, bytes, request->head_bytes) != 0) {
        exchange_fail(conn, 503, "out of memory");
        return len;
    }
    if (request->expect_continue && len == request->head_bytes) {
        static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
        memcpy(outbox->bytes + outbox->len, line, sizeof(line) - 1);
        outbox->len += sizeof(line) - 1;
    }
    conn_enter(conn, CONN_BODY);
    return len;
}

/* A request with a body whose head is complete; returns how many bytes were
 * taken, 0 when nothing was. */
static size_t feed_with_body(struct conn *conn, const struct http_request *request,
                             const char *bytes, size_t len)
{
    struct outbox *outbox = &conn->set->outbox;
    /* Answers in the outbox refer to buffers that may be moved for the body; and an interim
     * answer must not wait behind them for the body it asks for. */
    if (!outbox_is_empty(outbox)) {
        outbox->full = true;
        return 0;
    }
    if (!admit_body(conn, request, bytes))
        return request->head_bytes;
    conn->chunked_body = request->chunked;
    if (request->chunked)
        http_chunked_init(&conn->chunked);
    else
        conn->body_left = request->content_length;
    bool done;
    size_t used = request->head_bytes;
    used += skip_body(conn, bytes + used, len - used, &done);
    if (conn->ending != CONN_STAYS)
        return used;
    if (!done)
        return begin_body(conn, request, bytes, len);
    conn->set->more_follows = goes_on(conn->set, bytes + used, len - used);
    CHECK(respond(conn, request, bytes)); /* the outbox is empty */
    return used;
}

/* The rest of a body. */
static size_t feed_body(struct conn *conn, const char *bytes, size_t len)
{
    struct conns *set = conn->set;
    bool done;
    size_t used = skip_body(conn, bytes, len, &done);
    if (conn->ending != CONN_STAYS || !done)
        return used;
    /* The head has been understood before; its ranges are needed again. */
    struct http_parse_error error;
    struct chunk *head = conn->in;
    enum http_parse_result result =
        http_parse_head(head->data, head->len, &set->limits, &set->request, &error);
    CHECK(result == HTTP_PARSE_DONE);
    conn->in = NULL;
    set->outbox.head = head;
    set->outbox.full = true;
    conn_enter(conn, CONN_IDLE);
    set->more_follows = goes_on(set, bytes + used, len - used);
    CHECK(respond(conn, &set->request, head->data)); /* the outbox is empty */
    return used;
}

/* ---- requests ---- */

static size_t feed_head(struct conn *conn, const char *bytes, size_t len)
{
    struct conns *set = conn->set;
    struct http_request *request = &set->request;
    struct http_parse_error error;

    if (conn->state == CONN_HEAD &&
        !http_parse_worth_retry(bytes, conn->parsed_len, len, &set->limits)) {
        conn->parsed_len = (uint32_t)len;
        return 0;
    }
    switch (http_parse_head(bytes, len, &set->limits, request, &error)) {
    case HTTP_PARSE_DONE:
        break;
    case HTTP_PARSE_INCOMPLETE:
        conn->parsed_len = (uint32_t)len;
        if (conn->state != CONN_HEAD)
            conn_enter(conn, CONN_HEAD);
        return 0;
    case HTTP_PARSE_ERROR:
        set->metrics->counter[METRIC_HTTP_PARSE_ERRORS]++;
        exchange_fail(conn, error.status, error.reason);
        return len;
    }
    if (conn->state != CONN_IDLE)
        conn_enter(conn, CONN_IDLE);
    if (has_body(request))
        return feed_with_body(conn, request, bytes, len);
    set->more_follows = goes_on(set, bytes + request->head_bytes, len - request->head_bytes);
    return respond(conn, request, bytes) ? request->head_bytes : 0;
}

size_t exchange_feed(struct conn *conn, const char *bytes, size_t len)
{
    struct conns *set = conn->set;
    size_t used = 0;
    while (used < len && !set->outbox.full && conn->ending == CONN_STAYS &&
           conn->state <= CONN_BODY) {
        bool body = conn->state == CONN_BODY;
        size_t taken = body ? feed_body(conn, bytes + used, len - used)
                            : feed_head(conn, bytes + used, len - used);
        if (taken == 0)
            break;
        used += taken;
        if (used < len && conn->state == CONN_IDLE)
            conn->started_ns = set->loop->now_ns;
    }
    return used;
}

/* ---- answering later ---- */

void exchange_suspend(struct conn *conn, struct exchange_wait *wait)
{
    struct conns *set = conn->set;
    wait->conn = conn;
    conn->wait = wait;
    free(conn->note); /* of an answer that has been sent */
    conn->note = NULL;
    if (set->parts.access_log->mode != ACCESS_LOG_OFF && set->answering != NULL) {
        struct slice method = http_slice(set->answering_bytes, set->answering->method_text);
        struct slice target = http_slice(set->answering_bytes, set->answering->target);
        if (asprintf(&conn->note, "%.*s%c%.*s", (int)method.len, method.ptr, '\0', (int)target.len,
                     target.ptr) < 0)
            conn->note = NULL;
    }
    conn_enter(conn, CONN_WAITING);
}

void exchange_resume(struct exchange_wait *wait, const struct reply *reply)
{
    struct conn *conn = wait->conn;
    struct conns *set = conn->set;
    conn->wait = NULL;
    set->route = NULL;
    set->answering = NULL;
    conn_enter(conn, CONN_IDLE);
    conns_make_room(set);
    set->more_follows = conn->in != NULL && goes_on(set, conn->in->data, conn->in->len);
    exchange_answer(conn, reply);
    if (conn->in != NULL)
        conn_process(conn, conn->in->data, conn->in->len);
    else
        conn_process(conn, NULL, 0);
    conns_reap(set);
}
