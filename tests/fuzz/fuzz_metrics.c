/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_metrics - snapshots from a worker that cannot be trusted, and everything
 * that the master does with one.
 */
#include "common/check.h"
#include "common/exposition.h"
#include "common/metrics.h"
#include "master/totals.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The state of the master lives on from input to input, as it does there. */
static struct metrics now, again, sum, before;
static struct totals totals;
static struct totals_recent recent;

static void check_round_trip(void)
{
    struct buf snapshot;
    buf_init(&snapshot, 0);
    metrics_encode(&now, &snapshot);
    CHECK(!buf_failed(&snapshot));
    CHECK(metrics_decode(snapshot.ptr, snapshot.len, &again) == 0);
    for (unsigned h = 0; h < METRIC_HISTOGRAM_COUNT; h++) {
        /* The sum of a histogram without values means nothing and is not sent. */
        if (now.histogram[h].count == 0)
            again.histogram[h] = now.histogram[h];
    }
    CHECK(memcmp(&now, &again, sizeof(now)) == 0);
    buf_fini(&snapshot);
}

static void check_render(void)
{
    struct buf document;
    struct exposition page;
    buf_init(&document, 0);
    exposition_begin(&page, &document, true);
    exposition_family(&page, "muster_x_seconds", EXPOSITION_HISTOGRAM, "X.");
    exposition_histogram(&page, &recent.duration, "");
    exposition_real(&page, histogram_quantile(&recent.duration, 0.99), NULL);
    exposition_end(&page);
    CHECK(!buf_failed(&document));
    buf_fini(&document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int64_t now_ms;

    if (metrics_decode(data, size, &now) != 0)
        return 0;
    CHECK(metrics_check_monotone(&now, &now) == 0);
    check_round_trip();

    now_ms += 300;
    bool credible = metrics_check_monotone(&now, &before) == 0;
    totals_report(&totals, credible ? &before : &now, &now, now_ms);
    totals_recent(&totals, now_ms, 0, &recent);
    check_render();

    metrics_reset(&sum);
    metrics_add(&sum, &now, true);
    metrics_add(&sum, &before, true);
    for (unsigned h = 0; h < METRIC_HISTOGRAM_COUNT; h++)
        sum.histogram[h].sum_ns = now.histogram[h].sum_ns; /* may run round */
    CHECK(metrics_check_monotone(&sum, &now) == 0);
    totals_bury(&totals, &now);
    before = now;
    return 0;
}
