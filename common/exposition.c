/* SPDX-License-Identifier: BSD-2-Clause
 *
 * exposition - writing Prometheus text 0.0.4 and OpenMetrics 1.0.
 *
 * The two differ in how a family is named (OpenMetrics leaves out the suffix of
 * its samples), in the types they have, in the escapes of HELP, in how the
 * bounds of buckets are spelled, and in the end of the document.
 */
#include "common/exposition.h"

#include "common/check.h"
#include "common/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Two to three bounds for each power of ten: fine where web requests are. */
static const struct bound {
    uint64_t ns;
    const char *text;
    const char *openmetrics; /* numbers of `le` have a point there */
} bounds[] = {
    {UINT64_C(100000), "0.0001", "0.0001"},  {UINT64_C(250000), "0.00025", "0.00025"},
    {UINT64_C(500000), "0.0005", "0.0005"},  {UINT64_C(1000000), "0.001", "0.001"},
    {UINT64_C(2500000), "0.0025", "0.0025"}, {UINT64_C(5000000), "0.005", "0.005"},
    {UINT64_C(10000000), "0.01", "0.01"},    {UINT64_C(25000000), "0.025", "0.025"},
    {UINT64_C(50000000), "0.05", "0.05"},    {UINT64_C(100000000), "0.1", "0.1"},
    {UINT64_C(250000000), "0.25", "0.25"},   {UINT64_C(500000000), "0.5", "0.5"},
    {UINT64_C(1000000000), "1", "1.0"},      {UINT64_C(2500000000), "2.5", "2.5"},
    {UINT64_C(5000000000), "5", "5.0"},      {UINT64_C(10000000000), "10", "10.0"},
    {UINT64_C(30000000000), "30", "30.0"},   {UINT64_C(60000000000), "60", "60.0"},
};

const char *exposition_content_type(bool openmetrics)
{
    return openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8";
}

void exposition_begin(struct exposition *exposition, struct buf *out, bool openmetrics)
{
    *exposition = (struct exposition){.out = out, .openmetrics = openmetrics};
}

/* Backslash, line feed and (where asked) the double quote; what is not UTF-8
 * becomes U+FFFD, or the whole document would be refused. */
static void put_escaped(struct buf *out, const char *text, bool quotes)
{
    size_t len = strlen(text);
    while (len > 0) {
        size_t length = utf8_length(text, len);
        if (length == 0) {
            buf_append_str(out, "\xEF\xBF\xBD");
            length = 1;
        } else if (*text == '\\') {
            buf_append_str(out, "\\\\");
        } else if (*text == '\n') {
            buf_append_str(out, "\\n");
        } else if (*text == '"' && quotes) {
            buf_append_str(out, "\\\"");
        } else {
            buf_append(out, text, length);
        }
        text += length;
        len -= length;
    }
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t len = strlen(text), suffix_len = strlen(suffix);
    return len > suffix_len && memcmp(text + len - suffix_len, suffix, suffix_len) == 0;
}

static const char *type_suffix(enum exposition_type type)
{
    switch (type) {
    case EXPOSITION_COUNTER:
        return "_total";
    case EXPOSITION_INFO:
        return "_info";
    case EXPOSITION_GAUGE:
    case EXPOSITION_HISTOGRAM:
        break;
    }
    return "";
}

static const char *type_name(enum exposition_type type, bool openmetrics, bool has_suffix)
{
    switch (type) {
    case EXPOSITION_COUNTER:
        /* In OpenMetrics every counter ends in _total; other names have no type. */
        return openmetrics && !has_suffix ? "unknown" : "counter";
    case EXPOSITION_GAUGE:
        return "gauge";
    case EXPOSITION_HISTOGRAM:
        return "histogram";
    case EXPOSITION_INFO:
        if (openmetrics)
            return has_suffix ? "info" : "unknown";
        return "gauge";
    }
    return "untyped";
}

void exposition_family(struct exposition *exposition, const char *family, enum exposition_type type,
                       const char *help)
{
    struct buf *out = exposition->out;
    const char *suffix = type_suffix(type);
    bool has_suffix = ends_with(family, suffix);
    size_t name_len = strlen(family);

    exposition->family = family;
    exposition->type = type;
    if (exposition->openmetrics && has_suffix)
        name_len -= strlen(suffix);
    if (*help != '\0') {
        buf_append_str(out, "# HELP ");
        buf_append(out, family, name_len);
        buf_append_str(out, " ");
        put_escaped(out, help, exposition->openmetrics);
        buf_append_str(out, "\n");
    }
    buf_append_str(out, "# TYPE ");
    buf_append(out, family, name_len);
    buf_append_str(out, " ");
    buf_append_str(out, type_name(type, exposition->openmetrics, has_suffix));
    buf_append_str(out, "\n");
}

