/* SPDX-License-Identifier: BSD-2-Clause
 *
 * loadgen_count - what the load client counts, and how it prints it as JSON.
 *
 * Every request that was sent ends in exactly one request outcome, every
 * connect(2) in exactly one connect outcome: the sums are checked at the end.
 */
#ifndef MUSTER_LOADGEN_COUNT_H
#define MUSTER_LOADGEN_COUNT_H

#include "common/check.h"
#include "common/histogram.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>

/* X(NAME, name, failure) */
#define LOAD_OUTCOMES(X)                                                                           \
    /* requests */                                                                                 \
    X(ANSWERED, "answered", 0)                                                                     \
    X(WRONG_STATUS, "wrong_status", 1)                                                             \
    X(WRONG_BODY, "wrong_body", 1)                                                                 \
    X(MALFORMED, "malformed", 1)                                                                   \
    X(SHORT_EOF, "short_answer_eof", 1) /* some of the answer came */                              \
    X(SHORT_RESET, "short_answer_reset", 1)                                                        \
    X(FIRST_EOF, "first_request_eof", 1) /* no byte, and the connection never answered any */      \
    X(FIRST_RESET, "first_request_reset", 1)                                                       \
    X(IN_FLIGHT_EOF, "failed_in_flight_eof", 1) /* no byte, on a connection that had answered */   \
    X(IN_FLIGHT_RESET, "failed_in_flight_reset", 1)                                                \
    X(ANSWER_TIMEOUT, "answer_timeout", 1)                                                         \
    X(UNFINISHED, "unfinished", 0) /* still outstanding when the client ended */                   \
    /* connects */                                                                                 \
    X(CONNECTED, "connected", 0)                                                                   \
    X(CONNECT_REFUSED, "connect_refused", 1)                                                       \
    X(CONNECT_TIMEOUT, "connect_timeout", 1)                                                       \
    X(CONNECT_RESET, "connect_reset", 1)                                                           \
    X(CONNECT_OTHER, "connect_other", 1)                                                           \
    X(CONNECT_UNFINISHED, "connect_unfinished", 0)                                                 \
    /* ends of connections with nothing outstanding */                                             \
    X(CLOSED_AFTER_NOTICE, "closed_after_notice", 0) /* the answer had said Connection: close */   \
    X(CLOSED_IDLE, "closed_idle", 0)                 /* between two requests, without notice */    \
    X(NOT_CLOSED, "not_closed", 1)                   /* said that it would close, and did not */   \
    X(UNEXPECTED_BYTES, "unexpected_bytes", 1)       /* nothing was asked */                       \
    /* the client's own limits */                                                                  \
    X(OVERRUN, "overrun", 0) /* not started: all connections in use */                             \
    X(LATE, "late", 0)       /* sent after it was due, for want of an idle one */

#define LOAD_ENUM(name, text, failure) LOAD_##name,
enum load_outcome { LOAD_OUTCOMES(LOAD_ENUM) LOAD_OUTCOME_COUNT };

enum {
    LOAD_FAILURES_KEPT = 200000,
    LOAD_SLOW_KEPT = 20000,
    LOAD_SECONDS_KEPT = 86400,
};

enum load_kind { LOAD_KEEPALIVE, LOAD_NEW, LOAD_CHURN, LOAD_KIND_COUNT };

struct load_counts {
    uint64_t requests_sent;
    uint64_t connects;
    uint64_t bytes_received;
    uint64_t outcome[LOAD_OUTCOME_COUNT];
    struct histogram latency; /* from when the request was due to the end of its answer */
    struct histogram connect; /* from connect(2) to connected */
    uint64_t latency_max_ns;
    uint64_t connect_max_ns;
    uint64_t late_max_ns; /* from when a new connection was due until it was begun */
};

/* One failure, for finding out whose it was. */
struct load_failure {
    int64_t at_ns; /* monotonic */
    enum load_kind kind;
    enum load_outcome outcome;
    int port;      /* local, 0: not tracked */
    int pid, slot; /* who answered last on this connection, 0: nobody or not told */
    int64_t age_ns;
    uint64_t answered; /* on this connection, before */
    int error;
};

