/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_dispatch - tells the kernel who gets new connections.
 *
 * With least-connections the master looks at its workers ten times a second
 * while something happens, and replaces the program when the weights have
 * changed enough. An idle cluster costs nothing: after some looks that found
 * nothing the timer stops until a worker reports that something happened.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/weights.h"

#include <errno.h>
#include <string.h>

enum {
    QUIET_LOOKS = 20,
    SILENCE_FREE_MS = 400, /* two of the longest intervals between beats */
};

static bool follows_load(const struct master *master)
{
    return master->choice.algorithm == BALANCE_LEAST_CONNECTIONS;
}

/* ---- what is known of the slots ---- */

/* How long ago a moment was that a worker wrote down; it may be any number. */
static int64_t since(int64_t then_ns, int64_t now_ns)
{
    return then_ns <= 0 || then_ns > now_ns ? 0 : now_ns - then_ns;
}

/* A worker that hangs does not say so: its silence does. */
static void read_board(const struct board *board, int64_t now_ns, struct balance_figures *out)
{
    int64_t silent_ns = since(BOARD_GET(board, beat_ns), now_ns);
    int64_t turn_ns = since(BOARD_GET(board, turn_started_ns), now_ns);
    int64_t missed_ns = silent_ns - SILENCE_FREE_MS * INT64_C(1000000);
    out->known = true;
    out->connections = BOARD_GET(board, connections);
    out->in_flight = BOARD_GET(board, in_flight);
    out->lag_ns = BOARD_GET(board, lag_ns);
    if (turn_ns > out->lag_ns)
        out->lag_ns = turn_ns;
    if (missed_ns > out->lag_ns)
        out->lag_ns = missed_ns;
    /* Old figures of a worker that is known to be late are better than none. */
    out->age_ms = silent_ns / 1000000 < BALANCE_STALE_MS ? silent_ns / 1000000 : BALANCE_STALE_MS;
}

static void read_worker(const struct worker *worker, int64_t now_ms, struct balance_figures *out)
{
    if (worker->board != NULL && BOARD_GET(worker->board, beat_ns) != 0) {
        read_board(worker->board, clock_monotonic_ns(), out);
        return;
    }
    out->known = worker->last_report_ms != 0;
    out->connections = worker->metrics.gauge[GAUGE_CONNECTIONS_ACTIVE];
    out->in_flight = worker->metrics.gauge[GAUGE_REQUESTS_IN_FLIGHT];
    out->lag_ns = worker->metrics.gauge[GAUGE_LOOP_LAG_NS];
    out->age_ms = now_ms - worker->last_report_ms;
}

/* Whose sockets these are; a suspect one is looked at, too, so that it is known
 * when it comes back. */
static const struct worker *find_worker(const struct slot *slot)
{
    const struct worker *worker = slot_ready_worker(slot);
    if (worker != NULL)
        return worker;
    TAILQ_FOREACH (worker, &slot->workers, in_slot)
        if (worker->state == WORKER_SUSPECT)
            break;
    return worker;
}

/* True when the weights changed by enough. */
static bool look(struct master *master, const struct slot_set *slots, bool force)
{
    struct balance_figures figures[CONTRACT_MAX_SLOTS];
    int count = master->roster->slot_count;
    int64_t now_ms = clock_monotonic_ms();
    double arrivals = 0;
    bool settled = true;
    CHECK(count <= CONTRACT_MAX_SLOTS);
    memset(figures, 0, (size_t)count * sizeof(figures[0]));
    for (int i = 0; i < count; i++) {
        const struct worker *worker = find_worker(&master->roster->slots[i]);
        figures[i].capacity = master->capacity[i];
        figures[i].eligible = slot_set_has(slots, (unsigned)i);
        if (worker == NULL)
            continue;
        figures[i].worker = worker->pid;
        read_worker(worker, now_ms, &figures[i]);
        arrivals += worker->accept_rate;
    }
    bool changed = balance_look(&master->balance, figures, count, arrivals, now_ms, force);
    for (int i = 0; i < count; i++)
        settled = settled && (!figures[i].eligible || master->balance.slot[i].trust >= 1);
    if (changed || arrivals > 0 || master->balance.growth > 1 || !settled)
        master->quiet_looks = 0;
    else
        master->quiet_looks++;
    return changed;
}

