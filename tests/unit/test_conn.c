/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_conn - a connection over a socket pair: however its bytes are cut, what
 * it answers is the same; nothing is lost when the client does not read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/buf.h"
#include "worker/conn.h"
#include "worker/exchange.h"
#include "worker/files.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BIG_SIZE = 3 << 20 };

struct server {
    struct loop loop;
    struct metrics metrics;
    struct config *config;
    struct response_common common;
    struct access_log access_log;
    struct router *router;
    struct conns *conns;
    struct response_page page;
    struct blob *big;
    struct exchange_wait *waiting; /* of the request to /later */
    int cancelled;
    int closed;
    char log_name[32];
    int log_fd;
};

static struct server server;

/* ---- handlers ---- */

static void answer_page(struct conn *conn, const struct http_request *request, const char *bytes,
                        void *context)
{
    (void)request;
    (void)bytes;
    exchange_answer_page(conn, context);
}

static void answer_target(struct conn *conn, const struct http_request *request, const char *bytes,
                          void *context)
{
    (void)context;
    char body[128];
    int len = snprintf(body, sizeof(body), "%s %.*s\n", http_method_name(request->method),
                       (int)request->target.len, bytes + request->target.at);
    const struct reply reply = {
        .status = 200, .type = SLICE_LITERAL("text/plain"), .body = {body, (size_t)len}};
    exchange_answer(conn, &reply);
}

static void answer_big(struct conn *conn, const struct http_request *request, const char *bytes,
                       void *context)
{
    (void)request;
    (void)bytes;
    (void)context;
    const struct reply reply = {.status = 200, .blob = blob_ref(server.big)};
    exchange_answer(conn, &reply);
}

static void on_cancel(struct exchange_wait *wait)
{
    server.cancelled++;
    if (server.waiting == wait)
        server.waiting = NULL;
    free(wait);
}

static void answer_later(struct conn *conn, const struct http_request *request, const char *bytes,
                         void *context)
{
    (void)request;
    (void)bytes;
    (void)context;
    assert_null(server.waiting);
    server.waiting = calloc(1, sizeof(*server.waiting));
    assert_non_null(server.waiting);
    server.waiting->on_cancel = on_cancel;
    exchange_suspend(conn, server.waiting);
}

static void resume(void)
{
    struct exchange_wait *wait = server.waiting;
    assert_non_null(wait);
    server.waiting = NULL;
    loop_enter(&server.loop);
    const struct reply reply = {.status = 200, .body = SLICE_LITERAL("later\n")};
    exchange_resume(wait, &reply);
    free(wait);
}

/* ---- the server ---- */

static void on_closed(void *context)
{
    (void)context;
    server.closed++;
}

static void add_route(const char *path, uint32_t methods, uint32_t flags, route_handler *handler,
                      void *context)
{
    assert_int_equal(
        router_add(server.router, slice_from_str(path), methods, flags, handler, context), 0);
}

static void start_server(enum access_log_mode log_mode, int max_requests)
{
    struct config_errors errors;
    memset(&server, 0, sizeof(server));
    config_errors_init(&errors);
    server.config = config_load(NULL, NULL, &errors);
    assert_non_null(server.config);
    config_errors_fini(&errors);
    server.config->http_max_requests = max_requests;
    server.loop.base = event_base_new();
    server.router = router_new();
    assert_non_null(server.router);
    response_common_init(&server.common, "");
    server.common.date.next_ns = INT64_MAX; /* the same Date in every run */
    response_format_date(0, server.common.date.text);
    assert_int_equal(access_log_init(&server.access_log, log_mode, LOG_FORMAT_TEXT, 1,
                                     &server.metrics.counter[METRIC_ACCESS_LOG_DROPPED]),
                     0);
    strcpy(server.log_name, "/tmp/muster-conn-XXXXXX"); /* NOLINT: it fits */
    server.log_fd = mkstemp(server.log_name);
    assert_true(server.log_fd >= 0);
    (void)unlink(server.log_name);
    access_log_set_fd(&server.access_log, server.log_fd, false);
    assert_int_equal(response_page_init(&server.page, &server.common, 200,
                                        SLICE_LITERAL("text/plain"), SLICE_LITERAL(""),
                                        SLICE_LITERAL("page\n")),
                     0);
    char *big = malloc(BIG_SIZE);
    assert_non_null(big);
    for (int i = 0; i < BIG_SIZE; i++)
        big[i] = (char)(i * 31 >> 3);
    server.big = blob_new(slice_from(big, BIG_SIZE));
    free(big);
    add_route("/page", ROUTE_READ, 0, answer_page, &server.page);
    add_route("/target", ROUTE_READ | ROUTE_METHOD(HTTP_POST), 0, answer_target, NULL);
    add_route("/big", ROUTE_READ, 0, answer_big, NULL);
    add_route("/later", ROUTE_READ, ROUTE_LATER, answer_later, NULL);
    const struct conns_parts parts = {
        .loop = &server.loop,
        .metrics = &server.metrics,
        .config = server.config,
        .router = server.router,
        .common = &server.common,
        .access_log = &server.access_log,
        .on_closed = on_closed,
    };
    server.conns = conns_new(&parts);
    assert_non_null(server.conns);
}

