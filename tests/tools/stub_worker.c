/* SPDX-License-Identifier: BSD-2-Clause
 *
 * stub_worker - a worker that serves nobody and reports plausible numbers.
 *
 * For measuring the master with many workers: it speaks the contract (HELLO,
 * READY, ASSIGNED, METRICS once a second, a beat every 100 ms, GOODBYE), needs little memory and
 * next to no processor time. Set as `worker_path`.
 */
#include "common/board.h"
#include "common/clock.h"
#include "common/ipc.h"
#include "common/metrics.h"

#include "version.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    REPORT_MS = 1000,
    BEAT_MS = 100,
    REQUESTS_PER_REPORT = 500,
    CONNECTIONS = 100,
};

struct stub {
    int control;
    struct board *board; /* NULL: the master gave none */
    uint32_t slot;
    uint64_t generation;
    bool ready;
    uint32_t random;
    struct buf out;
    struct metrics metrics;
};

static void stub_send(struct stub *stub)
{
    if (buf_failed(&stub->out))
        exit(WORKER_EXIT_INTERNAL);
    int result = ipc_send(stub->control, &stub->out, NULL, 0);
    if (result != 0 && result != -EAGAIN)
        exit(WORKER_EXIT_NO_MASTER);
}

static void send_hello(struct stub *stub)
{
    ipc_begin(&stub->out, MESSAGE_HELLO);
    ipc_put_u32(&stub->out, FIELD_SLOT, stub->slot);
    ipc_put_u32(&stub->out, FIELD_PID, (uint32_t)getpid());
    ipc_put_u64(&stub->out, FIELD_GENERATION, stub->generation);
    ipc_put_u32(&stub->out, FIELD_CONTRACT, CONTRACT_VERSION);
    ipc_put_str(&stub->out, FIELD_BUILD, MUSTER_VERSION);
    ipc_put_u32(&stub->out, FIELD_STATE, WORKER_PHASE_STARTING);
    stub_send(stub);
}

/* Latencies between 50 us and 4 ms, with a tail: as many different buckets as
 * a worker under real load fills. */
static uint64_t some_latency_ns(struct stub *stub)
{
    stub->random = stub->random * 1664525U + 1013904223U;
    uint64_t value = 50000U + (stub->random >> 12) % 400000U;
    return (stub->random & 0x3f) == 0 ? value * 10 : value;
}

static void send_metrics(struct stub *stub)
{
    struct metrics *metrics = &stub->metrics;
    metrics->counter[METRIC_HTTP_REQUESTS] += REQUESTS_PER_REPORT;
    metrics->counter[METRIC_BYTES_RECEIVED] += REQUESTS_PER_REPORT * 100U;
    metrics->counter[METRIC_BYTES_SENT] += REQUESTS_PER_REPORT * 200U;
    metrics->counter[METRIC_CONNECTIONS_ACCEPTED] += CONNECTIONS / 10;
    metrics->counter[METRIC_CONNECTIONS_CLOSED] += CONNECTIONS / 10;
    metrics->counter[METRIC_LOOP_TURNS] += REQUESTS_PER_REPORT;
    metrics->counter[METRIC_LOOP_BUSY_NS] += 20U * 1000 * 1000;
    metrics->gauge[GAUGE_CONNECTIONS_ACTIVE] = CONNECTIONS;
    metrics->gauge[GAUGE_CONNECTIONS_IDLE] = CONNECTIONS - 3;
    metrics->gauge[GAUGE_LOOP_LAG_NS] = 40000;
    metrics->slot_accepted[stub->slot] += CONNECTIONS / 10;
    for (int i = 0; i < REQUESTS_PER_REPORT; i++) {
        histogram_record(&metrics->histogram[HISTOGRAM_REQUEST_DURATION], some_latency_ns(stub));
        metrics_count_status(metrics, i % 50 == 0 ? 404 : 200);
    }
    ipc_begin(&stub->out, MESSAGE_METRICS);
    struct buf snapshot;
    buf_init(&snapshot, CONTRACT_MAX_MESSAGE);
    metrics_encode(metrics, &snapshot);
    if (buf_failed(&snapshot))
        exit(WORKER_EXIT_INTERNAL);
    ipc_put_bytes(&stub->out, FIELD_SNAPSHOT, snapshot.ptr, snapshot.len);
    stub_send(stub);
    buf_fini(&snapshot);
}

