/* SPDX-License-Identifier: BSD-2-Clause
 *
 * master_roll - the roll call: a new master finds the workers of the one before.
 *
 * The state file says who there is. Those that still live are taken into the
 * roster at once; then the control socket is open and each comes by itself
 * (a worker without a master tries four times a second) and says what it is
 * doing. One of them is asked for the listening sockets. The public port is
 * served all the time: the workers poll their sockets and the program in the
 * kernel stays as it was.
 *
 * Nothing else runs before the roll has been called, for whoever is not known
 * yet looks like a slot without a worker.
 */
#include "master/master_private.h"

#include "common/clock.h"
#include "common/log.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* Eight times the longest that a worker waits between two tries. */
enum { ROLL_TIMEOUT_MS = 2500, ANSWER_TIMEOUT_MS = 1000 };

/* ---- taking them in ---- */

static void bury(struct master *master, const struct state_worker *dead)
{
    static struct metrics last; /* too large for the stack */
    struct slot *slot = &master->roster->slots[dead->slot];
    struct obituary obituary = {
        .wall_ms = clock_wall_ms(),
        .pid = dead->pid,
        .generation = dead->generation,
        .age_ms = clock_wall_ms() - dead->started_wall_ms,
        .reason = dead->state == WORKER_DRAINING ? DEATH_RESTART : DEATH_CRASH,
        .exit_code = -1,
        .was_ready = dead->state != WORKER_STARTING,
    };
    (void)snprintf(obituary.cause, sizeof(obituary.cause),
                   "ended while there was no master; how is not known");
    if (metrics_decode(dead->snapshot.ptr, dead->snapshot.len, &last) == 0) {
        totals_bury(&master->totals, &last);
        obituary.requests = last.counter[METRIC_HTTP_REQUESTS];
    }
    master->roster->restarts[obituary.reason]++;
    if (obituary.reason == DEATH_CRASH)
        slot->restarts++;
    slot_add_obituary(slot, &obituary);
    log_warning("a worker has ended while there was no master", LOG_INT("slot", dead->slot),
                LOG_INT("pid", dead->pid), LOG_INT("generation", dead->generation));
}

static void adopt(struct master *master, const struct state_worker *from)
{
    struct child *child = NULL;
    int64_t now_ms = clock_monotonic_ms();
    int64_t started_ms = now_ms - (clock_wall_ms() - from->started_wall_ms);
    enum worker_state state = from->state == WORKER_SUSPECT ? WORKER_READY : from->state;
    if (child_adopt(master->base, from->pid, &from->identity, master_on_child_exit, master,
                    &child) != 0) {
        bury(master, from);
        return;
    }
    struct worker *worker = roster_adopt(master->roster, from->slot, from->pid, from->generation,
                                         state, started_ms, now_ms);
    if (worker == NULL) {
        log_error("more workers in a slot than there can be, ending one",
                  LOG_INT("slot", from->slot), LOG_INT("pid", from->pid));
        (void)child_signal(child, SIGTERM);
        child_free(&child);
        return;
    }
    worker->child = child;
    if (metrics_decode(from->snapshot.ptr, from->snapshot.len, &worker->metrics) != 0)
        metrics_reset(&worker->metrics);
    if (state != WORKER_READY) /* who was starting ends by itself as a rule: nobody's fault */
        worker->ending = DEATH_RESTART;
    if (state == WORKER_DRAINING)
        worker->drain_deadline_ms = now_ms + master->config->reload_drain_timeout;
    master_sample_worker(master, worker, now_ms);
}

/* It had nobody to become ready for. Most end by themselves; this is to be over soon. */
static void end_start(struct worker *worker)
{
    worker->ending = DEATH_RESTART;
    worker->kill_signal = SIGKILL;
    worker->kill_sent_ms = clock_monotonic_ms();
    (void)child_signal(worker->child, SIGKILL);
}

/* What it says now counts, not what was written down. */
void master_roll_hello(struct master *master, struct worker *worker,
                       const struct control_hello *hello)
{
    int64_t now_ms = clock_monotonic_ms();
    child_prove(
        worker->child); /* the kernel says who speaks, and it knew its slot and generation */
    if (hello->epoch > master->assign_epoch)
        master->assign_epoch = hello->epoch; /* ours have to be newer */
    if (hello->phase == WORKER_PHASE_DRAINING && worker_is_live(worker)) {
        worker->ending = DEATH_RESTART;
        worker_enter(worker, WORKER_DRAINING, now_ms);
    }
    if (hello->phase == WORKER_PHASE_DRAINING && hello->timeout_ms != UINT32_MAX)
        worker->drain_deadline_ms = now_ms + (int64_t)hello->timeout_ms;
    /* Its READY was on its way when the master died, and it has served since. */
    if (hello->phase == WORKER_PHASE_SERVING && worker->state == WORKER_STARTING) {
        worker->ending = DEATH_NONE;
        worker_enter(worker, WORKER_READY, now_ms);
    }
    if (worker->state == WORKER_STARTING)
        end_start(worker);
    worker->last_report_ms = now_ms;
}

