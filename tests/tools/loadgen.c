/* SPDX-License-Identifier: BSD-2-Clause
 *
 * loadgen - a load client that counts exactly what happened to each request.
 *
 * Three loads at the same time, each on connections of its own:
 *   --keepalive N   N connections, one request after another (closed loop, or
 *                   at --rate requests per second over all of them)
 *   --new-rate R    R new connections per second, one request each (open loop:
 *                   they begin on time whatever became of the earlier ones, and
 *                   waiting counts from when each was due, so no stall is hidden)
 *   --churn N       N at a time, each connection for one request (closed loop)
 * One thread, one epoll; what is counted is in loadgen_count.h and printed as
 * JSON when the run ends.
 */
#include "loadgen_answer.h"
#include "loadgen_count.h"
#include "loadgen_options.h"

#include "common/check.h"
#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

enum {
    EVENTS_MAX = 512,
    TICK_MS = 50,
    RETRY_MS = 50,
    RECEIVE_SIZE = 256 * 1024,
    REQUEST_SIZE = 4096
};

enum conn_state {
    CONN_FREE,       /* no socket */
    CONN_RESTING,    /* its connect failed; tries again at deadline_ns */
    CONN_CONNECTING, /* the request goes out as soon as it is connected */
    CONN_WAITING,    /* a request is outstanding */
    CONN_IDLE,       /* connected, nothing outstanding, waits for its turn (--rate) */
    CONN_ENDING,     /* answered; the server said that it will close */
};

struct conn {
    TAILQ_ENTRY(conn) link; /* in idle, resting or spare */
    int fd;
    enum conn_state state;
    enum load_kind kind;
    uint32_t sent;   /* bytes of the request that are out */
    uint32_t events; /* what epoll watches for, 0: nothing yet */
    int port;
    int64_t opened_ns;
    int64_t due_ns; /* when the outstanding request should have started */
    int64_t deadline_ns;
    uint64_t answered;
    struct answer answer;
};

TAILQ_HEAD(conn_list, conn);

static struct load_counts counts[LOAD_KIND_COUNT];
static struct load_failure *failures;
static uint64_t failure_count;
static struct load_slow *slow;
static uint64_t slow_count;
static struct load_second *seconds;
static struct conn *conns;
static int conn_count, conn_open_count;
static struct conn_list idle = TAILQ_HEAD_INITIALIZER(idle);
static struct conn_list resting = TAILQ_HEAD_INITIALIZER(resting);
static struct conn_list spare = TAILQ_HEAD_INITIALIZER(spare); /* for --new-rate */
static char request[LOAD_KIND_COUNT][REQUEST_SIZE];
static size_t request_len[LOAD_KIND_COUNT];
static struct sockaddr_storage address;
static socklen_t address_len;
static struct answer_expected expected_body;
static int epoll_fd;
static int64_t started_ns, now_ns;
static int64_t next_new_ns, next_request_ns; /* when --new-rate and --rate want the next one */
static int64_t next_open_ns;                 /* when --open-rate wants the next one */
static int64_t stall_max_ns;
static bool stopping;
static int first_answers; /* keep-alive connections that have been answered once */
static volatile sig_atomic_t signalled;

static struct load_second *current_second(void)
{
    int64_t second = (now_ns - started_ns) / NS_PER_S;
    return &seconds[second < LOAD_SECONDS_KEPT ? second : LOAD_SECONDS_KEPT - 1];
}

static void count(struct conn *conn, enum load_outcome outcome, int error)
{
    counts[conn->kind].outcome[outcome]++;
    if (outcome == LOAD_ANSWERED)
        current_second()->answered++;
    else if (outcome == LOAD_CONNECTED)
        current_second()->connected++;
    if (!load_outcome_is_failure(outcome))
        return;
    if (load_outcome_is_connect(outcome))
        current_second()->connect_failed++;
    else
        current_second()->failed++;
    if (failure_count < LOAD_FAILURES_KEPT)
        failures[failure_count] = (struct load_failure){
            .at_ns = now_ns,
            .kind = conn->kind,
            .outcome = outcome,
            .port = conn->port,
            .pid = conn->answer.worker_pid,
            .slot = conn->answer.worker_slot,
            .age_ns = now_ns - conn->opened_ns,
            .answered = conn->answered,
            .error = error,
        };
    failure_count++;
}