static void stop_server(void)
{
    conns_free(&server.conns);
    router_free(&server.router);
    response_page_fini(&server.page);
    blob_unref(&server.big);
    access_log_fini(&server.access_log);
    (void)close(server.log_fd);
    config_free(&server.config);
    event_base_free(server.loop.base);
}

static void turn(void)
{
    (void)event_base_loop(server.loop.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    loop_enter(&server.loop);
    conns_end_turn(server.conns);
    loop_leave(&server.loop);
}

/* ---- the client ---- */

/* `buffer`: how much the server can send ahead, in bytes; 0: as usual. */
static int open_client_with_buffer(int buffer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    if (buffer > 0)
        assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)), 0);
    const struct access_remote remote = {.family = AF_UNIX};
    loop_enter(&server.loop);
    conns_accept(server.conns, fds[0], &remote);
    conns_accept_end(server.conns);
    return fds[1];
}

static int open_client(void)
{
    return open_client_with_buffer(0);
}

/* Reads what is there. True at the end of the stream. */
static bool receive(int fd, struct buf *out)
{
    for (;;) {
        char *at = buf_reserve(out, 65536);
        assert_non_null(at);
        ssize_t got = recv(fd, at, 65536, 0);
        if (got < 0 && errno == EAGAIN)
            return false;
        if (got <= 0)
            return true;
        out->len += (size_t)got;
    }
}

/* Turns the loop until nothing happens any more. */
static bool settle(int fd, struct buf *out)
{
    bool ended = false;
    for (int quiet = 0; quiet < 3; quiet++) {
        size_t before = out->len;
        turn();
        ended = receive(fd, out);
        if (out->len != before)
            quiet = 0;
    }
    return ended;
}

static void send_all(int fd, const char *bytes, size_t len)
{
    ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
    assert_int_equal(sent, (ssize_t)len);
}

static int count(const struct buf *text, const char *what)
{
    int found = 0;
    const char *at = text->ptr, *end = text->ptr + text->len;
    while (at < end && (at = memmem(at, (size_t)(end - at), what, strlen(what))) != NULL) {
        found++;
        at += strlen(what);
    }
    return found;
}

/* What a new connection answers to these bytes, cut at two places. */
static bool talk(struct slice bytes, size_t cut, size_t second_cut, struct buf *out)
{
    int fd = open_client();
    bool ended = false;
    const size_t ends[] = {cut, second_cut, bytes.len};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
        if (ends[i] > at)
            send_all(fd, bytes.ptr + at, ends[i] - at);
        at = ends[i] > at ? ends[i] : at;
        ended = settle(fd, out);
        if (ended)
            break;
    }
    (void)close(fd);
    turn();
    turn();
    return ended;
}

/* ---- tests ---- */

static const char script[] =
    "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
    "HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n"
    "POST /target?1 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"
    "hello world"
    "POST /target?2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n"
    "GET /nowhere HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n"
    "POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    "POST /target HTTP/1.1\r\nHost: a\r\n\r\n"
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"
    "GET /target?3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    "GET /target?4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    "GET /never HTTP/1.1\r\nHost: a\r\n\r\n";

