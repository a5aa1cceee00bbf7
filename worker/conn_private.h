/* SPDX-License-Identifier: BSD-2-Clause
 *
 * conn_private - what conn.c (life and input), output.c (output) and exchange.c
 * (HTTP) share about a connection. Nobody else includes it.
 */
#ifndef MUSTER_WORKER_CONN_PRIVATE_H
#define MUSTER_WORKER_CONN_PRIVATE_H

#include "worker/conn.h"
#include "worker/exchange.h"
#include "worker/http_parser.h"
#include "worker/pool.h"
#include "worker/wheel.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

/*
 *               bytes of a head                 head, body to come
 *      +------+ ------------->  +------+ ----------------------> +------+
 *   -->| IDLE |                 | HEAD |                         | BODY |
 *      +------+ <-------------  +------+                         +------+
 *       ^  ^ |  request answered    |   handler answers later     |
 *       |  | |                      v                             v
 *       |  | +----------------> +---------+ <---------------------+
 *       |  +------------------- | WAITING |
 *       |   answered            +---------+
 *       |                           | the client does not take the answer
 *       |       all sent            v
 *       +---------------------- +---------+   answer says close   +-----------+
 *                               | WRITING | --------------------> | LINGERING |
 *                               +---------+   (from any state)    +-----------+
 *
 * A request that arrives whole and is answered at once goes from IDLE to IDLE
 * without passing through any other state. One that has had its share of a turn
 * goes from IDLE to YIELDING, and back in the next. CLOSED is reached from
 * everywhere.
 * X(NAME, name, list it is kept in)
 */
#define CONN_STATES(X)                                                                             \
    X(IDLE, "idle", QUIET)             /* between requests: owns no buffer */                      \
    X(HEAD, "head", BUSY)              /* `in` holds the beginning of a request */                 \
    X(BODY, "body", BUSY)              /* `in` holds the head, the body is skipped as it comes */  \
    X(WAITING, "waiting", BUSY)        /* a handler answers later; nothing is read */              \
    X(WRITING, "writing", BUSY)        /* `out` waits for the client; nothing is read */           \
    X(YIELDING, "yielding", BUSY)      /* `in` holds requests for the next turn */                 \
    X(LINGERING, "lingering", CLOSING) /* answered and shut down, input is thrown away */          \
    X(CLOSED, "closed", CLOSING)
#define CONN_ENUM_STATE(name, text, list) CONN_##name,
enum conn_state { CONN_STATES(CONN_ENUM_STATE) };
enum { CONN_STATE_COUNT = CONN_CLOSED + 1 };

enum conn_list { CONN_LIST_QUIET, CONN_LIST_BUSY, CONN_LIST_CLOSING, CONN_LIST_COUNT };

/* How the connection ends once its output has been sent. */
enum conn_ending {
    CONN_STAYS,
    CONN_CLOSES,  /* the client knows: close(2) */
    CONN_LINGERS, /* the client may still be sending, and close(2) would destroy the answer */
};

enum {
    CONN_FRESH = 64,
    READ_BUFFER_SIZE = 64 * 1024,
    OUTBOX_SIZE = 128 * 1024,
    OUTBOX_ROOM = EXCHANGE_INLINE_BODY + 8 * 1024, /* what one answer may put into it */
    OUTBOX_ANSWERS = 1024,
    OUTBOX_PARTS = 512,
    /* What one connection may do before the others have their turn. */
    TURN_ANSWERS = 256,
    TURN_BYTES = 512 * 1024,
    LINGER_BYTES = 4 * 1024 * 1024,
    LINGER_MS = 2000,
    LINGER_IDLE_MIN_MS = 100,   /* after the end of an idle connection; longer over slow links */
    DRAIN_PIPELINE = 256,       /* requests that came in together, answered before the last one */
    OUTPUT_MIN_PROGRESS = 1024, /* bytes a client must take to put its write deadline off */
};