/* One answer that took long. */
struct load_slow {
    int64_t due_ns, opened_ns, answered_ns; /* monotonic */
    enum load_kind kind;
    int port, pid, slot;
};

struct load_second {
    uint32_t answered, failed, connected, connect_failed;
};

static inline const char *load_kind_name(enum load_kind kind)
{
    static const char *const names[] = {"keepalive", "new", "churn"};
    return names[kind];
}

static inline const char *load_outcome_name(enum load_outcome outcome)
{
#define LOAD_NAME(name, text, failure) text,
    static const char *const names[] = {LOAD_OUTCOMES(LOAD_NAME)};
#undef LOAD_NAME
    return names[outcome];
}

static inline bool load_outcome_is_failure(enum load_outcome outcome)
{
#define LOAD_FAILS(name, text, failure) failure,
    static const bool fails[] = {LOAD_OUTCOMES(LOAD_FAILS)};
#undef LOAD_FAILS
    return fails[outcome];
}

static inline bool load_outcome_is_connect(enum load_outcome outcome)
{
    return outcome >= LOAD_CONNECTED && outcome <= LOAD_CONNECT_UNFINISHED;
}

static inline bool load_outcome_is_request(enum load_outcome outcome)
{
    return outcome <= LOAD_UNFINISHED;
}

static inline void load_print_histogram(FILE *out, const char *name,
                                        const struct histogram *histogram, uint64_t max_ns)
{
    (void)fprintf(
        out,
        "\"%s\": {\"count\": %lu, \"mean\": %.1f, \"p50\": %.1f, \"p90\": %.1f, "
        "\"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}",
        name, (unsigned long)histogram->count,
        histogram->count == 0 ? 0.0 : (double)histogram->sum_ns / 1e3 / (double)histogram->count,
        histogram_quantile(histogram, 0.50) / 1e3, histogram_quantile(histogram, 0.90) / 1e3,
        histogram_quantile(histogram, 0.99) / 1e3, histogram_quantile(histogram, 0.999) / 1e3,
        (double)max_ns / 1e3);
}

static inline void load_print_counts(FILE *out, enum load_kind kind,
                                     const struct load_counts *counts)
{
    uint64_t requests = 0;
    uint64_t connects = 0;
    uint64_t failed = 0;
    for (int i = 0; i < LOAD_OUTCOME_COUNT; i++) {
        if (load_outcome_is_request((enum load_outcome)i))
            requests += counts->outcome[i];
        if (load_outcome_is_connect((enum load_outcome)i))
            connects += counts->outcome[i];
        if (load_outcome_is_failure((enum load_outcome)i))
            failed += counts->outcome[i];
    }
    CHECK(requests == counts->requests_sent);
    CHECK(connects == counts->connects);
    (void)fprintf(out, "    \"%s\": {\"requests_sent\": %lu, \"connects\": %lu, \"failed\": %lu",
                  load_kind_name(kind), (unsigned long)counts->requests_sent,
                  (unsigned long)counts->connects, (unsigned long)failed);
    (void)fprintf(out, ", \"bytes_received\": %lu", (unsigned long)counts->bytes_received);
    for (int i = 0; i < LOAD_OUTCOME_COUNT; i++)
        (void)fprintf(out, ", \"%s\": %lu", load_outcome_name((enum load_outcome)i),
                      (unsigned long)counts->outcome[i]);
    (void)fprintf(out, ",\n      ");
    load_print_histogram(out, "latency_us", &counts->latency, counts->latency_max_ns);
    (void)fprintf(out, ",\n      ");
    load_print_histogram(out, "connect_us", &counts->connect, counts->connect_max_ns);
    (void)fprintf(out, ", \"late_max_us\": %.1f}", (double)counts->late_max_ns / 1e3);
}