static void check_script(enum access_log_mode log_mode)
{
    struct buf whole, cut;
    const struct slice bytes = SLICE_LITERAL(script);
    buf_init(&whole, 0);
    buf_init(&cut, 0);
    start_server(log_mode, 0);
    assert_true(talk(bytes, 0, 0, &whole));
    assert_int_equal(count(&whole, "HTTP/1.1 "), 10);
    assert_int_equal(count(&whole, "HTTP/1.1 200 OK\r\n"), 6);
    assert_int_equal(count(&whole, "HTTP/1.1 404 "), 1);
    assert_int_equal(count(&whole, "{\"error\":{\"status\":404,"), 1);
    assert_int_equal(count(&whole, "HTTP/1.1 405 "), 1);
    assert_int_equal(count(&whole, "HTTP/1.1 411 "), 1);
    assert_int_equal(count(&whole, "HTTP/1.1 204 "), 1);
    assert_int_equal(count(&whole, "POST /target?2\n"), 1);
    assert_int_equal(count(&whole, "Connection: keep-alive\r\n"), 1);
    assert_int_equal(count(&whole, "Connection: close\r\n"), 1);
    uint64_t runs = 1;
    for (size_t first = 1; first < bytes.len; first++) {
        for (size_t second = first; second < bytes.len; second += 1 + bytes.len / 7) {
            buf_reset(&cut);
            assert_true(talk(bytes, first, second, &cut));
            assert_int_equal(cut.len, whole.len);
            assert_memory_equal(cut.ptr, whole.ptr, whole.len);
            runs++;
        }
    }
    assert_int_equal(server.metrics.counter[METRIC_HTTP_REQUESTS], runs * 10);
    assert_int_equal(server.metrics.status[200 - METRICS_STATUS_MIN], runs * 6);
    assert_int_equal(server.metrics.histogram[HISTOGRAM_REQUEST_DURATION].count, runs * 10);
    assert_int_equal(server.metrics.counter[METRIC_BYTES_SENT], runs * whole.len);
    assert_int_equal(conns_count(server.conns), 0);
    assert_int_equal(server.closed, runs);
    conns_measure(server.conns, &server.metrics);
    assert_int_equal(server.metrics.gauge[GAUGE_BUFFERS_BORROWED], 0);
    stop_server();
    buf_fini(&whole);
    buf_fini(&cut);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    check_script(ACCESS_LOG_OFF);
}

static void test_cut_anywhere_logged(void **state)
{
    (void)state;
    check_script(ACCESS_LOG_ALL);
}

static void test_log_lines(void **state)
{
    (void)state;
    struct buf out;
    char lines[4096] = "";
    buf_init(&out, 0);
    start_server(ACCESS_LOG_ALL, 0);
    assert_true(talk(SLICE_LITERAL(script), 0, 0, &out));
    access_log_flush(&server.access_log);
    assert_true(pread(server.log_fd, lines, sizeof(lines) - 1, 0) > 0);
    assert_non_null(strstr(lines, "\"GET /page HTTP/1.1\" 200 5 "));
    assert_non_null(strstr(lines, "\"HEAD /page HTTP/1.1\" 200 0 "));
    assert_non_null(strstr(lines, "\"POST /target?2 HTTP/1.1\" 200 15 "));
    assert_non_null(strstr(lines, "\"GET /target?3 HTTP/1.0\" 200 14 "));
    stop_server();
    buf_fini(&out);
}

/* A head that outgrows the buffer of its beginning, and a body that is not all there. */
static void test_large_head_with_body(void **state)
{
    (void)state;
    struct buf text, out;
    buf_init(&text, 0);
    buf_init(&out, 0);
    buf_append_str(&text, "POST /target HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nX: ");
    for (int i = 0; i < 9000; i++)
        buf_append(&text, "x", 1);
    buf_append_str(&text, "\r\n\r\nhalf");
    size_t half = text.len;
    buf_append_str(&text, " bodyGET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    start_server(ACCESS_LOG_OFF, 0);
    for (size_t cut = 1; cut < half; cut += 97) {
        buf_reset(&out);
        assert_false(talk(buf_slice(&text), cut, half, &out));
        assert_int_equal(count(&out, "POST /target\n"), 1);
        assert_int_equal(count(&out, "page\n"), 1);
    }
    stop_server();
    buf_fini(&text);
    buf_fini(&out);
}

/* A body that fills the read buffer several times, and has come when it is first looked at. */
static void test_large_body(void **state)
{
    (void)state;
    enum { BODY = 190 * 1000 };
    struct buf text, out;
    buf_init(&text, 0);
    buf_init(&out, 0);
    buf_printf(&text, "POST /target HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", BODY);
    for (int i = 0; i < BODY; i++)
        buf_append(&text, "x", 1);
    start_server(ACCESS_LOG_OFF, 0);
    assert_false(talk(buf_slice(&text), 0, 0, &out));
    assert_int_equal(count(&out, "POST /target\n"), 1);
    buf_reset(&out);
    assert_false(talk(buf_slice(&text), 10, text.len - 10, &out));
    assert_int_equal(count(&out, "POST /target\n"), 1);
    stop_server();
    buf_fini(&text);
    buf_fini(&out);
}

static void test_expect_continue(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    start_server(ACCESS_LOG_OFF, 0);
    int fd = open_client();
    static const char head[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
                               "POST /target HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                               "Content-Length: 4\r\n\r\n";
    send_all(fd, head, sizeof(head) - 1);
    assert_false(settle(fd, &out));
    assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), 1);
    assert_int_equal(count(&out, "HTTP/1.1 100 Continue\r\n\r\n"), 1);
    send_all(fd, "body", 4);
    assert_false(settle(fd, &out));
    assert_int_equal(count(&out, "POST /target\n"), 1);
    /* Where the body cannot matter, it is not asked for. */
    static const char refused[] = "POST /page HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                                  "Content-Length: 4\r\n\r\n";
    send_all(fd, refused, sizeof(refused) - 1);
    assert_true(settle(fd, &out));
    assert_int_equal(count(&out, "HTTP/1.1 100 Continue\r\n\r\n"), 1);
    assert_int_equal(count(&out, "HTTP/1.1 405 "), 1);
    (void)close(fd);
    turn();
    assert_int_equal(conns_count(server.conns), 0);
    stop_server();
    buf_fini(&out);
}