/* One answer that has been rendered and not yet been sent completely. */
struct answer {
    int64_t started_ns; /* first byte of the request */
    int64_t body_bytes;
    uint16_t status;
    bool logged;
    uint8_t minor_version;
    struct slice method; /* these two only if it is logged */
    struct slice target;
};

/* The body of the last answer, where it is not copied. Memory or a file. */
struct output_tail {
    const char *bytes;
    size_t len;
    struct blob *blob; /* keeps `bytes` alive; NULL: they live for ever */
    int file;          /* -1: none */
    off_t offset;
    int64_t left;
};

/* The answers of one connection, ready to be sent at the end of the turn. */
struct outbox_part {
    struct conn *conn; /* NULL: it has been closed since */
    uint32_t at;
    uint32_t len;
    uint32_t first_answer;
    uint32_t answer_count;
};

/*
 * The output of this turn of the loop. In front the parts of connections that
 * have been processed and are sent when the turn ends; behind them, from
 * `base` on, what the connection that is being processed answers.
 */
struct outbox {
    size_t base;
    size_t len;
    uint32_t answer_base;
    uint32_t answer_count;
    bool full;               /* the next request has to wait for a flush */
    bool logged;             /* an answer of the current connection is to be logged */
    struct output_tail tail; /* of the current connection */
    struct chunk *head;      /* of a request with a body: the answer's slices point into it */
    uint32_t part_count;
    struct outbox_part parts[OUTBOX_PARTS];
    struct answer answers[OUTBOX_ANSWERS];
    char bytes[OUTBOX_SIZE];
};

static inline bool outbox_is_empty(const struct outbox *outbox)
{
    return outbox->len == outbox->base;
}

/* The same for a connection whose client does not take it: owned copies. */
struct output {
    struct chunk *chunk; /* may be NULL: only the tail is left */
    uint32_t at;
    uint32_t answer_count;
    int64_t progress; /* bytes since the deadline was last put off */
    int in_kernel;    /* bytes that the client had not acknowledged then */
    struct output_tail tail;
    struct answer answers[];
};

struct conn {
    struct event event; /* for reading or for writing, as `watched` says */
    struct conns *set;
    TAILQ_ENTRY(conn) link;
    struct wheel_node timer; /* comes up at deadline_ns or before */
    int64_t deadline_ns;
    int64_t started_ns; /* first byte of the request that is being received or answered */
    struct chunk *in;
    struct output *out;
    struct exchange_wait *wait;
    char *note; /* method and target for the log, NUL-separated, while it waits */
    union {
        struct http_chunked chunked;
        int64_t body_left;
        int64_t linger_left;
    };
    int fd;
    uint32_t parsed_len; /* bytes of `in` that were not enough the last time */
    uint32_t request_count;
    uint16_t linger_ms;
    uint16_t drained; /* answers in a drain that were not the last, for more had come */
    struct access_remote remote;
    uint8_t state;   /* enum conn_state */
    uint8_t ending;  /* enum conn_ending */
    uint8_t watched; /* EV_READ, EV_WRITE or 0 */
    bool queued;     /* has a part in the outbox */
    bool unread;     /* there may be more to read than was read */
    bool peer_done;  /* the peer will send no more */
    bool body_next;  /* what is being written asks for the body: BODY follows */

    /* Of the request that is being answered. */
    uint8_t method; /* enum http_method */
    uint8_t minor_version;
    bool keep_alive;
    bool chunked_body;
};

TAILQ_HEAD(conn_queue, conn);

struct conns {
    struct conns_parts parts;
    struct loop *loop;
    struct metrics *metrics;
    struct http_limits limits;
    int64_t header_timeout_ns, body_timeout_ns, request_timeout_ns;
    int64_t keepalive_timeout_ns, write_timeout_ns, idle_grace_ns;
    int64_t max_body_bytes;
    uint32_t max_requests; /* per connection; UINT32_MAX: no limit */
    bool draining;
    bool more_follows; /* draining: behind the request that is being answered came another */

