/* SPDX-License-Identifier: BSD-2-Clause
 *
 * exchange - HTTP on one connection: request after request, head, body, route,
 * answer.
 */
#include "worker/exchange.h"

#include "worker/conn_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- answering ---- */

/* What the answer says about the connection, and with it how the connection ends. */
static enum response_connection decide_connection(struct conn *conn, bool must_close)
{
    struct conns *set = conn->set;
    bool last = ++conn->request_count >= set->max_requests;
    if (must_close || (conn->keep_alive && (last || set->draining))) {
        conn->ending = CONN_LINGERS;
        return RESPONSE_CLOSE;
    }
    if (!conn->keep_alive) {
        conn->ending = CONN_CLOSES;
        return RESPONSE_CLOSE;
    }
    return conn->minor_version == 0 ? RESPONSE_KEEP_ALIVE : RESPONSE_STAYS;
}

/* A small file is cheaper copied than sent by itself. False: it is not small,
 * or could not be read whole. */
static bool put_small_file(struct outbox *outbox, const struct reply *reply)
{
    if (reply->length > EXCHANGE_INLINE_BODY)
        return false;
    ssize_t got =
        pread(reply->file, outbox->bytes + outbox->len, (size_t)reply->length, reply->offset);
    if (got != reply->length)
        return false;
    outbox->len += (size_t)got;
    (void)close(reply->file);
    return true;
}

/* The body of the answer: copied if it is small, else left to the tail. */
static int64_t put_body(struct outbox *outbox, const struct reply *reply)
{
    struct output_tail *tail = &outbox->tail;
    if (reply->is_file && put_small_file(outbox, reply))
        return reply->length;
    if (reply->is_file) {
        tail->file = reply->file;
        tail->offset = reply->offset;
        tail->left = reply->length;
        outbox->full = true;
        return reply->length;
    }
    struct slice body = reply->body;
    if (reply->blob != NULL)
        body = slice_from(reply->blob->data, reply->blob->len);
    if (reply->blob != NULL && body.len > EXCHANGE_INLINE_BODY) {
        tail->bytes = body.ptr;
        tail->len = body.len;
        tail->blob = blob_ref(reply->blob);
        outbox->full = true;
    } else if (body.len > 0) {
        CHECK(body.len <= EXCHANGE_INLINE_BODY);
        memcpy(outbox->bytes + outbox->len, body.ptr, body.len);
        outbox->len += body.len;
    }
    return (int64_t)body.len;
}

static int64_t body_length(const struct reply *reply)
{
    if (reply->status == 204 || reply->status == 304)
        return RESPONSE_NO_LENGTH;
    if (reply->is_file)
        return reply->length;
    return (int64_t)(reply->blob != NULL ? reply->blob->len : reply->body.len);
}

static void release_reply(const struct reply *reply)
{
    struct blob *blob = reply->blob;
    blob_unref(&blob);
    if (reply->is_file)
        (void)close(reply->file);
}

void exchange_answer(struct conn *conn, const struct reply *reply)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    response_date_refresh(&set->parts.common->date, set->loop->now_ns);
    struct response_head head = {
        .status = reply->status,
        .connection = decide_connection(conn, reply->close),
        .type = reply->type,
        .length = body_length(reply),
        .headers = reply->headers,
    };
    outbox->len += response_render_head(outbox->bytes + outbox->len, set->parts.common, &head);
    bool no_body = conn->method == HTTP_HEAD || head.length <= 0;
    int64_t body_bytes = no_body ? 0 : put_body(outbox, reply);
    outbox_add_answer(conn, reply->status, body_bytes);
    if (no_body || !reply->is_file)
        release_reply(reply);
}