/* ---- telling the kernel ---- */

static void describe(struct master *master)
{
    struct cluster *cluster = &master->cluster;
    const char *name = dispatch_algorithm_name(master->choice.algorithm);
    cluster->dispatch.algorithm = master->choice.algorithm;
    dispatch_shares(&master->choice, cluster->dispatch.share);
    for (int i = 0; i < cluster->listener_count && i < master->listeners.group_count; i++) {
        const struct listener_group *group = &master->listeners.group[i];
        if (group->kind == LISTENER_PER_SLOT)
            cluster->listener[i].policy =
                group->fell_back ? dispatch_algorithm_name(BALANCE_ROUND_ROBIN) : name;
    }
}

static int put_in_force(struct master *master)
{
    struct dispatch_choice *choice = &master->choice;
    for (int i = 0; i < choice->slot_count; i++)
        choice->weight[i] =
            follows_load(master) ? master->balance.slot[i].weight : master->capacity[i];
    int err = listeners_steer(&master->listeners, choice);
    if (err == 0)
        master->cluster.dispatch.swaps++;
    describe(master);
    return err;
}

void master_steer(struct master *master, const struct slot_set *slots)
{
    if (master->cluster.state >= CLUSTER_STOPPING)
        return; /* all are turned away, and nothing is to change that */
    master->choice.slots = *slots;
    if (follows_load(master))
        (void)look(master, slots, true);
    int err = put_in_force(master);
    if (err != 0)
        log_error("cannot steer new connections, trying again in a second", LOG_ERR(err));
    /* Recorded all the same, or every plan would try again; the tick does. */
    master->steered = *slots;
    master->steer_failed = err != 0;
    master_dispatch_wake(master);
}

void master_steer_again(struct master *master)
{
    if (!master->steer_failed)
        return;
    master->steered = (struct slot_set){0};
    master_reconcile_soon(master);
}

/* ---- looking ---- */

static void schedule(struct master *master)
{
    const struct timeval wait = {0, BALANCE_INTERVAL_MS * 1000};
    (void)event_add(master->balance_due, &wait);
}

static void on_balance(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    struct master *master = context;
    if (!follows_load(master) || master->cluster.state >= CLUSTER_STOPPING)
        return;
    if (!master->steer_failed && look(master, &master->steered, false) && put_in_force(master) != 0)
        master->steer_failed = true;
    if (master->quiet_looks < QUIET_LOOKS)
        schedule(master);
}

void master_dispatch_wake(struct master *master)
{
    master->quiet_looks = 0;
    if (!follows_load(master) || event_pending(master->balance_due, EV_TIMEOUT, NULL))
        return;
    schedule(master);
}

static void take_configuration(struct master *master)
{
    master->choice.algorithm = master->config->balance_algorithm;
    master->choice.slot_count = master->roster->slot_count;
    /* More weights than slots: the configuration allows it, they are for later. */
    uint16_t weights[CONTRACT_MAX_SLOTS];
    if (weights_parse(master->config->balance_weights, weights, CONTRACT_MAX_SLOTS) == NULL)
        memcpy(master->capacity, weights, sizeof(weights));
}

void master_dispatch_configure(struct master *master)
{
    take_configuration(master);
    const struct slot_set steered = master->steered;
    for (int i = 0; i < master->roster->slot_count; i++) {
        if (slot_set_has(&steered, (unsigned)i)) {
            master_steer(master, &steered);
            return;
        }
    }
}

int master_dispatch_start(struct master *master)
{
    master->balance_due = evtimer_new(master->base, on_balance, master);
    if (master->balance_due == NULL)
        return -ENOMEM;
    take_configuration(master);
    describe(master);
    return 0;
}

void master_dispatch_stop(struct master *master)
{
    if (master->balance_due != NULL)
        event_free(master->balance_due);
    master->balance_due = NULL;
}