/* The client has not taken what it was sent before, so "100 Continue" has to wait. */
static void test_expect_continue_with_full_socket(void **state)
{
    (void)state;
    static const char page[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char head[] = "POST /target HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                               "Content-Length: 4\r\n\r\n";
    struct buf out;
    buf_init(&out, 0);
    int waited = 0;
    for (int pages = 0; waited == 0; pages++) {
        assert_in_range(pages, 0, 100);
        buf_reset(&out);
        start_server(ACCESS_LOG_ALL, 0);
        int fd = open_client_with_buffer(1);
        for (int i = 0; i < pages; i++) {
            send_all(fd, page, sizeof(page) - 1);
            turn();
        }
        assert_int_equal(server.metrics.counter[METRIC_HTTP_REQUESTS], pages);
        uint64_t sent_before = server.metrics.counter[METRIC_BYTES_SENT];
        send_all(fd, head, sizeof(head) - 1);
        turn();
        waited = server.metrics.counter[METRIC_BYTES_SENT] == sent_before;
        assert_false(settle(fd, &out));
        assert_int_equal(count(&out, "HTTP/1.1 100 Continue\r\n\r\n"), 1);
        send_all(fd, "body", 4);
        assert_false(settle(fd, &out));
        assert_int_equal(count(&out, "POST /target\n"), 1);
        assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), pages + 1);
        (void)close(fd);
        turn();
        assert_int_equal(conns_count(server.conns), 0);
        assert_int_equal(server.metrics.counter[METRIC_HTTP_ABORTED], 0);
        stop_server();
    }
    buf_fini(&out);
}

/* However much one client has sent, the others have their turn after a share of it. */
static void test_pipelining_yields(void **state)
{
    (void)state;
    enum { SHARE = 256, POSTS = 1500 };
    static const char page[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    static const char post[] = "POST /target HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    struct buf pages, posts, out, other;
    buf_init(&pages, 0);
    buf_init(&posts, 0);
    buf_init(&out, 0);
    buf_init(&other, 0);
    for (int i = 0; i < POSTS; i++) {
        buf_append_str(&pages, page);
        buf_append_str(&posts, post);
    }
    const struct buf *const cases[] = {&pages, &posts};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        buf_reset(&out);
        start_server(ACCESS_LOG_OFF, 0);
        int greedy = open_client(), modest = open_client();
        send_all(greedy, cases[i]->ptr, cases[i]->len);
        for (int turns = 1; turns <= 3; turns++) {
            buf_reset(&other);
            send_all(modest, page, sizeof(page) - 1);
            turn();
            assert_false(receive(greedy, &out));
            assert_false(receive(modest, &other));
            assert_int_equal(count(&other, "HTTP/1.1 200 OK\r\n"), 1);
            assert_in_range(count(&out, "HTTP/1.1 200 OK\r\n"), 1, turns * SHARE);
        }
        /* And a client that is done with sending gets the rest all the same. */
        assert_int_equal(shutdown(greedy, SHUT_WR), 0);
        assert_true(settle(greedy, &out));
        assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), POSTS);
        (void)close(greedy);
        (void)close(modest);
        turn();
        assert_int_equal(conns_count(server.conns), 0);
        conns_measure(server.conns, &server.metrics);
        assert_int_equal(server.metrics.gauge[GAUGE_BUFFERS_BORROWED], 0);
        stop_server();
    }
    buf_fini(&pages);
    buf_fini(&posts);
    buf_fini(&out);
    buf_fini(&other);
}