void exchange_answer_page(struct conn *conn, struct response_page *page)
{
    struct conns *set = conn->set;
    struct outbox *outbox = &set->outbox;
    response_date_refresh(&set->parts.common->date, set->loop->now_ns);
    response_page_refresh(page, &set->parts.common->date);

    enum response_connection connection = decide_connection(conn, false);
    size_t body_len = conn->method == HTTP_HEAD ? 0 : page->len - page->head_len;
    char *at = outbox->bytes + outbox->len;
    if (connection == RESPONSE_STAYS && body_len <= EXCHANGE_INLINE_BODY) {
        memcpy(at, page->bytes, page->head_len + body_len);
        outbox->len += page->head_len + body_len;
    } else {
        outbox->len += response_page_head(page, connection, at);
        const struct reply body = {.body = {page->bytes + page->head_len, body_len}};
        if (body_len <= EXCHANGE_INLINE_BODY) {
            (void)put_body(outbox, &body);
        } else {
            outbox->tail.bytes = body.body.ptr;
            outbox->tail.len = body_len;
            outbox->full = true;
        }
    }
    outbox_add_answer(conn, page->status, (int64_t)body_len);
}

/* ---- errors ---- */

static bool wants_json(const struct conns *set)
{
    if (set->route != NULL && (set->route->flags & ROUTE_JSON) != 0)
        return true;
    if (set->answering == NULL)
        return false;
    const struct http_header *accept =
        http_find_header(set->answering, set->answering_bytes, SLICE_LITERAL("Accept"));
    if (accept == NULL)
        return false;
    struct slice value = http_slice(set->answering_bytes, accept->value);
    return value.len > 0 && memmem(value.ptr, value.len, "json", 4) != NULL;
}

/* Our messages are plain text; these two are all that JSON would trip over. */
static void put_escaped(char *out, size_t size, const char *message)
{
    size_t len = 0;
    for (; *message != '\0' && len + 3 < size; message++) {
        if (*message == '"' || *message == '\\')
            out[len++] = '\\';
        out[len++] = *message;
    }
    out[len] = '\0';
}

static void answer_error(struct conn *conn, int status, const char *message, struct slice headers,
                         bool must_close)
{
    char escaped[512], body[768];
    bool json = wants_json(conn->set);
    int len;
    if (json) {
        put_escaped(escaped, sizeof(escaped), message);
        len = snprintf(body, sizeof(body), "{\"error\":{\"status\":%d,\"message\":\"%s\"}}\n",
                       status, escaped);
    } else {
        len = snprintf(body, sizeof(body), "%d %s: %.500s\n", status, http_status_text(status),
                       message);
    }
    struct reply reply = {
        .status = status,
        .type =
            json ? SLICE_LITERAL("application/json") : SLICE_LITERAL("text/plain; charset=utf-8"),
        .headers = headers,
        .body = slice_from(body, (size_t)len),
        .close = must_close,
    };
    exchange_answer(conn, &reply);
}

void exchange_answer_error(struct conn *conn, int status, const char *message, struct slice headers)
{
    answer_error(conn, status, message, headers, false);
}

void exchange_fail(struct conn *conn, int status, const char *message)
{
    conn->set->route = NULL;
    conn->set->answering = NULL;
    conn->method = HTTP_METHOD_UNKNOWN;
    conn->minor_version = 1;
    conn->keep_alive = true; /* it is us who end it */
    answer_error(conn, status, message, SLICE_LITERAL(""), true);
}

/* ---- choosing the answer ---- */

/* Why a request does not reach a handler; status 0: it does. */
struct verdict {
    int status;
    const char *message;
    struct slice headers;
};

static struct slice request_path(const struct http_request *request, const char *bytes)
{
    return request->path_is_root ? SLICE_LITERAL("/") : http_slice(bytes, request->path);
}

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
    struct slice path = request_path(request, bytes);
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
    answer_error(conn, verdict->status, verdict->message, verdict->headers, must_close);
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
        answer_error(conn, 413, "the body is larger than this server takes", SLICE_LITERAL(""),
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
    exchange_answer(conn, reply);
    if (conn->in != NULL)
        conn_process(conn, conn->in->data, conn->in->len);
    else
        conn_process(conn, NULL, 0);
    conns_reap(set);
}
