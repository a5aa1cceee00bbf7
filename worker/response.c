/* SPDX-License-Identifier: BSD-2-Clause
 *
 * response - rendering of status lines, headers and dates.
 */
#include "worker/response.h"

#include "common/clock.h"
#include "worker/http_parser.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static void put_two(char *out, int value)
{
    out[0] = (char)('0' + value / 10 % 10);
    out[1] = (char)('0' + value % 10);
}

void response_format_date(int64_t wall_s, char out[RESPONSE_DATE_LEN + 1])
{
    time_t seconds = (time_t)wall_s;
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 8099)
        tm = (struct tm){.tm_mday = 1, .tm_wday = 4, .tm_year = 70};
    memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", RESPONSE_DATE_LEN + 1);
    memcpy(out, day_names[tm.tm_wday], 3);
    put_two(out + 5, tm.tm_mday);
    memcpy(out + 8, month_names[tm.tm_mon], 3);
    put_two(out + 12, (tm.tm_year + 1900) / 100);
    put_two(out + 14, (tm.tm_year + 1900) % 100);
    put_two(out + 17, tm.tm_hour);
    put_two(out + 20, tm.tm_min);
    put_two(out + 23, tm.tm_sec);
}

int64_t response_parse_date(struct slice text)
{
    /* IMF-fixdate, RFC 850 and asctime, in this order (RFC 9110 5.6.7). */
    static const char *const formats[] = {
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    };
    char copy[64];
    if (text.len == 0 || text.len >= sizeof(copy))
        return -1;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    for (size_t i = 0; i < ARRAY_COUNT(formats); i++) {
        struct tm tm = {0};
        const char *end = strptime(copy, formats[i], &tm);
        if (end != NULL && *end == '\0')
            return (int64_t)timegm(&tm);
    }
    return -1;
}

void response_date_renew(struct response_date *date, int64_t now_ns)
{
    int64_t wall_ms = clock_wall_ms();
    int64_t second = wall_ms / 1000;
    date->next_ns = now_ns + (1000 - wall_ms % 1000) * 1000000;
    if (second == date->second)
        return;
    date->second = second;
    response_format_date(second, date->text);
}

void response_common_init(struct response_common *common, const char *server)
{
    *common = (struct response_common){.date = {.second = -1}};
    if (server != NULL && server[0] != '\0')
        snprintf(common->server, sizeof(common->server), "Server: %.140s\r\n", server);
    common->server_len = strlen(common->server);
    response_date_renew(&common->date, 0);
}

/* Writing forward; the caller has made sure of the room. */
static char *put(char *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static char *put_str(char *at, const char *str)
{
    return put(at, str, strlen(str));
}

static char *put_decimal(char *at, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[sizeof(digits) - ++count] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    return put(at, digits + sizeof(digits) - count, count);
}

static char *put_status_line(char *at, int status)
{
    at = put_str(at, "HTTP/1.1 ");
    at = put_decimal(at, (uint64_t)status);
    *at++ = ' ';
    at = put_str(at, http_status_text(status));
    return put(at, "\r\n", 2);
}

static struct slice connection_line(enum response_connection connection)
{
    switch (connection) {
    case RESPONSE_STAYS:
        break;
    case RESPONSE_KEEP_ALIVE:
        return SLICE_LITERAL("Connection: keep-alive\r\n");
    case RESPONSE_CLOSE:
        return SLICE_LITERAL("Connection: close\r\n");
    }
    return SLICE_LITERAL("");
}

size_t response_render_head(char *out, struct response_common *common,
                            const struct response_head *head)
{
    char *at = put_status_line(out, head->status);
    at = put(at, common->server, common->server_len);
    at = put_str(at, "Date: ");
    at = put(at, common->date.text, RESPONSE_DATE_LEN);
    at = put(at, "\r\n", 2);
    if (head->type.len > 0) {
        at = put_str(at, "Content-Type: ");
        at = put(at, head->type.ptr, head->type.len);
        at = put(at, "\r\n", 2);
    }
    if (head->length >= 0) {
        at = put_str(at, "Content-Length: ");
        at = put_decimal(at, (uint64_t)head->length);
        at = put(at, "\r\n", 2);
    }
    if (head->headers.len > 0)
        at = put(at, head->headers.ptr, head->headers.len);
    struct slice line = connection_line(head->connection);
    at = put(at, line.ptr, line.len);
    at = put(at, "\r\n", 2);
    return (size_t)(at - out);
}

int response_page_init(struct response_page *page, struct response_common *common, int status,
                       struct slice type, struct slice headers, struct slice body)
{
    if (type.len + headers.len > RESPONSE_PAGE_HEADERS)
        return -EINVAL;
    /* These have no body (RFC 9110 15.3.5, 15.4.5), and 204 no length either. */
    bool bodiless = status == 204 || status == 304;
    if (bodiless)
        body.len = 0;
    char *bytes = malloc(RESPONSE_HEAD_ROOM + type.len + headers.len + body.len);
    if (bytes == NULL)
        return -ENOMEM;
    struct response_head head = {
        .status = status,
        .connection = RESPONSE_STAYS,
        .type = type,
        .length = bodiless ? RESPONSE_NO_LENGTH : (int64_t)body.len,
        .headers = headers,
    };
    size_t head_len = response_render_head(bytes, common, &head);
    if (body.len > 0)
        memcpy(bytes + head_len, body.ptr, body.len);
    const char *date = memmem(bytes, head_len, "\r\nDate: ", 8);
    CHECK(date != NULL);
    size_t date_at = (size_t)(date - bytes) + 8;
    char *fitting = realloc(bytes, head_len + body.len);
    if (fitting != NULL)
        bytes = fitting;
    *page = (struct response_page){
        .status = status,
        .bytes = bytes,
        .head_len = head_len,
        .len = head_len + body.len,
        .date_at = date_at,
        .date_second = common->date.second,
    };
    return 0;
}

void response_page_fini(struct response_page *page)
{
    free(page->bytes);
    *page = (struct response_page){0};
}

size_t response_page_head(const struct response_page *page, enum response_connection connection,
                          char *out)
{
    struct slice line = connection_line(connection);
    char *at = put(out, page->bytes, page->head_len - 2);
    at = put(at, line.ptr, line.len);
    at = put(at, "\r\n", 2);
    return (size_t)(at - out);
}