/* A client that sends and does not read: requests wait, memory is bounded, nothing is lost. */
static void test_backpressure(void **state)
{
    (void)state;
    static const char request[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buf out;
    buf_init(&out, 256 << 20);
    start_server(ACCESS_LOG_OFF, 0);
    int fd = open_client();
    int sent = 0;
    size_t part = 0;
    for (int quiet = 0; quiet < 5;) {
        ssize_t n = send(fd, request + part, sizeof(request) - 1 - part, MSG_NOSIGNAL);
        if (n < 0) {
            turn();
            quiet++;
            continue;
        }
        quiet = 0;
        part += (size_t)n;
        sent += part == sizeof(request) - 1;
        part %= sizeof(request) - 1;
    }
    assert_true(sent > 500);
    conns_measure(server.conns, &server.metrics);
    assert_int_equal(server.metrics.gauge[GAUGE_REQUESTS_IN_FLIGHT], 1);
    assert_true(server.metrics.gauge[GAUGE_BUFFERS_BORROWED] <= 2);
    while (part != 0) { /* the rest of the last request */
        assert_false(settle(fd, &out));
        ssize_t n = send(fd, request + part, sizeof(request) - 1 - part, MSG_NOSIGNAL);
        if (n > 0)
            part = (part + (size_t)n) % (sizeof(request) - 1);
        sent += part == 0;
    }
    assert_false(settle(fd, &out));
    assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), sent);
    assert_int_equal(server.metrics.counter[METRIC_HTTP_REQUESTS], sent);
    (void)close(fd);
    turn();
    stop_server();
    buf_fini(&out);
}

/* Answers that wait for the client, behind them a request whose body has not all come. */
static void test_body_behind_waiting_answers(void **state)
{
    (void)state;
    enum { PAGES = 100 };
    struct buf text, out;
    buf_init(&text, 0);
    buf_init(&out, 0);
    for (int i = 0; i < PAGES; i++)
        buf_append_str(&text, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    buf_append_str(&text, "POST /target HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo");
    for (int mode = ACCESS_LOG_OFF; mode <= ACCESS_LOG_ALL; mode++) {
        buf_reset(&out);
        start_server((enum access_log_mode)mode, 0);
        int fd = open_client_with_buffer(1);
        send_all(fd, text.ptr, text.len);
        turn();
        assert_false(settle(fd, &out));
        assert_int_equal(count(&out, "page\n"), PAGES);
        send_all(fd, "dy", 2);
        assert_false(settle(fd, &out));
        assert_int_equal(count(&out, "POST /target\n"), 1);
        (void)close(fd);
        turn();
        stop_server();
    }
    buf_fini(&text);
    buf_fini(&out);
}

static void test_large_answers(void **state)
{
    (void)state;
    static const char requests[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
                                   "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
                                   "HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n"
                                   "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
                                   "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buf out;
    buf_init(&out, 0);
    start_server(ACCESS_LOG_ALL, 0);
    assert_false(talk(SLICE_LITERAL(requests), 0, 0, &out));
    assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), 5);
    const char *body = memmem(out.ptr, out.len, server.big->data, BIG_SIZE);
    assert_non_null(body);
    const char *rest = body + BIG_SIZE;
    assert_non_null(memmem(rest, (size_t)(out.ptr + out.len - rest), server.big->data, BIG_SIZE));
    assert_memory_equal(out.ptr + out.len - 5, "page\n", 5);
    assert_int_equal(server.big->refs, 1);
    stop_server();
    buf_fini(&out);
}

static void test_client_goes_away(void **state)
{
    (void)state;
    static const char request[] = "GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
    start_server(ACCESS_LOG_ALL, 0);
    int fd = open_client();
    send_all(fd, request, sizeof(request) - 1);
    turn();
    assert_int_equal(server.big->refs, 2); /* half sent */
    (void)close(fd);
    turn();
    turn();
    assert_int_equal(conns_count(server.conns), 0);
    assert_int_equal(server.metrics.counter[METRIC_HTTP_ABORTED], 1);
    assert_int_equal(server.metrics.counter[METRIC_HTTP_REQUESTS], 0);
    assert_int_equal(server.big->refs, 1);
    stop_server();
}

