/* SPDX-License-Identifier: BSD-2-Clause
 *
 * test_exposition - both formats: golden text, a grammar check of OpenMetrics
 * 1.0 by hand, and promtool's opinion where it is installed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/exposition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct buf out;
static struct exposition page;

static int setup(void **state)
{
    (void)state;
    buf_init(&out, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static void begin(bool openmetrics)
{
    buf_reset(&out);
    exposition_begin(&page, &out, openmetrics);
}

static const char *text(void)
{
    assert_false(buf_failed(&out));
    char *end = buf_reserve(&out, 1);
    assert_non_null(end);
    *end = '\0';
    return out.ptr;
}

static void test_content_types(void **state)
{
    (void)state;
    assert_string_equal(exposition_content_type(false), "text/plain; version=0.0.4; charset=utf-8");
    assert_string_equal(exposition_content_type(true),
                        "application/openmetrics-text; version=1.0.0; charset=utf-8");
}

static void write_simple_families(void)
{
    exposition_family(&page, "muster_http_requests_total", EXPOSITION_COUNTER, "Answers.");
    exposition_u64(&page, 5, "code", "200", NULL);
    exposition_u64(&page, UINT64_MAX, "code", "500", "slot", "3", NULL);
    exposition_family(&page, "muster_build_info", EXPOSITION_INFO, "The build.");
    exposition_u64(&page, 1, "version", "0.1.0", NULL);
    exposition_family(&page, "muster_cpu_ratio", EXPOSITION_GAUGE, "Share.");
    exposition_real(&page, 0.1, NULL);
    exposition_real(&page, -2.5, "slot", "0", NULL);
    exposition_family(&page, "messages_per_second", EXPOSITION_COUNTER, "An alias.");
    exposition_u64(&page, 0, NULL);
    exposition_family(&page, "muster_http_timeouts_total", EXPOSITION_COUNTER, "Cut.");
    exposition_u64_labels(&page, 7, "phase=\"header\"");
    exposition_real_labels(&page, 0.5, "phase=\"body\"");
    exposition_family(&page, "muster_bare", EXPOSITION_GAUGE, "");
    exposition_u64_labels(&page, 8, "");
    exposition_real_labels(&page, 1e100, "");
    exposition_end(&page);
}

static void test_prometheus_text(void **state)
{
    (void)state;
    begin(false);
    write_simple_families();
    assert_string_equal(text(), "# HELP muster_http_requests_total Answers.\n"
                                "# TYPE muster_http_requests_total counter\n"
                                "muster_http_requests_total{code=\"200\"} 5\n"
                                "muster_http_requests_total{code=\"500\",slot=\"3\"} "
                                "18446744073709551615\n"
                                "# HELP muster_build_info The build.\n"
                                "# TYPE muster_build_info gauge\n"
                                "muster_build_info{version=\"0.1.0\"} 1\n"
                                "# HELP muster_cpu_ratio Share.\n"
                                "# TYPE muster_cpu_ratio gauge\n"
                                "muster_cpu_ratio 0.1\n"
                                "muster_cpu_ratio{slot=\"0\"} -2.5\n"
                                "# HELP messages_per_second An alias.\n"
                                "# TYPE messages_per_second counter\n"
                                "messages_per_second 0\n"
                                "# HELP muster_http_timeouts_total Cut.\n"
                                "# TYPE muster_http_timeouts_total counter\n"
                                "muster_http_timeouts_total{phase=\"header\"} 7\n"
                                "muster_http_timeouts_total{phase=\"body\"} 0.5\n"
                                "# TYPE muster_bare gauge\n"
                                "muster_bare 8\n"
                                "muster_bare 1e+100\n");
}

static void test_openmetrics_text(void **state)
{
    (void)state;
    begin(true);
    write_simple_families();
    assert_string_equal(text(), "# HELP muster_http_requests Answers.\n"
                                "# TYPE muster_http_requests counter\n"
                                "muster_http_requests_total{code=\"200\"} 5\n"
                                "muster_http_requests_total{code=\"500\",slot=\"3\"} "
                                "18446744073709551615\n"
                                "# HELP muster_build The build.\n"
                                "# TYPE muster_build info\n"
                                "muster_build_info{version=\"0.1.0\"} 1\n"
                                "# HELP muster_cpu_ratio Share.\n"
                                "# TYPE muster_cpu_ratio gauge\n"
                                "muster_cpu_ratio 0.1\n"
                                "muster_cpu_ratio{slot=\"0\"} -2.5\n"
                                "# HELP messages_per_second An alias.\n"
                                "# TYPE messages_per_second unknown\n"
                                "messages_per_second 0\n"
                                "# HELP muster_http_timeouts Cut.\n"
                                "# TYPE muster_http_timeouts counter\n"
                                "muster_http_timeouts_total{phase=\"header\"} 7\n"
                                "muster_http_timeouts_total{phase=\"body\"} 0.5\n"
                                "# TYPE muster_bare gauge\n"
                                "muster_bare 8\n"
                                "muster_bare 1e+100\n"
                                "# EOF\n");
}

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *value, *written;
    } cases[] = {
        {"plain", "plain"},
        {"", ""},
        {"a\"b", "a\\\"b"},
        {"a\\b", "a\\\\b"},
        {"a\nb", "a\\nb"},
        {"\\n", "\\\\n"},
        {"a{b}=c,d", "a{b}=c,d"},
        {"caf\xC3\xA9", "caf\xC3\xA9"},
        {"\xff|\xC3", "\xEF\xBF\xBD|\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char expected[256];
        begin(false);
        exposition_family(&page, "x", EXPOSITION_GAUGE, "");
        buf_reset(&out);
        exposition_u64(&page, 1, "l", cases[i].value, NULL);
        (void)snprintf(expected, sizeof(expected), "x{l=\"%s\"} 1\n", cases[i].written);
        assert_string_equal(text(), expected);
    }
    /* In HELP a quote is escaped by OpenMetrics only. */
    begin(false);
    exposition_family(&page, "x", EXPOSITION_GAUGE, "a \"b\" \\ \n.");
    assert_string_equal(text(), "# HELP x a \"b\" \\\\ \\n.\n# TYPE x gauge\n");
    begin(true);
    exposition_family(&page, "x", EXPOSITION_GAUGE, "a \"b\" \\ \n.");
    assert_string_equal(text(), "# HELP x a \\\"b\\\" \\\\ \\n.\n# TYPE x gauge\n");
}

