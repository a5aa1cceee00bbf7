/* SPDX-License-Identifier: BSD-2-Clause
 *
 * exposition - writing Prometheus text 0.0.4 and OpenMetrics 1.0.
 *
 * Call exposition_family() once per family, then its samples, then the next
 * family; exposition_end() last. Names and labels are the caller's constants,
 * label values are escaped here.
 */
#ifndef MUSTER_EXPOSITION_H
#define MUSTER_EXPOSITION_H

#include "common/buf.h"
#include "common/histogram.h"

#include <stdbool.h>
#include <stdint.h>

enum exposition_type {
    EXPOSITION_COUNTER,
    EXPOSITION_GAUGE,
    EXPOSITION_HISTOGRAM,
    EXPOSITION_INFO
};

struct exposition {
    struct buf *out;
    bool openmetrics;
    const char *family; /* as given, with "_total" or "_info" */
    enum exposition_type type;
};

/* Content types: "text/plain; version=0.0.4; charset=utf-8" and
 * "application/openmetrics-text; version=1.0.0; charset=utf-8". */
const char *exposition_content_type(bool openmetrics);

void exposition_begin(struct exposition *exposition, struct buf *out, bool openmetrics);
/* `family` is the full sample name, e.g. "muster_http_requests_total"; OpenMetrics
 * names the family without "_total" and "_info", which is done here. */
void exposition_family(struct exposition *exposition, const char *family, enum exposition_type type,
                       const char *help);
/* labels: an even list of name, value, ..., NULL. */
void exposition_u64(struct exposition *exposition, uint64_t value, ...) __attribute__((sentinel));
void exposition_real(struct exposition *exposition, double value, ...) __attribute__((sentinel));
/* `labels` is a ready list such as `phase="header"`, or "". */
void exposition_u64_labels(struct exposition *exposition, uint64_t value, const char *labels);
void exposition_real_labels(struct exposition *exposition, double value, const char *labels);
/* Durations in seconds with the fixed bounds 100 us .. 60 s, plus _sum and _count. */
void exposition_histogram(struct exposition *exposition, const struct histogram *histogram,
                          const char *labels);
void exposition_end(struct exposition *exposition);

#endif