static void test_answering_later(void **state)
{
    (void)state;
    static const char requests[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
                                   "GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
                                   "GET /target HTTP/1.1\r\nHost: a\r\n\r\n"
                                   "GET /later HTTP/1.1\r\nHost: a\r\n\r\n";
    for (int mode = ACCESS_LOG_OFF; mode <= ACCESS_LOG_ALL; mode++) {
        struct buf out;
        buf_init(&out, 0);
        start_server((enum access_log_mode)mode, 0);
        int fd = open_client();
        send_all(fd, requests, sizeof(requests) - 1);
        assert_false(settle(fd, &out));
        assert_int_equal(count(&out, "page\n"), 1); /* does not wait for the next one */
        assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), 1);
        conns_measure(server.conns, &server.metrics);
        assert_int_equal(server.metrics.gauge[GAUGE_REQUESTS_IN_FLIGHT], 1);
        resume();
        assert_false(settle(fd, &out));
        assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), 3);
        assert_true(memmem(out.ptr, out.len, "later\n", 6) <
                    memmem(out.ptr, out.len, "GET /target\n", 12));
        resume();
        assert_false(settle(fd, &out));
        assert_int_equal(count(&out, "later\n"), 2);
        assert_int_equal(server.cancelled, 0);
        (void)close(fd);
        turn();
        assert_int_equal(conns_count(server.conns), 0);
        stop_server();
        buf_fini(&out);
    }
}

static void test_cancelling(void **state)
{
    (void)state;
    static const char request[] = "GET /later HTTP/1.1\r\nHost: a\r\n\r\n";
    start_server(ACCESS_LOG_ALL, 0);
    int fd = open_client();
    send_all(fd, request, sizeof(request) - 1);
    turn();
    assert_non_null(server.waiting);
    int64_t idle;
    assert_int_equal(conns_cut(server.conns, &idle), 1);
    assert_int_equal(server.cancelled, 1);
    assert_int_equal(conns_count(server.conns), 0);
    (void)close(fd);
    stop_server();
}

static void test_half_closed_client(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        int answers;
        size_t bytes; /* at least */
    } cases[] = {
        {"GET /page HTTP/1.1\r\nHost: a\r\n\r\n", 1, 0},
        {"GET /page HTTP/1.1\r\nHost: a\r\n\r\nGET /pa", 1, 0},
        {"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", 1, BIG_SIZE},
        {"GET /pa", 0, 0},
        {"POST /target HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo", 0, 0},
        {"", 0, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out;
        buf_init(&out, 0);
        start_server(ACCESS_LOG_OFF, 0);
        int fd = open_client();
        send_all(fd, cases[i].request, strlen(cases[i].request));
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        assert_true(settle(fd, &out));
        assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), cases[i].answers);
        assert_true(out.len >= cases[i].bytes);
        (void)close(fd);
        assert_int_equal(conns_count(server.conns), 0);
        stop_server();
        buf_fini(&out);
    }
}

/* The end of the input comes with more of it than one read takes. */
static void test_half_closed_with_much_unread(void **state)
{
    (void)state;
    enum { BODY = 180 * 1000, PAGES = 4000 };
    struct buf body, pages, out;
    buf_init(&body, 0);
    buf_init(&pages, 0);
    buf_init(&out, 0);
    buf_printf(&body, "POST /target HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", BODY);
    for (int i = 0; i < BODY; i++)
        buf_append(&body, "x", 1);
    for (int i = 0; i < PAGES; i++)
        buf_append_str(&pages, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n");
    const struct {
        const struct buf *sent;
        int answers;
    } cases[] = {{&body, 1}, {&pages, PAGES}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        buf_reset(&out);
        start_server(ACCESS_LOG_OFF, 0);
        int fd = open_client();
        send_all(fd, cases[i].sent->ptr, cases[i].sent->len);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        assert_true(settle(fd, &out));
        assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), cases[i].answers);
        (void)close(fd);
        assert_int_equal(conns_count(server.conns), 0);
        stop_server();
    }
    buf_fini(&body);
    buf_fini(&pages);
    buf_fini(&out);
}

/* After an error the client may still be sending: its answer must not be lost. */
static void test_lingering(void **state)
{
    (void)state;
    static const char garbage[60000] = "GARBAGE\r\n\r\n";
    struct buf out;
    buf_init(&out, 0);
    start_server(ACCESS_LOG_OFF, 0);
    int fd = open_client();
    send_all(fd, garbage, sizeof(garbage));
    turn();
    send_all(fd, garbage, 20000); /* it has not heard of it yet */
    assert_true(settle(fd, &out));
    assert_int_equal(count(&out, "HTTP/1.1 400 "), 1);
    assert_int_equal(count(&out, "HTTP/1.1 "), 1);
    assert_int_equal(conns_count(server.conns), 1);
    (void)close(fd);
    turn();
    assert_int_equal(conns_count(server.conns), 0);

    /* Also when a megabyte is still coming. But not without end. */
    enum { PATIENCE = 1 << 20, END = 16 << 20 };
    fd = open_client();
    size_t sent = 0;
    while (sent < END && conns_count(server.conns) > 0) {
        send_all(fd, garbage, sizeof(garbage));
        sent += sizeof(garbage);
        turn();
        turn();
        assert_true(sent > PATIENCE || conns_count(server.conns) == 1);
    }
    assert_in_range(sent, PATIENCE, END - 1);
    assert_int_equal(conns_count(server.conns), 0);
    (void)close(fd);
    stop_server();
    buf_fini(&out);
}