/* ---- values ---- */

/* A page about many workers is thousands of whole numbers; printf() would be most of its cost. */
static void put_u64(struct buf *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    buf_append(out, digits + at, sizeof(digits) - at);
}

static void put_real(struct buf *out, double value)
{
    char text[32];

    if (isnan(value)) {
        buf_append_str(out, "NaN");
    } else if (isinf(value)) {
        buf_append_str(out, value > 0 ? "+Inf" : "-Inf");
    } else {
        /* The short form if it reads back as the same number: 0.1, not 0.10000000000000001. */
        (void)snprintf(text, sizeof(text), "%.15g", value);
        if (strtod(text, NULL) != value)
            (void)snprintf(text, sizeof(text), "%.17g", value);
        buf_append_str(out, text);
    }
}

/* ---- samples ---- */

static void begin_sample(struct exposition *exposition)
{
    buf_append_str(exposition->out, exposition->family);
}

static void put_label_pairs(struct buf *out, va_list pairs)
{
    const char *name;
    bool first = true;

    while ((name = va_arg(pairs, const char *)) != NULL) {
        const char *value = va_arg(pairs, const char *);
        buf_append_str(out, first ? "{" : ",");
        buf_append_str(out, name);
        buf_append_str(out, "=\"");
        put_escaped(out, value == NULL ? "" : value, true);
        buf_append_str(out, "\"");
        first = false;
        if (value == NULL)
            break; /* an odd list: its end was taken for a value */
    }
    buf_append_str(out, first ? " " : "} ");
}

static void put_label_list(struct buf *out, const char *labels)
{
    if (*labels == '\0') {
        buf_append_str(out, " ");
    } else {
        buf_append_str(out, "{");
        buf_append_str(out, labels);
        buf_append_str(out, "} ");
    }
}

void exposition_u64(struct exposition *exposition, uint64_t value, ...)
{
    va_list pairs;

    begin_sample(exposition);
    va_start(pairs, value);
    put_label_pairs(exposition->out, pairs);
    va_end(pairs);
    put_u64(exposition->out, value);
    buf_append_str(exposition->out, "\n");
}

void exposition_real(struct exposition *exposition, double value, ...)
{
    va_list pairs;

    begin_sample(exposition);
    va_start(pairs, value);
    put_label_pairs(exposition->out, pairs);
    va_end(pairs);
    put_real(exposition->out, value);
    buf_append_str(exposition->out, "\n");
}

void exposition_u64_labels(struct exposition *exposition, uint64_t value, const char *labels)
{
    begin_sample(exposition);
    put_label_list(exposition->out, labels);
    put_u64(exposition->out, value);
    buf_append_str(exposition->out, "\n");
}

void exposition_real_labels(struct exposition *exposition, double value, const char *labels)
{
    begin_sample(exposition);
    put_label_list(exposition->out, labels);
    put_real(exposition->out, value);
    buf_append_str(exposition->out, "\n");
}

static void put_bucket(struct exposition *exposition, const char *labels, const char *le,
                       uint64_t count)
{
    struct buf *out = exposition->out;
    begin_sample(exposition);
    buf_append_str(out, "_bucket{");
    buf_append_str(out, labels);
    if (*labels != '\0')
        buf_append_str(out, ",");
    buf_append_str(out, "le=\"");
    buf_append_str(out, le);
    buf_append_str(out, "\"} ");
    put_u64(out, count);
    buf_append_str(out, "\n");
}

void exposition_histogram(struct exposition *exposition, const struct histogram *histogram,
                          const char *labels)
{
    struct buf *out = exposition->out;

    for (size_t i = 0; i < ARRAY_COUNT(bounds); i++) {
        const struct bound *bound = &bounds[i];
        put_bucket(exposition, labels, exposition->openmetrics ? bound->openmetrics : bound->text,
                   histogram_count_below(histogram, bound->ns));
    }
    put_bucket(exposition, labels, "+Inf", histogram->count);

    begin_sample(exposition);
    buf_append_str(out, "_sum");
    put_label_list(out, labels);
    put_real(out, (double)histogram->sum_ns / 1e9);
    buf_append_str(out, "\n");
    begin_sample(exposition);
    buf_append_str(out, "_count");
    put_label_list(out, labels);
    put_u64(out, histogram->count);
    buf_append_str(out, "\n");
}

void exposition_end(struct exposition *exposition)
{
    if (exposition->openmetrics)
        buf_append_str(exposition->out, "# EOF\n");
}