static void test_odd_label_list(void **state)
{
    (void)state;
    begin(false);
    exposition_family(&page, "x", EXPOSITION_GAUGE, "");
    buf_reset(&out);
    exposition_u64(&page, 1, "a", "b", "c", NULL);
    assert_string_equal(text(), "x{a=\"b\",c=\"\"} 1\n");
}

/* Numbers read back as what they were, in the shortest usual form. */
static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *written;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {0.1, "0.1"},
        {1e15, "1e+15"},
        {123456789012.5, "123456789012.5"},
        {1.0 / 3, "0.33333333333333331"},
        {-0.5, "-0.5"},
        {1e-9, "1e-09"},
        {INFINITY, "+Inf"},
        {-INFINITY, "-Inf"},
        {NAN, "NaN"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char expected[64];
        begin(false);
        exposition_family(&page, "x", EXPOSITION_GAUGE, "");
        buf_reset(&out);
        exposition_real(&page, cases[i].value, NULL);
        (void)snprintf(expected, sizeof(expected), "x %s\n", cases[i].written);
        assert_string_equal(text(), expected);
        if (!isnan(cases[i].value))
            assert_true(strtod(text() + 2, NULL) == cases[i].value);
    }
    for (uint64_t value = 1; value < UINT64_MAX / 11; value *= 11) {
        char expected[64];
        buf_reset(&out);
        exposition_u64(&page, value, NULL);
        (void)snprintf(expected, sizeof(expected), "x %llu\n", (unsigned long long)value);
        assert_string_equal(text(), expected);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    struct buf small;
    static struct histogram histogram;
    buf_init(&small, 100);
    exposition_begin(&page, &small, true);
    exposition_family(&page, "muster_x_seconds", EXPOSITION_HISTOGRAM, "X.");
    exposition_histogram(&page, &histogram, "");
    exposition_end(&page);
    assert_true(buf_failed(&small));
    buf_fini(&small);
}

/* ---- histograms ---- */

static void fill(struct histogram *histogram, unsigned count, unsigned shift)
{
    uint64_t random = UINT64_C(0x9E3779B97F4A7C15);
    histogram_reset(histogram);
    for (unsigned i = 0; i < count; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        histogram_record(histogram, random >> (shift + i % 20));
    }
}