static void test_draining(void **state)
{
    (void)state;
    static const char request[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buf out;
    buf_init(&out, 0);
    start_server(ACCESS_LOG_OFF, 0);
    int fd = open_client();
    send_all(fd, request, sizeof(request) - 1);
    assert_false(settle(fd, &out));
    assert_int_equal(count(&out, "Connection: close\r\n"), 0);
    loop_enter(&server.loop);
    conns_drain(server.conns, 1000);
    send_all(fd, request, sizeof(request) - 1);
    assert_true(settle(fd, &out));
    assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), 2);
    assert_int_equal(count(&out, "Connection: close\r\n"), 1);
    (void)close(fd);
    turn();
    assert_int_equal(conns_count(server.conns), 0);
    stop_server();
    buf_fini(&out);
}

/* Requests that came in together are answered together; half of one counts as one. */
static void test_draining_a_pipeline(void **state)
{
    (void)state;
    static const char two[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"
                              "POST /target HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx"
                              "GET /page HTTP/1.1\r\nHo";
    static const char rest[] = "st: a\r\n\r\n\r\n";
    struct buf out;
    buf_init(&out, 0);
    start_server(ACCESS_LOG_OFF, 0);
    int fd = open_client();
    turn();
    loop_enter(&server.loop);
    conns_drain(server.conns, 1000);
    send_all(fd, two, sizeof(two) - 1);
    assert_false(settle(fd, &out));
    assert_int_equal(count(&out, "HTTP/1.1 "), 2);
    assert_int_equal(count(&out, "Connection: close\r\n"), 0);
    struct metrics metrics;
    metrics_reset(&metrics);
    conns_measure(server.conns, &metrics);
    assert_int_equal(metrics.gauge[GAUGE_REQUESTS_IN_FLIGHT], 1);
    assert_int_equal(metrics.gauge[GAUGE_CONNECTIONS_IDLE], 0);
    send_all(fd, rest, sizeof(rest) - 1);
    assert_true(settle(fd, &out));
    assert_int_equal(count(&out, "HTTP/1.1 "), 3);
    assert_int_equal(count(&out, "Connection: close\r\n"), 1);
    (void)close(fd);
    stop_server();
    buf_fini(&out);
}

/* But not without end. */
static void test_draining_an_endless_pipeline(void **state)
{
    (void)state;
    static const char request[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buf text, out;
    buf_init(&text, 0);
    buf_init(&out, 0);
    for (int i = 0; i < 1000; i++)
        buf_append_str(&text, request);
    start_server(ACCESS_LOG_OFF, 0);
    loop_enter(&server.loop);
    conns_drain(server.conns, 1000);
    assert_true(talk(buf_slice(&text), 0, 0, &out));
    assert_int_equal(count(&out, "Connection: close\r\n"), 1);
    assert_in_range(count(&out, "HTTP/1.1 200 OK\r\n"), 100, 300);
    stop_server();
    buf_fini(&text);
    buf_fini(&out);
}

/* An idle connection ends with a FIN, and what crosses it is read, not reset. */
static void test_draining_an_idle_connection(void **state)
{
    (void)state;
    static const char request[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buf out;
    buf_init(&out, 0);
    start_server(ACCESS_LOG_OFF, 0);
    int fd = open_client();
    send_all(fd, request, sizeof(request) - 1);
    assert_false(settle(fd, &out));
    loop_enter(&server.loop);
    conns_drain(server.conns, 0);
    char byte;
    ssize_t got = -1;
    for (int i = 0; i < 500 && got < 0; i++) {
        turn();
        got = recv(fd, &byte, 1, MSG_DONTWAIT);
        (void)usleep(1000);
    }
    assert_int_equal(got, 0); /* its end, not a reset */
    assert_int_equal(conns_count(server.conns), 1);
    send_all(fd, request, sizeof(request) - 1); /* it crossed the FIN */
    turn();
    assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
    (void)close(fd);
    for (int i = 0; i < 500 && conns_count(server.conns) > 0; i++)
        turn();
    assert_int_equal(conns_count(server.conns), 0);
    stop_server();
    buf_fini(&out);
}

static void test_max_requests(void **state)
{
    (void)state;
    static const char request[] = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buf text, out;
    buf_init(&text, 0);
    buf_init(&out, 0);
    for (int i = 0; i < 10; i++)
        buf_append_str(&text, request);
    start_server(ACCESS_LOG_OFF, 7);
    assert_true(talk(buf_slice(&text), 0, 0, &out));
    assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), 7);
    assert_int_equal(count(&out, "Connection: close\r\n"), 1);
    stop_server();
    buf_fini(&text);
    buf_fini(&out);
}

/* A target without a path asks for "/"; there is nothing of it to be read behind the target. */
static void test_file_of_a_target_without_path(void **state)
{
    (void)state;
    char root[] = "/tmp/muster-conn-XXXXXX", index[64];
    struct buf out;
    buf_init(&out, 0);
    assert_non_null(mkdtemp(root));
    snprintf(index, sizeof(index), "%s/index.html", root);
    int file = open(index, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(file >= 0);
    assert_int_equal(write(file, "index\n", 6), 6);
    (void)close(file);
    start_server(ACCESS_LOG_OFF, 0);
    struct files *files = files_new(root, "/");
    assert_non_null(files);
    add_route("/", ROUTE_READ, 0, files_handle, files);
    assert_true(talk(SLICE_LITERAL("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n"
                                   "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n"
                                   "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
                     0, 0, &out));
    assert_int_equal(count(&out, "HTTP/1.1 200 OK\r\n"), 3);
    assert_int_equal(count(&out, "index\n"), 3);
    stop_server();
    files_free(&files);
    (void)unlink(index);
    (void)rmdir(root);
    buf_fini(&out);
}

static int open_clients(int *fds, int wanted)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if ((rlim_t)wanted * 2 + 64 > limit.rlim_cur)
        wanted = (int)(limit.rlim_cur - 64) / 2;
    for (int i = 0; i < wanted; i++)
        fds[i] = open_client();
    return wanted;
}

/* More connections and more answers in one turn than the outbox has room for. */
static void test_many_at_once(void **state)
{
    (void)state;
    enum { CLIENTS = 1200, ROUNDS = 3 };
    static int fds[CLIENTS];
    static const char request[] = "GET /target HTTP/1.1\r\nHost: a\r\n\r\n";
    struct buf out;
    buf_init(&out, 0);
    start_server(ACCESS_LOG_OFF, 0);
    int clients = open_clients(fds, CLIENTS);
    /* The loop looks for more events at once in every round. */
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < clients; i++)
            send_all(fds[i], request, sizeof(request) - 1);
        for (int i = 0; i < 10; i++)
            turn();
        for (int i = 0; i < clients; i++) {
            buf_reset(&out);
            assert_false(receive(fds[i], &out));
            assert_int_equal(count(&out, "GET /target\n"), 1);
        }
    }
    conns_measure(server.conns, &server.metrics);
    assert_int_equal(server.metrics.gauge[GAUGE_CONNECTIONS_ACTIVE], clients);
    assert_int_equal(server.metrics.gauge[GAUGE_CONNECTIONS_IDLE], clients);
    assert_int_equal(server.metrics.gauge[GAUGE_BUFFERS_BORROWED], 0);
    int64_t idle;
    assert_int_equal(conns_cut(server.conns, &idle), 0); /* nothing was in flight */
    for (int i = 0; i < clients; i++)
        (void)close(fds[i]);
    stop_server();
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_cut_anywhere_logged),
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_large_head_with_body),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_expect_continue_with_full_socket),
        cmocka_unit_test(test_pipelining_yields),
        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_body_behind_waiting_answers),
        cmocka_unit_test(test_large_answers),
        cmocka_unit_test(test_client_goes_away),
        cmocka_unit_test(test_answering_later),
        cmocka_unit_test(test_cancelling),
        cmocka_unit_test(test_half_closed_client),
        cmocka_unit_test(test_half_closed_with_much_unread),
        cmocka_unit_test(test_lingering),
        cmocka_unit_test(test_draining),
        cmocka_unit_test(test_draining_a_pipeline),
        cmocka_unit_test(test_draining_an_endless_pipeline),
        cmocka_unit_test(test_draining_an_idle_connection),
        cmocka_unit_test(test_max_requests),
        cmocka_unit_test(test_file_of_a_target_without_path),
        cmocka_unit_test(test_many_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