/* ---- waiting for them ---- */

static int count_missing(const struct roster *roster)
{
    const struct worker *worker;
    int missing = 0;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        missing += worker->unheard && worker->kill_signal == 0;
    return missing;
}

static void on_timeout(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    (void)context; /* the loop returns, and whoever waits looks at the clock */
}

/* Runs the loop until something happened, or `deadline_ms`. False: it is over. */
static bool wait_until(struct master *master, int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - clock_monotonic_ms();
    if (left_ms <= 0)
        return false;
    const struct timeval wait = {left_ms / 1000, (left_ms % 1000) * 1000};
    struct event *timer = evtimer_new(master->base, on_timeout, NULL);
    bool turned = timer != NULL && event_add(timer, &wait) == 0 &&
                  event_base_loop(master->base, EVLOOP_ONCE) >= 0;
    if (timer != NULL)
        event_free(timer);
    return turned;
}

/* ---- the listening sockets ---- */

void master_roll_socket(void *context, struct worker *worker, const struct found_socket *socket)
{
    struct master *master = context;
    struct roll_call *roll = &master->roll;
    if (!roll->running || worker != roll->asked) {
        if (socket->fd >= 0)
            (void)close(socket->fd); /* nobody asked, or too late */
        return;
    }
    if (socket->fd < 0)
        roll->answered = true;
    else if (found_sockets_add(&roll->found, socket) != 0)
        log_error("a worker handed over a socket that cannot be one of ours",
                  LOG_INT("pid", worker->pid), LOG_INT("group", socket->group),
                  LOG_INT("slot", socket->slot));
}

static bool ask(struct master *master, struct worker *worker, bool known)
{
    struct roll_call *roll = &master->roll;
    pid_t pid = worker->pid;
    found_sockets_fini(&roll->found);
    roll->asked = worker;
    roll->answered = false;
    ipc_begin(&master->message, MESSAGE_CALL);
    master_send(master, worker, NULL, 0);
    int64_t deadline_ms = clock_monotonic_ms() + ANSWER_TIMEOUT_MS;
    while (!roll->answered && wait_until(master, deadline_ms))
        if (roster_find_pid(master->roster, pid) != worker || !worker->connected)
            break; /* it died, or left */
    roll->asked = NULL;
    if (!roll->answered) { /* some of them are of no use: the places of the others are not sure */
        found_sockets_fini(&roll->found);
    } else if (known && roll->sockets_id != 0 &&
               found_sockets_id(&roll->found) != roll->sockets_id) {
        log_warning("a worker handed over other sockets than the master before had",
                    LOG_INT("pid", pid), LOG_INT("sockets", roll->found.count));
        found_sockets_fini(&roll->found);
    }
    return roll->found.count > 0;
}

/* Serving ones first: those that drain may have closed theirs. */
static bool ask_each(struct master *master, bool known)
{
    static const enum worker_state order[] = {WORKER_READY, WORKER_DRAINING};
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        struct worker *worker, *next;
        for (worker = TAILQ_FIRST(&master->roster->workers); worker != NULL; worker = next) {
            pid_t pid = worker->pid;
            if (worker->state == order[i] && worker->connected && worker->contract >= 2 &&
                ask(master, worker, known))
                return true;
            /* It may have died meanwhile, and others. */
            worker = roster_find_pid(master->roster, pid);
            next = worker != NULL ? TAILQ_NEXT(worker, in_roster) : NULL;
        }
    }
    return false;
}

/* Somebody who has what the master before had. If there is nobody it may be that that one was
 * killed when it had just added some; and what else is there. */
static bool ask_somebody(struct master *master)
{
    return ask_each(master, true) || (master->roll.sockets_id != 0 && ask_each(master, false));
}

static int count_serving(const struct roster *roster)
{
    return roster->worker_count - roster_count(roster, WORKER_STARTING);
}

static void end_those_that_start(struct master *master)
{
    struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        if (worker->state == WORKER_STARTING)
            end_start(worker);
}

static void wait_for_deaths(struct master *master)
{
    int64_t deadline_ms = clock_monotonic_ms() + ANSWER_TIMEOUT_MS;
    while (master->roster->worker_count > 0 && wait_until(master, deadline_ms))
        ;
}

/* Signals are held until the roll has been called. */
static bool is_to_stop(void)
{
    sigset_t held;
    return sigpending(&held) == 0 &&
           (sigismember(&held, SIGTERM) == 1 || sigismember(&held, SIGINT) == 1);
}