static void beat(const struct stub *stub)
{
    if (stub->board == NULL)
        return;
    BOARD_SET(stub->board, interval_ns, BEAT_MS * INT64_C(1000000));
    BOARD_SET(stub->board, connections, CONNECTIONS);
    BOARD_SET(stub->board, beat_ns, clock_monotonic_ns());
}

static void take_board(struct stub *stub, struct ipc_message *message)
{
    int fd = ipc_take_fd(message, 0);
    if (fd < 0)
        return;
    board_unmap(stub->board);
    stub->board = board_map(fd);
    (void)close(fd);
    beat(stub);
}

static void on_message(struct stub *stub, struct ipc_message *message)
{
    uint64_t epoch = 0;
    struct slot_set slots = {0};
    switch ((int)message->type) {
    case MESSAGE_ASSIGN:
        if (!stub->ready) {
            stub->ready = true;
            ipc_begin(&stub->out, MESSAGE_READY);
            stub_send(stub);
        }
        (void)ipc_get_u64(message, FIELD_EPOCH, &epoch);
        (void)ipc_get_slots(message, FIELD_SLOTS, &slots);
        ipc_begin(&stub->out, MESSAGE_ASSIGNED);
        ipc_put_u64(&stub->out, FIELD_EPOCH, epoch);
        ipc_put_slots(&stub->out, FIELD_SLOTS, &slots);
        stub_send(stub);
        return;
    case MESSAGE_DRAIN:
        send_metrics(stub);
        ipc_begin(&stub->out, MESSAGE_GOODBYE);
        stub_send(stub);
        exit(WORKER_EXIT_OK);
    case MESSAGE_BOARD:
        take_board(stub, message);
        return;
    case MESSAGE_REFUSED:
        exit(WORKER_EXIT_REFUSED);
    default:
        return;
    }
}

static void receive_all(struct stub *stub)
{
    static char scratch[CONTRACT_MAX_MESSAGE];
    static struct ipc_message message;
    for (;;) {
        int result = ipc_receive(stub->control, scratch, &message);
        if (result == -EAGAIN)
            return;
        if (result <= 0)
            exit(result == 0 ? WORKER_EXIT_NO_MASTER : WORKER_EXIT_REFUSED);
        on_message(stub, &message);
        ipc_close_fds(&message);
    }
}

static void read_arguments(struct stub *stub, int argc, char **argv, const char **control)
{
    static const struct option options[] = {
        {"slot", required_argument, NULL, 's'},
        {"generation", required_argument, NULL, 'g'},
        {"control", required_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    int id;
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (id) {
        case 's':
            stub->slot = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'g':
            stub->generation = strtoull(optarg, NULL, 10);
            break;
        case 'c':
            *control = optarg;
            break;
        default:
            exit(WORKER_EXIT_USAGE);
        }
    }
    if (*control == NULL || stub->slot >= CONTRACT_MAX_SLOTS)
        exit(WORKER_EXIT_USAGE);
}

int main(int argc, char **argv)
{
    static struct stub stub;
    const char *control = NULL;
    read_arguments(&stub, argc, argv, &control);
    buf_init(&stub.out, CONTRACT_MAX_MESSAGE);
    metrics_reset(&stub.metrics);
    stub.random = stub.slot + 1;
    stub.control = ipc_connect(control);
    if (stub.control < 0)
        return WORKER_EXIT_NO_MASTER;
    send_hello(&stub);
    int64_t next_beat_ms = clock_monotonic_ms() + BEAT_MS;
    int64_t next_report_ms = clock_monotonic_ms() + REPORT_MS;
    for (;;) {
        int64_t left_ms = next_beat_ms - clock_monotonic_ms();
        struct pollfd poll_fd = {.fd = stub.control, .events = POLLIN};
        if (poll(&poll_fd, 1, left_ms > 0 ? (int)left_ms : 0) > 0)
            receive_all(&stub);
        if (clock_monotonic_ms() >= next_beat_ms) {
            next_beat_ms += BEAT_MS;
            beat(&stub);
        }
        if (clock_monotonic_ms() >= next_report_ms) {
            next_report_ms += REPORT_MS;
            if (stub.ready)
                send_metrics(&stub);
        }
    }
}