/* An answer that was waited for. */
static void count_time(struct conn *conn)
{
    uint64_t took_ns = (uint64_t)(now_ns - conn->due_ns);
    struct load_counts *kind = &counts[conn->kind];
    histogram_record(&kind->latency, took_ns);
    if (took_ns > kind->latency_max_ns)
        kind->latency_max_ns = took_ns;
    if ((double)took_ns <= options.slow_ms * (double)NS_PER_MS)
        return;
    if (slow_count < LOAD_SLOW_KEPT)
        slow[slow_count] = (struct load_slow){
            .due_ns = conn->due_ns,
            .opened_ns = conn->answered == 0 ? conn->opened_ns : conn->due_ns,
            .answered_ns = now_ns,
            .kind = conn->kind,
            .port = conn->port,
            .pid = conn->answer.worker_pid,
            .slot = conn->answer.worker_slot,
        };
    slow_count++;
}

static void watch(struct conn *conn, uint32_t events)
{
    if (conn->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = conn};
    int operation = conn->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    CHECK(epoll_ctl(epoll_fd, operation, conn->fd, &event) == 0);
    conn->events = events;
}

static int64_t after(double wait_s)
{
    return now_ns + (int64_t)(wait_s * (double)NS_PER_S);
}

static int64_t interval_ns(double rate)
{
    return (int64_t)((double)NS_PER_S / rate);
}

/* Ends the connection; what was outstanding has been counted. Those of a
 * closed loop open another one from the main loop, at deadline_ns. */
static void conn_end(struct conn *conn, int64_t rest_ns)
{
    if (conn->state == CONN_IDLE)
        TAILQ_REMOVE(&idle, conn, link);
    if (conn->fd >= 0) {
        (void)close(conn->fd);
        conn_open_count--;
    }
    conn->fd = -1;
    if (conn->kind == LOAD_NEW) {
        conn->state = CONN_FREE;
        TAILQ_INSERT_HEAD(&spare, conn, link);
        return;
    }
    conn->state = CONN_RESTING;
    conn->deadline_ns = now_ns + rest_ns;
    TAILQ_INSERT_TAIL(&resting, conn, link);
}

static void conn_connect_failed(struct conn *conn, int error)
{
    enum load_outcome outcome = error == ECONNREFUSED                   ? LOAD_CONNECT_REFUSED
                                : error == ETIMEDOUT                    ? LOAD_CONNECT_TIMEOUT
                                : error == ECONNRESET || error == EPIPE ? LOAD_CONNECT_RESET
                                                                        : LOAD_CONNECT_OTHER;
    count(conn, outcome, error);
    conn_end(conn, RETRY_MS * NS_PER_MS);
}

/* The connection broke while a request was outstanding. */
static void conn_lost(struct conn *conn, int error)
{
    bool eof = error == 0;
    enum load_outcome outcome;
    if (answer_begun(&conn->answer))
        outcome = eof ? LOAD_SHORT_EOF : LOAD_SHORT_RESET;
    else if (conn->answered == 0)
        outcome = eof ? LOAD_FIRST_EOF : LOAD_FIRST_RESET;
    else
        outcome = eof ? LOAD_IN_FLIGHT_EOF : LOAD_IN_FLIGHT_RESET;
    count(conn, outcome, error);
    conn_end(conn, 0);
}

static void conn_connected(struct conn *conn)
{
    count(conn, LOAD_CONNECTED, 0);
    uint64_t took = (uint64_t)(now_ns - conn->opened_ns);
    histogram_record(&counts[conn->kind].connect, took);
    if (took > counts[conn->kind].connect_max_ns)
        counts[conn->kind].connect_max_ns = took;
    conn->state = CONN_WAITING;
    conn->deadline_ns = after(options.answer_timeout_s);
    counts[conn->kind].requests_sent++;
}