/* Everybody who lives is stuck: as long as a worker may be, and no longer. */
static void wait_for_the_stuck(struct master *master, int64_t since_ms)
{
    struct worker *worker;
    if (count_serving(master->roster) == 0) {
        wait_for_deaths(master);
        return;
    }
    log_error("no worker answers the roll call; waiting until one does, at most hang_timeout",
              LOG_INT("workers", master->roster->worker_count),
              LOG_INT("hang_timeout_ms", master->config->hang_timeout));
    while (!is_to_stop() && wait_until(master, since_ms + master->config->hang_timeout))
        if (ask_somebody(master))
            return;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster) {
        worker->ending = DEATH_HANG;
        worker->kill_signal = SIGKILL;
        log_warning("killing a worker that holds the port and answers nobody",
                    LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid));
        (void)child_signal(worker->child, SIGKILL);
    }
    wait_for_deaths(master);
}

/* ---- the call ---- */

/* Of whom /proc shows nothing, and who says nothing: some other process may have the
 * number by now. A worker that was only stuck is refused when it comes. */
static void forget_the_unproven(struct master *master)
{
    struct worker *worker, *next;
    for (worker = TAILQ_FIRST(&master->roster->workers); worker != NULL; worker = next) {
        next = TAILQ_NEXT(worker, in_roster);
        if (!child_is_proven(worker->child))
            master_on_child_exit(master, worker->child, CHILD_STATUS_UNKNOWN);
    }
}

/* Those that have said nothing may be stuck. */
static void suspect_the_silent(struct master *master)
{
    int64_t now_ms = clock_monotonic_ms();
    struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster) {
        if (worker->connected || worker->state != WORKER_READY)
            continue;
        log_warning("a worker does not answer the roll call, steering away from it",
                    LOG_INT("slot", worker->slot), LOG_INT("pid", worker->pid));
        worker->last_report_ms = now_ms;
        worker_enter(worker, WORKER_SUSPECT, now_ms);
    }
}

void master_call_roll(struct master *master, const struct state *state)
{
    struct cluster *cluster = &master->cluster;
    int64_t since_ms = clock_monotonic_ms();
    master_restore(master, state);
    master->roll.sockets_id = state->cluster.sockets_id;
    for (int i = 0; i < state->worker_count; i++)
        adopt(master, &state->workers[i]);
    int living = master->roster->worker_count;
    if (living == 0)
        return;
    master->roll.running = true;
    while (count_missing(master->roster) > 0 && wait_until(master, since_ms + ROLL_TIMEOUT_MS))
        ;
    end_those_that_start(master);
    if (master->roll.found.count == 0 && !ask_somebody(master) && master->roster->worker_count > 0)
        wait_for_the_stuck(master, since_ms);
    forget_the_unproven(master);
    suspect_the_silent(master);
    master->roll.running = false;
    cluster->adopted = roster_count(master->roster, WORKER_READY);
    if (cluster->adopted > 0) {
        cluster->state = CLUSTER_RUNNING;
        cluster->was_ready = true;
    }
    master_event(master, ADOPTED, EVENT_NO_SLOT, 0,
                 "%d workers of the master before go on serving, %d were gone", cluster->adopted,
                 state->worker_count - living);
    log_notice("roll call: workers of the master before go on serving",
               LOG_INT("adopted", cluster->adopted),
               LOG_INT("draining", roster_count(master->roster, WORKER_DRAINING)),
               LOG_INT("silent", roster_count(master->roster, WORKER_SUSPECT)),
               LOG_INT("gone", state->worker_count - living),
               LOG_INT("sockets", master->roll.found.count),
               LOG_STR("version_before", state->cluster.version),
               LOG_INT("took_ms", clock_monotonic_ms() - since_ms));
}

/* A worker that dies is replaced by one of the same program, whatever is on
 * disk by now: only a reload or an upgrade takes that. */
static void pin_their_program(struct master *master)
{
    const struct worker *worker;
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster) {
        if (worker->state != WORKER_READY || worker->generation != master->roster->generation)
            continue;
        int err = worker_binary_adopt(&master->binary, worker->pid);
        if (err != 0)
            log_info(
                "which program the workers execute is not known, new ones are started from disk",
                LOG_STR("path", master->binary.path), LOG_ERR(err));
        return;
    }
}

void master_end_roll(struct master *master)
{
    pin_their_program(master);
    const struct worker *worker;
    int64_t now_ms = clock_monotonic_ms();
    found_sockets_fini(&master->roll.found);
    for (int i = 0; i < master->roster->slot_count; i++) {
        struct slot *slot = &master->roster->slots[i];
        slot->shown = slot_state_now(slot, now_ms);
        slot->state_since_ms = now_ms;
    }
    /* Sockets that were added; those that they have they keep. */
    TAILQ_FOREACH (worker, &master->roster->workers, in_roster)
        master_send_listeners(master, worker);
}