static void check_histogram(const struct histogram *histogram, const char *labels, bool openmetrics)
{
    char head[128], line[256];
    double le_before = 0;
    uint64_t count_before = 0;
    unsigned buckets = 0;

    begin(openmetrics);
    exposition_family(&page, "muster_x_seconds", EXPOSITION_HISTOGRAM, "");
    buf_reset(&out);
    exposition_histogram(&page, histogram, labels);
    const char *at = text();
    int head_len = snprintf(head, sizeof(head), "muster_x_seconds_bucket{%s%sle=\"", labels,
                            *labels == '\0' ? "" : ",");
    for (; strncmp(at, head, (size_t)head_len) == 0; at = strchr(at, '\n') + 1) {
        char *end;
        double le = strtod(at + head_len, &end);
        /* OpenMetrics: canonical numbers have a point (or are +Inf). */
        if (openmetrics && !isinf(le))
            assert_non_null(memchr(at + head_len, '.', (size_t)(end - at - head_len)));
        assert_memory_equal(end, "\"} ", 3);
        uint64_t count = strtoull(end + 3, &end, 10);
        assert_int_equal(*end, '\n');
        assert_true(le > le_before);
        assert_true(count >= count_before);
        if (buckets == 0)
            assert_true(le == 0.0001);
        if (!isinf(le)) {
            assert_int_equal(count, histogram_count_below(histogram, (uint64_t)(le * 1e9 + 0.5)));
            assert_true(le <= 60);
        }
        le_before = le;
        count_before = count;
        buckets++;
    }
    assert_int_equal(buckets, 19);
    assert_true(isinf(le_before)); /* +Inf is the last and counts all */
    assert_int_equal(count_before, histogram->count);

    bool bare = *labels == '\0';
    (void)snprintf(head, sizeof(head), "%s%s%s", bare ? "" : "{", labels, bare ? "" : "}");
    (void)snprintf(line, sizeof(line), "muster_x_seconds_sum%s ", head);
    assert_memory_equal(at, line, strlen(line));
    assert_true(strtod(at + strlen(line), NULL) == (double)histogram->sum_ns / 1e9);
    at = strchr(at, '\n') + 1;
    (void)snprintf(line, sizeof(line), "muster_x_seconds_count%s %llu\n", head,
                   (unsigned long long)histogram->count);
    assert_string_equal(at, line);
}

static void test_histograms(void **state)
{
    (void)state;
    static struct histogram histogram;
    static const struct {
        unsigned count, shift;
    } cases[] = {{0, 0}, {1, 30}, {1000, 20}, {1000, 40}, {50000, 28}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        fill(&histogram, cases[i].count, cases[i].shift);
        for (int openmetrics = 0; openmetrics < 2; openmetrics++) {
            check_histogram(&histogram, "", openmetrics != 0);
            check_histogram(&histogram, "route=\"/\",slot=\"1\"", openmetrics != 0);
        }
    }
}

/* ---- whole documents ---- */

static void write_document(bool openmetrics)
{
    static struct histogram histogram;
    fill(&histogram, 5000, 28);
    begin(openmetrics);
    exposition_family(&page, "muster_http_requests_total", EXPOSITION_COUNTER,
                      "Answers \\ \"quoted\"\nin two lines.");
    exposition_u64(&page, 5, "code", "200", NULL);
    exposition_u64(&page, 6, "code", "a\"b\\c\nd\xff", NULL);
    exposition_family(&page, "muster_build_info", EXPOSITION_INFO, "The build.");
    exposition_u64(&page, 1, "version", "0.1.0", "commit", "", NULL);
    exposition_family(&page, "muster_cpu_ratio", EXPOSITION_GAUGE, "Share.");
    exposition_real(&page, 1.0 / 3, "slot", "0", NULL);
    exposition_real(&page, NAN, "slot", "1", NULL);
    exposition_real(&page, -INFINITY, "slot", "2", NULL);
    exposition_family(&page, "muster_http_request_duration_seconds", EXPOSITION_HISTOGRAM,
                      "Durations.");
    exposition_histogram(&page, &histogram, "route=\"/\"");
    exposition_histogram(&page, &histogram, "route=\"/x\"");
    exposition_end(&page);
}

static void test_promtool(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) /* NOLINT(cert-env33-c) */
        skip();
    write_document(false);
    FILE *promtool = popen("promtool check metrics", "w"); /* NOLINT(cert-env33-c) */
    assert_non_null(promtool);
    assert_int_equal(fwrite(out.ptr, 1, out.len, promtool), out.len);
    assert_int_equal(pclose(promtool), 0);
}

/* The rules of OpenMetrics 1.0 as a reader that is told nothing but the text. */
struct reader {
    const char *at;
    char family[128];
    char type[32];
    bool typed; /* the family of the line above has its TYPE */
    int families;
};