/* Sends what is left of the request. On a connection that is not known to be
 * connected this also asks whether it is: on loopback it nearly always is by
 * the time that connect(2) has returned. */
static void conn_send(struct conn *conn)
{
    const char *data = request[conn->kind];
    size_t len = request_len[conn->kind];
    ssize_t sent = send(conn->fd, data + conn->sent, len - conn->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    int error = sent < 0 ? errno : 0;
    if (conn->state == CONN_CONNECTING) {
        now_ns = clock_monotonic_ns();
        if (error == EAGAIN) {
            watch(conn, EPOLLIN | EPOLLOUT);
            return;
        }
        if (error != 0) {
            conn_connect_failed(conn, error);
            return;
        }
        conn_connected(conn);
    }
    if (error != 0 && error != EAGAIN) {
        conn_lost(conn, error);
        return;
    }
    if (sent > 0)
        conn->sent += (uint32_t)sent;
    watch(conn, conn->sent < len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Starts the next request on a connection that is open. */
static void conn_request(struct conn *conn, int64_t due_ns)
{
    answer_begin(&conn->answer);
    conn->sent = 0;
    conn->due_ns = due_ns;
    conn->deadline_ns = after(options.answer_timeout_s);
    conn->state = CONN_WAITING;
    counts[conn->kind].requests_sent++;
    conn_send(conn);
}

/* 0 for a Unix socket. The port stands at the same place for IPv4 and IPv6. */
static int local_port(int fd)
{
    struct sockaddr_in6 local = {0};
    socklen_t len = sizeof(local);
    if (address.ss_family == AF_UNIX || getsockname(fd, (struct sockaddr *)&local, &len) != 0)
        return 0;
    return ntohs(local.sin6_port);
}

static void conn_open(struct conn *conn, int64_t due_ns)
{
    CHECK(conn->fd < 0);
    answer_begin(&conn->answer);
    conn->answer.worker_pid = 0;
    conn->answer.worker_slot = 0;
    conn->answered = 0;
    conn->sent = 0;
    conn->port = 0;
    conn->events = 0;
    conn->due_ns = due_ns;
    conn->opened_ns = clock_monotonic_ns();
    now_ns = conn->opened_ns;
    conn->deadline_ns = after(options.connect_timeout_s);
    conn->state = CONN_CONNECTING;
    conn->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0) {
        perror("loadgen: socket");
        exit(1);
    }
    conn_open_count++;
    if (conn->kind == LOAD_KEEPALIVE && address.ss_family != AF_UNIX)
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4); /* the cheapest */
    counts[conn->kind].connects++;
    uint64_t late_ns = (uint64_t)(conn->opened_ns - due_ns);
    if (late_ns > counts[conn->kind].late_max_ns)
        counts[conn->kind].late_max_ns = late_ns;
    if (conn->kind == LOAD_KEEPALIVE && options.rate > 0)
        next_request_ns += interval_ns(options.rate); /* it begins with a request */
    int bound = options.source != NULL ? load_bind_source(conn->fd) : 0;
    if (bound < 0) {
        conn_connect_failed(conn, -bound);
        return;
    }
    int result = connect(conn->fd, (const struct sockaddr *)&address, address_len);
    if (result < 0 && errno != EINPROGRESS) {
        int error = errno;
        now_ns = clock_monotonic_ns();
        conn_connect_failed(conn, error);
        return;
    }
    if (options.track)
        conn->port = local_port(conn->fd);
    conn_send(conn);
}

static bool body_is_right(const struct answer *answer)
{
    if (expected_body.data != NULL &&
        (answer->body_differs || answer->body_bytes != (int64_t)expected_body.len))
        return false;
    return options.expect_body_bytes < 0 ||
           answer->body_bytes == (int64_t)options.expect_body_bytes;
}

/* An answer is complete. */
static void conn_answered(struct conn *conn)
{
    if (conn->answer.status != (int)options.expect_status) {
        count(conn, LOAD_WRONG_STATUS, conn->answer.status);
    } else if (!body_is_right(&conn->answer)) {
        count(conn, LOAD_WRONG_BODY, 0);
    } else {
        count(conn, LOAD_ANSWERED, 0);
        count_time(conn);
    }
    if (conn->answered++ == 0 && conn->kind == LOAD_KEEPALIVE)
        first_answers++;
    if (conn->answer.close || conn->kind != LOAD_KEEPALIVE) {
        conn->state = CONN_ENDING;
        conn->deadline_ns = after(options.answer_timeout_s);
    } else if (stopping) {
        conn_end(conn, 0);
    } else if (options.rate > 0) {
        conn->state = CONN_IDLE;
        TAILQ_INSERT_TAIL(&idle, conn, link);
    } else {
        conn_request(conn, now_ns);
    }
}

static void on_bytes(struct conn *conn, const char *data, size_t len)
{
    counts[conn->kind].bytes_received += len;
    if (conn->state != CONN_WAITING) {
        count(conn, LOAD_UNEXPECTED_BYTES, 0);
        conn_end(conn, 0);
        return;
    }
    size_t used = 0;
    switch (answer_feed(&conn->answer, data, len, options.track, &expected_body, &used)) {
    case ANSWER_MORE:
        return;
    case ANSWER_BAD:
        count(conn, LOAD_MALFORMED, 0);
        conn_end(conn, 0);
        return;
    case ANSWER_DONE:
        break;
    }
    if (used < len) {
        count(conn, LOAD_MALFORMED, 0);
        conn_end(conn, 0);
        return;
    }
    conn_answered(conn);
}

/* End of file, or a reset. */
static void on_end(struct conn *conn, int error)
{
    switch (conn->state) {
    case CONN_WAITING:
        if (error == 0 && conn->answer.head_done && conn->answer.until_eof) {
            conn->answer.close = true;
            conn_answered(conn);
            conn_end(conn, 0);
            return;
        }
        conn_lost(conn, error);
        return;
    case CONN_IDLE:
        count(conn, LOAD_CLOSED_IDLE, error);
        conn_end(conn, 0);
        return;
    case CONN_ENDING:
        count(conn, LOAD_CLOSED_AFTER_NOTICE, error);
        conn_end(conn, 0);
        return;
    case CONN_CONNECTING:
        conn_connect_failed(conn, error == 0 ? ECONNRESET : error);
        return;
    case CONN_FREE:
    case CONN_RESTING:
        return;
    }
}

static void on_readable(struct conn *conn)
{
    static char data[RECEIVE_SIZE];
    ssize_t len = recv(conn->fd, data, sizeof(data), MSG_DONTWAIT);
    if (len > 0) {
        on_bytes(conn, data, (size_t)len);
        /* The end usually follows at once: saves a turn of the loop. */
        if (conn->state == CONN_ENDING && recv(conn->fd, data, sizeof(data), MSG_DONTWAIT) == 0)
            on_end(conn, 0);
    } else if (len == 0) {
        on_end(conn, 0);
    } else if (errno != EAGAIN) {
        on_end(conn, errno);
    }
}

static void on_event(struct conn *conn, uint32_t events)
{
    if (conn->state == CONN_CONNECTING) {
        int error = 0;
        socklen_t len = sizeof(error);
        if ((events & (EPOLLERR | EPOLLHUP)) != 0 &&
            getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0)
            conn_connect_failed(conn, error);
        else
            conn_send(conn);
        return;
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        on_readable(conn);
    } else if ((events & EPOLLOUT) != 0 && conn->state == CONN_WAITING) {
        conn_send(conn);
    }
}

static void on_deadline(struct conn *conn)
{
    switch (conn->state) {
    case CONN_CONNECTING:
        conn_connect_failed(conn, ETIMEDOUT);
        return;
    case CONN_WAITING:
        count(conn, LOAD_ANSWER_TIMEOUT, 0);
        conn_end(conn, 0);
        return;
    case CONN_ENDING:
        count(conn, LOAD_NOT_CLOSED, 0);
        conn_end(conn, 0);
        return;
    case CONN_FREE:
    case CONN_IDLE:
    case CONN_RESTING:
        return;
    }
}

/* Cuts what is past its deadline. */
static void sweep(void)
{
    for (int i = 0; i < conn_count; i++) {
        if (conns[i].fd >= 0 && now_ns >= conns[i].deadline_ns)
            on_deadline(&conns[i]);
    }
}

/* The next connection of those whose last one ended. One that fails at once
 * goes to the end of the list with a later deadline. */
static void reopen(void)
{
    struct conn *conn = TAILQ_FIRST(&resting);
    struct conn *last = TAILQ_LAST(&resting, conn_list);
    while (conn != NULL) {
        struct conn *next = conn == last ? NULL : TAILQ_NEXT(conn, link);
        if (now_ns >= conn->deadline_ns) {
            if (conn->kind == LOAD_KEEPALIVE && options.open_rate > 0) {
                if (now_ns < next_open_ns)
                    return;
                next_open_ns += interval_ns(options.open_rate);
            }
            TAILQ_REMOVE(&resting, conn, link);
            conn_open(conn, now_ns);
        }
        conn = next;
    }
}

static void start_new(void)
{
    for (; next_new_ns <= now_ns; next_new_ns += interval_ns(options.new_rate)) {
        struct conn *conn = TAILQ_FIRST(&spare);
        if (conn == NULL) {
            counts[LOAD_NEW].outcome[LOAD_OVERRUN]++;
            continue;
        }
        TAILQ_REMOVE(&spare, conn, link);
        conn_open(conn, next_new_ns);
    }
}

/* Whether the server has closed it already, as connection pools ask before they
 * use one that has been idle for seconds. */
static bool conn_has_ended(const struct conn *conn)
{
    char byte;
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void start_requests(void)
{
    struct conn *conn;
    while (next_request_ns <= now_ns && (conn = TAILQ_FIRST(&idle)) != NULL) {
        if (options.check_idle && conn_has_ended(conn)) {
            on_end(conn, 0);
            continue;
        }
        if (now_ns - next_request_ns > NS_PER_MS)
            counts[LOAD_KEEPALIVE].outcome[LOAD_LATE]++;
        TAILQ_REMOVE(&idle, conn, link);
        conn_request(conn, next_request_ns);
        next_request_ns += interval_ns(options.rate);
    }
}

/* Starts what is due by the clock; returns when the next is. What is late for
 * want of an idle connection is looked at again after any event. */
static int64_t start_due(void)
{
    int64_t next_ns = INT64_MAX;
    if (stopping)
        return next_ns;
    if (options.new_rate > 0) {
        start_new();
        next_ns = next_new_ns;
    }
    if (options.rate > 0) {
        start_requests();
        if (next_request_ns > now_ns && next_request_ns < next_ns)
            next_ns = next_request_ns;
    }
    return next_ns;
}

static void touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    (void)close(fd);
}

/* Nothing new is started; what is idle is closed. */
static void begin_stop(void)
{
    stopping = true;
    for (int i = 0; i < conn_count; i++) {
        if (conns[i].state == CONN_IDLE)
            conn_end(&conns[i], 0);
    }
}

static int64_t min_ns(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When it was woken, or was to be if that was earlier. */
static int64_t wait_for_events(int64_t until_ns)
{
    int64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    struct timespec timeout = {.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_pwait2(epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    if (n < 0 && errno != EINTR) {
        perror("loadgen: epoll_pwait2");
        exit(1);
    }
    int64_t woken_ns = min_ns(clock_monotonic_ns(), until_ns);
    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        now_ns = clock_monotonic_ns();
        if (conn->fd >= 0)
            on_event(conn, events[i].events);
    }
    return woken_ns;
}

static void run(void)
{
    int64_t end_ns = options.duration_s > 0 ? after(options.duration_s) : INT64_MAX;
    next_new_ns = started_ns;
    next_request_ns = started_ns;
    next_open_ns = started_ns;
    int64_t turn_ns = started_ns;
    int64_t next_tick_ns = started_ns + TICK_MS * NS_PER_MS;
    bool ready = false;
    for (;;) {
        now_ns = clock_monotonic_ns();
        bool tick = now_ns >= next_tick_ns;
        if (tick) {
            next_tick_ns = now_ns + TICK_MS * NS_PER_MS;
            if (!stopping && options.until_file != NULL && access(options.until_file, F_OK) == 0)
                end_ns = now_ns;
        }
        if (!stopping && (now_ns >= end_ns || signalled != 0)) {
            begin_stop();
            end_ns = after(options.linger_s);
        }
        if (stopping && (conn_open_count == 0 || now_ns >= end_ns))
            return;
        int64_t wake_ns = start_due();
        if (tick)
            sweep();
        if (!stopping)
            reopen();
        if (!ready && options.ready_file != NULL && first_answers >= (int)options.keepalive) {
            touch(options.ready_file);
            ready = true;
        }
        if (!stopping && !TAILQ_EMPTY(&resting) && wake_ns > now_ns + NS_PER_MS)
            wake_ns = now_ns + NS_PER_MS;
        now_ns = clock_monotonic_ns();
        if (now_ns - turn_ns > stall_max_ns)
            stall_max_ns = now_ns - turn_ns;
        turn_ns = wait_for_events(min_ns(wake_ns, min_ns(next_tick_ns, end_ns)));
    }
}

static void count_unfinished(void)
{
    for (int i = 0; i < conn_count; i++) {
        if (conns[i].state == CONN_CONNECTING)
            count(&conns[i], LOAD_CONNECT_UNFINISHED, 0);
        else if (conns[i].state == CONN_WAITING)
            count(&conns[i], LOAD_UNFINISHED, 0);
    }
}

static void on_signal(int number_unused)
{
    (void)number_unused;
    signalled = 1;
}

static void *allocate(size_t n, size_t size)
{
    void *memory = calloc(n, size);
    if (memory == NULL) {
        perror("loadgen");
        exit(1);
    }
    return memory;
}

static void prepare(void)
{
    for (int kind = 0; kind < LOAD_KIND_COUNT; kind++) {
        request_len[kind] =
            load_build_request(kind == LOAD_KEEPALIVE, request[kind], sizeof(request[kind]));
    }
    if (options.expect_body != NULL)
        expected_body = (struct answer_expected){options.expect_body, strlen(options.expect_body)};
    failures = allocate(LOAD_FAILURES_KEPT, sizeof(*failures));
    slow = allocate(LOAD_SLOW_KEPT, sizeof(*slow));
    seconds = allocate(LOAD_SECONDS_KEPT, sizeof(*seconds));
    int closed_loop = (int)options.keepalive + (int)options.churn;
    conn_count = closed_loop + (options.new_rate > 0 ? (int)options.max_open : 0);
    conns = allocate((size_t)conn_count + 1, sizeof(*conns));
    for (int i = 0; i < conn_count; i++) {
        conns[i].fd = -1;
        conns[i].kind = i < (int)options.keepalive ? LOAD_KEEPALIVE
                        : i < closed_loop          ? LOAD_CHURN
                                                   : LOAD_NEW;
        conns[i].state = i < closed_loop ? CONN_RESTING : CONN_FREE;
        TAILQ_INSERT_TAIL(i < closed_loop ? &resting : &spare, &conns[i], link);
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        perror("loadgen: epoll_create1");
        exit(1);
    }
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

int main(int argc, char **argv)
{
    load_read_options(argc, argv);
    address_len = load_resolve(&address);
    prepare();
    started_ns = clock_monotonic_ns();
    now_ns = started_ns;
    run();
    now_ns = clock_monotonic_ns();
    count_unfinished();
    const struct load_report report = {
        .started_ns = started_ns,
        .elapsed_s = (double)(now_ns - started_ns) / 1e9,
        .counts = counts,
        .failures = failures,
        .failure_count = failure_count,
        .slow = slow,
        .slow_count = slow_count,
        .stall_max_s = (double)stall_max_ns / 1e9,
        .seconds = options.series ? seconds : NULL,
    };
    load_print_report(stdout, &report);
    bool complete = failure_count == 0 && counts[LOAD_NEW].outcome[LOAD_OVERRUN] == 0;
    return complete || !options.strict ? 0 : LOADGEN_EXIT_FAILED;
}