static inline void load_print_failures(FILE *out, const struct load_failure *failures,
                                       uint64_t count)
{
    uint64_t kept = count < LOAD_FAILURES_KEPT ? count : LOAD_FAILURES_KEPT;
    (void)fprintf(out, "  \"failure_count\": %lu,\n  \"failures\": [", (unsigned long)count);
    for (uint64_t i = 0; i < kept; i++) {
        const struct load_failure *failure = &failures[i];
        (void)fprintf(
            out,
            "%s\n    {\"at\": %.6f, \"kind\": \"%s\", \"what\": \"%s\", \"port\": %d, "
            "\"pid\": %d, \"slot\": %d, \"age_ms\": %.3f, \"answered\": %lu, \"errno\": %d}",
            i == 0 ? "" : ",", (double)failure->at_ns / 1e9, load_kind_name(failure->kind),
            load_outcome_name(failure->outcome), failure->port, failure->pid, failure->slot,
            (double)failure->age_ns / 1e6, (unsigned long)failure->answered, failure->error);
    }
    (void)fprintf(out, "]");
}

static inline void load_print_slow(FILE *out, const struct load_slow *slow, uint64_t count)
{
    uint64_t kept = count < LOAD_SLOW_KEPT ? count : LOAD_SLOW_KEPT;
    (void)fprintf(out, ",\n  \"slow_count\": %lu,\n  \"slow\": [", (unsigned long)count);
    for (uint64_t i = 0; i < kept; i++)
        (void)fprintf(out,
                      "%s\n    {\"due\": %.6f, \"kind\": \"%s\", \"took_ms\": %.3f, "
                      "\"late_ms\": %.3f, \"port\": %d, \"pid\": %d, \"slot\": %d}",
                      i == 0 ? "" : ",", (double)slow[i].due_ns / 1e9, load_kind_name(slow[i].kind),
                      (double)(slow[i].answered_ns - slow[i].due_ns) / 1e6,
                      (double)(slow[i].opened_ns - slow[i].due_ns) / 1e6, slow[i].port, slow[i].pid,
                      slow[i].slot);
    (void)fprintf(out, "]");
}

static inline void load_print_series(FILE *out, const struct load_second *seconds, int count)
{
    (void)fprintf(out, ",\n  \"series\": [");
    for (int i = 0; i < count; i++)
        (void)fprintf(out,
                      "%s\n    {\"answered\": %u, \"failed\": %u, \"connected\": %u, "
                      "\"connect_failed\": %u}",
                      i == 0 ? "" : ",", seconds[i].answered, seconds[i].failed,
                      seconds[i].connected, seconds[i].connect_failed);
    (void)fprintf(out, "]");
}

struct load_report {
    int64_t started_ns;
    double elapsed_s;
    const struct load_counts *counts; /* one for each kind */
    const struct load_failure *failures;
    uint64_t failure_count;
    const struct load_slow *slow;
    uint64_t slow_count;
    double stall_max_s;                /* the client's own: the longest turn of its loop */
    const struct load_second *seconds; /* NULL: not wanted */
};

static inline void load_print_report(FILE *out, const struct load_report *report)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    double user_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6;
    double system_s = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    (void)fprintf(out,
                  "{\n  \"started\": %.6f, \"elapsed_s\": %.6f, \"cpu_user_s\": %.3f, "
                  "\"cpu_system_s\": %.3f, \"cpu_share\": %.4f, \"stall_max_ms\": %.3f,\n"
                  "  \"kinds\": {\n",
                  (double)report->started_ns / 1e9, report->elapsed_s, user_s, system_s,
                  (user_s + system_s) / report->elapsed_s, report->stall_max_s * 1e3);
    for (int kind = 0; kind < LOAD_KIND_COUNT; kind++) {
        load_print_counts(out, (enum load_kind)kind, &report->counts[kind]);
        (void)fprintf(out, kind + 1 < LOAD_KIND_COUNT ? ",\n" : "},\n");
    }
    load_print_failures(out, report->failures, report->failure_count);
    load_print_slow(out, report->slow, report->slow_count);
    if (report->seconds != NULL) {
        int whole = (int)report->elapsed_s + 1;
        load_print_series(out, report->seconds,
                          whole < LOAD_SECONDS_KEPT ? whole : LOAD_SECONDS_KEPT);
    }
    (void)fprintf(out, "\n}\n");
}

#endif
