/* SPDX-License-Identifier: BSD-2-Clause
 *
 * totals - the sums over all workers that ever lived, and recent rates.
 */
#include "master/totals.h"

#include <string.h>

enum { WINDOW_ENTRIES = TOTALS_WINDOW_S + 1 };

void totals_init(struct totals *totals)
{
    memset(totals, 0, sizeof(*totals));
    for (unsigned i = 0; i < WINDOW_ENTRIES; i++)
        totals->window[i].second = -1;
}

static uint64_t server_errors(const struct metrics *metrics)
{
    uint64_t errors = 0;
    for (int status = 500; status < METRICS_STATUS_MIN + METRICS_STATUS_COUNT; status++)
        errors += metrics->status[status - METRICS_STATUS_MIN];
    return errors;
}

static struct totals_second *current_second(struct totals *totals, int64_t second)
{
    struct totals_second *entry = &totals->window[second % WINDOW_ENTRIES];
    if (entry->second != second) {
        memset(entry, 0, sizeof(*entry));
        entry->second = second;
    }
    return entry;
}

void totals_report(struct totals *totals, const struct metrics *before, const struct metrics *now,
                   int64_t now_ms)
{
    struct totals_second *entry = current_second(totals, now_ms / 1000);

#define ADDED(counter_) (now->counter[counter_] - before->counter[counter_])
    entry->requests += ADDED(METRIC_HTTP_REQUESTS);
    entry->accepted += ADDED(METRIC_CONNECTIONS_ACCEPTED);
    entry->bytes_sent += ADDED(METRIC_BYTES_SENT);
#undef ADDED
    entry->errors += server_errors(now) - server_errors(before);
    for (int i = 0; i < METRICS_SLOT_COUNT; i++)
        entry->slot_accepted[i] += (uint32_t)(now->slot_accepted[i] - before->slot_accepted[i]);
    histogram_add_difference(&entry->duration, &now->histogram[HISTOGRAM_REQUEST_DURATION],
                             &before->histogram[HISTOGRAM_REQUEST_DURATION]);
}

void totals_bury(struct totals *totals, const struct metrics *last)
{
    metrics_add(&totals->dead, last, false);
}

void totals_sum(const struct totals *totals, const struct roster *roster, struct metrics *out)
{
    const struct worker *worker;

    *out = totals->dead;
    TAILQ_FOREACH (worker, &roster->workers, in_roster)
        metrics_add(out, &worker->metrics, worker->state != WORKER_DEAD);
}

void totals_recent(const struct totals *totals, int64_t now_ms, int64_t started_ms,
                   struct totals_recent *out)
{
    int64_t end = now_ms / 1000; /* the second that is not over does not count */
    int64_t begin_ms = (end - TOTALS_WINDOW_S) * 1000;
    if (begin_ms < started_ms)
        begin_ms = started_ms;

    memset(out, 0, sizeof(*out));
    if (begin_ms >= end * 1000)
        return;
    out->seconds = (double)(end * 1000 - begin_ms) / 1000;

    uint64_t requests = 0, errors = 0, accepted = 0, bytes_sent = 0;
    for (unsigned i = 0; i < WINDOW_ENTRIES; i++) {
        const struct totals_second *entry = &totals->window[i];
        if (entry->second < begin_ms / 1000 || entry->second >= end)
            continue;
        requests += entry->requests;
        errors += entry->errors;
        accepted += entry->accepted;
        bytes_sent += entry->bytes_sent;
        histogram_add(&out->duration, &entry->duration);
    }
    out->request_rate = (double)requests / out->seconds;
    out->accept_rate = (double)accepted / out->seconds;
    out->bytes_sent_rate = (double)bytes_sent / out->seconds;
    out->error_rate = requests == 0 ? 0 : (double)errors / (double)requests;
}

void totals_recent_slots(const struct totals *totals, int64_t now_ms, int slot_count, double *out)
{
    int64_t end = now_ms / 1000;
    double sum = 0;
    for (int i = 0; i < slot_count; i++)
        out[i] = 0;
    for (unsigned n = 0; n < WINDOW_ENTRIES; n++) {
        const struct totals_second *entry = &totals->window[n];
        if (entry->second < end - TOTALS_WINDOW_S || entry->second >= end)
            continue;
        for (int i = 0; i < slot_count; i++) {
            out[i] += entry->slot_accepted[i];
            sum += entry->slot_accepted[i];
        }
    }
    for (int i = 0; i < slot_count && sum > 0; i++)
        out[i] /= sum;
}
