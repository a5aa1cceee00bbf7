/* SPDX-License-Identifier: BSD-2-Clause
 *
 * fuzz_request_fields - what is read from a request beyond its grammar: file
 * paths, ranges, entity tags, dates, Accept, and the log line made of it.
 *
 * A decoded path never leaves its directory and never names a hidden file; a
 * range lies within the file; a log line is one line that fits.
 */
#include "common/check.h"
#include "worker/accept.h"
#include "worker/access_log.h"
#include "worker/files.h"
#include "worker/response.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(struct slice raw)
{
    char path[FILES_MAX_PATH];
    if (files_decode_path(raw, path) != 0)
        return;
    size_t len = strlen(path);
    CHECK(len > 0 && path[0] != '/' && path[len - 1] != '/');
    if (strcmp(path, ".") == 0)
        return;
    for (const char *segment = path; segment != NULL;) {
        const char *slash = strchr(segment, '/');
        size_t segment_len = slash != NULL ? (size_t)(slash - segment) : strlen(segment);
        CHECK(segment_len > 0);
        CHECK(segment[0] != '.' ||
              slice_equal_str(slice_from(segment, segment_len), ".well-known"));
        segment = slash != NULL ? slash + 1 : NULL;
    }
    CHECK(files_content_type(path) != NULL);
}

static void check_range(struct slice value, int64_t length)
{
    int64_t first = -1, last = -1;
    if (files_parse_range(value, length, &first, &last) == 1)
        CHECK(first >= 0 && first <= last && last < length);
    else
        CHECK(first == -1 && last == -1);
}

static void check_line(struct slice text, enum log_format format)
{
    char line[ACCESS_LOG_MAX_LINE];
    const struct access_entry entry = {
        .method = text, .target = text, .minor_version = 1, .status = 200};
    size_t len =
        access_log_format_line(line, format, "2026-01-31T23:59:59.999Z", "127.0.0.1", &entry);
    CHECK(len > 0 && len < sizeof(line) && line[len - 1] == '\n');
    for (size_t i = 0; i + 1 < len; i++)
        CHECK((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of its own size, so that reading beyond it is seen. */
    char *copy = malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    struct slice text = slice_from(copy, size);

    check_path(text);
    check_range(text, 0);
    check_range(text, 1);
    check_range(text, 10000);
    check_range(text, INT64_MAX);
    (void)files_etag_matches(text, SLICE_LITERAL("\"x\""));
    int weight = accept_weight(text, SLICE_LITERAL("application/health+json"));
    CHECK(weight >= ACCEPT_NOT_NAMED && weight <= 1000);
    (void)response_parse_date(text);
    check_line(text, LOG_FORMAT_TEXT);
    check_line(text, LOG_FORMAT_JSON);
    free(copy);
    return 0;
}