    struct conn_queue list[CONN_LIST_COUNT];
    int64_t count;
    int64_t state_count[CONN_STATE_COUNT];
    /* Accepted in this callback. Read from when it ends: the request has often come by then, and
     * the connection needs no event. */
    struct conn *fresh[CONN_FRESH];
    int fresh_count;
    struct conn_queue dead; /* closed in this callback, reused after it */
    struct conn_queue spare;
    int spare_count;

    struct pool pool;
    struct wheel wheel;
    struct event wheel_timer;
    int64_t armed_ns; /* when wheel_timer fires; INT64_MAX: not armed */

    /* Scratch, for the connection that is being processed. */
    const struct route *route;            /* of the request that is being answered */
    const struct http_request *answering; /* NULL: it could not be read, or waits */
    const char *answering_bytes;
    struct http_request request;
    struct outbox outbox;
    char *read_buffer; /* READ_BUFFER_SIZE beyond the longest head */
    size_t read_buffer_size;
};

/* conn.c */
void conn_enter(struct conn *conn, enum conn_state state);
void conn_close(struct conn *conn);
/* Frees what has been closed. For the end of a callback: up to there pointers
 * to closed connections may be held. */
void conns_reap(struct conns *conns);

/* conn_io.c */
/* Waits for EV_READ, EV_WRITE or nothing (0). */
void conn_watch(struct conn *conn, short what);
/* Everything that could be done has been done: closes, or waits for what comes next. */
void conn_settle(struct conn *conn);
/* Ends a connection between two requests so that a request on its way is not
 * answered with a reset: FIN first, and read until the peer has seen it. */
void conn_end_idle(struct conn *conn);
/* Reads once and processes what came. False when nothing was there. */
bool conn_read(struct conn *conn);
/* Processes `len` bytes (in the read buffer or in conn->in), keeps what is left
 * over, sends the answers or queues them for the end of the turn. */
void conn_process(struct conn *conn, const char *bytes, size_t len);
/* Goes on with the requests of a connection that has yielded. */
void conn_take_turn(struct conn *conn);
/* A client that is slow but takes something gets more time to take the rest. */
bool conn_extend_write(struct conn *conn);
/* Before anything is answered: makes room in the outbox. */
void conns_make_room(struct conns *conns);

/* conn_deadline.c */
void conns_init_deadlines(struct conns *conns);
void conn_set_deadline(struct conn *conn, int64_t at_ns);
/* Sets the deadline that the state of the connection calls for. */
void conn_choose_deadline(struct conn *conn);

/* exchange.c */
/* Takes as many requests from the bytes as it can; returns how many bytes
 * that were. Stops at outbox.full, and when the state is no longer one that reads. */
size_t exchange_feed(struct conn *conn, const char *bytes, size_t len);

/* exchange_answer.c */
void exchange_refuse(struct conn *conn, int status, const char *message, struct slice headers,
                     bool must_close);
/* Answers with an error for something that is not a request (yet). */
void exchange_fail(struct conn *conn, int status, const char *message);

/* output.c */
enum output_result { OUTPUT_DONE, OUTPUT_PENDING, OUTPUT_FAILED };
/* Whether there is room in the outbox for one more connection. */
bool outbox_has_room(const struct outbox *outbox);
/* Leaves the answers of the current connection in the outbox until the turn
 * ends. False: they have to be sent now. */
bool output_queue(struct conn *conn);
/* Sends them now; what the client does not take moves to conn->out. */
enum output_result output_flush(struct conn *conn);
/* Sends one part that was queued. */
enum output_result output_send_part(struct conns *set, const struct outbox_part *part);
/* The connection is going away before its part was sent. */
void output_unqueue(struct conn *conn);
/* Goes on with conn->out. */
enum output_result output_continue(struct conn *conn);
/* Throws away what was not sent; its requests count as aborted. */
void output_discard(struct conn *conn);
void outbox_init(struct outbox *outbox);
/* Records an answer that has just been rendered. */
void outbox_add_answer(struct conn *conn, int status, int64_t body_bytes);

#endif
