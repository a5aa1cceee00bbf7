/* SPDX-License-Identifier: BSD-2-Clause
 *
 * views_json - writing a JSON document straight into a buffer, without a tree.
 */
#include "master/views_json.h"

#include "common/check.h"
#include "common/clock.h"
#include "common/utf8.h"

#include <math.h>
#include <string.h>

void doc_begin(struct doc *doc, struct buf *out)
{
    doc->out = out;
    doc->comma = false;
}

void doc_end(struct doc *doc)
{
    buf_append(doc->out, "\n", 1);
}

static void append_escape(struct buf *out, unsigned char byte)
{
    switch (byte) {
    case '"':
        buf_append(out, "\\\"", 2);
        break;
    case '\\':
        buf_append(out, "\\\\", 2);
        break;
    case '\n':
        buf_append(out, "\\n", 2);
        break;
    case '\t':
        buf_append(out, "\\t", 2);
        break;
    case '\r':
        buf_append(out, "\\r", 2);
        break;
    default:
        buf_printf(out, "\\u%04x", byte);
        break;
    }
}

static void append_string(struct buf *out, const char *text)
{
    const char *end = text + strlen(text);
    const char *run = text; /* what goes out as it is */
    const char *at = text;
    buf_append(out, "\"", 1);
    while (at < end) {
        unsigned char byte = (unsigned char)*at;
        size_t len = utf8_length(at, (size_t)(end - at));
        if (len != 0 && byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f) {
            at += len;
            continue;
        }
        buf_append(out, run, (size_t)(at - run));
        if (len == 0)
            buf_append_str(out, "\\ufffd");
        else
            append_escape(out, byte);
        run = ++at;
    }
    buf_append(out, run, (size_t)(end - run));
    buf_append(out, "\"", 1);
}

/* What stands before a value: the comma and the key. Half the time of a
 * document goes into these, so they are copied in one go. */
static void append_key(struct doc *doc, const char *key)
{
    size_t len = key != NULL ? strlen(key) : 0;
    char *start = buf_reserve(doc->out, len + 4);
    if (start == NULL)
        return;
    char *at = start;
    if (doc->comma)
        *at++ = ',';
    if (key != NULL) {
        *at++ = '"';
        at = mempcpy(at, key, len);
        *at++ = '"';
        *at++ = ':';
    }
    doc->out->len += (size_t)(at - start);
    doc->comma = true;
}

void doc_object(struct doc *doc, const char *key)
{
    append_key(doc, key);
    buf_append(doc->out, "{", 1);
    doc->comma = false;
}

void doc_object_end(struct doc *doc)
{
    buf_append(doc->out, "}", 1);
    doc->comma = true;
}

void doc_array(struct doc *doc, const char *key)
{
    append_key(doc, key);
    buf_append(doc->out, "[", 1);
    doc->comma = false;
}

void doc_array_end(struct doc *doc)
{
    buf_append(doc->out, "]", 1);
    doc->comma = true;
}

/* printf would be a third of the time of a document of many numbers. */
static char *format_digits(uint64_t value, char *end)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return end;
}

static void append_number(struct doc *doc, const char *key, bool negative, uint64_t magnitude)
{
    char digits[24];
    char *end = digits + sizeof(digits);
    char *at = format_digits(magnitude, end);
    if (negative)
        *--at = '-';
    append_key(doc, key);
    buf_append(doc->out, at, (size_t)(end - at));
}

void doc_int(struct doc *doc, const char *key, int64_t value)
{
    append_number(doc, key, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

void doc_uint(struct doc *doc, const char *key, uint64_t value)
{
    append_number(doc, key, false, value);
}

void doc_real(struct doc *doc, const char *key, double value, int decimals)
{
    static const int64_t scales[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    CHECK(decimals >= 0 && decimals < (int)ARRAY_COUNT(scales));
    if (!isfinite(value)) {
        doc_null(doc, key);
        return;
    }
    if (fabs(value) > 1e12) {
        append_key(doc, key);
        buf_printf(doc->out, "%.17g", value);
        return;
    }
    double exact = value * (double)scales[decimals];
    int64_t scaled = (int64_t)(exact < 0 ? exact - 0.5 : exact + 0.5);
    while (decimals > 0 && scaled % 10 == 0) {
        scaled /= 10;
        decimals--;
    }
    uint64_t magnitude = scaled < 0 ? 0 - (uint64_t)scaled : (uint64_t)scaled;
    uint64_t scale = (uint64_t)scales[decimals];
    append_number(doc, key, scaled < 0, magnitude / scale);
    if (decimals == 0)
        return;
    char digits[24];
    char *end = digits + sizeof(digits);
    char *at = format_digits(magnitude % scale + scale, end);
    *at = '.'; /* the leading 1 that kept the zeros */
    buf_append(doc->out, at, (size_t)(end - at));
}

void doc_bool(struct doc *doc, const char *key, bool value)
{
    append_key(doc, key);
    buf_append_str(doc->out, value ? "true" : "false");
}

void doc_null(struct doc *doc, const char *key)
{
    append_key(doc, key);
    buf_append(doc->out, "null", 4);
}

void doc_str(struct doc *doc, const char *key, const char *value)
{
    if (value == NULL) {
        doc_null(doc, key);
        return;
    }
    append_key(doc, key);
    append_string(doc->out, value);
}

void doc_time(struct doc *doc, const char *key, int64_t wall_ms)
{
    char text[CLOCK_RFC3339_SIZE];
    if (wall_ms == 0) {
        doc_null(doc, key);
        return;
    }
    clock_format_rfc3339(wall_ms, text);
    doc_str(doc, key, text);
}