static bool is_name_char(char c, bool first)
{
    return c == '_' || c == ':' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

static bool read_name(struct reader *reader, char *name, size_t size)
{
    size_t len = 0;
    while (is_name_char(reader->at[len], len == 0))
        len++;
    if (len == 0 || len >= size)
        return false;
    memcpy(name, reader->at, len);
    name[len] = '\0';
    reader->at += len;
    return true;
}

static bool read_literal(struct reader *reader, const char *literal)
{
    size_t len = strlen(literal);
    if (strncmp(reader->at, literal, len) != 0)
        return false;
    reader->at += len;
    return true;
}

/* escaped-string: a backslash only before a backslash, n or a quote. */
static bool read_escaped(struct reader *reader, char end)
{
    for (;; reader->at++) {
        char c = *reader->at;
        if (c == end)
            return true;
        if (c == '\0' || c == '\n' || c == '"')
            return false;
        if (c == '\\') {
            reader->at++;
            if (strchr("\\n\"", *reader->at) == NULL || *reader->at == '\0')
                return false;
        }
    }
}

static bool read_number(struct reader *reader)
{
    char *end;
    if (!read_literal(reader, "NaN") && !read_literal(reader, "+Inf") &&
        !read_literal(reader, "-Inf")) {
        if (strspn(reader->at, "+-0123456789.eE") == 0)
            return false;
        (void)strtod(reader->at, &end);
        reader->at = end;
    }
    return read_literal(reader, "\n");
}

static bool read_descriptor(struct reader *reader)
{
    char name[128];
    bool help = read_literal(reader, "# HELP ");
    if ((!help && !read_literal(reader, "# TYPE ")) || !read_name(reader, name, sizeof(name)) ||
        !read_literal(reader, " "))
        return false;
    if (strcmp(name, reader->family) != 0) {
        (void)snprintf(reader->family, sizeof(reader->family), "%s", name);
        reader->typed = false;
        reader->families++;
    }
    if (help)
        return read_escaped(reader, '\n') && read_literal(reader, "\n");
    if (reader->typed) /* TYPE at most once */
        return false;
    reader->typed = true;
    return read_name(reader, reader->type, sizeof(reader->type)) && read_literal(reader, "\n");
}

static bool suffix_fits(const char *type, const char *suffix)
{
    static const struct {
        const char *type, *suffix;
    } allowed[] = {
        {"counter", "_total"}, {"gauge", ""},           {"info", "_info"}, {"histogram", "_bucket"},
        {"histogram", "_sum"}, {"histogram", "_count"}, {"unknown", ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(allowed); i++) {
        if (strcmp(allowed[i].type, type) == 0 && strcmp(allowed[i].suffix, suffix) == 0)
            return true;
    }
    return false;
}

static bool read_sample(struct reader *reader)
{
    char name[128];
    if (!read_name(reader, name, sizeof(name)) || !reader->typed ||
        strncmp(name, reader->family, strlen(reader->family)) != 0 ||
        !suffix_fits(reader->type, name + strlen(reader->family)))
        return false;
    if (read_literal(reader, "{")) {
        do {
            char label[64];
            if (!read_name(reader, label, sizeof(label)) || !read_literal(reader, "=\"") ||
                !read_escaped(reader, '"') || !read_literal(reader, "\""))
                return false;
        } while (read_literal(reader, ","));
        if (!read_literal(reader, "}"))
            return false;
    }
    return read_literal(reader, " ") && read_number(reader);
}

/* 0, or the number of the line that is wrong. */
static int check_openmetrics(const char *document, int *families)
{
    struct reader reader = {.at = document};
    for (int line = 1;; line++) {
        if (strcmp(reader.at, "# EOF\n") == 0) {
            *families = reader.families;
            return 0;
        }
        bool ok = *reader.at == '#' ? read_descriptor(&reader) : read_sample(&reader);
        if (!ok)
            return line;
    }
}

static void test_openmetrics_grammar(void **state)
{
    (void)state;
    int families = 0;
    write_document(true);
    assert_int_equal(check_openmetrics(text(), &families), 0);
    assert_int_equal(families, 4);
    begin(true);
    write_simple_families();
    assert_int_equal(check_openmetrics(text(), &families), 0);
    assert_int_equal(families, 6);
    begin(true);
    exposition_end(&page);
    assert_int_equal(check_openmetrics(text(), &families), 0);

    /* The reader does tell right from wrong. */
    begin(false);
    write_simple_families();
    assert_int_not_equal(check_openmetrics(text(), &families), 0);
    static const char *const wrong[] = {
        "# TYPE x counter\nx 1\n# EOF\n", "# TYPE x gauge\nx{a=\"\n\"} 1\n# EOF\n",
        "# TYPE x gauge\nx 1\n",          "# TYPE x gauge\ny 1\n# EOF\n",
        "# TYPE x gauge\nx\n# EOF\n",     "# TYPE x gauge\nx{a=\"\\x\"} 1\n# EOF\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_int_not_equal(check_openmetrics(wrong[i], &families), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_types),
        cmocka_unit_test_setup_teardown(test_prometheus_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_openmetrics_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_escapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_odd_label_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histograms, setup, teardown),
        cmocka_unit_test_setup_teardown(test_promtool, setup, teardown),
        cmocka_unit_test_setup_teardown(test_openmetrics_grammar, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
